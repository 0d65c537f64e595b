"""A bound on a stage, and what every single size costs above it.

In: minimise ``sum_i f_i(s_i)``, f convex, over integer sizes ``s_i`` in ``[low_i,
high_i]`` with rows ``lo_r <= sum_i a_ri s_i <= hi_r``. With a multiplier ``y_r`` per
row,

    L(y)    = sum_i min_s h_i(s) + sum_r min(y_r lo_r, y_r hi_r)
    h_i(s)  = f_i(s) - (sum_r y_r a_ri) s

is at most the optimum, whatever y is (Lagrange). And sizes of objective z satisfy

    sum_i (h_i(s_i) - min h_i) + sum_r |y_r| (distance from the end that y_r wants)
        = z - L(y),

where no term is negative. So of all sizes with an objective of at most z, each one has
a *reduced cost* ``h_i(s) - min h_i`` of at most ``z - L(y)``. Few values do: a row over
hundreds of sizes leaves a handful to decide. A step of a single size takes values away
from its minimum; everything else of a problem is left out, which only lowers the bound.

Any y is allowed, so rounding errors of y do no harm. It is found by maximising L with
every minimum replaced by ``-t log(sum(exp(-. / t)))``, which is smooth and concave, by
Newton steps, while t falls to nothing (smoothing as in Nesterov 2005 "Smooth
minimization of non-smooth functions" <https://doi.org/10.1007/s10107-004-0552-5>).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from keras_nas.milp.formulation import TOLERANCE
from keras_nas.milp.knots import NEAR, Knots
from keras_nas.milp.objectives import Objectives, Stage
from keras_nas.milp.problem import Problem, Row, Step

# The smoothing falls by this factor, from and to these parts of the largest objective:
# coarsely while the knots are looked for, finely at last.
FACTOR, COARSE, FINE = 0.2, (1.0, 1e-6), (1e-4, 1e-13)
# Times that the knots are moved; Newton steps with one smoothing; halvings of a step.
MOVES, STEPS, HALVINGS = 3, 8, 12


class ReducedCosts:
    """Lagrangian bound of one objective on one problem.

    Attributes:
        bound: No sizes have a smaller objective.
        tolerance: How much more than the optimum still counts as optimal.
    """

    def __init__(self, objectives: Objectives, stage: Stage, centre: Sequence[int]):
        """Finds good multipliers.

        Args:
            objectives: Problem, with finite limits, and its functions.
            stage: One that is a sum over sizes: utility, change or order.
            centre: Sizes that the best ones are looked for around.
        """
        self.problem, self.stage = objectives.problem, stage
        self.objectives = objectives
        rows = binding(self.problem)
        self.numbers = [r for r, _ in rows]
        self.matrix = np.zeros((len(rows), len(self.problem.pieces)))
        for place, (_, row) in enumerate(rows):
            for i, coefficient in row.terms:
                self.matrix[place, i] += coefficient
        self.ends = self._ends(self.problem)
        self.allows = {}
        for step in self.problem.steps:
            if len(step.terms) == 1:
                self.allows[step.terms[0][0]] = partial(_is_allowed, step)
        self.multipliers = np.zeros(len(rows))
        for _ in range(MOVES):
            self._place_knots(centre)
            self._improve_multipliers(*COARSE)
            before, centre = centre, self._best_sizes()
            if np.abs(np.subtract(centre, before)).max() <= NEAR // 2:
                break
        self.bound = self._improve_multipliers(*FINE)
        self.tolerance = TOLERANCE + 1e-12 * abs(self.bound)
        self.least = np.minimum.reduceat(self._tilted(self.multipliers), self.starts)
        self.costs = self._tilted(self.multipliers) - self.least[self.owner]

    def room_for(self, count: int) -> float:
        """The reduced cost that at least so many values do not exceed."""
        count = min(count, len(self.costs))
        return float(np.partition(self.costs, count - 1)[count - 1])

    def of(self, i: int, sizes: np.ndarray) -> np.ndarray:
        """Returns the reduced costs of some sizes of piece i."""
        tilt = self.multipliers @ self.matrix[:, i]
        return (
            self.objectives.values(self.stage, i, sizes) - tilt * sizes - self.least[i]
        )

    def pressing(self, least: np.ndarray, most: np.ndarray) -> np.ndarray:
        """Returns what rows cost that are to have values in a range.

        Args:
            least: Array of shape ``(points, rows)``, the least value of each row.
            most: The largest one.

        Returns:
            Array of shape ``(points,)``; infinite where a row does not allow the range.
        """
        first, last = self.ends[:, 0], self.ends[:, 1]
        is_out = (least > last) | (most < first)
        wanted = np.where(self.multipliers > 0, first, last)
        distance = np.maximum(least - wanted, 0) + np.maximum(wanted - most, 0)
        costs = distance @ np.abs(self.multipliers)
        return np.where(is_out.any(axis=1), np.inf, costs)

    def limits(self, room: float) -> tuple[list[int], list[int]]:
        """Limits around all sizes with reduced costs of at most ``room``."""
        is_in = self.costs <= room
        first, last = self.reach
        low = np.minimum.reduceat(np.where(is_in, first, last.max()), self.starts)
        high = np.maximum.reduceat(np.where(is_in, last, first.min()), self.starts)
        return low.tolist(), high.tolist()

    def within(self, room: float) -> Problem:
        """The problem without what costs more than ``room`` above the bound."""
        low, high = self.limits(room)
        rows = self._rows_within(room)
        return replace(self.problem, low=tuple(low), high=tuple(high), rows=rows)

    def most(self, problem: Problem) -> float:
        """The most that any sizes of a narrowed problem cost above the bound."""
        limits = enumerate(zip(problem.low, problem.high, strict=True))
        # A convex function is largest at an end.
        costs = [self.of(i, np.array(ends)).max() for i, ends in limits]
        ends = self._ends(problem)
        costs += list(np.abs(self.multipliers) * (ends[:, 1] - ends[:, 0]))
        return math.fsum(costs)

    def _rows_within(self, room: float) -> tuple[Row, ...]:
        """The rows, without values too far from the end that they press against."""
        rows = list(self.problem.rows)
        ends = zip(self.numbers, self.multipliers, self.ends, strict=True)
        for r, y, (first, last) in ends:
            distance: Any = math.inf
            if y:
                distance = math.floor(min(room / abs(y), 1e15) + 1e-6)
            if distance >= last - first:
                continue
            if y > 0:
                rows[r] = replace(rows[r], low=int(first), high=int(first) + distance)
            else:
                rows[r] = replace(rows[r], low=int(last) - distance, high=int(last))
        return tuple(rows)

    def _ends(self, problem: Problem) -> np.ndarray:
        """Least and largest value of each binding row, also where it is open."""
        ends = []
        for r in self.numbers:
            row = problem.rows[r]
            span = problem.span(row.terms)
            low = span[0] if row.low is None else row.low
            ends.append((low, span[1] if row.high is None else row.high))
        return np.array(ends, dtype=float).reshape(-1, 2)

    def _place_knots(self, centre: Sequence[int]) -> None:
        problem = self.problem
        knots = [
            Knots(
                partial(self.objectives.values, self.stage, i),
                problem.low[i],
                problem.high[i],
                centre[i],
                piece.size,
                self.allows.get(i),
            )
            for i, piece in enumerate(problem.pieces)
        ]
        counts = [len(knot.sizes) for knot in knots]
        self.starts = np.cumsum([0, *counts])[:-1]
        self.owner = np.repeat(np.arange(len(knots)), counts)
        self.sizes = np.concatenate([knot.sizes for knot in knots])
        self.values = np.concatenate([knot.values for knot in knots])
        self.reach = np.concatenate([knot.reach for knot in knots], axis=1)

    def _best_sizes(self) -> list[int]:
        """A best size of each piece, rows aside."""
        costs = self._tilted(self.multipliers)
        least = np.minimum.reduceat(costs, self.starts)[self.owner]
        sizes = np.where(costs <= least, self.sizes, self.sizes.max())
        return np.minimum.reduceat(sizes, self.starts).tolist()

    def _tilted(self, y: np.ndarray) -> np.ndarray:
        """``h_i(s)`` for all knots of all pieces."""
        return self.values - (y @ self.matrix)[self.owner] * self.sizes

    def _bound(self, y: np.ndarray) -> float:
        """``L(y)``."""
        least = np.minimum.reduceat(self._tilted(y), self.starts)
        return math.fsum(least) + math.fsum((y[:, None] * self.ends).min(axis=1))

    def _improve_multipliers(self, first: float, last: float) -> float:
        """Maximises the bound, from the present multipliers on; returns it."""
        y = self.multipliers
        bound = self._bound(y)
        largest = np.abs(self.values).max() + 1e-9
        smoothing = first * largest
        while smoothing > last * largest and len(y):
            y = self._newton(y, smoothing)
            value = self._bound(y)
            if value > bound:
                self.multipliers, bound = y, value
            smoothing *= FACTOR
        return bound

    def _newton(self, y: np.ndarray, smoothing: float) -> np.ndarray:
        """Newton steps with one smoothing."""
        value, gradient, hessian = self._smooth(y, smoothing)
        for _ in range(STEPS):
            ridge = 1e-12 * np.trace(hessian) + 1e-300
            step = np.linalg.lstsq(
                hessian + ridge * np.eye(len(y)), gradient, rcond=None
            )[0]
            with np.errstate(over="ignore", invalid="ignore"):
                gain = float(gradient @ step)
            if not 1e-2 * smoothing < gain < math.inf:
                break
            for halving in range(HALVINGS):
                part = 0.5**halving
                # A step may be huge; a value that is no number fails the test.
                with np.errstate(over="ignore", invalid="ignore"):
                    after = self._smooth(y + part * step, smoothing)
                if after[0] >= value + 0.1 * part * gain:
                    break
            else:
                break
            y = y + part * step
            value, gradient, hessian = after
        return y

    def _smooth(self, y: np.ndarray, smoothing: float) -> tuple:
        """Smoothed L, its gradient, and its second derivative times -1."""
        value, mean, variance = _soft_minima(
            self._tilted(y), self.sizes, self.starts, self.owner, smoothing
        )
        rows = len(y)
        row_value, row_mean, row_variance = _soft_minima(
            (y[:, None] * self.ends).ravel(),
            self.ends.ravel(),
            np.arange(0, 2 * rows, 2),
            np.repeat(np.arange(rows), 2),
            smoothing,
        )
        gradient = row_mean - self.matrix @ mean
        hessian = (self.matrix * variance) @ self.matrix.T + np.diag(row_variance)
        return value + row_value, gradient, hessian / smoothing


def _soft_minima(
    costs: np.ndarray,
    sizes: np.ndarray,
    starts: np.ndarray,
    owner: np.ndarray,
    smoothing: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Sum of soft minima of groups, mean and variance of the sizes in each."""
    least = np.minimum.reduceat(costs, starts)
    weights = np.exp((least[owner] - costs) / smoothing)
    total = np.add.reduceat(weights, starts)
    mean = np.add.reduceat(weights * sizes, starts) / total
    variance = np.add.reduceat(weights * (sizes - mean[owner]) ** 2, starts) / total
    return np.sum(least - smoothing * np.log(total)), mean, variance


def _is_allowed(step: Step, sizes: np.ndarray) -> np.ndarray:
    """Which sizes a step of a single size allows."""
    value = step.constant + step.terms[0][1] * sizes
    return step.allows(value)


def binding(problem: Problem) -> list[tuple[int, Row]]:
    """Returns the rows, with their numbers, that the limits alone do not fulfil."""
    rows = []
    for r, row in enumerate(problem.rows):
        least, most = problem.span(row.terms)
        is_low = row.low is not None and row.low > least
        if is_low or (row.high is not None and row.high < most):
            rows.append((r, row))
    return rows
