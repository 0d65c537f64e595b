"""What is supported, found by trying: each layer and operation in a tiny model.

Settings and call arguments that a class asks for are filled in by name. The probe then
says what became of the neurons that went in, and which widths came in addition; no
list is kept by hand, so the page cannot promise what the rules do not hold.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_nas.graph.analysis import Analysis, analyze
from keras_nas.graph.wrap import wrap
from keras_nas.rules import SizeOf, find_rule, leaves, why_frozen

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

_SHAPES = ((4, 6), (6,), (4, 4, 6), (4, 4, 4, 6), (2, 4, 4), (2, 4, 4, 4, 6))


_HEADER = """\
# What keras_nas supports

Made by `benchmarks/coverage.py` with Keras {version}: each class was put into a tiny
model behind a dense layer, and asked what became of the neurons.

* **resizable**: it has widths of its own (named as `axis=` takes them), and takes an
  input of any size.
* **passes**: the size of its input goes through.
* **fixed**: a rule describes it, and the sizes it was tried with must stay.
* **frozen**: it is kept as it is, and everything it touches keeps its size.
* **no probe**: no call of it could be made up (it makes constants, say).
"""


@dataclass(frozen=True)
class Support:
    """What is supported of one public name.

    Attributes:
        name: ``"Dense"``, ``"ops.concatenate"``.
        status: ``"resizable"``, ``"passes"``, ``"fixed"``, ``"frozen"``, or ``"no
            probe"`` where no call of it could be made up.
        note: Names of its widths, or why it is frozen.
    """

    name: str
    status: str
    note: str = ""


def coverage_table() -> str:
    """Returns a page in Markdown: every public layer and operation, and its support.

    Takes some seconds. For the running version of Keras.
    """
    sections = (("Layers", layer_support()), ("Operations", operation_support()))
    lines = _HEADER.format(version=keras.__version__).splitlines()
    for title, rows in sections:
        rows = list(rows)
        counts = {
            status: sum(row.status == status for row in rows)
            for status in ("resizable", "passes", "fixed", "frozen", "no probe")
        }
        summary = ", ".join(f"{count} {name}" for name, count in counts.items())
        lines += ["", f"## {title}", "", f"{len(rows)}: {summary}.", ""]
        lines += ["| name | support | |", "|---|---|---|"]
        lines += [f"| `{r.name}` | {r.status} | {r.note} |" for r in rows]
    return "\n".join(lines) + "\n"


def layer_support() -> Iterator[Support]:
    """Yields the support of every class in ``keras.layers``."""
    for name in sorted(dir(layers)):
        cls = getattr(layers, name)
        if inspect.isclass(cls) and issubclass(cls, keras.Layer):
            if cls in (keras.layers.Layer, layers.InputLayer, layers.Wrapper):
                continue
            yield _layer_support(name, cls)


def operation_support() -> Iterator[Support]:
    """Yields the support of every function in ``keras.ops`` and ``keras.ops.image``."""
    for prefix, module in (("", ops), ("image.", ops.image)):
        for name in sorted(dir(module)):
            function = getattr(module, name)
            if name.startswith("_") or not inspect.isfunction(function):
                continue
            if prefix == "" and hasattr(ops.image, name):
                continue
            yield _operation_support(prefix + name, function)


def _layer_support(name: str, cls: type) -> Support:
    known = why_frozen(cls, is_operation=False)
    if known and find_rule(cls, is_operation=False) is None:
        return Support(name, "frozen", known)
    try:
        arguments = _fill(name, cls.__init__, skip=1)
        probes = [
            lambda x, y, n=count: cls(**_made(arguments))(*_call_arguments(n, x, y))
            for count in (1, 2, -2)
        ]
    except LookupError:
        probes = []
    return _best(name, probes)


def _call_arguments(count: int, x: Any, y: Any) -> tuple:
    """One tensor, two of them, or a list of two."""
    return {1: (x,), 2: (x, y), -2: ([x, y],)}[count]


def _operation_support(name: str, function: Callable) -> Support:
    label = f"ops.{name}"
    try:
        arguments = _fill(name, function, tensors=True)
    except LookupError:
        return Support(label, "no probe")
    probes = [
        lambda x, y: function(*_positional(arguments, x, y), **_keywords(arguments)),
        lambda x, y: function([x, y], **_keywords(arguments)),
        lambda x, y: function((x, y)),
    ]
    return _best(label, probes)


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


def _best(name: str, probes: list[Callable]) -> Support:
    """Returns the best that any probe on any rank of input finds."""
    order = ("resizable", "passes", "fixed", "frozen")
    if name in _CALLS:
        probes = [_CALLS[name]]
    best = Support(name, "no probe")
    for shape in _SHAPES:
        for probe in probes:
            found = _tried(name, probe, shape)
            if found is None:
                continue
            if best.status == "no probe" or (
                order.index(found.status) < order.index(best.status)
            ):
                best = found
        if best.status in ("resizable", "passes"):
            break
    return best


def _tried(name: str, probe: Callable, shape: tuple[int, ...]) -> Support | None:
    """Runs one probe; None where Keras refuses the call."""
    inputs, tensors = _neurons(shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = keras.tree.flatten(probe(*tensors))
            outputs = [y for y in outputs if isinstance(y, keras.KerasTensor)]
            model = keras.Model(inputs, outputs)
            analysis = analyze(wrap(model))
    except Exception:  # noqa: BLE001  Most guesses do not fit most classes.
        return None
    made = [p for p in analysis.relations if p in _own_paths(analysis)]
    if not made:
        return None
    for path in made:
        if path in analysis.frozen:
            return Support(name, "frozen", analysis.frozen[path])
    return _judged(name, analysis, made)


@cache
def _neurons(shape: tuple[int, ...]) -> tuple[Any, list[Any]]:
    """Returns an input, and two tensors all of whose axes but the batch can change."""
    inputs = keras.Input(batch_shape=(3, 5))
    tensors = [
        layers.Reshape(shape, name=f"in_{name}")(
            layers.Dense(int(np.prod(shape)), name=name)(inputs)
        )
        for name in ("first", "second")
    ]
    return inputs, tensors


def _own_paths(analysis: Analysis) -> set[str]:
    given = {"first", "second", "in_first", "in_second"}
    return {
        call.path
        for call in analysis.flat.calls
        if call.path not in given and not call.part.is_input
    }


def _judged(name: str, analysis: Analysis, made: list[str]) -> Support:
    incoming, last = set(), set()
    for key in ("in_first", "in_second"):
        if key in analysis.relations:
            (tensor,) = analysis.relations[key].outputs
            axes = [analysis.resolve(axis) for axis in tensor.axes]
            incoming = incoming.union(*(axis.atoms for axis in axes))
            last |= axes[-1].atoms
    outgoing, widths = set(), {}
    for path in made:
        relation = analysis.relations[path]
        for tensor in relation.outputs:
            for axis in tensor.axes:
                outgoing |= analysis.resolve(axis).atoms
        for key, axis in _named_axes(relation):
            own = analysis.resolve(axis).atoms - incoming
            if own:
                widths.setdefault(key, None)
    if widths:
        return Support(name, "resizable", ", ".join(f"`{w}`" for w in widths))
    if outgoing - incoming:
        return Support(name, "resizable", "its constant follows")
    if outgoing & incoming:
        return Support(name, "passes", "" if last else "all axes but the last")
    if incoming:
        return Support(name, "passes", "takes any size; its result has none of it")
    return Support(name, "fixed", "the positions it was tried with have a meaning")


def _named_axes(relation: Any) -> Iterator[tuple[str, Any]]:
    for key, value in relation.config.items():
        for leaf in leaves(value):
            if isinstance(leaf, SizeOf):
                yield key, leaf.axis
    yield from relation.widths.items()
