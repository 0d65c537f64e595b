"""Draws a part of a new weight as an initializer would draw it within the whole."""

from __future__ import annotations

from math import prod
from typing import Any

import keras
import numpy as np
from keras import initializers

Shape = tuple[int, ...]
# A slice, or an array of positions, for each axis of a weight.
Part = tuple[slice | np.ndarray, ...]

# What these make of one position does not depend on the shape of the weight.
_FREE_OF_SHAPE = (
    initializers.Constant,
    initializers.Ones,
    initializers.RandomNormal,
    initializers.RandomUniform,
    initializers.TruncatedNormal,
    initializers.Zeros,
)
_VARIANCE_SCALING = (
    initializers.GlorotNormal,
    initializers.GlorotUniform,
    initializers.HeNormal,
    initializers.HeUniform,
    initializers.LecunNormal,
    initializers.LecunUniform,
    initializers.VarianceScaling,
)


def initialize(
    initializer: Any, part: Part, whole: Shape, dtype: str, seed: int
) -> np.ndarray:
    """Runs an initializer with a seed of our own, never the global one.

    A few new neurons of a large layer are a small part of its kernel. Drawing just
    that part needs neither the time nor the memory of the whole.

    Args:
        initializer: A Keras initializer, or a callable of shape and dtype.
        part: Where the part stands in the weight. At most one axis has an array.
        whole: Shape of the weight, which the scale of the values may depend on.
        dtype: Of the weight.
        seed: Of this part.

    Returns:
        The values of the part, distributed like this part of the whole weight.
    """
    shape = tuple(map(_length, part, whole))
    chosen = _with_seed(initializer, seed)
    if _is_scaled_by_fans(chosen):
        chosen = initializers.VarianceScaling(
            scale=chosen.scale * _fan(shape, chosen.mode) / _fan(whole, chosen.mode),
            mode=chosen.mode,
            distribution=chosen.distribution,
            seed=seed,
        )
    elif type(chosen) not in _FREE_OF_SHAPE:
        return keras.ops.convert_to_numpy(chosen(whole, dtype=dtype))[part]
    return keras.ops.convert_to_numpy(chosen(shape, dtype=dtype))


def _with_seed(initializer: Any, seed: int) -> Any:
    if isinstance(initializer, initializers.Initializer):
        config = initializer.get_config()
        if "seed" in config:
            return type(initializer).from_config({**config, "seed": seed})
    return initializer


def _is_scaled_by_fans(initializer: Any) -> bool:
    """Whether values are scaled by what `_fan` computes; newer ones may name axes."""
    axes = ("input_axes", "output_axes")
    return type(initializer) in _VARIANCE_SCALING and all(
        getattr(initializer, name, None) is None for name in axes
    )


def _length(where: slice | np.ndarray, size: int) -> int:
    if isinstance(where, slice):
        return len(range(*where.indices(size)))
    return len(where)


def _fan(shape: Shape, mode: str) -> float:
    """Returns the number of connections that Keras divides the variance by."""
    if len(shape) < 2:
        fan_in = fan_out = prod(shape)
    else:
        receptive = prod(shape[:-2])
        fan_in, fan_out = shape[-2] * receptive, shape[-1] * receptive
    fans = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
    }
    return max(1.0, fans[mode])
