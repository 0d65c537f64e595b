"""Random search: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_nas.search.strategies.base import Duplicates, Strategy, check_count
from keras_nas.search.trial import Proposal, Trial


class RandomSearch(Strategy):
    """Draws from the search space, each architecture at most once.

    Args:
        batch_size: Candidates of one round; as many can be evaluated in parallel.

    Example:
        >>> len(RandomSearch(batch_size=4).ask(np.random.default_rng(0)))
        4
    """

    duplicates = Duplicates.REDRAW

    def __init__(self, batch_size: int = 8):
        self.batch_size = check_count("batch_size", batch_size, 1)

    def ask(self, rng: np.random.Generator) -> list[Proposal]:
        """Returns proposals to draw from the space."""
        return [Proposal()] * self.batch_size

    def tell(self, trials: Sequence[Trial]) -> None:
        """Does nothing: no draw depends on another."""

    def live(self) -> set[int]:
        """Returns nothing: no trial is a parent."""
        return set()

    def settings(self) -> dict:
        """Returns the batch size."""
        return {"batch_size": self.batch_size}
