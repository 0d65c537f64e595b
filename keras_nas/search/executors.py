"""Where candidates are evaluated: here, in other processes, on other machines."""

from __future__ import annotations

import os
from concurrent import futures
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_whole
from keras_nas.search.processes import ProcessRunner
from keras_nas.search.remote import FutureRunner, RayExecutor
from keras_nas.search.runners import InlineRunner, Runner

__all__ = [
    "FutureRunner",
    "InlineRunner",
    "ProcessRunner",
    "RayExecutor",
    "Runner",
    "as_runner",
]


def as_runner(executor: Any, workers: int, recycle: int) -> Runner:
    """Returns the runner for the settings of a search.

    Args:
        executor: None, ``"inline"``, ``"processes"``, an executor, or a `Runner`.
        workers: Without an executor, 1 means this process. With one, how many jobs
            may be under way at once; 1 leaves that to the executor, as far as it says.
        recycle: Candidates of one process before it is replaced.

    Raises:
        InvalidRequestError: Another executor, or no number of workers.
    """
    if isinstance(executor, Runner):
        return executor
    if isinstance(executor, futures.Executor):
        return FutureRunner(executor, workers if workers > 1 else None)
    if not is_whole(workers) or workers < 1:
        raise InvalidRequestError(
            f"{workers!r} is no number of workers.\n\nGive 1 for this process, or how "
            f"many processes (this machine has {os.cpu_count()} cores). Received: "
            f"workers={workers!r}"
        )
    if executor == "inline" or (executor is None and workers == 1):
        return InlineRunner()
    if executor in (None, "processes"):
        return ProcessRunner(workers, recycle)
    raise InvalidRequestError(
        f"{executor!r} is no executor.\n\nGive 'inline', 'processes', or an object "
        f"that is a concurrent.futures.Executor. Received: executor={executor!r}"
    )
