"""What evaluates jobs, and doing it here.

A runner takes jobs one by one, as places become free, so that candidates are made while
others train. Results come in the order in which they are ready; nothing that the
search decides depends on that order.
"""

from __future__ import annotations

import abc
import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from keras_nas.search.evaluation import Evaluator, Job, Outcome, run_job

# Beyond the limit that evaluators keep themselves, before they are interrupted.
GRACE_S = 5.0
# For a process to start and to import what it needs.
START_S = 300.0


class Runner(abc.ABC):
    """Evaluates jobs."""

    #: Whether jobs leave this process.
    is_remote = True

    def check(self, evaluator: Evaluator) -> None:
        """Refuses an evaluator that cannot work there, before anything is begun.

        Raises:
            InvalidRequestError: It cannot.
        """

    @abc.abstractmethod
    def run(
        self, evaluator: Evaluator, jobs: Iterator[Job]
    ) -> Iterator[tuple[Job, Outcome]]:
        """Yields every job with what came out of it."""

    def close(self) -> None:
        """Ends what was started."""


class InlineRunner(Runner):
    """Evaluates in this process, one after the other.

    A candidate that hangs in Python code is interrupted at its time limit (on systems
    with alarms, in the main thread); one that hangs in native code is not: that takes
    `ProcessRunner`.
    """

    is_remote = False

    def run(
        self, evaluator: Evaluator, jobs: Iterator[Job]
    ) -> Iterator[tuple[Job, Outcome]]:
        """Yields every job with what came out of it, in order."""
        for job in jobs:
            try:
                with _alarm(job.time_limit_s):
                    outcome = run_job(evaluator, job)
            except HangingError as error:  # At the very end, outside of the candidate.
                outcome = Outcome({}, str(error))
            yield job, outcome


class HangingError(Exception):
    """A candidate did not stop at its time limit by itself."""


@contextlib.contextmanager
def _alarm(limit_s: float | None) -> Iterator[None]:
    """Interrupts Python code that takes longer than the limit and a bit."""
    is_main = threading.current_thread() is threading.main_thread()
    if limit_s is None or not is_main or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise HangingError(f"no answer within {limit_s:g} seconds")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, limit_s + min(GRACE_S, limit_s))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
