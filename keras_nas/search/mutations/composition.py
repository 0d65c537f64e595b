"""Mutations made of mutations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.search.mutations.base import DEFAULT_CONTEXT, Mutation, check_range
from keras_nas.search.mutations.context import Context
from keras_nas.surgery import Graph


class Chain(Mutation):
    """One mutation after the other.

    Args:
        *mutations: The mutations.

    Raises:
        InvalidRequestError: Something is no mutation.

    Example:
        >>> from keras_nas.search.mutations import Chain, Probability, Remove, Width
        >>> Chain(Probability(Remove(), 0.1), Width())
        Chain(Probability(Remove(each=None, lean=0.0, least=5), 0.1),
              Width(low=-0.2, high=0.2, each=None, lean=0.0))
    """

    def __init__(self, *mutations: Mutation):
        self.mutations = _checked(mutations)

    def __call__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        context: Context = DEFAULT_CONTEXT,
    ) -> Graph:
        """See `Mutation`."""
        for mutation in self.mutations:
            graph = mutation(graph, rng, context)
        return graph

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.mutations))})"


class Probability(Mutation):
    """A mutation that happens only sometimes.

    Args:
        mutation: The mutation.
        probability: From 0 (never) to 1 (always).

    Raises:
        InvalidRequestError: It is no mutation, or no probability.
    """

    def __init__(self, mutation: Mutation, probability: float):
        (self.mutation,) = _checked([mutation])
        check_range("probability", probability, 0, 1)
        self.probability = probability

    def __call__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        context: Context = DEFAULT_CONTEXT,
    ) -> Graph:
        """See `Mutation`."""
        if rng.random() >= self.probability:
            return graph
        return self.mutation(graph, rng, context)

    def __repr__(self) -> str:
        return f"Probability({self.mutation!r}, {self.probability})"


class OneOf(Mutation):
    """One of several mutations.

    Args:
        *mutations: The mutations.
        weights: How likely each is, relative to the others; all alike by default.

    Raises:
        InvalidRequestError: Something is no mutation, or the weights do not fit.
    """

    def __init__(self, *mutations: Mutation, weights: Sequence[float] | None = None):
        self.mutations = _checked(mutations, least=1)
        self.weights = None if weights is None else tuple(weights)
        if weights is not None:
            found = np.asarray(self.weights, dtype=float)
            is_wrong = found.shape != (len(mutations),) or not np.isfinite(found).all()
            if is_wrong or (found < 0).any() or not found.sum():
                raise InvalidRequestError(
                    "The weights of a choice are numbers of at least 0, one for each "
                    f"mutation, and not all 0.\n\nGive {len(mutations)} of them. "
                    f"Received: weights={weights!r}"
                )

    def __call__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        context: Context = DEFAULT_CONTEXT,
    ) -> Graph:
        """See `Mutation`."""
        weights = None
        if self.weights is not None:
            weights = np.asarray(self.weights, dtype=float) / sum(self.weights)
        number = int(rng.choice(len(self.mutations), p=weights))
        return self.mutations[number](graph, rng, context)

    def __repr__(self) -> str:
        shown = list(map(repr, self.mutations))
        if self.weights is not None:
            shown.append(f"weights={self.weights}")
        return f"OneOf({', '.join(shown)})"


class Retry(Mutation):
    """A mutation that is tried until it changes something.

    Args:
        mutation: The mutation.
        tries: So often at most.

    Raises:
        InvalidRequestError: It is no mutation, or no number of at least 1.
    """

    def __init__(self, mutation: Mutation, tries: int = 5):
        (self.mutation,) = _checked([mutation])
        if type(tries) is not int or tries < 1:
            raise InvalidRequestError(
                "A mutation is tried at least once.\n\nGive a whole number. "
                f"Received: tries={tries!r}"
            )
        self.tries = tries

    def __call__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        context: Context = DEFAULT_CONTEXT,
    ) -> Graph:
        """See `Mutation`."""
        for _ in range(self.tries):
            new = self.mutation(graph, rng, context)
            if new is not graph:
                return new
        return graph

    def __repr__(self) -> str:
        return f"Retry({self.mutation!r}, {self.tries})"


def _checked(mutations: Sequence[Any], least: int = 0) -> tuple[Mutation, ...]:
    for mutation in mutations:
        if not callable(mutation) or isinstance(mutation, type):
            raise InvalidRequestError(
                "A mutation is called with a graph, a generator and a context, and "
                f"returns a graph; {mutation!r} is none.\n\nGive an object such as "
                f"Width(). Received: {mutation!r}"
            )
    if len(mutations) < least:
        raise InvalidRequestError(
            f"There is no mutation to choose from.\n\nGive at least {least}. "
            f"Received: {tuple(mutations)!r}"
        )
    return tuple(mutations)
