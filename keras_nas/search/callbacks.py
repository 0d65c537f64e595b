"""What others do while a search goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.search.state import State
from keras_nas.search.summary import history_row
from keras_nas.search.trial import Trial


class EvolverCallback:
    """Is told what happens in a search; override what you need.

    All methods run in the main process, between evaluations. A resumed search does
    not repeat what an earlier part of it told.

    Attributes:
        search: The search, from `on_search_begin` on.

    Example:
        >>> class Shout(EvolverCallback):
        ...     def on_new_best(self, trial):
        ...         print(f"{trial.fitness:.3f}!")
    """

    search: Any = None

    def on_search_begin(self, search: Any, state: State) -> None:
        """Before anything is asked; `state` holds what a resumed run has already."""

    def on_generation_begin(self, generation: int) -> None:
        """Before the first candidate of a generation, counted from 0."""

    def on_candidate_end(self, trial: Trial) -> None:
        """After every candidate, failed ones included, in the order of their ends."""

    def on_new_best(self, trial: Trial) -> None:
        """After a candidate that is better than all before it."""

    def on_generation_end(self, generation: int, logs: dict[str, Any]) -> None:
        """After a generation.

        Args:
            generation: From 0.
            logs: ``best`` and ``mean`` fitness of the generation, ``best_so_far``,
                number of ``trials`` and of ``failed`` ones, ``seconds``.
        """

    def on_search_end(self, result: Any) -> None:
        """In the end, with the `SearchResult`; after Ctrl-C, too."""

    def on_search_error(self, error: BaseException) -> None:
        """Instead of it, if the search ends with an error."""


class Callbacks(EvolverCallback):
    """Several callbacks as one.

    Args:
        callbacks: In the order in which they are told.

    Raises:
        InvalidRequestError: One of them is none.
    """

    def __init__(self, callbacks: Sequence[EvolverCallback]):
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, EvolverCallback):
                raise InvalidRequestError(
                    f"{callback!r:.80} is no callback of a search.\n\nGive "
                    f"objects of a subclass of EvolverCallback; callbacks of Keras do "
                    f"not fit. Received: {callback!r:.80}"
                )

    def on_search_begin(self, search: Any, state: State) -> None:
        """Tells all, and lets them know the search."""
        for callback in self.callbacks:
            callback.search = search
            callback.on_search_begin(search, state)

    def on_generation_begin(self, generation: int) -> None:
        """Tells all."""
        for callback in self.callbacks:
            callback.on_generation_begin(generation)

    def on_candidate_end(self, trial: Trial) -> None:
        """Tells all."""
        for callback in self.callbacks:
            callback.on_candidate_end(trial)

    def on_new_best(self, trial: Trial) -> None:
        """Tells all."""
        for callback in self.callbacks:
            callback.on_new_best(trial)

    def on_generation_end(self, generation: int, state: Any) -> None:
        """Tells all the numbers of the generation."""
        logs = history_row(state.rounds[generation], state.best)
        for callback in self.callbacks:
            callback.on_generation_end(generation, dict(logs))

    def on_search_end(self, result: Any) -> None:
        """Tells all."""
        for callback in self.callbacks:
            callback.on_search_end(result)

    def on_search_error(self, error: BaseException) -> None:
        """Tells all."""
        for callback in self.callbacks:
            callback.on_search_error(error)
