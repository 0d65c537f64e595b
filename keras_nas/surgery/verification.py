"""Runs the old and the new model, to see whether a plan keeps its promise.

The old model is run with every weight that reads a dropped neuron set to zero, so it
computes what it would without those neurons; the new model must give the same on
all output positions that are kept.

Source: the zero-invariant groups of Chen 2021, "Only train once" (arXiv 2107.07467),
used there to prune and here to check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_nas.axes import index_of
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Graph as Structure
from keras_nas.graph import Part, TensorRef, Weight, build
from keras_nas.rules import Relation, WeightAxes, blocks_of, map_leaves
from keras_nas.surgery.graph import Graph
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.plan_table import shorten_notes
from keras_nas.surgery.slicing import Indices, block_indices
from keras_nas.surgery.tables import table

# Sums in another order differ by rounding; half precision rounds more.
_TOLERANCE = {"float16": 2e-2, "bfloat16": 1e-1, "float64": 1e-10}
_DEFAULT_TOLERANCE = 1e-4

_SIZE_OF_UNKNOWN = 32


@dataclass(frozen=True)
class OutputCheck:
    """How one output of the new model compares to the old one.

    Attributes:
        name: Path of the vertex that makes the output.
        difference: Largest absolute difference on the kept positions.
        scale: Largest absolute value of the old output there.
        is_equal: Whether the difference is rounding only.
    """

    name: str
    difference: float
    scale: float
    is_equal: bool


@dataclass(frozen=True)
class Verification:
    """The result of `keras_nas.verify`; true if the plan kept its promise.

    Attributes:
        outputs: One check for each output of the model.
        notes: Why outputs may differ (``plan.notes``).
    """

    outputs: tuple[OutputCheck, ...]
    notes: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether all outputs are equal up to rounding."""
        return all(check.is_equal for check in self.outputs)

    def __bool__(self) -> bool:
        return self.is_equal or bool(self.notes)

    def __str__(self) -> str:
        text = checks_table(self.outputs, self._word)
        if self.is_equal:
            return text
        if not self.notes:
            return (
                f"{text}\nThe rule of a layer is wrong: one that was registered here, "
                "or one of keras_nas; please report that."
            )
        return "\n".join(
            [
                text,
                "Differences must be expected:",
                *map("- {}".format, shorten_notes(self.notes)),
            ]
        )

    def _word(self, check: OutputCheck) -> str:
        if check.is_equal:
            return "equal"
        return "differs as announced" if self.notes else "BROKEN"


def checks_table(
    checks: Sequence[OutputCheck], word: Callable[[OutputCheck], str]
) -> str:
    """Returns the table of what became of each output, with a verdict in words."""
    rows = [
        (check.name, f"{check.difference:.3g}", f"{check.scale:.3g}", word(check))
        for check in checks
    ]
    return table(("output", "max difference", "max value", "verdict"), rows)


def verify(model: Any, plan: Plan, inputs: Any = None) -> Verification:
    """Checks whether the new model is the old one without the dropped neurons.

    Args:
        model: The model that the plan was made for.
        plan: The plan.
        inputs: Data as ``model`` takes it. By default two random samples; unknown
            spatial sizes are taken as 32, integer inputs as 0 and 1.

    Returns:
        A `Verification`: print it for a table with, for each output, the largest
        difference or why the outputs must differ.

    Raises:
        InvalidRequestError: The plan is for another model, or the inputs do not fit.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(4, name="hidden"),
        ...     keras.layers.Dense(2, name="head"),
        ... ])
        >>> bool(kn.verify(model, kn.plan(model, "hidden", 2)))
        True
    """
    if not isinstance(plan, Plan):
        raise InvalidRequestError(
            f"A plan is needed, not a {type(plan).__name__}.\n\nGet one from "
            f"`keras_nas.plan(model, ...)`. Received: plan={plan!r}"
        )
    graph = Graph.from_model(model)
    _check_same(graph, plan)
    data = random_inputs(graph) if inputs is None else inputs
    masked = build(_without_dropped(graph, plan))
    resized = build(plan.apply_to_graph(graph))
    old, new = run_model(masked, data), run_model(resized, data)
    refs = plan.analysis.flat.outputs
    checks = [
        _compare(plan, ref, a, b) for ref, a, b in zip(refs, old, new, strict=True)
    ]
    return Verification(tuple(checks), plan.notes)


