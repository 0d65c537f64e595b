"""Reading models from files and writing them, without losing anything."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from keras_nas.cli.vetting import Unreadable, Unsafe, vet
from keras_nas.errors import InvalidRequestError


def load_model(path: str, *, unsafe: bool = False) -> Any:
    """Loads a model; code inside of the file is not run unless somebody said so.

    Args:
        path: Of a .keras file.
        unsafe: Whether layers with Python code and custom classes are loaded, too.

    Raises:
        InvalidRequestError: There is no such file, it may run code, or Keras cannot
            read it.
    """
    if not Path(path).is_file():
        raise InvalidRequestError(
            f"There is no file {path!r}.\n\nGive the name of a model that was saved "
            f"with model.save('name.keras'). Received: {path!r}"
        )
    if Path(path).suffix != ".keras":
        raise InvalidRequestError(
            f"{path!r} is no .keras file.\n\nLoad it in Python and save it with "
            f"model.save('name.keras'); other formats may run code. Received: {path!r}"
        )
    try:
        vet(path)
    except Unreadable as error:
        raise InvalidRequestError(
            f"Keras cannot load {path!r}: {error}.\n\nIs it a whole model, saved with "
            f"model.save('name.keras')? Received: {path!r}"
        ) from None
    except Unsafe as error:
        if not unsafe:
            raise InvalidRequestError(
                f"Keras cannot load {path!r} safely: {error}.\n\nIf you trust whoever "
                "made the file, say --unsafe: then code inside of it runs. Or use "
                f"Python, where you can pass custom_objects. Received: {path!r}"
            ) from None
    import keras

    try:
        with warnings.catch_warnings():
            # About the optimizer of a model that was compiled and never trained.
            warnings.simplefilter("ignore", UserWarning)
            return keras.saving.load_model(path, safe_mode=not unsafe)
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
    # Keras reads no file whose name ends in .KERAS.
    suffix = target.suffix if ".keras" in endings else target.suffix.lower()
    if suffix not in endings:
        raise InvalidRequestError(
            f"The result cannot be written to {path!r}.\n\nLet the name end in "
            f"{' or '.join(endings)}. Received: {path!r}"
        )
    if target.is_dir():
        raise InvalidRequestError(
            f"{path!r} is a folder.\n\nGive the name of a file. Received: {path!r}"
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


def read_table(path: str) -> Any:
    """Reads a latency table.

    Raises:
        InvalidRequestError: There is no such file, or it holds something else.
    """
    from keras_nas.latency import LatencyTable

    try:
        return LatencyTable.load(path)
    except OSError as error:
        raise InvalidRequestError(
            f"There is no latency table to read in {path!r}: {error.strerror}.\n\nMake "
            f"one: keras-nas latency MODEL.keras -o {path}. Received: {path!r}"
        ) from error
    except InvalidRequestError as error:
        raise InvalidRequestError(f"In the file {path!r}: {error}") from error


def write_text(text: str, target: Path) -> None:
    """Writes a text file beside its place first."""
    beside = target.with_name(f".{target.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    except OSError as error:
        raise _unwritten(error, target) from error
    finally:
        beside.unlink(missing_ok=True)


def save_model(model: Any, target: Path) -> None:
    """Writes a model beside its place first, so that a full disk loses nothing."""
    beside = target.with_name(f".{target.stem}.new.keras")
    try:
        model.save(beside)
        beside.replace(target)
    except OSError as error:
        raise _unwritten(error, target) from error
    finally:
        beside.unlink(missing_ok=True)


def _unwritten(error: OSError, target: Path) -> InvalidRequestError:
    return InvalidRequestError(
        f"The result cannot be written: {error}\n\nIs there room, and may you write "
        f"there? Received: {str(target)!r}"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
