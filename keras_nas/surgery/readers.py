"""The layers that read neurons which a plan drops, and what could make up for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_nas.axes import Atom, index_of
from keras_nas.graph import (
    Analysis,
    Call,
    Part,
    TensorRef,
    TensorSpec,
    create,
    names_kept,
)

Keep = Mapping[Atom, np.ndarray]


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer with weights that read dropped neurons.

    Attributes:
        path: Of its first call.
        key: Of its part.
        kept: Axis of its input -> bool array over the positions: whether they stay.
        shifted: Key of a part and name of its weight -> sign: what takes a constant
            that is missing in the output. Its own bias (+1), or the moving means of
            the normalizations behind it (-1); empty if there is neither.
        axes: Axes of the output that these weights have, in their order.
        problem: Why nothing can make up for what is dropped; None if it can.
    """

    path: str
    key: str
    kept: Mapping[int, np.ndarray]
    shifted: Mapping[tuple[str, str], float]
    axes: tuple[int, ...]
    problem: str | None = None

    def in_order_of_the_weight(self, means: np.ndarray) -> np.ndarray:
        """Returns what stands in the order of the output in that of the weight."""
        return means.transpose(np.argsort(np.argsort(self.axes)))

    def keep(self, array: Any, is_kept: bool = True) -> Any:
        """Returns the input with zeros at the dropped (or at the kept) positions."""
        mask = np.ones([1] * len(array.shape), bool)
        for axis, kept in self.kept.items():
            shape = [1] * len(array.shape)
            shape[axis] = -1
            mask = mask & kept.reshape(shape)
        chosen = mask if is_kept else ~mask
        dtype = keras.backend.standardize_dtype(array.dtype)
        return keras.ops.multiply(array, keras.ops.cast(chosen, dtype))


@contextmanager
def without_activation(layer: Any) -> Iterator[None]:
    """Lets a layer give what it has before its activation function."""
    if not hasattr(layer, "activation"):
        yield
        return
    activation = layer.activation
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation


def find_readers(analysis: Analysis, keep: Keep) -> list[Reader]:
    """Returns the layers that read neurons which go, in the order of the network."""
    found: dict[str, Reader] = {}
    for call in analysis.flat.calls:
        if call.part.key in found or not call.part.weights:
            continue
        kept = _kept_inputs(analysis, call, keep)
        if kept and _reads(analysis, call, keep):
            found[call.part.key] = _reader(analysis, call, kept)
    return list(found.values())


def _kept_inputs(analysis: Analysis, call: Call, keep: Keep) -> dict[int, np.ndarray]:
    """Returns the axes along which the first input loses positions."""
    if not call.reads:
        return {}
    kept = {}
    for number, axis in enumerate(analysis.axes_of(call.reads[0])):
        if axis.atoms.isdisjoint(keep):
            continue
        is_kept = np.isin(np.arange(axis.size), index_of(axis, keep))
        if not is_kept.all():
            kept[number] = is_kept
    return kept


def _reads(analysis: Analysis, call: Call, keep: Keep) -> bool:
    """Whether some weight of a call reads along an axis that loses positions."""
    for weight in analysis.parts[call.part.key].weights.values():
        for block in weight.blocks:
            for number in weight.reads:
                axis = analysis.resolve(block[number])
                if axis.atoms.isdisjoint(keep):
                    continue
                index = index_of(axis, keep)
                if len(np.unique(index)) < axis.size or (index < 0).any():
                    return True
    return False


def _reader(analysis: Analysis, call: Call, kept: dict[int, np.ndarray]) -> Reader:
    shifted: dict[tuple[str, str], float] = {}
    axes, problem = None, None
    bias = _bias(analysis, call)
    if len(call.reads) != 1 or len(call.outputs) != 1:
        problem = "reading or giving several tensors is not understood"
    elif not is_affine(call.part, analysis.specs[call.reads[0]]):
        problem = "what is computed there is not linear in what is read"
    elif bias is not None:
        name, axes = bias
        shifted = {(call.part.key, name): 1.0}
        if axes is None:
            problem = "the bias stands along no axis of the output"
    else:
        shifted, axes = _norms_behind(analysis, call)
        if axes is None:
            problem = (
                "there is no bias, and no BatchNormalization right behind that could "
                "shift"
            )
    return Reader(call.path, call.part.key, kept, shifted, axes or (), problem)


def _bias(analysis: Analysis, call: Call) -> tuple[str, tuple | None] | None:
    """Returns the name of the bias of a part, and the axes of the output it has."""
    weights = analysis.parts[call.part.key].weights
    for name, _ in call.part.named_weights:
        if name.rpartition("/")[2] == "bias" and name in weights:
            return name, _axes_in_output(analysis, call, weights[name])
    return None


def _axes_in_output(analysis: Analysis, call: Call, weight: Any) -> tuple | None:
    """Returns where the axes of a weight stand in the output, each at one place."""
    if len(weight.blocks) != 1:
        return None
    output = analysis.axes_of(TensorRef(call.path))
    places = []
    for axis in map(analysis.resolve, weight.blocks[0]):
        # The batch axis comes first and has no weights.
        found = [n for n, other in enumerate(output) if n and other == axis]
        if not found:
            return None
        # Of equal axes the last: they are in the order of the output.
        places.append(found[-1])
    return tuple(places) if len(set(places)) == len(places) else None


def _norms_behind(
    analysis: Analysis, call: Call
) -> tuple[dict[tuple[str, str], float], tuple | None]:
    """Returns the moving means that can take a shift of the output of a call."""
    ref = TensorRef(call.path)
    calls = analysis.flat.calls
    behind = [other for other in calls if ref in other.reads]
    is_linear = call.part.config.get("activation") in (None, "linear")
    if not behind or ref in analysis.flat.outputs or not is_linear:
        return {}, None
    shifted, places = {}, set()
    for other in behind:
        key = other.part.key
        means = analysis.parts[key].weights.get("moving_mean")
        is_norm = isinstance(other.part.cls, type) and issubclass(
            other.part.cls, keras.layers.BatchNormalization
        )
        is_alone = sum(one.part.key in (key, call.part.key) for one in calls) == 2
        if not is_norm or means is None or not is_alone:
            return {}, None
        places.add(_axes_in_output(analysis, call, means))
        shifted[key, "moving_mean"] = -1.0
    (axes, *others) = places
    return (shifted, axes) if axes is not None and not others else ({}, None)


def is_affine(part: Part, spec: TensorSpec) -> bool:
    """Whether a layer, but for its activation, is linear in its input plus a constant.

    A copy with weights of its own is tried on random numbers.

    Args:
        part: The layer.
        spec: Shape and dtype of what it reads.
    """
    if "float" not in spec.dtype:
        return False
    rng = np.random.default_rng(0)
    shape = [2, *(size or 9 for size in spec.shape[1:])]
    one, two = rng.normal(size=(2, *shape)).astype("float32")
    try:
        with names_kept():
            layer = create(part)
            inputs = one, two, one + two, np.zeros_like(one)
            with without_activation(layer):
                values = [
                    keras.ops.convert_to_numpy(layer(x)).astype("float64")
                    for x in inputs
                ]
    except Exception:  # noqa: BLE001  It takes more than one array.
        return False
    first, second, both, none = values
    scale = max(np.abs(both - none).max(), 1e-6)
    tolerance = 0.05 if "16" in spec.dtype else 1e-3
    return bool(np.abs(both + none - first - second).max() <= tolerance * scale)
