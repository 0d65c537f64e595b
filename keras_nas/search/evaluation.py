"""How good is a candidate? The contract of evaluators, and running one safely."""

from __future__ import annotations

import abc
import errno
import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_nas.errors import KerasNasError


@dataclass(frozen=True)
class Job:
    """One evaluation; small and picklable, so that any process can do it.

    Attributes:
        trial: Number of the trial.
        round: Its round: candidates of one round see the same batches.
        seed: For everything random in it.
        architecture: JSON-able, where the search space has such a form.
        training: Optimizer, learning rate, batch size, where they evolve.
        start: File of the model to begin with; None if the evaluator needs none.
        out: Where the trained model goes; None if it is not kept.
        time_limit_s: Seconds after which the evaluator gives up by itself.
    """

    trial: int
    round: int
    seed: int
    architecture: Any = None
    training: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    out: str | None = None
    time_limit_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came out of a job.

    Attributes:
        metrics: Name -> number; empty for a failure.
        error: Why it failed, or None.
        seconds: That it took.
        is_disk_full: Whether it failed only because nothing could be written.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    is_disk_full: bool = False


class CandidateError(KerasNasError, RuntimeError):
    """A candidate that cannot be evaluated, with the reason; costs one trial."""


class Evaluator(abc.ABC):
    """Measures candidates; the second half of every search method.

    A subclass must be picklable if it is to work in other processes. Methods that
    share weights (supernets) are evaluators, too: any strategy works with them.

    Attributes:
        needs_model: Whether `evaluate` loads the model from ``job.start``.
        trains_on: Whether candidates inherit weights, so that evaluating the same
            network again goes on where it stopped.
    """

    needs_model = True

    @abc.abstractmethod
    def evaluate(self, job: Job) -> Mapping[str, float]:
        """Returns name -> number for one candidate.

        Raises:
            Exception: Anything; it costs this one trial.
        """

    def settings(self) -> dict[str, Any]:
        """Returns JSON-able settings that results depend on, for the journal."""
        return {}

    def prepare(self, directory: Path) -> None:
        """Gets ready before the first job; may write what workers need."""

    def describe(self) -> dict[str, Any]:
        """Returns the settings with the name of the class."""
        return {"evaluator": type(self).__name__, **self.settings()}


class FunctionEvaluator(Evaluator):
    """Any function from an architecture to numbers: a table, a formula, a simulator.

    Args:
        function: ``function(architecture, seed)``; returns a dict of numbers.
        settings: JSON-able; what the journal is to remember about it.

    Example:
        >>> length = FunctionEvaluator(lambda x, seed: {"val_accuracy": len(x)})
        >>> length.evaluate(Job(0, 0, 0, architecture=["a", "b"]))
        {'val_accuracy': 2}
    """

    needs_model = False

    def __init__(self, function: Any, settings: Mapping[str, Any] | None = None):
        self.function = function
        self._settings = dict(settings or {})

    def evaluate(self, job: Job) -> Mapping[str, float]:
        """Calls the function."""
        return self.function(job.architecture, job.seed)

    def settings(self) -> dict[str, Any]:
        """Returns what the constructor was given."""
        return self._settings


def run_job(evaluator: Evaluator, job: Job) -> Outcome:
    """Evaluates one candidate; whatever goes wrong becomes part of the outcome."""
    start = time.perf_counter()
    try:
        metrics = {k: float(v) for k, v in evaluator.evaluate(job).items()}
        return Outcome(metrics, None, time.perf_counter() - start)
    except Exception as error:  # noqa: BLE001  The search survives any candidate.
        seconds = time.perf_counter() - start
        return Outcome({}, describe(error), seconds, is_disk_full(error))


def describe(error: BaseException) -> str:
    """Returns one line for the journal, and where it happened."""
    text = str(error).strip().split("\n\n")[0][:500]
    if isinstance(error, CandidateError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def save_model(model: Any, path: str | Path) -> None:
    """Saves a model so that the file is either complete or not there at all."""
    path = Path(path)
    half = path.with_name(f".{path.stem}.{os.getpid()}.half.keras")
    try:
        model.save(half)
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def load_model(path: str | Path, *, with_optimizer: bool = False) -> Any:
    """Loads a model of a run; code in the file is not executed.

    Args:
        path: Of a file that `save_model` wrote.
        with_optimizer: Whether it is compiled with the optimizer that it was trained
            with, state included; otherwise it is not compiled.

    Raises:
        CandidateError: The file is gone, or damaged.
    """
    import keras

    path = Path(path)
    if not path.is_file():
        raise CandidateError(f"its file '{path.name}' is gone")
    try:
        return keras.saving.load_model(path, compile=with_optimizer, safe_mode=True)
    except Exception as error:
        raise CandidateError(f"'{path.name}' cannot be loaded: {error}") from error
