"""What a journal remembers of a loss and of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_nas.graph import keras_private
from keras_nas.search.breeding import note_of
from keras_nas.search.journal import plain


def compiled_note(thing: Any) -> Any:
    """Returns what the journal remembers of a loss or metrics.

    Args:
        thing: Anything that ``compile`` takes.

    Returns:
        JSON-able: texts as they are, Keras objects with their settings, functions by
        name.

    Example:
        >>> import keras
        >>> compiled_note(["accuracy", keras.losses.mean_squared_error])
        ['accuracy', 'mean_squared_error']
        >>> name, settings = compiled_note(keras.losses.Huber(0.5))
        >>> name, settings["delta"]
        ('Huber', 0.5)
    """
    if isinstance(thing, Mapping):
        return {str(key): compiled_note(entry) for key, entry in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [compiled_note(entry) for entry in thing]
    if isinstance(thing, keras.losses.Loss):
        return [type(thing).__name__, _plain(keras_private.loss_settings(thing))]
    if isinstance(thing, keras.metrics.Metric):
        return [type(thing).__name__, _plain(thing.get_config())]
    return thing if isinstance(thing, str) else note_of(thing)


def _plain(value: Any) -> Any:
    """Brings settings to JSON; what is no value counts by its name or class."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    is_value = value is None or isinstance(value, (str, bool, int, float))
    if is_value or isinstance(value, (np.ndarray, np.generic)):
        return plain(value)
    return getattr(value, "__qualname__", type(value).__name__)
