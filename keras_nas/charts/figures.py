"""Making and saving figures, without touching the settings of the program around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_nas.errors import InvalidRequestError, UnsupportedModelError

# Colours of Okabe and Ito, which colour-blind people tell apart.
BLUE, GREEN, VERMILION = "#0072b2", "#009e73", "#d55e00"
GREY, DARK_GREY = "#d9d9d9", "#999999"


def new_figure(width: float, height: float) -> Any:
    """Returns an empty figure that no window shows; a notebook does.

    Args:
        width: In inches.
        height: In inches.

    Raises:
        UnsupportedModelError: matplotlib is not installed.
    """
    try:
        from keras_nas.charts.shown import ShownFigure
    except ImportError as error:
        raise UnsupportedModelError(
            "Diagrams need the package matplotlib, which is not there.\n\nInstall it: "
            "pip install matplotlib. Received: no such package"
        ) from error
    return ShownFigure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: str | Path | None) -> None:
    """Writes a figure, if there is a path; the ending of its name says how.

    Raises:
        InvalidRequestError: matplotlib cannot write such a file there.
    """
    if path is None:
        return
    try:
        if not Path(path).suffix:
            raise ValueError("the name has no ending.")
        figure.savefig(path, dpi=120)
    except (OSError, TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"The diagram cannot be written: {error}\n\nGive a name such as "
            f"'figure.png' in a folder that exists. Received: {path!r}"
        ) from error
