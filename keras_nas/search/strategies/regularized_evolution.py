"""Regularized evolution: not the worst dies, but the oldest."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from keras_nas.search.strategies.base import Strategy, check_count
from keras_nas.search.trial import Proposal, Trial


class RegularizedEvolution(Strategy):
    """Mutates the best of a few, and forgets the oldest.

    1. Fill the population with random candidates.
    2. Draw `sample_size` of the population; the best of them is the parent.
    3. Its mutated child joins the population, the oldest leaves.

    A candidate that owes its score to luck leaves like any other, and comes back only
    if its children are good, too.

    Args:
        population_size: How many candidates can become parents.
        sample_size: How many of them compete to be the next one.
        batch_size: Children made from one population, so that as many can be evaluated
            in parallel. 1 is the algorithm of the paper.

    Raises:
        InvalidRequestError: A size below 1, or a sample larger than the population.

    Source: Real et al. 2019, "Regularized Evolution for Image Classifier Architecture
        Search" (AmoebaNet) <https://arxiv.org/abs/1802.01548>, algorithm 1. There,
        children are trained from scratch; here they may inherit weights, which is up
        to what breeds them.
    """

    needs = ("mutate",)

    def __init__(
        self, population_size: int = 20, sample_size: int = 5, batch_size: int = 1
    ):
        self.population_size = check_count("population_size", population_size, 1)
        self.sample_size = check_count("sample_size", sample_size, 1)
        self.batch_size = check_count("batch_size", batch_size, 1)
        check_count("population_size", population_size, sample_size)
        self._population: deque[Trial] = deque(maxlen=self.population_size)

    def ask(self, rng: np.random.Generator) -> list[Proposal]:
        """Returns random candidates first, then mutated children."""
        missing = self.population_size - len(self._population)
        if missing:
            return [Proposal()] * min(missing, self.batch_size)
        return [self._child(rng) for _ in range(self.batch_size)]

    def _child(self, rng: np.random.Generator) -> Proposal:
        drawn = rng.choice(self.population_size, self.sample_size, replace=False)
        sample = [self._population[position] for position in drawn]
        parent = max(sample, key=lambda trial: (trial.fitness, trial.number))
        return Proposal((parent.number,), mutate=True)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Lets new candidates in; the oldest drop out. Failures stay outside."""
        self._population.extend(trial for trial in trials if not trial.has_failed)

    def live(self) -> set[int]:
        """Returns the population."""
        return {trial.number for trial in self._population}

    def settings(self) -> dict:
        """Returns the three sizes."""
        return {
            "population_size": self.population_size,
            "sample_size": self.sample_size,
            "batch_size": self.batch_size,
        }
