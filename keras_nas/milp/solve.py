"""Solves a size system, objective after objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from keras_nas.milp import check, solvers
from keras_nas.milp.components import batches, restrict
from keras_nas.milp.formulation import Formulation
from keras_nas.milp.lattice import check_integers
from keras_nas.milp.limits import limit
from keras_nas.milp.objectives import Curves, Objectives
from keras_nas.milp.problem import Problem
from keras_nas.milp.reach import reachable
from keras_nas.milp.solvers import Deadline
from keras_nas.milp.stages import optimise
from keras_nas.milp.system import Infeasible, Linear, Sizes, SizeSystem, Status
from keras_nas.milp.tangents import Change, Utility, positive_utilities
from keras_nas.milp.task import Expired, Task, run_once

# Pieces per model where independent parts may be solved apart; see `components`. GLPK
# has no presolve that would see them; starting it costs least.
BATCH = {"glpk": 6, "highs": 60, "cbc": 60}
# Invented limits, as multiples of all numbers in the problem; see `limits`.
WIDTHS = (4, 4_000, 4_000_000)


def solve(
    system: SizeSystem,
    *,
    solver: str = "auto",
    time_limit_s: float = 20.0,
    accept_incumbent: bool = False,
) -> Sizes:
    """Finds the sizes that satisfy a system, keep most and change least.

    In this order: the near requests are missed by as little as possible (sum of
    ``|size - wanted| / wanted``); of two equally far sizes those in the direction of
    the request win; the utility of the kept neurons is largest; the sizes change
    least and evenly; earlier pieces come first. The answer is unique.

    Args:
        system: Pieces, rows and requests. Not modified.
        solver: "auto", "highs", "glpk" or "cbc".
        time_limit_s: Seconds for everything together.
        accept_incumbent: Whether the best sizes found until the time limit are
            returned; otherwise reaching it is an error.

    Returns:
        Kept and inserted neurons of every piece of the system.

    Raises:
        Infeasible: No sizes satisfy the rows.
        SolverError: The solver is missing, failed, or stopped at its time limit.
        InternalError: The answer of the solver breaks a row.
    """
    task = Task(solvers.choose(solver), Deadline(time_limit_s), accept_incumbent)
    reached = reachable(system)
    problem = Problem.from_system(reached)
    check_integers(problem)
    # One scale for all, so that the answer does not depend on the batches.
    utilities = positive_utilities(problem.pieces)
    answer, status = list(problem.present()), Status.OPTIMAL
    groups = batches(problem, BATCH[task.solver])
    for number, members in enumerate(groups):
        curves = Curves(
            [Utility(utilities[i]) for i in members],
            [Change(problem.pieces[i].size) for i in members],
        )
        part, part_status = _with_finite_limits(
            restrict(problem, members),
            task.share(len(groups) - number),
            partial(optimise, curves),
        )
        if part_status is not Status.OPTIMAL:
            status = part_status
        for i, size in zip(members, part, strict=True):
            answer[i] = size
    return _finish(system, reached, answer, status)


def nearest(
    system: SizeSystem,
    expr: Linear,
    wanted: int,
    *,
    solver: str = "auto",
    time_limit_s: float = 20.0,
) -> tuple[int | None, int | None]:
    """Finds the feasible values of an expression on both sides of a wanted one.

    Args:
        system: The system without the request for ``expr``; near requests in it
            demand nothing.
        expr: The requested size.
        wanted: The value that it should have.
        solver: "auto", "highs", "glpk" or "cbc".
        time_limit_s: Seconds for both sides together.

    Returns:
        The largest feasible value that is at most ``wanted`` and the smallest that is
        at least ``wanted``; None where there is none.

    Raises:
        SolverError: The solver is missing, failed, or stopped at its time limit.
    """
    task = Task(solvers.choose(solver), Deadline(time_limit_s))
    below = _extreme(system, expr, (None, wanted), -1, task)
    return below, _extreme(system, expr, (wanted, None), 1, task)


def _extreme(
    system: SizeSystem, expr: Linear, limits: tuple, sign: int, task: Task
) -> int | None:
    """The smallest (sign 1) or largest (-1) value of an expression in limits."""
    bounded = replace(system, bounds=(*system.bounds, (expr, *limits)), near=())
    reached = reachable(bounded, start=expr.terms)
    terms = tuple(
        (i, expr.terms[piece.key])
        for i, piece in enumerate(reached.pieces)
        if piece.key in expr.terms
    )

    def extremise(problem: Problem, task: Task) -> tuple[list[int], Status]:
        objectives = Objectives(problem, Curves((), ()))
        form = Formulation(objectives, problem.present(), None, {})
        form.set_linear_objective(terms, sign)
        return run_once(
            solvers.attach(task.solver, form.model), form, task
        ), Status.OPTIMAL

    try:
        problem = Problem.from_system(reached)
        answer = list(problem.present())
        if problem.pieces:
            check_integers(problem)
            answer, _ = _with_finite_limits(problem, task, extremise)
    except Infeasible:
        return None
    except Expired:
        raise task.expire() from None
    sizes = _finish(bounded, reached, answer, Status.OPTIMAL)
    return expr.value(sizes.totals())


def _with_finite_limits(
    problem: Problem, task: Task, run_stages: Callable[[Problem, Task], Any]
) -> tuple[list[int], Status]:
    """Widens the invented limits until the answer keeps clear of them."""
    for width in WIDTHS:
        limited = limit(problem, width)
        is_last = width == WIDTHS[-1] or not limited.invented
        try:
            answer, status = run_stages(limited.problem, task)
        except Infeasible:
            if is_last:
                raise
            continue
        if is_last or not limited.is_touched(answer):
            return answer, status
    raise AssertionError("the last width returns or raises")


def _finish(
    system: SizeSystem, reached: SizeSystem, answer: Sequence[int], status: Status
) -> Sizes:
    """Puts the pieces out of reach back, and checks everything."""
    totals = system.present()
    for piece, size in zip(reached.pieces, answer, strict=True):
        totals[piece.key] = size
    sizes = Sizes.from_totals(system.pieces, totals, status)
    check.verify(system, sizes)
    return sizes
