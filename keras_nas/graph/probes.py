"""Calls of any layer or operation of Keras, made up from names of arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import layers, ops

Probe = Callable[[Any, Any], Any]

# Names of settings and call arguments -> a value that usually works.
_VALUES: dict[str, Any] = {
    "activation": "relu",
    "axes": -1,
    "axis": -1,
    "bins": np.float32([0.0, 0.5]),
    "block_size": 2,
    "cells": lambda: [layers.LSTMCell(3), layers.LSTMCell(5)],
    "cell": lambda: layers.LSTMCell(5),
    "cropping": 1,
    "depth_multiplier": 2,
    "destination": 1,
    "dims": (2, 1),
    "equation": "abc,cd->abd",
    "dtype": "float32",
    "factor": 0.1,
    "fft_length": 4,
    "fill_value": 1.0,
    "filters": 5,
    "function": lambda: lambda x: ops.relu(x),
    "groups": 2,
    "head_dim": 3,
    "height": 3,
    "height_factor": 0.1,
    "hidden": 5,
    "indices": np.int32([0, 1]),
    "indices_or_sections": 2,
    "input_dim": 7,
    "kernel": lambda: np.ones((2, 2, 6, 3), "float32"),
    "depthwise_kernel": lambda: np.ones((2, 2, 6, 1), "float32"),
    "pointwise_kernel": lambda: np.ones((1, 1, 6, 3), "float32"),
    "kernel_size": 2,
    "key": (slice(None), slice(0, 2)),
    "key_dim": 3,
    "k": 2,
    "kth": 1,
    "layer": lambda: layers.LSTM(5, return_sequences=True),
    "n": 3,
    "num_bins": 4,
    "num_classes": 4,
    "num_heads": 2,
    "num_key_value_heads": 1,
    "num_query_heads": 2,
    "num_segments": 2,
    "num_tokens": 8,
    "output_dim": 5,
    "output_shape": (None, 5),
    "output_size": (2, 2),
    "pad_width": 1,
    "pattern": "b t c -> b c t",
    "pool_size": 2,
    "q": 0.5,
    "rate": 0.1,
    "repeats": 2,
    "scale": 0.5,
    "segment_ids": np.int32([0, 0, 1]),
    "sequence_length": 2,
    "sequence_stride": 1,
    "shift": 1,
    "size": (2, 2),
    "source": -1,
    "start_indices": (0, 0, 0),
    "stddev": 0.1,
    "subscripts": "abc,abd->acd",
    "target_shape": (-1, 3),
    "units": 5,
    "value_range": (0, 1),
    "width": 3,
    "width_factor": 0.1,
    "x_max": 1.0,
    "x_min": 0.0,
    "x_factor": 0.1,
    "y_factor": 0.1,
    "target_height": 3,
    "target_width": 3,
}

_ALONG_STEPS = """
    append argmax argmin cumprod cumsum flip nanargmax nanargmin nancumprod nancumsum
    roll take
