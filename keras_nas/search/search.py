"""The one loop beneath every search method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.search.breeding import Breeder, SpaceBreeder
from keras_nas.search.budget import Budget
from keras_nas.search.callbacks import Callbacks
from keras_nas.search.evaluation import Evaluator
from keras_nas.search.objectives import as_objectives, check_limits
from keras_nas.search.result import SearchResult
from keras_nas.search.running import Run
from keras_nas.search.setting_checks import (
    check_directory,
    check_seed,
    check_settings,
)
from keras_nas.search.strategies import Duplicates, Strategy


class Search:
    """Searches for the best candidates: proposes, makes, evaluates, and remembers.

    Everything that happens is written to a journal before anything relies on it. A
    search that is started again with the same settings, however the last one ended,
    goes on where it stopped and comes to the same end, with any number of workers.

    Args:
        space: A search space (see `SpaceBreeder`), or a `Breeder`.
        strategy: Who proposes.
        evaluator: Who measures.
        objective: What counts: the name of a metric or cost, an `Objective`, a
            function, or several of them.
        budget: When to stop. Not part of what the run is: give more to go on.
        directory: Of the journal and the models; by default a temporary one.
        seed: Fixes everything; 0 is a seed.
        constraints: Upper limits of ``params``, ``flops``, ``memory``. Candidates
            beyond them are not evaluated, and cost nothing.
        workers: 1 for this process, or how many processes.
        executor: ``"processes"`` even for one worker, or any executor of
            `concurrent.futures`; see `keras_nas.search.executors`.
        recycle: Candidates of one process before it is replaced.
        time_limit_s: Seconds for one candidate.
        finalists: How many of the best are evaluated again in the end, since the best
            of many single measurements owes much of it to luck. The winner is the one
            with the best mean. A model that is not on the disk any more leaves its
            place to the next best.
        final_repeats: How often each of them.
        keep: How many of the best models stay on the disk.
        smoothing: For a candidate that trains on: how much of the score that it had
            before stays in its new score, from 0 to below 1.
        duplicates: What happens to a candidate that was evaluated before; by default
            as the strategy wants it.
        max_draws: How often a rejected candidate is drawn again.
        callbacks: `EvolverCallback` objects.

    Raises:
        InvalidRequestError: Settings that no search can have.
        JournalError: The directory holds another run, or a damaged one.

    Example:
        >>> from keras_nas.search import (
        ...     Budget, FunctionEvaluator, RandomSearch, Search)
        >>> class Numbers:
        ...     def sample(self, rng):
        ...         return int(rng.integers(100))
        >>> square = FunctionEvaluator(lambda x, seed: {"val_score": -(x - 50) ** 2})
        >>> search = Search(Numbers(), RandomSearch(), square, objective="val_score",
        ...                 budget=Budget(trials=60), seed=0)
        >>> abs(search.run().best_architecture - 50) <= 3
        True
    """

    def __init__(
        self,
        space: Any,
        strategy: Strategy,
        evaluator: Evaluator,
        *,
        objective: Any = "val_accuracy",
        budget: Budget,
        directory: str | Path | None = None,
        seed: int = 0,
        constraints: Mapping[str, float] | None = None,
        workers: int = 1,
        executor: Any = None,
        recycle: int = 25,
        time_limit_s: float | None = None,
        finalists: int = 0,
        final_repeats: int = 3,
        keep: int = 3,
        smoothing: float = 0.0,
        duplicates: Duplicates | str | None = None,
        max_draws: int = 100,
        callbacks: Sequence[Any] = (),
    ):
        check_settings(
            workers=workers,
            executor=executor,
            constraints=constraints,
            time_limit_s=time_limit_s,
            smoothing=smoothing,
            finalists=finalists,
            final_repeats=final_repeats,
            keep=keep,
            recycle=recycle,
            max_draws=max_draws,
        )
        self.breeder = space if isinstance(space, Breeder) else SpaceBreeder(space)
        self.strategy = strategy
        self.evaluator = evaluator
        self.objectives = as_objectives(objective)
        self.budget = budget
        self.seed = check_seed(seed)
        self.limits = check_limits(constraints)
        self.executor = executor
        self.workers = workers
        self.recycle = recycle
        self.time_limit_s = time_limit_s
        self.finalists = finalists
        self.final_repeats = final_repeats
        # Finalists are made from their models.
        self.keep = max(1, keep, finalists)
        self.smoothing = smoothing
        self.duplicates = Duplicates(duplicates or strategy.duplicates)
        self.max_draws = max_draws
        self.callbacks = Callbacks(callbacks)
        self.breeder.check(strategy.needs)
        if budget.is_open:
            raise InvalidRequestError(
                "The search would never end.\n\nLimit it: Budget(trials=...), or "
                "generations, seconds, target. Received: Budget()"
            )
        given = check_directory(directory)
        self.directory = given or Path(mkdtemp(prefix="keras_nas_"))

    def settings(self) -> dict[str, Any]:
        """Returns all that the results depend on, as the journal compares it."""
        return {
            "seed": self.seed,
            "objectives": [objective.settings() for objective in self.objectives],
            "constraints": self.limits,
            "duplicates": self.duplicates.value,
            "smoothing": self.smoothing,
            "max_draws": self.max_draws,
            **self.strategy.describe(),
            **self.breeder.describe(),
            **self.evaluator.describe(),
        }

    def run(self) -> SearchResult:
        """Searches until the budget is spent; goes on with what is in the directory.

        Returns:
            What was found. After Ctrl-C, what there is; the directory can be gone on
            with.

        Raises:
            JournalError: The directory holds another run, or a damaged one.
            SearchError: The disk is full, or no candidate at all can be evaluated.
        """
        return Run(self).run()
