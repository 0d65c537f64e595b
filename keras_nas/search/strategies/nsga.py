"""Evolution for several objectives at once, in the way of NSGA-II."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_nas.search.pareto import best_first
from keras_nas.search.strategies.base import (
    Duplicates,
    Strategy,
    check_count,
    check_fraction,
)
from keras_nas.search.strategies.genetic_algorithm import needed, offspring
from keras_nas.search.strategies.selection import select_by_tournament
from keras_nas.search.trial import Proposal, Trial


class NSGA2(Strategy):
    """Keeps the best fronts of parents and children together, evenly spread.

    1. The first generation is drawn from the search space.
    2. Parents win tournaments of two: the better front, then the lonelier place.
    3. Children are crossed and mutated.
    4. Of parents and children, the best `population_size` remain, by front and
       loneliness. Nothing is ever weighed against another.

    Args:
        population_size: Candidates that remain, and children of a generation.
        crossover: Probability for each pair.
        mutation: Probability for each child; what is not crossed is always mutated.
        duplicates: What happens to a candidate that was evaluated before. By default
            another one is drawn: small fronts are soon full of known neighbours.

    Raises:
        InvalidRequestError: A population below 2, or no probability.

    Source: Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm:
        NSGA-II". The operators are those of the search space, not those of the paper.
    """

    def __init__(
        self,
        population_size: int = 20,
        crossover: float = 0.5,
        mutation: float = 0.8,
        duplicates: Duplicates | str = Duplicates.REDRAW,
    ):
        self.population_size = check_count("population_size", population_size, 2)
        self.crossover = check_fraction("crossover", crossover)
        self.mutation = check_fraction("mutation", mutation)
        self.duplicates = Duplicates(duplicates)
        self.needs = needed(self.crossover, 1.0)
        self._population: list[Trial] = []  # The best first.

    def ask(self, rng: np.random.Generator) -> list[Proposal]:
        """Returns the children of one generation."""
        if not self._population:
            return [Proposal()] * self.population_size
        fitness = [-float(place) for place in range(len(self._population))]
        chosen = select_by_tournament(fitness, self.population_size, rng)
        parents = [self._population[position].number for position in chosen]
        return offspring(parents, self.crossover, self.mutation, rng, trains_on=False)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keeps the best of the old and the new ones; of equal candidates, one."""
        known = {trial.owner for trial in self._population}
        able = list(self._population)
        for trial in trials:
            if not trial.has_failed and trial.owner not in known:
                known.add(trial.owner)
                able.append(trial)
        order = best_first(np.array([trial.scores for trial in able]))
        chosen = order[: self.population_size]
        self._population = [able[position] for position in chosen]

    def live(self) -> set[int]:
        """Returns the population."""
        return {trial.number for trial in self._population}

    def settings(self) -> dict:
        """Returns the size and the probabilities."""
        return {
            "population_size": self.population_size,
            "crossover": self.crossover,
            "mutation": self.mutation,
            "duplicates": self.duplicates.value,
        }
