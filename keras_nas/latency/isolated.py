"""One call of a network as a model of its own, so that it can be timed."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_nas.graph import (
    Call,
    Graph,
    TensorRef,
    TensorSpec,
    VariableRef,
    Weight,
    create,
    flatten,
    names_kept,
)
from keras_nas.rules import leaves, map_leaves


class Isolated(NamedTuple):
    """A model with one call, and inputs for it.

    Attributes:
        model: Takes a list.
        inputs: The list.
    """

    model: Any
    inputs: list[np.ndarray]


def isolate(graph: Graph, call: Call, batch_size: int) -> Isolated | None:
    """Returns a model that does what one call does, on other numbers.

    The layer is made anew from its settings; how long it takes does not depend on the
    values of its weights.

    Args:
        graph: The graph of the call.
        call: The call.
        batch_size: Stands for an unknown first axis.

    Returns:
        None if the call cannot be taken out of its network.
    """
    specs = [flatten(graph).specs[ref] for ref in call.reads]
    found = [shape_of(spec, batch_size) for spec in specs]
    shapes = [shape for shape in found if shape is not None]
    if not shapes or len(shapes) < len(found):
        return None
    try:
        with names_kept():
            model = _model(graph, call, specs, shapes)
        return Isolated(model, [sample(s, x.dtype) for s, x in zip(shapes, specs)])
    except Exception:  # noqa: BLE001  Each layer has reasons of its own not to.
        return None


def signature(graph: Graph, call: Call) -> tuple:
    """Returns what calls have in common that take equally long."""
    config = {k: v for k, v in call.part.config.items() if k != "name"}
    specs = tuple(flatten(graph).specs[ref] for ref in call.reads)
    arguments = [
        None if isinstance(leaf, TensorRef) else repr(leaf)
        for leaf in leaves((tuple(call.args), dict(call.kwargs)))
    ]
    return call.part.cls, repr(config), specs, tuple(arguments)


def shape_of(spec: TensorSpec, batch_size: int) -> tuple[int, ...] | None:
    """Returns the shape of a tensor for some batch size; None if it is unknown."""
    shape = tuple(spec.shape)
    if shape and shape[0] is None:
        shape = (batch_size, *shape[1:])
    return None if None in shape else shape


def sample(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Returns numbers that any layer can take: 0 for what may be an index."""
    if "float" not in dtype:
        return np.zeros(shape, dtype)
    values = np.random.default_rng(0).uniform(0.1, 1.0, shape).astype("float32")
    # NumPy has no bfloat16; a tensor has.
    return values if dtype == "float32" else keras.ops.cast(values, dtype)


def _model(graph: Graph, call: Call, specs: list, shapes: list) -> Any:
    inputs = [
        keras.Input(batch_shape=shape, dtype=spec.dtype)
        for shape, spec in zip(shapes, specs, strict=True)
    ]
    waiting = iter(inputs)

    def thaw(leaf: Any) -> Any:
        if isinstance(leaf, TensorRef):
            return next(waiting)
        if isinstance(leaf, VariableRef):
            leaf = graph.parts[leaf.part].weights[leaf.index]
        is_weight = isinstance(leaf, Weight)
        return keras.ops.convert_to_tensor(leaf.value()) if is_weight else leaf

    args = tuple(map_leaves(thaw, tuple(call.args)))
    kwargs = dict(map_leaves(thaw, dict(call.kwargs)))
    return keras.Model(inputs, create(call.part)(*args, **kwargs))

