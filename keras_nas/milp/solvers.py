"""HiGHS, GLPK and CBC behind one function: which are there, and one run of one."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from keras_nas.errors import SolverError

#: Solver -> what to do to have it.
INSTALL = {
    "highs": "pip install highspy",
    "glpk": "apt-get install glpk-utils (Debian package, the program glpsol)",
    "cbc": "apt-get install coinor-cbc (Debian package, the program cbc)",
}
_PROGRAMS = {"glpk": "glpsol", "cbc": "cbc"}

_HIGHS_OPTIONS = {
    "parallel": "off",
    "random_seed": 0,
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-9,
    "mip_feasibility_tolerance": 1e-9,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
}
# GLPK has the gap 0 by itself. CBC would give up on gains below its `increment`.
_CBC_OPTIONS = {
    "ratioGap": 0,
    "allowableGap": 0,
    "increment": 1e-9,
    "primalTolerance": 1e-9,
    "dualTolerance": 1e-9,
    "integerTolerance": 1e-8,
    "randomSeed": 1,
    "randomCbcSeed": 1,
    "threads": 0,
}

# Pyomo keeps one stack of temporary files and redirects the output of the process.
_LOCK = threading.RLock()


class Outcome(Enum):
    """How one run ended."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    TIME_LIMIT = "time limit"


@dataclass(frozen=True)
class Answer:
    """Outcome of a run, and whether it left values in the variables."""

    outcome: Outcome
    has_values: bool


Run = Callable[[float], Answer]


class Deadline:
    """A time limit over several runs.

    Attributes:
        seconds: The limit that the user gave, for messages.
    """

    def __init__(self, seconds: float, left: float | None = None):
        self.seconds = seconds
        self._end = time.monotonic() + (seconds if left is None else left)

    def left(self) -> float:
        """Returns the seconds left; 0 or less when the limit is reached."""
        return self._end - time.monotonic()


def is_available(name: str) -> bool:
    """Whether a solver is installed, without starting or importing it."""
    if name == "highs":
        return importlib.util.find_spec("highspy") is not None
    return shutil.which(_PROGRAMS[name]) is not None


def choose(name: str) -> str:
    """Returns the solver to use; "auto" is the first one that is there.

    Raises:
        SolverError: Unknown solver, or it is not installed.
    """
    if name == "auto":
        for candidate in INSTALL:
            if is_available(candidate):
                return candidate
        ways = "; ".join(f"{key}: {way}" for key, way in INSTALL.items())
        raise SolverError(
            "No solver is installed: none of HiGHS, GLPK and CBC was found.\n\n"
            f"Install one of them. {ways}. Received: solver='auto'"
        )
    if name not in INSTALL:
        raise SolverError(
            f"There is no solver {name!r}.\n\n"
            f"Use 'auto' or one of {sorted(INSTALL)}. Received: solver={name!r}"
        )
    if not is_available(name):
        others = [other for other in INSTALL if is_available(other)]
        raise SolverError(
            f"The solver {name!r} is not installed.\n\n"
            f"Install it with: {INSTALL[name]}. Available are: {others}. "
            f"Received: solver={name!r}"
        )
    return name


def attach(name: str, model: Any) -> Run:
    """Prepares a solver for a model that will grow between its runs.

    Returns:
        A function of the seconds left that solves the model as it then is.
    """
    run = _attach_highs(model) if name == "highs" else _attach_program(name, model)

    def guarded(seconds: float) -> Answer:
        if seconds <= 0:
            return Answer(Outcome.TIME_LIMIT, False)
        try:
            with _LOCK, _silence():
                return run(seconds)
        except SolverError:
            raise
        except Exception as error:
            raise SolverError(
                f"The solver {name!r} failed: {type(error).__name__}: {error}\n\n"
                f"Try another solver of {sorted(INSTALL)}. Received: solver={name!r}"
            ) from error

    return guarded


def _attach_highs(model: Any) -> Run:
    from pyomo.contrib.appsi.base import TerminationCondition
    from pyomo.contrib.appsi.solvers import Highs

    solver = Highs()
    solver.config.load_solution = False
    solver.config.stream_solver = False
    solver.highs_options = dict(_HIGHS_OPTIONS)
    # Only constraints and domains change between two runs.
    checks = solver.update_config
    checks.check_for_new_or_removed_params = False
    checks.check_for_new_objective = False
    checks.update_params = False
    checks.update_named_expressions = False
    checks.update_objective = False
    checks.update_constraints = False
    checks.treat_fixed_vars_as_params = True

    def run(seconds: float) -> Answer:
        end = time.monotonic() + seconds
        answer = once(seconds, "choose")
        if answer.outcome is Outcome.INFEASIBLE:
            # The presolve of HiGHS 1.15 refuses some small problems that have
            # solutions; see `test_what_highs_presolve_refuses_is_solved`.
            answer = once(max(end - time.monotonic(), 1e-3), "off")
        return answer

    def once(seconds: float, presolve: str) -> Answer:
        solver.config.time_limit = seconds
        solver.highs_options["presolve"] = presolve
        result = solver.solve(model)
        condition = result.termination_condition
        if condition == TerminationCondition.optimal:
            solver.load_vars()
            return Answer(Outcome.OPTIMAL, True)
        if condition in (
            TerminationCondition.infeasible,
            TerminationCondition.infeasibleOrUnbounded,
        ):
            return Answer(Outcome.INFEASIBLE, False)
        if condition == TerminationCondition.maxTimeLimit:
            found = result.best_feasible_objective is not None
            found = found and math.isfinite(result.best_feasible_objective)
            if found:
                solver.load_vars()
            return Answer(Outcome.TIME_LIMIT, found)
        raise SolverError(_stopped("highs", condition))

    return run


def _attach_program(name: str, model: Any) -> Run:
    import pyomo.environ as pyo

    solver = pyo.SolverFactory(name)
    if name == "cbc":
        solver.options.update(_CBC_OPTIONS)

    def run(seconds: float) -> Answer:
        # Both programs know whole seconds only.
        limit, start = max(1, math.ceil(seconds)), time.monotonic()
        result = solver.solve(model, load_solutions=False, timelimit=limit)
        condition = str(result.solver.termination_condition)
        found = len(result.solution) > 0
        if condition == "optimal":
            model.solutions.load_from(result)
            return Answer(Outcome.OPTIMAL, True)
        if condition in ("infeasible", "infeasibleOrUnbounded"):
            return Answer(Outcome.INFEASIBLE, False)
        # GLPK calls an incumbent at the time limit just "feasible".
        is_late = time.monotonic() - start >= limit
        if condition in ("maxTimeLimit", "feasible") or is_late:
            if found:
                model.solutions.load_from(result)
            return Answer(Outcome.TIME_LIMIT, found)
        raise SolverError(_stopped(name, condition))

    return run


def _stopped(name: str, condition: object) -> str:
    return (
        f"The solver {name!r} stopped without an answer: {condition}.\n\n"
        f"Try another solver of {sorted(INSTALL)}. Received: solver={name!r}"
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps what Pyomo logs about its solvers from the user's screen."""
    logger = logging.getLogger("pyomo")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
