"""Children of two graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_nas.search.mutations.base import DEFAULT_CONTEXT, check_call
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.guards import attempt, keywords
from keras_nas.search.mutations.places import all_places
from keras_nas.search.mutations.segments import Segment, segments
from keras_nas.surgery import Graph

# So many segments are tried until one can be exchanged.
_TRIES = 5


def crossover(
    first: Graph,
    second: Graph,
    rng: np.random.Generator,
    context: Context = DEFAULT_CONTEXT,
    *,
    deviation: float = 0.05,
) -> tuple[Graph, Graph]:
    """Exchanges a segment of one graph for one of another, with all weights.

    A segment has one tensor as input and one as output; both segments change the grid
    by the same factor, and stand at about the same place. The solver makes the widths
    at their ends equal: by growing where that is possible, so that no weight is lost.

    Args:
        first: One parent. Not changed.
        second: The other parent. Not changed.
        rng: Where all chance comes from.
        context: Shields and limits, which hold for both children.
        deviation: Standard deviation of what is added to the distance between two
            segments (0 to 1 over the network), before the nearest is taken.

    Returns:
        Two children: the first parent with a segment of the second, and the second
        with one of the first. A parent itself where nothing can be exchanged.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> from keras_nas.search.mutations import crossover
        >>> def graph(*units):
        ...     layers = [keras.layers.Dense(n) for n in units]
        ...     return kn.Graph.from_model(
        ...         keras.Sequential([keras.Input((3,)), *layers]))
        >>> one, other = crossover(
        ...     graph(4, 4, 2), graph(7, 7, 2), np.random.default_rng(1))
        >>> [layer.units for layer in one.build().layers]
        [7, 7, 2]

    Source: ``CrossoverSwap`` and ``VertexCrossover`` of NaiveGAflux.jl.
    """
    for graph in (first, second):
        check_call(graph, rng, context)
    ours, theirs = segments(first, context), segments(second, context)
    known = {segment.change for segment in theirs}
    ours = [segment for segment in ours if segment.change in known]
    for _ in range(_TRIES if ours else 0):
        one = _draw(ours, rng)
        other = _partner(one, theirs, rng, deviation)
        if _are_same(first, one, second, other):
            continue
        children = (
            _child(first, one, second, other, rng, context),
            _child(second, other, first, one, rng, context),
        )
        if children[0] is not first or children[1] is not second:
            return children
    return first, second


def _draw(found: list[Segment], rng: np.random.Generator) -> Segment:
    """Draws a segment, each length alike: there are many more short than long ones."""
    lengths = sorted({len(segment.names) for segment in found})
    length = lengths[int(rng.integers(len(lengths)))]
    alike = [segment for segment in found if len(segment.names) == length]
    return alike[int(rng.integers(len(alike)))]


def _partner(
    one: Segment, found: list[Segment], rng: np.random.Generator, deviation: float
) -> Segment:
    """Returns the segment of the other graph that is nearest to one."""
    fitting = [segment for segment in found if segment.change == one.change]
    noise = rng.normal(0.0, deviation, len(fitting))
    distances = [
        abs(segment.start - one.start) + abs(segment.end - one.end) + extra
        for segment, extra in zip(fitting, noise, strict=True)
    ]
    return fitting[int(np.argmin(distances))]


def _are_same(first: Graph, one: Segment, second: Graph, other: Segment) -> bool:
    """Whether two segments are the same inheritance, so that nothing would change."""
    return [*_makeup(first, one)] == [*_makeup(second, other)]


def _makeup(graph: Graph, segment: Segment) -> Iterator[tuple[Any, ...]]:
    places = all_places(graph)
    for path in segment.names:
        part = places[path].part
        yield part.cls, dict(part.config), tuple(map(id, part.weights))


def _child(
    mother: Graph,
    gone: Segment,
    father: Graph,
    come: Segment,
    rng: np.random.Generator,
    context: Context,
) -> Graph:
    options = keywords(mother, rng, context)
    return attempt(
        mother,
        context,
        lambda: mother.graft(
            father, (come.entry, come.exit), (gone.entry, gone.exit), **options
        ),
    )
