"""What a model costs, as sums of products of axis sizes.

Nothing here knows a kind of layer. Which axes a weight, an output and a sum of
products have is what the rule of the call says, and the cost follows from it:

* parameters: for each weight the product of the sizes of its axes, blocks added up;
* multiply-accumulates: for each sum of products the product of all axes it goes over,
  so of its kernel and of the positions that the kernel is used at;
* activations: for each output the product of its axes.

An axis of unknown size, such as the batch, counts as one position. So all numbers are
for one sample, or for the whole batch where a model was made for a fixed one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from keras_nas.axes import (
    Atom,
    Expression,
    Fixed,
    Product,
    factors_of,
    product,
    size_of,
    terms_of,
)
from keras_nas.graph import Analysis, Call
from keras_nas.milp import Cost, Key, Linear
from keras_nas.rules import WeightAxes

# Axes whose sizes are multiplied.
Axes = tuple[Expression, ...]
_SEED_STATE = "seed_generator_state"


@dataclass(frozen=True)
class CallCost:
    """The axes whose sizes multiply to what one call costs.

    Attributes:
        weights: ``(bytes per number, axes)`` of each weight that no call before has.
        macs: Axes of each sum of products.
        outputs: ``(bytes per number, axes)`` of each output.
        is_counted: Whether the rule says what is multiplied and added.
    """

    weights: tuple[tuple[int, Axes], ...]
    macs: tuple[Axes, ...]
    outputs: tuple[tuple[int, Axes], ...]
    is_counted: bool


def call_costs(analysis: Analysis) -> Iterator[tuple[Call, CallCost]]:
    """Yields every call with its costs; a weight is the first call's that has it."""
    seen: set[int] = set()
    for call in analysis.flat.calls:
        relation = analysis.relations[call.path]
        weights: list[tuple[int, Axes]] = []
        for name, weight in call.part.named_weights:
            axes = relation.weights.get(name)
            if id(weight) in seen or axes is None or name.endswith(_SEED_STATE):
                continue
            seen.add(id(weight))
            num_bytes = bytes_of(weight.dtype)
            weights += [(num_bytes, block) for block in _blocks(analysis, axes)]
        outputs = [
            (bytes_of(spec.dtype), _resolved(analysis, tensor.axes))
            for tensor, spec in zip(relation.outputs, call.outputs, strict=False)
        ]
        yield (
            call,
            CallCost(
                tuple(weights),
                tuple(_resolved(analysis, axes) for axes in relation.macs),
                tuple(outputs),
                is_counted=_is_counted(analysis, call),
            ),
        )


def evaluate(
    axes: Iterable[Axes], sizes: Mapping[Atom, int] | None = None
) -> int:
    """Returns the sum of the products of axes, at new sizes of atoms if given."""
    new = sizes or {}
    return sum(
        prod(1 if a.size is None else size_of(a, new) for a in each) for each in axes
    )


def as_cost(keys: Sequence[Key], weighted: Iterable[tuple[float, Axes]]) -> Cost:
    """Turns ``(factor, axes)`` pairs into a cost over the sizes of atoms."""
    return Cost(
        keys,
        (
            monomial
            for factor, axes in weighted
            for monomial in _monomials(factor, axes)
        ),
    )


def cost_of(analysis: Analysis, name: str, keys: Sequence[Key]) -> Cost:
    """Returns a cost of a graph over the sizes of its atoms."""
    weighted = []
    for _, cost in call_costs(analysis):
        if name == "params":
            weighted += [(1, axes) for _, axes in cost.weights]
        elif name == "flops":
            weighted += [(2, axes) for axes in cost.macs]
        else:
            weighted += [*cost.weights, *cost.outputs]
    return as_cost(keys, weighted)


def bytes_of(dtype: str) -> int:
    """Returns the bytes of one number; a bool takes a whole one."""
    if dtype in ("bool", "string"):
        return 1
    digits = re.search(r"\d+", dtype)
    bits = int(digits.group()) if digits else 32
    return max(bits // 8, 1)


def _is_counted(analysis: Analysis, call: Call) -> bool:
    """Not if no rule describes the call, or one that says nothing of its matrices."""
    relation = analysis.relations[call.path]
    if call.path in analysis.frozen:
        return False
    return bool(relation.macs) or not any(
        axes.reads
        for name, axes in relation.weights.items()
        if name in dict(call.part.named_weights)
    )


def _blocks(analysis: Analysis, axes: WeightAxes) -> list[Axes]:
    return [_resolved(analysis, block) for block in axes.blocks]


def _resolved(analysis: Analysis, axes: Iterable[Expression]) -> Axes:
    return tuple(map(analysis.resolve, axes))


def _monomials(factor: float, axes: Axes) -> Iterator[tuple[float, list[Linear]]]:
    """Multiplies axes; only sums of products that share no factor are spread."""
    spread: list[tuple[float, list[Linear]]] = [(factor, [])]
    for axis in axes:
        if axis.size is None:
            continue
        parts = _parts(axis)
        spread = [
            (number * more, [*forms, *extra])
            for number, forms in spread
            for more, extra in parts
        ]
    return iter(spread)


def _parts(axis: Expression) -> list[tuple[int, list[Linear]]]:
    """Writes an axis as a sum of ``factor * form * form * ...``.

    Terms ``a m + b m`` are taken together as ``(a + b) m``.
    """
    terms: dict[Key, int] = {}
    constant = 0
    by_tail: dict[tuple[int, Expression], list[Expression]] = {}
    stack = [(term, 1) for term in reversed(terms_of(axis))]
    while stack:
        term, times = stack.pop()
        factors = factors_of(term)
        fixed = prod(f.size for f in factors if isinstance(f, Fixed))
        free = [f for f in factors if not isinstance(f, Fixed)]
        if not free:
            constant += times * fixed
        elif len(free) > 1:
            by_tail.setdefault((times * fixed, product(free[1:])), []).append(free[0])
        elif len(terms_of(free[0])) > 1:
            stack.extend((part, times * fixed) for part in terms_of(free[0]))
        else:
            terms[free[0]] = terms.get(free[0], 0) + times * fixed
    parts = [(1, [Linear(terms, constant)])] if terms or constant else []
    for (times, tail), heads in by_tail.items():
        head = Linear(dict(Counter(heads)))
        parts += [
            (times * more, [head, *forms]) for more, forms in _parts_of_tail(tail)
        ]
    return parts


def _parts_of_tail(tail: Expression) -> list[tuple[int, list[Linear]]]:
    """The factors behind the first one; only the last of them may be a sum."""
    result: list[tuple[int, list[Linear]]] = [(1, [])]
    for factor in tail.parts if isinstance(tail, Product) else (tail,):
        result = [
            (number * more, [*forms, *extra])
            for number, forms in result
            for more, extra in _parts(factor)
        ]
    return result


def sizes_array(keys: Sequence[Key]) -> np.ndarray:
    """Returns the present sizes of atoms."""
    return np.array([key.size for key in keys], dtype=np.int64)
