"""What every strategy is."""

from __future__ import annotations

import abc
import enum
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_real, is_whole
from keras_nas.search.trial import Proposal, Trial


class Duplicates(str, enum.Enum):
    """What happens to a candidate that was evaluated before."""

    #: It gets the scores of the earlier one and is not evaluated.
    REUSE = "reuse"
    #: Another one is drawn instead; where none is found for its parents, it is reused.
    REDRAW = "redraw"
    #: It is evaluated like any other. Candidates that inherit weights are never equal.
    EVALUATE = "evaluate"


class Strategy(abc.ABC):
    """Proposes candidates, round by round.

    A strategy decides and does nothing else: it knows no model, no weights, no file.
    Its state is a function of what it was told, and of nothing else: `ask` may be
    called again, or not at all, without consequence. So a run is resumed by telling
    again what the journal holds.
    """

    duplicates = Duplicates.REUSE
    #: What the search space must be able to do: ``"mutate"``, ``"crossover"``.
    needs: tuple[str, ...] = ()

    @abc.abstractmethod
    def ask(self, rng: np.random.Generator) -> list[Proposal]:
        """Returns the proposals of the next round, at least one.

        They are evaluated independently of each other, in parallel where there are
        workers. The last round of a search may be cut short.

        Args:
            rng: The only source of chance.
        """

    @abc.abstractmethod
    def tell(self, trials: Sequence[Trial]) -> None:
        """Takes in all trials of one round, by number."""

    @abc.abstractmethod
    def live(self) -> set[int]:
        """Returns the numbers of all trials that may become parents."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Returns JSON-able settings, for the journal."""

    def describe(self) -> dict[str, Any]:
        """Returns the settings with the name of the class."""
        return {"strategy": type(self).__name__, **self.settings()}


def check_count(name: str, value: Any, least: int) -> int:
    """Returns a whole number that is at least so large.

    Raises:
        InvalidRequestError: It is not.
    """
    if is_whole(value) and value >= least:
        return int(value)
    label = name.replace("_", " ")
    label = f"number of {label}" if label.endswith("s") else label
    raise InvalidRequestError(
        f"A {label} of {value!r} is too small or no whole number."
        f"\n\nGive at least {least}. Received: {name}={value!r}"
    )


def check_fraction(name: str, value: Any) -> float:
    """Returns a number between 0 and 1.

    Raises:
        InvalidRequestError: It is not.
    """
    if is_real(value) and 0 <= value <= 1:
        return float(value)
    raise InvalidRequestError(
        f"A probability of {value!r} is none.\n\nGive a number between 0 and 1. "
        f"Received: {name}={value!r}"
    )
