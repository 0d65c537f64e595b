"""One line that says how far a search is."""

from __future__ import annotations

import time
from typing import Any

from keras_nas.search.callbacks import EvolverCallback
from keras_nas.search.state import State
from keras_nas.search.summary import clock
from keras_nas.search.trial import Status, Trial


class Progress(EvolverCallback):
    """Shows generation, trial, best fitness, elapsed and remaining time.

    On a terminal it is one line that changes; elsewhere, one line a generation.

    Args:
        console: A `rich.console.Console`; made by default.
    """

    def __init__(self, console: Any = None):
        from rich.console import Console

        self._console = console or Console(soft_wrap=True)
        self._status: Any = None
        self._trials = self._before = self._rejected = self._failed = 0
        self._best: float | None = None
        self._generation = 0
        self._seconds_before = 0.0
        self._began = 0.0

    def on_search_begin(self, search: Any, state: State) -> None:
        """Starts the clock, and counts what a resumed run has already."""
        trials = state.trials
        self._trials = self._before = len(trials)
        self._failed = sum(trial.has_failed for trial in trials)
        self._best = None if state.best is None else state.best.fitness
        self._seconds_before = state.seconds
        self._began = time.monotonic()
        if trials:
            self._console.print(f"Goes on after {len(trials)} trials.")
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()

    def on_generation_begin(self, generation: int) -> None:
        """Notes where it is."""
        self._generation = generation
        self._show()

    def on_candidate_end(self, trial: Trial) -> None:
        """Counts."""
        self._trials += 1
        self._rejected += trial.draws - 1
        self._failed += trial.has_failed
        if trial.status is Status.DONE:
            best = trial.fitness if self._best is None else self._best
            self._best = max(best, trial.fitness)
        self._show()

    def on_generation_end(self, generation: int, logs: dict[str, Any]) -> None:
        """Prints the line where it cannot be changed."""
        if self._status is None:
            self._console.print(self.line())

    def on_search_end(self, result: Any) -> None:
        """Says why it ended."""
        self.on_search_error()
        self._console.print(f"{self.line()}\nEnd: {result.reason}.")

    def on_search_error(self, error: BaseException | None = None) -> None:
        """Leaves the terminal as it was."""
        if self._status is not None:
            self._status.stop()

    def _show(self) -> None:
        if self._status is not None:
            self._status.update(self.line())

    def line(self) -> str:
        """Returns the line."""
        budget = self.search.budget
        elapsed = time.monotonic() - self._began
        words = [f"generation {_of(self._generation + 1, budget.generations)}"]
        words.append(f"trial {_of(self._trials, budget.trials)}")
        if self._best is not None:
            words.append(f"best {self._best:.4f}")
        words.append(f"elapsed {clock(self._seconds_before + elapsed)}")
        remaining = self._remaining(elapsed)
        if remaining is not None:
            words.append(f"eta {clock(remaining)}")
        if self._failed:
            words.append(f"failed {self._failed}")
        if self._rejected:
            words.append(f"rejected {self._rejected}")
        return "  ".join(words)

    def _remaining(self, elapsed: float) -> float | None:
        """Seconds until the first limit is reached, at the present pace."""
        budget, made = self.search.budget, self._trials - self._before
        guesses = []
        if made and budget.trials:
            guesses.append(elapsed / made * (budget.trials - self._trials))
        size = getattr(self.search.strategy, "population_size", None)
        if made and budget.generations and size:
            guesses.append(elapsed / made * (budget.generations * size - self._trials))
        if budget.seconds:
            guesses.append(budget.seconds - self._seconds_before - elapsed)
        return max(0.0, min(guesses)) if guesses else None


def _of(count: int, limit: int | None) -> str:
    return f"{count}" if limit is None else f"{count}/{limit}"