def _check_same(graph: Graph, plan: Plan) -> None:
    """Refuses a plan for a model with other parts or weight shapes."""
    mine, theirs = _shapes(graph), _shapes(plan.graph)
    if mine != theirs:
        odd = sorted(
            k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)
        )
        raise InvalidRequestError(
            f"The plan is for another model: {odd[:3]} differ.\n\nMake the plan anew "
            f"for this model. Received: a plan for {plan.graph.body.name!r}"
        )


def _shapes(graph: Structure) -> dict[str, list]:
    return {key: [w.shape for w in part.weights] for key, part in graph.parts.items()}


def _without_dropped(graph: Structure, plan: Plan) -> Structure:
    """Returns the old graph in which no weight reads a dropped neuron."""
    parts = {
        key: _mask_part(graph.parts[key], relation, plan)
        for key, relation in plan.analysis.parts.items()
        if any(weight.reads for weight in relation.weights.values())
    }
    return graph.replace_parts(parts)


def _mask_part(part: Part, relation: Relation, plan: Plan) -> Part:
    weights = []
    for name, weight in part.named_weights:
        axes = relation.weights.get(name)
        if axes is not None and axes.reads:
            blocks = block_indices(axes, plan.analysis.resolve, plan.atom_keep)
            if blocks is not None:
                function = partial(_mask, axes=axes, blocks=blocks)
                weight = Weight.derived(weight, weight.shape, function)
        weights.append(weight)
    return replace(part, weights=tuple(weights))


def _mask(
    array: np.ndarray, axes: WeightAxes, blocks: tuple[Indices, ...]
) -> np.ndarray:
    """Sets to zero all positions that read a dropped neuron."""
    array = np.array(array)
    for piece, indices in zip(blocks_of(axes, array), blocks, strict=True):
        for number in axes.reads:
            if indices[number] is not None:
                dropped = np.setdiff1d(np.arange(piece.shape[number]), indices[number])
                piece[(slice(None),) * number + (dropped,)] = 0
    return array


def _compare(
    plan: Plan, ref: TensorRef, old: np.ndarray, new: np.ndarray
) -> OutputCheck:
    for number, axis in enumerate(plan.analysis.axes_of(ref)):
        if axis.atoms & plan.atom_keep.keys():
            index = index_of(axis, plan.atom_keep)
            new = np.take(new, np.flatnonzero(index >= 0), axis=number)
            old = np.take(old, index[index >= 0], axis=number)
    return check_output(ref.vertex, old, new)


def check_output(name: str, old: np.ndarray, new: np.ndarray) -> OutputCheck:
    """Compares two arrays of one shape up to rounding."""
    tolerance = _TOLERANCE.get(str(old.dtype), _DEFAULT_TOLERANCE)
    old, new = old.astype("float64"), new.astype("float64")
    finite = np.isfinite(old)
    difference = float(np.max(np.abs(old - new), initial=0.0, where=finite))
    scale = float(np.max(np.abs(old), initial=0.0, where=finite))
    same_others = np.array_equal(old[~finite], new[~finite], equal_nan=True)
    is_equal = same_others and difference <= tolerance * max(scale, 1e-3)
    return OutputCheck(name, difference, scale, is_equal)


def run_model(model: Any, data: Any) -> list[np.ndarray]:
    """Returns the outputs of a model in inference, flat."""
    try:
        outputs = model(data, training=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"The model cannot be run on these inputs: {error}\n\nGive data as "
            "model(data) takes it, or leave `inputs` out. "
            f"Received: inputs of type {type(data).__name__}"
        ) from error
    return [keras.ops.convert_to_numpy(x) for x in keras.tree.flatten(outputs)]


def random_inputs(graph: Graph) -> Any:
    """Returns two random samples in the structure that the model takes."""
    rng = np.random.default_rng(0)

    def sample(ref: TensorRef) -> Any:
        spec = graph.body.vertices[ref.vertex].outputs[ref.index]
        batch, *rest = spec.shape
        shape = (batch or 2, *(_SIZE_OF_UNKNOWN if n is None else n for n in rest))
        if "int" in spec.dtype or spec.dtype == "bool":
            return rng.integers(0, 2, shape).astype(spec.dtype)
        return keras.ops.convert_to_tensor(rng.standard_normal(shape), spec.dtype)

    return map_leaves(sample, graph.body.inputs)
