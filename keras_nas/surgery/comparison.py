"""Runs two models on the same inputs, whatever made one from the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import TensorRef, TensorSpec
from keras_nas.rules import leaves, map_leaves
from keras_nas.surgery.graph import Graph
from keras_nas.surgery.verification import (
    OutputCheck,
    check_output,
    checks_table,
    random_inputs,
    run_model,
)


@dataclass(frozen=True)
class Comparison:
    """Whether two models are the same function.

    Attributes:
        outputs: One check for each output.
    """

    outputs: tuple[OutputCheck, ...]

    @property
    def is_equal(self) -> bool:
        """Whether all outputs are equal up to rounding."""
        return all(check.is_equal for check in self.outputs)

    def __bool__(self) -> bool:
        return self.is_equal

    def __str__(self) -> str:
        return checks_table(
            self.outputs, lambda check: "equal" if check.is_equal else "differs"
        )


def compare_models(first: Any, second: Any, inputs: Any = None) -> Comparison:
    """Compares the outputs of two models.

    Args:
        first: A model.
        second: Another with the same inputs and outputs.
        inputs: Data as the models take it. By default two random samples; unknown
            spatial sizes are taken as 32, integer inputs as 0 and 1.

    Returns:
        A `Comparison`, true if all outputs are equal up to rounding.

    Raises:
        InvalidRequestError: The inputs do not fit, the models take other ones, or
            their outputs have other shapes.
    """
    if inputs is None:
        graph = Graph.from_model(first)
        _check_same_inputs(graph, Graph.from_model(second))
        inputs = random_inputs(graph)
    old, new = run_model(first, inputs), run_model(second, inputs)
    shapes = [[array.shape for array in arrays] for arrays in (old, new)]
    if shapes[0] != shapes[1]:
        raise InvalidRequestError(
            f"The outputs of the models have the shapes {shapes[0]} and {shapes[1]}."
            "\n\nOnly models with the same outputs can be compared; after a plan that "
            f"changes them, use verify(model, plan). Received: {shapes!r}"
        )
    checks = []
    for name, before, after in zip(_names(first, len(old)), old, new, strict=True):
        checks.append(check_output(name, np.asarray(before), np.asarray(after)))
    return Comparison(tuple(checks))


def _check_same_inputs(first: Graph, second: Graph) -> None:
    """Refuses models that do not take the same data."""
    mine, theirs = _inputs_of(first), _inputs_of(second)
    are_named = isinstance(mine, Mapping) and isinstance(theirs, Mapping)
    before, after = leaves(mine), leaves(theirs)
    is_same = len(before) == len(after) and all(map(_are_alike, before, after))
    if not is_same or (are_named and list(mine) != list(theirs)):
        shown = [map_leaves(_text, inputs) for inputs in (mine, theirs)]
        raise InvalidRequestError(
            f"The models take different inputs: {shown[0]} and {shown[1]}.\n\nOnly "
            "models with the same inputs can be compared. "
            f"Received: {first.body.name!r} and {second.body.name!r}"
        )


def _inputs_of(graph: Graph) -> Any:
    """Returns shapes and dtypes, nested as the inputs are."""
    inputs = graph.body.inputs
    if isinstance(inputs, Mapping):
        inputs = dict(sorted(inputs.items()))

    def spec(ref: TensorRef) -> TensorSpec:
        return graph.body.vertices[ref.vertex].outputs[ref.index]

    return map_leaves(spec, inputs)


def _are_alike(first: TensorSpec, second: TensorSpec) -> bool:
    """Whether some data suit both; another precision of floats is cast."""
    return (
        _is_float(first) == _is_float(second)
        and len(first.shape) == len(second.shape)
        and all(
            a == b or None in (a, b)
            for a, b in zip(first.shape, second.shape, strict=True)
        )
    )


def _is_float(spec: TensorSpec) -> bool:
    return "float" in spec.dtype


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype} {spec.shape}"


def _names(model: Any, count: int) -> list[str]:
    names = list(getattr(model, "output_names", ()))
    return names if len(names) == count else [f"output {n}" for n in range(count)]
