"""Reading models from files and writing them, without losing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_nas.errors import InvalidRequestError


def load_model(path: str) -> Any:
    """Loads a model; code inside of the file is never run (``safe_mode=True``).

    Raises:
        InvalidRequestError: There is no such file, or Keras cannot read it.
    """
    if not Path(path).is_file():
        raise InvalidRequestError(
            f"There is no file {path!r}.\n\nGive the name of a model that was saved "
            f"with model.save('name.keras'). Received: {path!r}"
        )
    import keras

    try:
        return keras.saving.load_model(path, safe_mode=True)
    except Exception as error:
        raise InvalidRequestError(
            f"Keras cannot load {path!r}: {_first_line(error)}\n\nIs it a whole model, "
            "saved with model.save('name.keras')? For a model with layers of your own, "
            f"use Python instead of the command line. Received: {path!r}"
        ) from error


def check_target(path: str, endings: tuple[str, ...], *, force: bool) -> Path:
    """Returns where a result goes.

    Raises:
        InvalidRequestError: The name ends in something else, its folder does not exist,
            or there is such a file already and nobody said ``--force``.
    """
    target = Path(path)
    if target.suffix not in endings:
        raise InvalidRequestError(
            f"The result cannot be written to {path!r}.\n\nLet the name end in "
            f"{' or '.join(endings)}. Received: {path!r}"
        )
    if not target.parent.is_dir():
        raise InvalidRequestError(
            f"The folder {str(target.parent)!r} does not exist.\n\nMake it first. "
            f"Received: {path!r}"
        )
    if target.exists() and not force:
        raise InvalidRequestError(
            f"The file {path!r} exists already.\n\nGive another name, or --force to "
            f"replace it. Received: {path!r}"
        )
    return target


def save_model(model: Any, target: Path) -> None:
    """Writes a model beside its place first, so that a full disk loses nothing."""
    beside = target.with_name(f".{target.stem}.new.keras")
    try:
        model.save(beside)
        beside.replace(target)
    except OSError as error:
        raise InvalidRequestError(
            f"The model cannot be written: {error}\n\nIs there room, and may you write "
            f"there? Received: {str(target)!r}"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
