"""What a search has found."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_nas.errors import SearchError
from keras_nas.search import journal
from keras_nas.search.evaluation import CandidateError, load_model
from keras_nas.search.files import Files
from keras_nas.search.pareto import pareto_front
from keras_nas.search.setting_checks import as_path
from keras_nas.search.state import State
from keras_nas.search.strategies.base import check_count
from keras_nas.search.summary import Leaderboard, history, leaderboard_rows
from keras_nas.search.trial import Status, Trial, best_first


class SearchResult:
    """All trials of a run, and the models of the best.

    Attributes:
        directory: Of the run.
        reason: Why the search ended; "" if read from a directory.
        settings: What the run was.

    Example:
        >>> import tempfile
        >>> from keras_nas.search import (
        ...     Budget, FunctionEvaluator, RandomSearch, Search, SearchResult)
        >>> class Digits:
        ...     def sample(self, rng):
        ...         return int(rng.integers(10))
        >>> same = FunctionEvaluator(lambda x, seed: {"val_score": x})
        >>> directory = tempfile.mkdtemp()
        >>> result = Search(Digits(), RandomSearch(), same, objective="val_score",
        ...                 budget=Budget(trials=10), directory=directory).run()
        >>> SearchResult.load(directory).best_architecture
        9
    """

    def __init__(
        self, directory: Path, state: State, reason: str, settings: Mapping[str, Any]
    ):
        self.directory = Path(directory)
        self.reason = reason
        self.settings = dict(settings)
        self._state = state

    @classmethod
    def load(cls, directory: str | Path) -> SearchResult:
        """Reads a run, finished or not; changes nothing in its directory.

        Raises:
            JournalError: There is none, or it is damaged.
        """
        path = as_path(directory)
        header, events = journal.read(path)
        return cls(path, State.replay(events), "", header["settings"])

    def save(self, directory: str | Path) -> None:
        """Copies the journal and the models that are kept to another directory.

        Raises:
            SearchError: It is a file, or there is something in it.
        """
        target = as_path(directory)
        if target.exists() and not target.is_dir():
            raise SearchError(
                f"'{target}' is a file.\n\nGive a new directory. Received: "
                f"{str(directory)!r}"
            )
        if target.exists() and any(target.iterdir()):
            raise SearchError(
                f"'{target}' is not empty.\n\nGive a new directory. Received: "
                f"{str(directory)!r}"
            )
        files = Files(self.directory)
        (target / files.models.name).mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.directory / journal.NAME, target / journal.NAME)
        for path in sorted(files.models.glob("*.keras")):
            if path.name.removesuffix(".keras").isdigit():
                shutil.copy2(path, target / files.models.name / path.name)

    @property
    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return self._state.trials

    @property
    def best(self) -> Trial | None:
        """The best trial, by repeated evaluation where there was one; None if none."""
        return self._state.best

    @property
    def best_architecture(self) -> Any:
        """The architecture of the best trial, where the space has such a form."""
        return None if self.best is None else self.best.architecture

    @property
    def history(self) -> dict[str, list]:
        """Name -> one number for each generation.

        ``best`` and ``mean`` fitness of a generation, ``best_so_far``, number of
        ``trials`` and how many ``failed``, ``seconds`` of evaluation.
        """
        return history(self._state)

    @property
    def final_means(self) -> dict[int, float]:
        """Number of a finalist -> mean score over its repeated evaluations."""
        return self._state.final_means()

    @property
    def seconds(self) -> float:
        """Time spent in all parts of the run together."""
        return self._state.seconds

    def leaderboard(self, count: int = 10) -> Leaderboard:
        """Returns the best trials as rows, best first; ``print`` it for a table.

        Finalists come before others, by the mean over their repeated evaluations.
        """
        check_count("count", count, 0)
        return Leaderboard(leaderboard_rows(self._state, count))

    def pareto(self) -> list[Trial]:
        """Returns the trials that no other one beats in all objectives, best first.

        With a single objective and known costs, the second one is ``params``.
        """
        able = [trial for trial in self.trials if trial.status is Status.DONE]
        points = [front_point(trial) for trial in able]
        front = [able[position] for position in pareto_front(points)]
        return best_first(front)

    def model(self, trial: Trial | int, *, with_optimizer: bool = False) -> Any:
        """Returns the trained model of a trial that is still on the disk.

        Args:
            trial: It, or its number.
            with_optimizer: Whether the model is compiled with the optimizer that has
                trained it, and no loss; otherwise it is not compiled.

        Raises:
            SearchError: It is not; only the best and the last ones are kept.
        """
        if not isinstance(trial, Trial):
            check_count("trial", trial, 0)
        number = trial.owner if isinstance(trial, Trial) else trial
        path = self.directory / "models" / f"{number:05d}.keras"
        try:
            return load_model(path, with_optimizer=with_optimizer)
        except CandidateError as error:
            raise SearchError(
                f"The model of trial {number} is not there: {error}.\n\nOnly the best "
                f"models and those of the last generation are kept; keep=... keeps "
                f"more. Received: {number!r}"
            ) from error

    def best_model(self, *, with_optimizer: bool = False) -> Any:
        """Returns the trained model of the best trial; see `model`.

        Raises:
            SearchError: There is none.
        """
        if self.best is None:
            first = f"; the first one: {self.trials[0].error}" if self.trials else ""
            raise SearchError(
                f"No candidate has been evaluated with success{first}.\n\nRun the "
                "search, or "
                f"look at the errors: [t.error for t in result.trials]. Received: "
                f"{len(self.trials)} trials"
            )
        return self.model(self.best, with_optimizer=with_optimizer)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draws the run; takes matplotlib.

        Fitness over generations, size against fitness with the Pareto front, and the
        family tree of the winner.

        Args:
            path: Image file to write; none by default.

        Returns:
            A matplotlib figure, which a notebook shows.
        """
        from keras_nas.search.plots import plot_result

        return plot_result(self, path)

    def __str__(self) -> str:
        done = len(self.trials)
        best = "none" if self.best is None else f"{self.best.fitness:.5g}"
        why = f" ({self.reason})" if self.reason else ""
        return f"{done} trials{why}, best fitness {best}\n{self.leaderboard()}"


def front_point(trial: Trial) -> tuple[float, ...]:
    """Returns what a trial is compared by on a front; more is better."""
    if len(trial.scores) > 1 or "params" not in trial.costs:
        return trial.scores
    return (trial.fitness, -float(trial.costs["params"]))