"""

# Where one name means another thing, or the default does not fit.
_SPECIAL: dict[str, dict[str, Any]] = {
    "AdaptiveAveragePooling1D": {"output_size": 2},
    "AdaptiveAveragePooling3D": {"output_size": (2, 2, 2)},
    "AdaptiveMaxPooling1D": {"output_size": 2},
    "AdaptiveMaxPooling3D": {"output_size": (2, 2, 2)},
    "Discretization": {"bin_boundaries": [0.0, 0.5]},
    "Dot": {"axes": 2},
    "GroupNormalization": {"groups": 3},
    "RandomCrop": {"height": 2, "width": 2},
    "RandomPosterization": {"factor": 4},
    "Reshape": {"target_shape": (-1, 2)},
    "SpectralNormalization": {"layer": lambda: layers.Dense(5)},
    "TimeDistributed": {"layer": lambda: layers.Dense(5)},
    "UpSampling1D": {"size": 2},
    "adaptive_average_pool": {"data_format": "channels_first"},
    "adaptive_max_pool": {"data_format": "channels_first"},
    **{name: {"axis": 1} for name in _ALONG_STEPS.split()},
    "batch_normalization": {
        "mean": lambda: np.zeros(6, "float32"),
        "variance": lambda: np.ones(6, "float32"),
    },
    "broadcast_to": {"shape": (3, 4, 6)},
    "clip": {"x_min": -1.0, "x_max": 1.0},
    "conv_transpose": {"kernel": lambda: np.ones((2, 2, 3, 6), "float32")},
    "depthwise_conv": {"kernel": lambda: np.ones((2, 2, 6, 1), "float32")},
    "diagonal": {"axis1": 1, "axis2": 2},
    "dot": {"x2": lambda: np.ones((6, 3), "float32")},
    "image.affine_transform": {"transform": lambda: np.ones((3, 8), "float32")},
    "image.crop_images": {"top_cropping": 1, "left_cropping": 1},
    "image.extract_patches": {"size": (2, 2)},
    "image.pad_images": {"top_padding": 1, "left_padding": 1},
    "image.perspective_transform": {
        "start_points": lambda: np.ones((3, 4, 2), "float32"),
        "end_points": lambda: np.ones((3, 4, 2), "float32"),
    },
    "image.resize": {"size": (2, 2)},
    "matmul": {"x2": lambda: np.ones((6, 3), "float32")},
    "pad": {"pad_width": ((0, 0), (0, 0), (1, 1))},
    "reshape": {"newshape": (-1, 2, 12)},
    "rot90": {"axes": (1, 2)},
    "slice": {"shape": (3, 2, 6)},
    "split": {"axis": -1},
    "swapaxes": {"axis1": 1, "axis2": 2},
    "take_along_axis": {"indices": lambda: np.zeros((3, 4, 6), "int32"), "axis": 1},
    "tensordot": {"x2": lambda: np.ones((6, 3), "float32"), "axes": 1},
    "threshold": {"threshold": 0.1, "default_value": 0.2},
    "trace": {"axis1": 1, "axis2": 2},
    "where": {"x1": lambda: 1.0, "x2": lambda: 0.0},
}

# Calls that no filling in of names can make up.
_CALLS: dict[str, Callable] = {
    "GRUCell": lambda x, y: layers.GRUCell(5)(x, [layers.Dense(5)(y)]),
    "LSTMCell": lambda x, y: layers.LSTMCell(5)(
        x, [layers.Dense(5)(y), layers.Dense(5)(y)]
    ),
    "SimpleRNNCell": lambda x, y: layers.SimpleRNNCell(5)(x, [layers.Dense(5)(y)]),
    "StackedRNNCells": lambda x, y: layers.StackedRNNCells([layers.GRUCell(5)])(
        x, [layers.Dense(5)(y)]
    ),
    "ops.depth_to_space": lambda x, y: ops.depth_to_space(
        ops.concatenate([x, y], -1), 2
    ),
    "ops.dot_product_attention": lambda x, y: ops.dot_product_attention(x, y, y),
    "ops.searchsorted": lambda x, y: ops.searchsorted(np.float32([0.0, 0.5]), x),
    "ops.select": lambda x, y: ops.select([x > 0], [y]),
    "ops.sparse_categorical_crossentropy": lambda x, y: (
        ops.sparse_categorical_crossentropy(ops.argmax(x, -1), y)
    ),
    "ops.vsplit": lambda x, y: ops.vsplit(x, 3),
}


def layer_probes(name: str, cls: Any) -> list[Probe]:
    """Returns functions of two tensors that make a layer and call it.

    Args:
        name: Of the class in ``keras.layers``.
        cls: The class.
    """
    if name in _CALLS:
        return [_CALLS[name]]
    try:
        arguments = _fill(name, cls.__init__, skip=1)
    except LookupError:
        return []

    def probe(count: int) -> Probe:
        return lambda x, y: cls(**_made(arguments))(*_call_arguments(count, x, y))

    return [probe(count) for count in (1, 2, -2)]


def operation_probes(name: str, function: Callable) -> list[Probe]:
    """Returns functions of two tensors that call an operation.

    Args:
        name: Of the operation in ``keras.ops``.
        function: The operation.
    """
    if f"ops.{name}" in _CALLS:
        return [_CALLS[f"ops.{name}"]]
    try:
        arguments = _fill(name, function, tensors=True)
    except LookupError:
        return []
    return [
        lambda x, y: function(*_positional(arguments, x, y), **_keywords(arguments)),
        lambda x, y: function([x, y], **_keywords(arguments)),
        lambda x, y: function((x, y)),
    ]


def _call_arguments(count: int, x: Any, y: Any) -> tuple:
    """One tensor, two of them, or a list of two."""
    return {1: (x,), 2: (x, y), -2: ([x, y],)}[count]


class _Tensor:
    """Stands for a tensor among filled-in arguments."""


def _fill(
    name: str, function: Callable, *, skip: int = 0, tensors: bool = False
) -> dict[str, Any]:
    """Returns arguments for all parameters without a default, and special ones."""
    special = _SPECIAL.get(name, {})
    filled: dict[str, Any] = {}
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    for parameter in parameters:
        key = parameter.name
        if key in special:
            filled[key] = special[key]
        elif parameter.kind is parameter.VAR_POSITIONAL and tensors:
            filled["*"] = _Tensor
        elif parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            continue
        elif key in _VALUES:
            filled[key] = _VALUES[key]
        elif tensors:
            filled[key] = _Tensor
        else:
            raise LookupError(key)
    return filled


def _made(arguments: dict[str, Any]) -> dict[str, Any]:
    """Calls what makes an argument anew."""
    return {
        key: value() if inspect.isfunction(value) else value
        for key, value in arguments.items()
    }


def _positional(arguments: dict[str, Any], x: Any, y: Any) -> list[Any]:
    tensors = iter((x, y, x, y, x))
    found = []
    for key, value in arguments.items():
        if value is _Tensor:
            found += [next(tensors)] if key != "*" else [x, y]
    if "subscripts" in arguments:
        found.insert(0, arguments["subscripts"])
    return found


def _keywords(arguments: dict[str, Any]) -> dict[str, Any]:
    rest = {k: v for k, v in arguments.items() if v is not _Tensor}
    rest.pop("subscripts", None)
    return _made(rest)
