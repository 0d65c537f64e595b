"""Finite limits for every size, so that branch and bound ends.

Limits that follow from the rows are used where there are some. For the other sizes a
generous one is invented; an answer that comes near it (or no answer at all) makes the
caller ask again with a wider one, so no invented limit cuts off an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_nas.milp.problem import Problem, Row
from keras_nas.milp.system import Infeasible

# Rows such as x <= y + 1 and y <= x - 2 tighten for ever; the solver takes over.
MAX_PASSES = 30


@dataclass(frozen=True)
class Limited:
    """A problem with finite limits, and the numbers of the sizes that have none."""

    problem: Problem
    invented: tuple[int, ...]

    def is_touched(self, sizes: Sequence[int]) -> bool:
        """Whether an invented limit may have shaped these sizes."""
        return any(2 * sizes[i] > self.problem.high[i] for i in self.invented)


def limit(problem: Problem, width: int) -> Limited:
    """Gives every size a finite upper limit.

    Args:
        problem: Sizes and rows.
        width: Invented limits are this often the sum of all numbers in the problem.

    Raises:
        Infeasible: The rows contradict each other, seen without a solver.
    """
    low, high = tighten(problem.low, problem.high, problem.rows)
    invented = tuple(i for i, top in enumerate(high) if top is None)
    if invented:
        top = width * _magnitude(problem)
        # A row may force more than the invented limit: that low limit is kept.
        high = [max(top, 2 * low[i]) if h is None else h for i, h in enumerate(high)]
        low, high = tighten(low, high, problem.rows)
    return Limited(replace(problem, low=tuple(low), high=tuple(high)), invented)


def tighten(
    low: Sequence[int], high: Sequence[int | None], rows: Sequence[Row]
) -> tuple[list[int], list[int | None]]:
    """Draws the limits together as far as single rows say, in exact arithmetic.

    Raises:
        Infeasible: A size has no value left.
    """
    low, high = list(low), list(high)
    for _ in range(MAX_PASSES):
        before = (tuple(low), tuple(high))
        for row in rows:
            if row.high is not None:
                _tighten_above(low, high, row.terms, row.high)
            if row.low is not None:
                negated = tuple((i, -c) for i, c in row.terms)
                _tighten_above(low, high, negated, -row.low)
        for bottom, top in zip(low, high, strict=True):
            if top is not None and bottom > top:
                raise Infeasible(f"a size must be at least {bottom}, at most {top}")
        if before == (tuple(low), tuple(high)):
            break
    return low, high


def _tighten_above(low: list, high: list, terms: Any, bound: int) -> None:
    """Uses ``sum(c * size) <= bound``: each term leaves room for the least others."""
    least = [c * low[i] if c > 0 else _times(c, high[i]) for i, c in terms]
    open_terms = [place for place, value in enumerate(least) if value is None]
    if len(open_terms) > 1:
        return
    known = sum(value for value in least if value is not None)
    for place, (i, c) in enumerate(terms):
        if open_terms and open_terms != [place]:
            continue
        room = bound - known + (least[place] or 0)
        if c > 0:
            top = room // c
            high[i] = top if high[i] is None else min(high[i], top)
        else:
            low[i] = max(low[i], -(room // -c))


def _times(coefficient: int, value: int | None) -> int | None:
    return None if value is None else coefficient * value


def _magnitude(problem: Problem) -> int:
    """The sum of all sizes and right-hand sides that occur."""
    numbers = [piece.size for piece in problem.pieces]
    numbers += problem.low
    for row in problem.rows:
        numbers += [row.low or 0, row.high or 0]
    for step in problem.steps:
        numbers += [step.constant, step.step, step.present]
    for near in problem.nears:
        numbers += [near.constant, near.wanted, near.present]
    return 16 + sum(abs(number) for number in numbers)
