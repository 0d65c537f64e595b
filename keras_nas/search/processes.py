"""Evaluating in processes of this machine."""

from __future__ import annotations

import io
import multiprocessing
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

from keras_nas.axes import MaybeNone
from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_whole
from keras_nas.search.evaluation import Evaluator, Job, Outcome, describe, run_job
from keras_nas.search.runners import GRACE_S, START_S, Runner

_READY = "ready"


@dataclass
class _Worker:
    """A process, the pipe to it, and what it does."""

    process: Any
    pipe: Any
    is_ready: bool = False
    done: int = 0
    job: Job | MaybeNone = None
    deadline: float | None = None


class ProcessRunner(Runner):
    """Evaluates in spawned processes of this machine.

    Each process ends after some candidates and a fresh one takes its place: TensorFlow
    keeps 7 to 13 MB for every model. A process that dies, or does not answer at its
    time limit, costs its candidate, and is replaced.

    The pool is our own because ``ProcessPoolExecutor`` cannot end a single hanging
    process, is broken for good by one that dies, and with ``max_tasks_per_child``
    waits for ever on Python 3.11.

    As with every use of spawned processes, a script that starts a search needs
    ``if __name__ == "__main__":``.

    Args:
        workers: How many processes.
        recycle: Candidates of one process before it is replaced.

    Raises:
        InvalidRequestError: A number below 1.
    """

    def __init__(self, workers: int = 2, recycle: int = 25):
        for name, value in (("workers", workers), ("recycle", recycle)):
            if not is_whole(value) or value < 1:
                raise InvalidRequestError(
                    f"{value!r} is no number of {name}.\n\nGive a whole number of at "
                    f"least 1. Received: {name}={value!r}"
                )
        self.workers = workers
        self.recycle = recycle
        self._context = multiprocessing.get_context("spawn")
        self._all: list[_Worker] = []

    def check(self, evaluator: Evaluator) -> None:
        """Refuses what cannot be sent to another process: lambdas, local functions."""
        try:
            # Arrays are passed by, and not copied.
            ForkingPickler(io.BytesIO(), 5, True, lambda buffer: None).dump(evaluator)
        except Exception as error:  # There are many ways to say so.
            raise InvalidRequestError(
                f"The evaluation cannot be sent to another process: {error!s:.160}.\n\n"
                f"Define its functions (objective, loss, metrics) at the top of a "
                f"module, or use workers=1. Received: {type(evaluator).__name__}"
            ) from error

    def run(
        self, evaluator: Evaluator, jobs: Iterator[Job]
    ) -> Iterator[tuple[Job, Outcome]]:
        """Yields every job with what came out of it, as they are ready."""
        more = True
        while more or self._busy():
            while more and len(self._busy()) < self.workers:
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    self._start(job, evaluator)
            yield from self._collect()

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._all if worker.job is not None]

    def _start(self, job: Job, evaluator: Evaluator) -> None:
        idle = [worker for worker in self._all if worker.job is None]
        worker = idle[0] if idle else self._spawn()
        worker.job = job
        self._set_deadline(worker)
        try:
            worker.pipe.send((evaluator, job))
        except OSError:
            pass  # It has died meanwhile; `_collect` finds that out.

    def _set_deadline(self, worker: _Worker) -> None:
        """A process has its time to start, and only then that of the candidate."""
        limit = worker.job.time_limit_s
        if not worker.is_ready:
            worker.deadline = time.monotonic() + START_S
        elif limit is None:
            worker.deadline = None
        else:
            worker.deadline = time.monotonic() + limit + GRACE_S

    def _spawn(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._all.append(worker)
        return worker

    def _collect(self) -> Iterator[tuple[Job, Outcome]]:
        """Waits for at least one answer, or until some time limit is over."""
        busy = self._busy()
        if not busy:
            return
        ends = [worker.deadline for worker in busy if worker.deadline is not None]
        timeout = max(0.0, min(ends) - time.monotonic()) if ends else None
        ready = wait([worker.pipe for worker in busy], timeout)
        for worker in busy:
            job = worker.job
            if worker.pipe in ready:
                outcome = self._receive(worker)
                if outcome is not None:
                    yield job, outcome
            elif worker.deadline is not None and time.monotonic() >= worker.deadline:
                self._end(worker)
                yield job, Outcome({}, "the process did not answer in time")

    def _receive(self, worker: _Worker) -> Outcome | None:
        """Returns what came out of a job; None if the process has only started."""
        try:
            outcome = worker.pipe.recv()
            if outcome == _READY:
                worker.is_ready = True
                self._set_deadline(worker)
                return None
        except (EOFError, OSError):
            worker.process.join(GRACE_S)
            code = worker.process.exitcode
            self._end(worker)
            error = f"the process died with exit code {code}"
            if not worker.is_ready:
                error += (
                    " before it could begin (a script that starts a search needs "
                    "`if __name__ == '__main__':`)"
                )
            return Outcome({}, error)
        worker.job = None
        worker.done += 1
        if worker.done >= self.recycle:
            self._end(worker)
        return outcome

    def _end(self, worker: _Worker) -> None:
        self._all.remove(worker)
        worker.pipe.close()
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join()

    def close(self) -> None:
        """Ends all processes."""
        for worker in list(self._all):
            self._end(worker)


def _work(pipe: Any) -> None:
    """The life of a worker: jobs from the pipe, until the other end is closed."""
    # Ctrl-C reaches all processes of a terminal; only the search answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import keras  # noqa: F401  The slow part of a start.

    pipe.send(_READY)
    while True:
        try:
            evaluator, job = pipe.recv()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001  Of a module that is not here.
            pipe.send(Outcome({}, f"cannot be read in a process: {describe(error)}"))
            continue
        pipe.send(run_job(evaluator, job))
