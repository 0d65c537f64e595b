"""The lexicographic stages, each solved by tangents until it is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_nas.milp import solvers
from keras_nas.milp.components import connected
from keras_nas.milp.formulation import TOLERANCE, Formulation
from keras_nas.milp.limits import limit, tighten
from keras_nas.milp.objectives import Curves, Objectives, Stage, against, near_value
from keras_nas.milp.points import points
from keras_nas.milp.problem import Near, Problem, Row, total
from keras_nas.milp.reduced import ReducedCosts, binding
from keras_nas.milp.solvers import Outcome
from keras_nas.milp.system import Infeasible, Status
from keras_nas.milp.tangents import Lines
from keras_nas.milp.task import Expired, Task, run_once

# More pieces than this are first solved with fractional sizes, and with few values.
MANY = 8
# Stages that are sums over sizes.
SUMS = (Stage.UTILITY, Stage.CHANGE, Stage.ORDER)
# So many rows that bind are given multipliers at most; they are a dense matrix.
MOST_ROWS = 100
# The room for sizes that are listed grows by this factor.
GROWTH = 1.5
# How many values per piece, on average, are tried before all.
SHARES = (1.2, 2, 8)


def optimise(curves: Curves, problem: Problem, task: Task) -> tuple[list[int], Status]:
    """Runs the stages on a problem with finite limits."""
    task.best = None
    try:
        return _Stages(problem, curves, task).run(), Status.OPTIMAL
    except Expired:
        if task.best is None or not task.accept_incumbent:
            raise task.expire() from None
        return task.best, Status.INCUMBENT


class _Stages:
    """The lexicographic optimisation of one problem."""

    def __init__(self, problem: Problem, curves: Curves, task: Task):
        self.task, self.curves = task, curves
        self.objectives = Objectives(problem, curves)
        self.problem = problem
        self.centre = list(problem.present())
        self.done: dict[Stage, float] = {}
        self.lines: dict[Stage, list] = {}

    def run(self) -> list[int]:
        if self.task.accept_incumbent:
            self._find_any()
        if self.problem.nears:
            self._stage(Stage.DEVIATION)
            if self.done[Stage.DEVIATION] > 0:
                self._stage(Stage.DIRECTION)
            self._settle_nears()
        for stage in SUMS:
            if self._is_settled():
                break
            self._stage(stage)
        return self.centre

    def _find_any(self) -> None:
        """Finds sizes that satisfy the rows, to have some at the time limit."""
        form = Formulation(self.objectives, self.centre, None, {})
        form.set_linear_objective((), 1)
        run = solvers.attach(self.task.solver, form.model)
        self._note(run_once(run, form, self.task))

    def _settle_nears(self) -> None:
        """Turns near requests into equalities where their values are known now.

        They are known in a connected part that misses nothing, and in one with a
        single request if the direction has told which of two sizes it gets.
        """
        rows, left = [], []
        for nears in self._nears_by_part():
            is_met = all(near_value(n, self.centre) == n.wanted for n in nears)
            if is_met or (len(nears) == 1 and against(nears[0])):
                for near in nears:
                    value = total(near.terms, self.centre)
                    rows.append(Row(near.terms, value, value))
            else:
                left += nears
        problem = replace(
            self.problem, rows=(*self.problem.rows, *rows), nears=tuple(left)
        )
        self.problem = limit(problem, 1).problem
        self.objectives = Objectives(self.problem, self.curves)
        self.done = {
            stage: self.objectives.value(stage, self.centre)
            for stage in self.done
            if left
        }

    def _nears_by_part(self) -> list[list[Near]]:
        parts = connected(self.problem)
        part_of = {i: number for number, part in enumerate(parts) for i in part}
        nears: list[list[Near]] = [[] for _ in parts]
        for near in self.problem.nears:
            nears[part_of[near.terms[0][0]]].append(near)
        return nears

    def _is_settled(self) -> bool:
        """Whether the rows leave one answer only, which is known."""
        return bool(self.task.best) and self.problem.low == self.problem.high

    def _stage(self, stage: Stage) -> None:
        """Solves one stage, and keeps to its optimum from then on."""
        costs = self._reduced_costs(stage)
        if costs is None:
            self.centre = self._solve(stage, self.problem, is_wide=True)
            self.done[stage] = self.objectives.value(stage, self.centre)
        elif not self._list(stage, costs):
            self.centre = self._solve_few(stage, costs)
            self.done[stage] = self.objectives.value(stage, self.centre)
            self._narrow(stage, costs)

    def _reduced_costs(self, stage: Stage) -> ReducedCosts | None:
        """The reduced costs of a stage, where they are worth their price."""
        if stage not in SUMS or len(self.problem.pieces) <= MANY:
            return None
        if len(binding(self.problem)) > MOST_ROWS:
            return None
        return ReducedCosts(self.objectives, stage, self.centre)

    def _list(self, stage: Stage, costs: ReducedCosts) -> bool:
        """Ends all stages if the best sizes are few enough to be listed."""
        room, everything = costs.tolerance, GROWTH * costs.most(self.problem)
        while self.task.deadline.left() > 0:
            every = points(costs, room)
            if every is None or room > everything:
                return False
            found = [p for p in every.tolist() if self._keeps_done(p)]
            values = [self.objectives.value(stage, point) for point in found]
            needed = min(values, default=math.inf) - costs.bound + costs.tolerance
            if needed <= room:
                self._choose(stage, found)
                return True
            room = min(GROWTH * room, needed)
        return False

    def _choose(self, stage: Stage, found: list[list[int]]) -> None:
        """Takes the best sizes of a list by this objective and those after it."""
        for later in SUMS[SUMS.index(stage) :]:
            values = [self.objectives.value(later, point) for point in found]
            best = min(values) + (TOLERANCE if later is not Stage.ORDER else 0)
            found = [p for p, v in zip(found, values, strict=True) if v <= best]
        self.centre = self.task.best = found[0]
        self.problem = replace(self.problem, low=tuple(found[0]), high=tuple(found[0]))

    def _keeps_done(self, sizes: list[int]) -> bool:
        return all(
            self.objectives.value(stage, sizes) <= optimum + TOLERANCE
            for stage, optimum in self.done.items()
        )

    def _solve_few(self, stage: Stage, costs: ReducedCosts) -> list[int]:
        """Solves a stage with the few sizes that can be best by their reduced costs.

        What is optimal among sizes of reduced costs up to some room is optimal among
        all if it is at most that room above the bound; else it tells how much room
        the optimum may need.
        """
        pieces, needed = len(self.problem.pieces), math.inf
        for share in SHARES:
            room = max(costs.room_for(int(share * pieces)), costs.tolerance)
            room = min(room, needed)
            try:
                sizes = self._solve(stage, costs.within(room))
            except Infeasible:
                continue
            needed = self.objectives.value(stage, sizes) - costs.bound
            if needed <= room:
                return sizes
        if needed == math.inf:
            return self._solve(stage, self.problem, is_wide=True)
        return self._solve(stage, costs.within(needed + costs.tolerance))

    def _narrow(self, stage: Stage, costs: ReducedCosts) -> None:
        """Leaves out the sizes that are not within the tolerance of an optimum.

        If all that are left are, the stage need not be remembered by a row of its own,
        which would be a hard one: it holds where nothing but the optimum fits.
        """
        room = self.done[stage] - costs.bound + costs.tolerance
        self.problem = costs.within(room)
        low, high = tighten(self.problem.low, self.problem.high, self.problem.rows)
        self.problem = replace(self.problem, low=tuple(low), high=tuple(high))
        if costs.most(self.problem) <= room:
            del self.done[stage]
        self.objectives = Objectives(self.problem, self.curves)

    def _solve(
        self, stage: Stage, problem: Problem, is_wide: bool = False
    ) -> list[int]:
        """Solves one stage until every curve is exact at the solution (Kelley)."""
        objectives = Objectives(problem, self.curves)
        form = Formulation(objectives, self.centre, stage, self.done)
        run = solvers.attach(self.task.solver, form.model)
        used = [s for s in (Stage.UTILITY, Stage.CHANGE) if s in {*self.done, stage}]
        self._hold_lines(form, used)
        if used and is_wide and len(problem.pieces) > MANY:
            self._relaxed_rounds(run, form, used)
        while True:
            sizes = run_once(run, form, self.task)
            self._note(sizes)
            if not self._touch(form, used, sizes):
                return sizes

    def _relaxed_rounds(
        self, run: solvers.Run, form: Formulation, used: Sequence[Stage]
    ) -> None:
        """Finds most lines with fractional sizes: the same tangents, at a low price."""
        form.set_relaxed(True)
        while True:
            answer = run(self.task.deadline.left())
            if answer.outcome is not Outcome.OPTIMAL:
                break
            sizes = [_snapped(size) for size in form.sizes()]
            if not self._touch(form, used, sizes):
                break
        form.set_relaxed(False)

    def _hold_lines(self, form: Formulation, used: Sequence[Stage]) -> None:
        """Gives a model the lines of its curves that are known, within its limits."""
        limits = list(zip(form.problem.low, form.problem.high, strict=True))
        for stage in used:
            if stage not in self.lines:
                kind = stage is Stage.UTILITY
                curves: Sequence[Any] = (
                    self.curves.utility if kind else self.curves.change
                )
                self.lines[stage] = [
                    Lines(curve, *both)
                    for curve, both in zip(curves, limits, strict=True)
                ]
            self.lines[stage] = [
                lines.within(*both)
                for lines, both in zip(self.lines[stage], limits, strict=True)
            ]
            for i, lines in enumerate(self.lines[stage]):
                lines.touch(self.centre[i])
                for line in lines.held:
                    form.add_line(stage, i, line)

    def _touch(
        self, form: Formulation, used: Sequence[Stage], sizes: Sequence[float]
    ) -> bool:
        """Adds the lines at a solution; returns whether one was not exact there."""
        is_loose = False
        for stage in used:
            for i, lines in enumerate(self.lines[stage]):
                known = len(lines.held)
                is_loose |= lines.touch(sizes[i])
                for line in lines.held[known:]:
                    form.add_line(stage, i, line)
        return is_loose

    def _note(self, sizes: list[int]) -> None:
        """Remembers the best sizes, judged by all objectives in their order."""

        def rank(candidate: list[int]) -> list[float]:
            return [self.objectives.value(stage, candidate) for stage in Stage]

        if self.task.best is None or rank(sizes) < rank(self.task.best):
            self.task.best = sizes


def _snapped(size: float) -> float:
    """A size that is whole but for rounding errors, as a whole number."""
    return round(size) if abs(size - round(size)) < 1e-6 else size
