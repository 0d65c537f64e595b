"""What a mutation is, and the base of those that change one vertex after the other."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_real
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.guards import policy_of, repeatable
from keras_nas.search.mutations.places import Place, all_places
from keras_nas.search.mutations.weighting import likelihoods
from keras_nas.surgery import Graph

DEFAULT_CONTEXT = Context()


class Mutation(abc.ABC):
    """A random change of a graph.

    ``mutation(graph, rng, context)`` returns a new graph, or the very same object where
    nothing can be done. The same graph and state of ``rng`` give the same result.
    """

    @abc.abstractmethod
    def __call__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        context: Context = DEFAULT_CONTEXT,
    ) -> Graph:
        """Returns the changed graph.

        Args:
            graph: The graph. Not changed.
            rng: Where all chance comes from.
            context: What is to be respected.
        """


@dataclass(frozen=True)
class VertexMutation(Mutation):
    """Changes some vertices of a graph, one after the other.

    Args:
        each: Probability of each vertex that can be changed; None changes exactly one.
        lean: Whether important vertices are more likely (above 0, at most 1) or less
            (below 0, at least -1). The average probability stays.

    Raises:
        InvalidRequestError: A number is out of range.
    """

    each: float | None = field(default=None, kw_only=True)
    lean: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        check_range("each", self.each, 0, 1, optional=True)
        check_range("lean", self.lean, -1, 1)

    def __call__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        context: Context = DEFAULT_CONTEXT,
    ) -> Graph:
        """See `Mutation`."""
        check_call(graph, rng, context)
        paths = self.candidates(graph, context)
        chosen = choose(graph, paths, self.each, self.lean, rng, context)
        for path in chosen:
            # An earlier change may have removed it, or what made it possible.
            place = all_places(graph).get(path)
            if place is None or not self.is_candidate(graph, place, context):
                continue
            with repeatable(rng), policy_of(_around(graph, place)):
                graph = self.change(graph, place, rng, context)
        return graph

    def candidates(self, graph: Graph, context: Context) -> list[str]:
        """Returns the paths of the vertices that can be changed, in order."""
        return [
            path
            for path, place in all_places(graph).items()
            if self.is_candidate(graph, place, context)
        ]

    @abc.abstractmethod
    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """Whether a vertex can be changed, as far as can be told by looking at it."""

    @abc.abstractmethod
    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """Returns the graph with one vertex changed, or as it is."""


def _around(graph: Graph, place: Place) -> list[Place]:
    """A vertex, and those that read it."""
    places = all_places(graph)
    return [place, *(places[path] for path in place.readers if path in places)]


def choose(
    graph: Graph,
    keys: Sequence[Any],
    each: float | None,
    lean: float,
    rng: np.random.Generator,
    context: Context,
) -> list[Any]:
    """Returns the vertices that chance chooses; see `VertexMutation`.

    A key is a path, or a tuple that begins with one.
    """
    if not keys or each == 0:
        return []
    paths = [key[0] if isinstance(key, tuple) else key for key in keys]
    weights = likelihoods(graph, paths, lean, context)
    if each is None:
        number = rng.choice(len(keys), p=weights / weights.sum())
        return [keys[int(number)]]
    draws = rng.random(len(keys)) < each * weights
    return [key for key, drawn in zip(keys, draws, strict=True) if drawn]


def check_call(graph: Any, rng: Any, context: Any) -> None:
    """Makes sure that a mutation or crossover is called with what it takes.

    Raises:
        InvalidRequestError: It is not.
    """
    for given, kind, example in (
        (graph, Graph, "keras_nas.Graph.from_model(model)"),
        (rng, np.random.Generator, "numpy.random.default_rng(0)"),
        (context, Context, "Context()"),
    ):
        if not isinstance(given, kind):
            raise InvalidRequestError(
                f"A {type(given).__name__} is no {kind.__name__}.\n\nCall mutations "
                f"with a graph, a generator and maybe a context; here, {example} "
                f"makes one. Received: {given!r:.80}"
            )


def check_range(
    name: str, value: Any, low: float, high: float, *, optional: bool = False
) -> None:
    """Makes sure that a setting is a number between two others.

    Raises:
        InvalidRequestError: It is not.
    """
    if optional and value is None:
        return
    if not is_real(value) or not low <= value <= high:
        raise InvalidRequestError(
            f"'{name}' has to be a number from {low} to {high}.\n\nGive one"
            f"{', or None' if optional else ''}. Received: {name}={value!r}"
        )


