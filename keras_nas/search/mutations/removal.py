"""Fewer layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_nas.search.mutations.base import VertexMutation
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.guards import attempt, keywords
from keras_nas.search.mutations.places import Place, all_places, num_vertices
from keras_nas.surgery import Graph


@dataclass(frozen=True)
class Remove(VertexMutation):
    """Takes a vertex out; what read it reads what it read.

    Vertices that change the grid (poolings, strides) and the ends of the network stay.

    Args:
        least: Graphs with at most so many vertices stay as they are.
        each: See `VertexMutation`.
        lean: See `VertexMutation`.

    Source: ``RemoveVertexMutation`` of NaiveGAflux.jl.
    """

    least: int = 5

    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """See `VertexMutation`."""
        if place.is_input or place.is_end or num_vertices(graph) <= self.least:
            return False
        if context.is_shielded(place.path) or not place.reads:
            return False
        if any(map(context.is_shielded, place.readers)):
            return False
        places = all_places(graph)
        return any(
            places[path].rank == place.rank and places[path].grid == place.grid
            for path in place.reads
            if path in places
        )

    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """See `VertexMutation`."""
        options = keywords(graph, rng, context)
        return attempt(graph, context, lambda: graph.remove(place.path, **options))
