"""Variables and their values, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def is_variable(value: Any) -> bool:
    """Whether an object is a Keras variable."""
    return isinstance(value, keras.Variable)


def snapshot(variable: Any) -> Callable[[], Any]:
    """Returns a function that gives the present value of a variable for ever.

    TensorFlow copies the memory of a variable on the next write if somebody else
    still reads it, so its tensor is the snapshot. A JAX array is immutable, but the
    trainer of Keras donates it to the compiled step, which deletes it; its numpy view
    survives. PyTorch writes in place, so only a copy is safe.
    """
    value = variable.value
    if keras.backend.backend() == "tensorflow":
        tensor = value.read_value()
        return lambda: tensor
    if keras.backend.backend() == "jax":
        view = np.asarray(value)
        return lambda: view
    array = to_numpy(np.array(keras.ops.convert_to_numpy(value)), variable.dtype)
    return lambda: array


def numpy_dtype(name: str) -> np.dtype:
    """Returns the numpy dtype of a Keras dtype name."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def to_numpy(tensor: Any, dtype: str) -> np.ndarray:
    """Returns a tensor as an array of a dtype, without a copy where possible."""
    return np.asarray(tensor).astype(numpy_dtype(dtype), copy=False)


def own_memory(value: Any) -> Any:
    """Returns a value that a new variable may overwrite.

    PyTorch would adopt the memory of a numpy array and train in it.
    """
    if keras.backend.backend() == "torch":
        return np.array(value)
    return value
