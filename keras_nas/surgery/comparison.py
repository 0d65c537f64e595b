"""Runs two models on the same inputs, whatever made one from the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
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
        InvalidRequestError: The inputs do not fit, or the outputs have other shapes.
    """
    if inputs is None:
        inputs = random_inputs(Graph.from_model(first))
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


def _names(model: Any, count: int) -> list[str]:
    names = list(getattr(model, "output_names", ()))
    return names if len(names) == count else [f"output {n}" for n in range(count)]
