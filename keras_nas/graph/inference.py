"""What a call would return for tensors of other shapes, as Keras itself says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_nas.graph import keras_private
from keras_nas.graph.copying import create
from keras_nas.graph.flatten import Call
from keras_nas.graph.structure import (
    Graph,
    Seam,
    TensorRef,
    TensorSpec,
    VariableRef,
)
from keras_nas.graph.weight import Weight
from keras_nas.rules import map_leaves


def infer_outputs(
    graph: Graph,
    call: Call,
    arriving: Sequence[TensorSpec],
    *,
    is_called: bool = False,
) -> tuple[TensorSpec, ...]:
    """Returns what a call gives for tensors of some shapes.

    The layer or operation is made anew from its settings; the call itself, its weights
    included, stays as it is.

    Args:
        graph: The graph of the call.
        call: The call.
        arriving: Spec of each tensor among its arguments, in flat order.
        is_called: Whether to really call it: some merges look at the number of their
            inputs only then.

    Raises:
        Exception: Keras refuses these shapes, in whatever way.
    """
    waiting = iter(arriving)

    def symbol(leaf: Any) -> Any:
        if isinstance(leaf, (TensorRef, Seam)):
            return _symbol(next(waiting))
        if isinstance(leaf, VariableRef):
            leaf = graph.parts[leaf.part].weights[leaf.index]
        if isinstance(leaf, Weight):
            return _symbol(TensorSpec(leaf.shape, leaf.dtype))
        return leaf

    args = tuple(map_leaves(symbol, tuple(call.args)))
    kwargs = dict(map_leaves(symbol, dict(call.kwargs)))
    with keras_private.names_kept():
        thing = create(call.part)
        outputs = thing(*args, **kwargs) if is_called else _outputs(thing, args, kwargs)
    return tuple(spec_of(output) for output in keras_private.flatten(outputs))


def spec_of(tensor: Any) -> TensorSpec:
    """Returns shape and dtype of a symbolic tensor."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return TensorSpec(tuple(tensor.shape), dtype)


def _symbol(spec: TensorSpec) -> Any:
    return keras.KerasTensor(spec.shape, dtype=spec.dtype)


def _outputs(thing: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Asks for shapes first, since calling a layer makes all of its weights."""
    try:
        return thing.compute_output_spec(*args, **kwargs)
    except Exception:  # noqa: BLE001  A layer that has to be built for an answer.
        return thing(*args, **kwargs)
