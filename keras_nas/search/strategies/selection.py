"""Who becomes a parent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def select_by_tournament(
    fitness: Sequence[float],
    count: int,
    rng: np.random.Generator,
    size: int = 2,
    probability: float = 1.0,
) -> list[int]:
    """Returns the winners of some tournaments.

    The field of each tournament is drawn with as few repetitions as possible: everyone
    takes part once before anyone does twice.

    Args:
        fitness: More is better.
        count: How many tournaments.
        rng: The only source of chance.
        size: Members of each.
        probability: That the best one wins; else the second does with this
            probability, and so on.

    Returns:
        `count` positions in `fitness`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> select_by_tournament([1.0, 3.0], 2, rng)
        [1, 1]
    """
    fields = _fields(len(fitness), count, size, rng)
    winners = []
    for field in fields:
        ranked = sorted(field, key=lambda position: (-fitness[position], position))
        place = 0
        while place < len(ranked) - 1 and rng.random() >= probability:
            place += 1
        winners.append(int(ranked[place]))
    return winners


def _fields(members: int, count: int, size: int, rng: np.random.Generator) -> list:
    """Deals the members to tournaments like shuffled decks of cards."""
    size = min(size, members)
    deck: list[int] = []
    fields = []
    for _ in range(count):
        field = deck[:size]
        deck = deck[size:]
        if len(field) < size:
            fresh = [int(x) for x in rng.permutation(members)]
            rest = [x for x in fresh if x not in field]
            again = [x for x in fresh if x in field]
            deck = rest + again
            missing = size - len(field)
            field, deck = field + deck[:missing], deck[missing:]
        fields.append(field)
    return fields


def select_universally(
    fitness: Sequence[float], count: int, rng: np.random.Generator
) -> list[int]:
    """Returns parents in proportion to their fitness, with the least spread.

    All are laid on a line, each as long as its fitness above the worst; `count` equally
    spaced pointers choose. Nobody gets more than one parenthood above or below what
    the proportion says. The order is random.

    Args:
        fitness: More is better; only differences count.
        count: How many.
        rng: The only source of chance.

    Returns:
        `count` positions in `fitness`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sorted(select_universally([0.0, 1.0, 3.0], 4, rng))
        [1, 2, 2, 2]

    Source: Baker 1987 (stochastic universal sampling).
    """
    lengths = np.asarray(fitness, float) - np.min(fitness)
    if not lengths.sum() > 0:
        lengths = np.ones(len(lengths))
    ends = np.cumsum(lengths) / lengths.sum()
    pointers = (np.arange(count) + rng.random()) / count
    chosen = np.searchsorted(ends, pointers, side="right")
    chosen = np.minimum(chosen, len(ends) - 1)
    return [int(x) for x in rng.permutation(chosen)]
