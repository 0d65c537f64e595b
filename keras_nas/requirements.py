"""Imports Keras, or says in two sentences why that is impossible.

Keras comes without a backend, and alone ends in a long traceback about TensorFlow.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

from keras_nas.errors import BackendError

BACKENDS = ("tensorflow", "jax", "torch")


def import_keras() -> None:
    """Imports Keras.

    Raises:
        BackendError: The backend that Keras is told to use is not installed.
    """
    try:
        import keras  # noqa: F401  It is there, that is all.
    except ImportError as error:
        # Not `from error`: what Keras tried before would hide the sentence.
        raise BackendError(_advice(error)) from None


def _advice(error: ImportError) -> str:
    if error.name == "keras":
        return (
            "Keras is not installed.\n\nInstall it together with a backend, such as "
            "with pip install keras tensorflow. Received: no Keras"
        )
    chosen = _chosen()
    there = [name for name in BACKENDS if _is_there(name)]
    ways = [f"Install it: pip install {chosen}"]
    if there:
        choices = " or ".join(f"KERAS_BACKEND={name}" for name in there)
        ways.append(f"choose what is installed by the environment variable {choices}")
    else:
        others = " or ".join(name for name in BACKENDS if name != chosen)
        ways.append(f"install {others} and set KERAS_BACKEND to its name")
    return (
        f"Keras cannot start with the backend {chosen!r}: {error}.\n\n"
        f"{', or '.join(ways)}. Received: backend {chosen!r}"
    )


def _chosen() -> str:
    """Returns the name of the backend as Keras finds it."""
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    home = os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()
    try:
        settings = json.loads(Path(home, "keras.json").read_text(encoding="utf-8"))
        return str(settings["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
