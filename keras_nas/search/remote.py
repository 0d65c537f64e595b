"""Evaluating wherever somebody else's executor does it: Dask, MPI, Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

from keras_nas.search.evaluation import Evaluator, Job, Outcome, run_job
from keras_nas.search.runners import START_S, Runner


class FutureRunner(Runner):
    """Evaluates with any `concurrent.futures.Executor`.

    Dask (``client.get_executor()``), MPI (``mpi4py.futures.MPIPoolExecutor()``) and
    others have one (all three were tried, ``benchmarks/cluster_check.py``). The
    directory of the run must be on a file system that all machines see. A job that
    hangs is given up at its time limit, but only its executor could end it.

    Args:
        executor: Not closed in the end: it is yours.
        workers: How many jobs may be under way at once; by default as many as the
            executor says that it has workers, or 1.
    """

    def __init__(self, executor: futures.Executor, workers: int | None = None):
        self.executor = executor
        self.workers = workers or getattr(executor, "_max_workers", None) or 1

    def run(
        self, evaluator: Evaluator, jobs: Iterator[Job]
    ) -> Iterator[tuple[Job, Outcome]]:
        """Yields every job with what came out of it, as they are ready."""
        pending: dict[futures.Future, tuple[Job, float | None]] = {}
        more = True
        while more or pending:
            while more and len(pending) < self.workers:
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    limit = job.time_limit_s
                    end = None
                    if limit is not None:
                        end = time.monotonic() + limit + START_S
                    future = self.executor.submit(run_job, evaluator, job)
                    pending[future] = (job, end)
            yield from _finished(pending)


def _finished(pending: dict) -> Iterator[tuple[Job, Outcome]]:
    """Waits for at least one future, and takes all that are ready or late."""
    ends = [end for _, end in pending.values() if end is not None]
    timeout = max(0.0, min(ends) - time.monotonic()) if ends else None
    ready, _ = futures.wait(pending, timeout, futures.FIRST_COMPLETED)
    now = time.monotonic()
    for future, (job, end) in list(pending.items()):
        if future in ready:
            del pending[future]
            yield job, _outcome_of(future)
        elif end is not None and now >= end:
            del pending[future]
            future.cancel()
            yield job, Outcome({}, "the executor did not answer in time")


def _outcome_of(future: futures.Future) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001  A broken pool, a lost worker.
        return Outcome({}, f"the executor failed: {type(error).__name__}: {error}")


class RayExecutor(futures.Executor):
    """A Ray cluster as an executor; start or join it with ``ray.init`` before.

    Args:
        resources: Keywords of ``ray.remote`` for each job, such as
            ``{"num_cpus": 1, "num_gpus": 0.5}``.
        calls: Jobs of one Ray process before it is replaced.

    With Ray 2.60 on one machine, a search gave the same trials as without::

        ray.init()
        Search(..., executor=FutureRunner(RayExecutor({"num_cpus": 1}), workers=8))
    """

    def __init__(self, resources: dict[str, Any] | None = None, calls: int = 25):
        import ray

        self._call = ray.remote(max_calls=calls, **(resources or {}))(_call)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> futures.Future:
        """Starts a call on the cluster."""
        return self._call.remote(fn, args, kwargs).future()


def _call(fn: Any, args: tuple, kwargs: dict) -> Any:
    return fn(*args, **kwargs)
