"""Whether candidates made of a model can go through files."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from keras_nas.errors import InvalidRequestError, SearchError
from keras_nas.graph import names_anew
from keras_nas.search.evaluation import is_disk_full, load_model, save_model
from keras_nas.surgery import Graph


def check_start(start: Graph) -> None:
    """Saves and loads the model that a first generation descends from, once.

    Every candidate is written to a file and read from it, without running code that is
    in there. A model that cannot do this would fail as often as there are candidates.

    Raises:
        InvalidRequestError: It cannot be saved, or cannot be loaded from its file.
        SearchError: There is no room for the file.
    """
    try:
        # The names of layers that are made here are not missing in the search.
        with TemporaryDirectory(prefix="keras_nas_") as folder, names_anew():
            path = Path(folder) / "start.keras"
            save_model(start.build(), path)
            load_model(path)
    except Exception as error:
        if is_disk_full(error):
            raise SearchError(
                f"There is no room for temporary files: {error}.\n\nMake some, then "
                f"start again. Received: {gettempdir()!r}"
            ) from error
        raise InvalidRequestError(
            f"The model cannot evolve, since Keras cannot load what it saves of it: "
            f"{_reason(error)}.\n\nA Lambda layer holds code, which is not run from "
            f"files: use another layer in its place. Register layers and functions of "
            f"your own with keras.saving.register_keras_serializable. Received: "
            f"{start!r}"
        ) from error


def _reason(error: BaseException) -> str:
    """Returns the one sentence that matters; Keras tells whole configurations."""
    text = str(error.__cause__ or error)
    text = text.rpartition("Exception encountered: ")[2].strip()
    return text.partition("\n")[0].partition(". ")[0].rstrip(".")[:200]
