"""The Pyomo model of one stage.

In: a `Problem` with finite limits, a *centre* (sizes known from the stage before) and
the tangents found so far. Out: the mixed integer linear program, over the change ``d``
of every size from the centre ``c``,

    minimise   one of the stage objectives below
    such that  low - c <= d <= high - c,   d integer
               rows:      low <= sum(a (c + d)) <= high
               steps:     sum(a (c + d)) = step q + (present mod step) b
                          b = 1 only with q = present // step, b binary
               near:      sum(a (c + d)) - over + under = wanted,   over, under >= 0
               gain:      gain <= every held line of U(c + d) - U(c)
               cost:      cost >= every held line of C(c + d) - C(c)
               stages that are done:   their objective <= optimum + tolerance

    deviation  sum (over + under) / wanted
    direction  the same over the side against the direction of each request only
    utility    - sum gain
    change     sum cost
    order      sum sqrt(p_i) d_i with the i-th prime p_i

Centring keeps the numbers small: the tolerances of GLPK and CBC are relative to the
size of a row's bound, and near an optimum of 10,000 they would hide single neurons.

Square roots of different primes are linearly independent over the rationals, so no two
integer points have the same `order`: the answer is unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_nas.milp.objectives import Objectives, Stage, against, near_value
from keras_nas.milp.problem import Near, Step, Terms, total

# Slack of the objective of a stage that is done. One neuron weighs about 1.
TOLERANCE = 1e-6


class Formulation:
    """One Pyomo model; `add_lines` extends it while a solver works on it."""

    def __init__(
        self,
        objectives: Objectives,
        centre: Sequence[int],
        stage: Stage | None,
        done: Mapping[Stage, float],
    ):
        """Builds the model without any line.

        Args:
            objectives: Problem, with finite limits, and its functions.
            centre: Sizes that the variables are counted from.
            stage: What to minimise; None for `set_linear_objective`.
            done: Optimum of every stage before.
        """
        import pyomo.environ as pyo

        self.pyo = pyo
        self.objectives, self.problem = objectives, objectives.problem
        self.centre, self.stage = list(centre), stage
        used = {*done, stage}
        self.has_gain, self.has_cost = Stage.UTILITY in used, Stage.CHANGE in used
        self.model = self._variables()
        self._add_rows()
        for number, step in enumerate(self.problem.steps):
            self._add_step(step, number)
        if used & {Stage.DEVIATION, Stage.DIRECTION}:
            for number, near in enumerate(self.problem.nears):
                self._add_near(near, number)
        for other, optimum in done.items():
            if other in (Stage.UTILITY, Stage.CHANGE):
                optimum = optimum - objectives.value(other, centre)
            self._add(None, self._objective(other), optimum + TOLERANCE)
        if stage is not None:
            self.model.objective = pyo.Objective(expr=self._objective(stage))

    def set_linear_objective(self, terms: Terms, sign: int) -> None:
        """Minimises ``sign * sum(coefficient * size)``."""
        expr = self._sum((i, sign * c) for i, c in terms)
        self.model.objective = self.pyo.Objective(expr=expr)

    def add_line(self, stage: Stage, i: int, line: int) -> None:
        """Adds one tangent of piece i, of its utility or its change."""
        curves = self.objectives.curves
        is_gain = stage is Stage.UTILITY
        curve = (curves.utility if is_gain else curves.change)[i]
        variable = (self.model.gain if is_gain else self.model.cost)[i]
        slope = curve.slope(line)
        offset = curve.value(line) - curve.value(self.centre[i])
        offset += slope * (self.centre[i] - line)
        body = self._linear([1.0, -slope], [variable, self.model.change[i]])
        self._add(*((None, body, offset) if is_gain else (offset, body, None)))

    def set_relaxed(self, relaxed: bool) -> None:
        """Lets the sizes be fractional, or forbids it again."""
        domain = self.pyo.Reals if relaxed else self.pyo.Integers
        for variable in self.model.change.values():
            variable.domain = domain

    def sizes(self) -> list[float]:
        """Returns the sizes of the solution that the solver loaded.

        A size that no row and no objective of the model mentions has no value there;
        it stays as close to the centre as it may.
        """
        sizes = []
        for i, variable in self.model.change.items():
            if variable.value is None:
                low, high = self.problem.low[i], self.problem.high[i]
                sizes.append(min(max(self.centre[i], low), high))
            else:
                sizes.append(self.centre[i] + variable.value)
        return sizes

    def _variables(self) -> Any:
        pyo, problem, centre = self.pyo, self.problem, self.centre
        model = pyo.ConcreteModel()
        pieces = range(len(problem.pieces))

        def limits(_: Any, i: int) -> tuple[int, int]:
            return problem.low[i] - centre[i], problem.high[i] - centre[i]

        model.change = pyo.Var(pieces, domain=pyo.Integers, bounds=limits)
        model.gain = pyo.Var(pieces if self.has_gain else [])
        model.cost = pyo.Var(pieces if self.has_cost else [])
        steps = range(len(problem.steps))
        model.multiple = pyo.Var(steps, domain=pyo.Integers)
        model.is_present = pyo.Var(steps, domain=pyo.Binary)
        nears = range(len(problem.nears))
        model.over = pyo.Var(nears, domain=pyo.NonNegativeReals)
        model.under = pyo.Var(nears, domain=pyo.NonNegativeReals)
        model.rows = pyo.ConstraintList()
        # A piece that cannot move needs no line; its curves have one value.
        curves = self.objectives.curves
        for variables, kind in (
            (model.gain, curves.utility),
            (model.cost, curves.change),
        ):
            for i, variable in variables.items():
                if problem.low[i] == problem.high[i]:
                    curve = kind[i]
                    variable.fix(curve.value(problem.low[i]) - curve.value(centre[i]))
        return model

    def _add(self, low: float | None, body: Any, high: float | None) -> None:
        self.model.rows.add((low, body, high))

    def _linear(self, coefficients: Sequence[float], variables: Sequence[Any]) -> Any:
        from pyomo.core.expr.numeric_expr import LinearExpression

        return LinearExpression(
            constant=0, linear_coefs=coefficients, linear_vars=variables
        )

    def _sum(self, terms: Iterable[tuple[int, float]]) -> Any:
        listed = list(terms)
        change = self.model.change
        return self._linear([c for _, c in listed], [change[i] for i, _ in listed])

    def _add_rows(self) -> None:
        for row in self.problem.rows:
            at = total(row.terms, self.centre)
            low = None if row.low is None else row.low - at
            high = None if row.high is None else row.high - at
            self._add(low, self._sum(row.terms), high)

    def _add_step(self, step: Step, number: int) -> None:
        problem, model = self.problem, self.model
        multiple, is_present = model.multiple[number], model.is_present[number]
        value = step.constant + total(step.terms, self.centre)
        first, last = (
            (step.constant + end) // step.step for end in problem.span(step.terms)
        )
        # The multiple, too, is counted from the centre.
        base, was = value // step.step, step.present // step.step
        multiple.setlb(min(first, was) - base)
        multiple.setub(max(last, was) - base)
        rest = step.present % step.step
        body = self._sum(step.terms) - step.step * multiple
        if not step.is_choice:
            is_present.fix(0)
            self._add(step.step * base - value, body, step.step * base - value)
            return
        body -= rest * is_present
        self._add(step.step * base - value, body, step.step * base - value)
        room_above, room_below = max(last - was, 0), max(was - first, 0)
        self._add(None, multiple + room_above * is_present, was - base + room_above)
        self._add(was - base - room_below, multiple - room_below * is_present, None)

    def _add_near(self, near: Near, number: int) -> None:
        over, under = self.model.over[number], self.model.under[number]
        gap = near.wanted - near_value(near, self.centre)
        self._add(gap, self._sum(near.terms) - over + under, gap)

    def _objective(self, stage: Stage) -> Any:
        """The objective, counted from the centre for all but the first two."""
        model = self.model
        if stage in (Stage.DEVIATION, Stage.DIRECTION):
            parts = []
            weights = self.objectives.weights
            for number, near in enumerate(self.problem.nears):
                sides = [model.over[number], model.under[number]]
                if stage is Stage.DIRECTION:
                    sides = {1: sides[:1], -1: sides[1:], 0: []}[against(near)]
                parts += [(weights[number], side) for side in sides]
            coefficients = [weight for weight, _ in parts]
            return self._linear(coefficients, [side for _, side in parts])
        pieces = range(len(self.problem.pieces))
        if stage is Stage.UTILITY:
            return self._linear([-1.0] * len(pieces), [model.gain[i] for i in pieces])
        if stage is Stage.CHANGE:
            return self._linear([1.0] * len(pieces), [model.cost[i] for i in pieces])
        return self._sum(enumerate(self.objectives.order))
