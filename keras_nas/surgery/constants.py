"""Neurons that certainly give one value, whatever the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_nas.graph import Analysis, Call, Graph, TensorRef
from keras_nas.importance.data import copy_to_run, find_layer
from keras_nas.surgery.readers import Reader, is_affine, without_activation

# Each position that they give is made of some that they read, and nothing else; those
# that combine positions add them up or take the largest.
_MOVING = (
    layers.ActivityRegularization,
    layers.Add,
    layers.Average,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.Concatenate,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.Dropout,
    layers.Flatten,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.Identity,
    layers.Permute,
    layers.RepeatVector,
    layers.Reshape,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.UpSampling1D,
    layers.UpSampling3D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
)
# They look at one position at a time.
_ELEMENTWISE = (layers.Activation, layers.ELU, layers.LeakyReLU, layers.ReLU)
# Of axes of unknown size.
_SOME_SIZE = 9


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of a tensor for one sample.

    Attributes:
        values: Float array; 0 where nothing is known.
        unknown: Bool array of the same shape.
    """

    values: np.ndarray
    unknown: np.ndarray


def constant_shifts(
    graph: Graph, analysis: Analysis, readers: Sequence[Reader]
) -> dict[str, np.ndarray]:
    """Returns key of a reader -> what dropped constant neurons add to its output.

    Only readers of which that is certain, and the same at every position: zeros that a
    convolution adds around an image are no constant neurons.
    """
    if not readers:
        return {}
    model = copy_to_run(graph).model
    known = _known(model, analysis)
    calls: dict[str, list[Call]] = {}
    for call in analysis.flat.calls:
        calls.setdefault(call.part.key, []).append(call)
    found = {}
    for reader in readers:
        shifts = [
            _shift(find_layer(model, reader.key), reader, known.get(call.reads[0]))
            for call in calls[reader.key]
        ]
        if all(shift is not None and shift.any() for shift in shifts) and all(
            np.allclose(shift, shifts[0]) for shift in shifts
        ):
            found[reader.key] = shifts[0]
    return found


def _shift(layer: Any, reader: Reader, known: _Known | None) -> np.ndarray | None:
    """Returns what constant dropped neurons add; None if it depends on the position."""
    if known is None or known.unknown.all():
        return None
    values = reader.keep(known.values.astype("float32"), is_kept=False)
    values = keras.ops.convert_to_numpy(values)
    with without_activation(layer):
        gap = _call(layer, values) - _call(layer, np.zeros_like(known.values))
    others = tuple(n for n in range(gap.ndim) if n not in reader.axes)
    low, high = gap.min(axis=others), gap.max(axis=others)
    if not np.allclose(low, high, rtol=1e-5, atol=1e-6):
        return None
    return reader.in_order_of_the_weight(low)


def _known(model: Any, analysis: Analysis) -> dict[TensorRef, _Known]:
    """Returns all that is known of the tensors of a model."""
    found: dict[TensorRef, _Known] = {}
    for call in analysis.flat.calls:
        if len(call.outputs) != 1:
            continue
        ref = TensorRef(call.path)
        shape = [1, *(size or _SOME_SIZE for size in call.outputs[0].shape[1:])]
        nothing = _Known(np.zeros(shape), np.ones(shape, bool))
        inputs = [found.get(one) for one in call.reads]
        try:
            known = _output(model, analysis, call, inputs)
        except Exception:  # noqa: BLE001  A layer that takes no such arrays.
            known = None
        found[ref] = nothing if known is None else known
    return found


def _output(
    model: Any, analysis: Analysis, call: Call, arriving: list[_Known | None]
) -> _Known | None:
    """Returns what a call makes of what is known; None if nobody knows."""
    cls = call.part.cls
    inputs = [known for known in arriving if known is not None]
    if call.part.is_operation or not inputs or len(inputs) < len(arriving):
        return None
    if call.part.is_input:
        # Of a nested model: what arrives from outside.
        return inputs[0]
    layer = find_layer(model, call.part.key)
    if cls in _MOVING:
        values = _call(layer, *_arranged(call, [known.values for known in inputs]))
        marks = [known.unknown.astype("float64") for known in inputs]
        return _certain(values, _call(layer, *_arranged(call, marks)) != 0)
    if len(inputs) != 1:
        return None
    (known,) = inputs
    if cls in _ELEMENTWISE and not analysis.relations[call.path].mixes:
        return _certain(_call(layer, known.values), known.unknown)
    if cls is layers.BatchNormalization:
        return _normalized(layer, known)
    return _made(layer, analysis, call, known)


def _arranged(call: Call, arrays: list[np.ndarray]) -> tuple:
    """Arguments of a merge are a list."""
    is_list = bool(call.args) and isinstance(call.args[0], (list, tuple))
    return (arrays,) if is_list else tuple(arrays)


def _normalized(layer: Any, known: _Known) -> _Known:
    unknown = known.unknown
    if layer.scale:
        shape = [1] * unknown.ndim
        shape[layer.axis] = -1
        gamma = keras.ops.convert_to_numpy(layer.gamma).reshape(shape)
        unknown = unknown & (gamma != 0)
    return _certain(_call(layer, known.values), unknown)


def _made(
    layer: Any, analysis: Analysis, call: Call, known: _Known
) -> _Known | None:
    """Returns the neurons all of whose weights are zero.

    Of a layer that is linear but for its activation; and what it gives for them is
    tried with several inputs.
    """
    ref = TensorRef(call.path)
    tensor = analysis.tensors[ref]
    axis, channel = analysis.channel_of(ref), tensor.channel % tensor.rank
    is_silent = _is_silent(analysis, call, axis)
    if is_silent is None or not is_silent.any():
        return None
    if not is_affine(call.part, analysis.specs[call.reads[0]]):
        return None
    rng = np.random.default_rng(0)
    values = _call(layer, np.zeros(known.values.shape))
    for _ in range(2):
        other = _call(layer, rng.normal(size=known.values.shape))
        differs = np.moveaxis(other != values, channel, -1)
        is_silent = is_silent & ~differs.reshape(-1, len(is_silent)).any(axis=0)
    shape = [1] * values.ndim
    shape[channel] = -1
    unknown = np.broadcast_to(~is_silent.reshape(shape), values.shape)
    return _certain(values, unknown)


def _is_silent(analysis: Analysis, call: Call, axis: Any) -> np.ndarray | None:
    """Returns which outputs have only zeros in some weight that reads the input."""
    found = None
    described = analysis.parts[call.part.key].weights
    for name, weight in call.part.named_weights:
        axes = described.get(name)
        if axes is None or not axes.reads or len(axes.blocks) != 1:
            continue
        for number, own in enumerate(map(analysis.resolve, axes.blocks[0])):
            if number not in axes.reads and own == axis:
                rows = np.moveaxis(weight.value(), number, 0)
                zero = ~rows.reshape(len(rows), -1).any(axis=1)
                found = zero if found is None else found | zero
    return found


def _certain(values: np.ndarray, unknown: np.ndarray) -> _Known:
    return _Known(np.where(unknown, 0.0, values), np.array(unknown))


def _call(layer: Any, *arrays: Any) -> np.ndarray:
    arrays = keras.tree.map_structure(lambda x: np.asarray(x, "float32"), arrays)
    # Outside of `fit`, Keras runs layers as in inference.
    return keras.ops.convert_to_numpy(layer(*arrays)).astype("float64")
