"""What a model is made of, as Keras recorded it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
from keras.src.models.functional import Functional

flatten = keras.tree.flatten


def is_layer_class(cls: type) -> bool:
    """Whether objects of a class are layers, not raw operations."""
    return issubclass(cls, keras.Layer)


def is_input_class(cls: type) -> bool:
    """Whether a class is ``InputLayer`` or derived from it."""
    return issubclass(cls, keras.layers.InputLayer)


def functional_of(operation: Any) -> Any:
    """Returns the recorded graph of a model, or None if it has none.

    A subclass that overrides ``call`` computes something else than the graph says.
    """
    if isinstance(operation, keras.Sequential):
        if type(operation).call is not keras.Sequential.call:
            return None
        return operation._functional
    if isinstance(operation, Functional):
        return operation if type(operation).call is Functional.call else None
    return None


def is_functional_class(cls: type) -> bool:
    """Whether a class is that of functional models or derived from it."""
    return issubclass(cls, Functional)


class CallRecord(NamedTuple):
    """One recorded call: the object, its arguments, and the tensors it returned."""

    operation: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: list


def calls(functional: Any) -> Iterator[CallRecord]:
    """Yields the calls of a model in the order in which Keras runs them."""
    nodes_by_depth = functional._nodes_by_depth
    for depth in sorted(nodes_by_depth, reverse=True):
        for node in nodes_by_depth[depth]:
            arguments = node.arguments
            yield CallRecord(
                node.operation, arguments.args, arguments.kwargs, node.outputs
            )


def chain(model: Any) -> list[CallRecord]:
    """Returns the calls of a sequential model as the chain that it is.

    What Keras recorded has more: operations that compute masks, for one, and the
    arguments that it filled in. Both come back when the layers are called.
    """
    recorded = {id(record.operation): record for record in calls(model._functional)}
    records: list[CallRecord] = []
    for layer in model._layers:
        args = (records[-1].outputs[0],) if records else ()
        records.append(CallRecord(layer, args, {}, recorded[id(layer)].outputs))
    return records


def input_structure(functional: Any) -> Any:
    """The inputs of a functional model, nested as it was made with."""
    return functional._inputs_struct


def output_structure(functional: Any) -> Any:
    """The outputs of a functional model, likewise."""
    return functional._outputs_struct
