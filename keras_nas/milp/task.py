"""One call of a solver within a task: its time, and the best sizes so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keras_nas.errors import InternalError, SolverError
from keras_nas.milp import solvers
from keras_nas.milp.formulation import Formulation
from keras_nas.milp.solvers import Deadline, Outcome
from keras_nas.milp.system import Infeasible


@dataclass
class Task:
    """What one call may use, and the best sizes it has seen."""

    solver: str
    deadline: Deadline
    accept_incumbent: bool = False
    best: list[int] | None = field(default=None)

    def share(self, parts: int) -> Task:
        """The task of the next of several parts.

        If an incumbent will do, no part may use up the time of those after it.
        """
        if not self.accept_incumbent:
            return replace(self, best=None)
        end = Deadline(self.deadline.seconds, self.deadline.left() / parts)
        return replace(self, deadline=end, best=None)

    def expire(self) -> SolverError:
        """The error for reaching the time limit."""
        found = "no sizes" if self.best is None else "sizes, perhaps not the best,"
        return SolverError(
            f"The solver {self.solver!r} reached its time limit of "
            f"{self.deadline.seconds:g} s; it had found {found} by then.\n\n"
            "Raise the limit, or take the best sizes found until then with "
            "`accept_incumbent=True`. "
            f"Received: time_limit_s={self.deadline.seconds:g}"
        )


class Expired(Exception):
    """The time limit was reached inside a stage."""


def run_once(run: solvers.Run, form: Formulation, task: Task) -> list[int]:
    """Runs a solver once, and reads the sizes that it found.

    Raises:
        Infeasible: No sizes satisfy the rows.
        Expired: The time is over; ``task.best`` has the sizes found, if any.
    """
    answer = run(task.deadline.left())
    if answer.outcome is Outcome.INFEASIBLE:
        raise Infeasible("the rows leave no sizes")
    sizes = [round(size) for size in form.sizes()] if answer.has_values else None
    if answer.outcome is Outcome.TIME_LIMIT or task.deadline.left() <= 0:
        if sizes is not None and task.best is None:
            task.best = sizes
        raise Expired
    if sizes is None:
        raise InternalError(
            f"The solver {task.solver!r} ended with {answer.outcome} and no sizes.\n\n"
            "Please report this. Received: its answer"
        )
    return sizes
