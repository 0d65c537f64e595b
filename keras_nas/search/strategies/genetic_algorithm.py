"""The genetic algorithm of KerasEvolver: elite, selection, crossover, mutation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.search.strategies.base import (
    Duplicates,
    Strategy,
    check_count,
    check_fraction,
)
from keras_nas.search.strategies.selection import (
    select_by_tournament,
    select_universally,
)
from keras_nas.search.trial import Proposal, Trial, best_first


class GeneticAlgorithm(Strategy):
    """Evolves a population, generation by generation.

    1. The first generation is drawn from the search space.
    2. The best few go on unchanged (and train on, where candidates inherit weights).
    3. The other places go to selected parents: in pairs crossed with some probability,
       each child mutated with some probability, and trained on if neither happened.

    Args:
        population_size: Candidates of a generation.
        elites: How many go on unchanged.
        selection: ``"tournament"`` or ``"universal"`` (stochastic universal sampling).
        tournament_size: Members of each tournament.
        tournament_probability: That the best of a tournament wins it.
        crossover: Probability for each selected pair.
        mutation: Probability for each child.
        duplicates: What happens to a candidate that was evaluated before; by default
            it is evaluated, which suits candidates that inherit weights.

    Raises:
        InvalidRequestError: A population below 2, as many elites, or no probability.

    Source: the defaults are those of NaiveGAflux (``AutoFlux``).
    """

    def __init__(
        self,
        population_size: int = 50,
        elites: int = 2,
        selection: str = "tournament",
        tournament_size: int = 2,
        tournament_probability: float = 1.0,
        crossover: float = 0.3,
        mutation: float = 0.8,
        duplicates: Duplicates | str = Duplicates.EVALUATE,
    ):
        self.population_size = check_count("population_size", population_size, 2)
        self.elites = check_count("elites", elites, 0)
        if elites >= population_size:
            raise InvalidRequestError(
                f"{elites} elites leave no place in a population of {population_size}."
                f"\n\nGive fewer. Received: elites={elites!r}"
            )
        if selection not in ("tournament", "universal"):
            raise InvalidRequestError(
                f"There is no selection {selection!r}.\n\nGive 'tournament' or "
                f"'universal'. Received: selection={selection!r}"
            )
        self.selection = selection
        self.tournament_size = check_count("tournament_size", tournament_size, 1)
        self.tournament_probability = check_fraction(
            "tournament_probability", tournament_probability
        )
        self.crossover = check_fraction("crossover", crossover)
        self.mutation = check_fraction("mutation", mutation)
        self.duplicates = Duplicates(duplicates)
        self.needs = needed(self.crossover, self.mutation)
        self._population: list[Trial] = []

    def ask(self, rng: np.random.Generator) -> list[Proposal]:
        """Returns one generation."""
        if not self._population:
            return [Proposal()] * self.population_size
        ranked = best_first(self._population)
        proposals = [Proposal((trial.number,)) for trial in ranked[: self.elites]]
        parents = self._select(self.population_size - len(proposals), rng)
        proposals += offspring(parents, self.crossover, self.mutation, rng)
        return without_copies(proposals) if self.mutation > 0 else proposals

    def _select(self, count: int, rng: np.random.Generator) -> list[int]:
        fitness = [trial.fitness for trial in self._population]
        if self.selection == "universal":
            chosen = select_universally(fitness, count, rng)
        else:
            chosen = select_by_tournament(
                fitness, count, rng, self.tournament_size, self.tournament_probability
            )
        return [self._population[position].number for position in chosen]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Replaces the population; if all have failed, the old one tries again."""
        self._population = [t for t in trials if not t.has_failed] or self._population

    def live(self) -> set[int]:
        """Returns the population."""
        return {trial.number for trial in self._population}

    def settings(self) -> dict:
        """Returns sizes, probabilities and the kind of selection."""
        return {
            "population_size": self.population_size,
            "elites": self.elites,
            "selection": self.selection,
            "tournament_size": self.tournament_size,
            "tournament_probability": self.tournament_probability,
            "crossover": self.crossover,
            "mutation": self.mutation,
            "duplicates": self.duplicates.value,
        }


def without_copies(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Lets each parent train on only once, and mutates its further copies."""
    seen: set[tuple[int, ...]] = set()
    found = []
    for proposal in proposals:
        is_copy = proposal.is_continuation and proposal.parents in seen
        found.append(Proposal(proposal.parents, mutate=True) if is_copy else proposal)
        if proposal.is_continuation:
            seen.add(proposal.parents)
    return found


def needed(crossover: float, mutation: float) -> tuple[str, ...]:
    """Returns what a search space must be able to do."""
    return ("crossover",) * (crossover > 0) + ("mutate",) * (mutation > 0)


def offspring(
    parents: Sequence[int],
    crossover: float,
    mutation: float,
    rng: np.random.Generator,
    trains_on: bool = True,
) -> list[Proposal]:
    """Pairs selected parents and returns one child for each.

    Args:
        parents: Numbers of trials. An odd one stays alone.
        crossover: Probability for each pair.
        mutation: Probability for each child.
        rng: The only source of chance.
        trains_on: Whether a child that is neither crossed nor mutated may stand; else
            it is mutated.
    """
    order = [parents[position] for position in rng.permutation(len(parents))]
    children = []
    for start in range(0, len(order), 2):
        pair = order[start : start + 2]
        is_crossed = rng.random() < crossover and len(set(pair)) == 2
        for first, second in zip(pair, reversed(pair), strict=True):
            lineage = (first, second) if is_crossed else (first,)
            mutates = rng.random() < mutation or not (is_crossed or trains_on)
            children.append(Proposal(tuple(map(int, lineage)), bool(mutates)))
    return children
