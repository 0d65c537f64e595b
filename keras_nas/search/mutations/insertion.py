"""More layers, which start as the identity."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.search.mutations.base import VertexMutation
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.guards import attempt, keywords
from keras_nas.search.mutations.places import Place, has_channels_last
from keras_nas.search.spaces import Block, Choice, LayerSpace, Residual, Series
from keras_nas.search.spaces.blueprints import NOTHING, build_model
from keras_nas.search.spaces.choosing import Scope, by_chance
from keras_nas.surgery import Graph
from keras_nas.surgery.edits.identity import as_identity, is_nonnegative_after

# Stands for the sizes of a grid that only the data will tell.
_ANY_SIZE = 16


@dataclass(frozen=True)
class Insert(VertexMutation):
    """Puts a layer or a small block behind a vertex, so that the function stays.

    What is new is sampled from the ``space`` of the context; without one, it is made of
    dense layers or convolutions, alone, in pairs, separable or residual. Networks with
    their channels first stay as they are.

    Args:
        tries: So many samples are drawn until one can start as the identity.
        each: See `VertexMutation`.
        lean: See `VertexMutation`.

    Source: ``AddVertexMutation`` of NaiveGAflux.jl with ``IdentityWeightInit``; Chen
    2016, "Net2Net", ICLR (arXiv 1511.05641).
    """

    tries: int = 4

    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """See `VertexMutation`."""
        if place.is_end or not place.is_floating or not place.readers:
            return False
        if place.rank not in (2, 3, 4, 5) or place.width is None:
            return False
        if any(map(context.is_shielded, place.readers)):
            return False
        return has_channels_last(graph)

    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """See `VertexMutation`."""
        is_nonnegative = is_nonnegative_after(graph, place.path)
        for _ in range(self.tries):
            fragment = sample_identity(place, rng, context, is_nonnegative)
            if fragment is None:
                continue
            first, *_, last = fragment.body.vertices
            options = keywords(graph, rng, context)
            new = attempt(
                graph,
                context,
                functools.partial(
                    graph.graft,
                    fragment,
                    (first, last),
                    (place.path, place.path),
                    **options,
                ),
            )
            if new is not graph:
                return new
        return graph


def sample_identity(
    place: Place, rng: np.random.Generator, context: Context, is_nonnegative: bool
) -> Graph | None:
    """Returns a sample of what may stand behind a vertex, with identity weights.

    Args:
        place: The vertex.
        rng: Where chance comes from.
        context: Has the space, if there is one.
        is_nonnegative: Whether the vertex gives no value below 0.

    Returns:
        A graph with one input and one output of the same shape, or None.
    """
    block = context.space or default_inserts(place.rank - 2, place.width)
    grid = tuple(_ANY_SIZE if size is None else size for size in place.grid)

    def keeps_grid(end: tuple[int, ...]) -> bool:
        return end == grid

    if not block.leads(grid, keeps_grid):
        return None
    blueprint, _ = block.decide(Scope(by_chance(rng)), grid, keeps_grid)
    if blueprint == NOTHING:
        return None
    shape = place.spec.shape
    try:
        model = build_model(
            blueprint,
            shape[1:],
            width=shape[-1],
            input_name="arriving",
            dtype=place.spec.dtype,
        )
        graph = Graph.from_model(model)
        return cast(Graph, as_identity(graph, is_nonnegative=is_nonnegative))
    except (InvalidRequestError, ValueError):
        # Keras refuses settings of a user's space with a ValueError, too.
        return None


@functools.lru_cache(maxsize=64)
def default_inserts(rank: int, width: int) -> Block:
    """Returns what may be inserted where nobody has said anything.

    Args:
        rank: Number of axes of the grid, from 0 to 3.
        width: Number of channels there.
    """
    simple: dict[str, Any] = {"activation": ("linear", "relu", "elu")}
    bent: dict[str, Any] = {"activation": ("relu", "elu", "gelu", "silu")}
    wide = tuple(dict.fromkeys((width, 2 * width)))
    dense = LayerSpace("Dense", units=width, **simple)
    pair = Series(
        LayerSpace("Dense", units=2 * width, **bent), LayerSpace("Dense", units=width)
    )
    if rank == 0:
        return Choice(dense=dense, pair=pair, residual=Residual(pair))
    kind = f"Conv{rank}D"
    settings: dict[str, Any] = {"kernel_size": (1, 3, 5), "padding": "same"}
    conv = LayerSpace(kind, filters=width, **settings, **simple)
    conv_norm = Series(
        LayerSpace(kind, filters=width, **settings, use_bias=False),
        LayerSpace("BatchNormalization", "norm", momentum=0.9),
        LayerSpace("Activation", "act", **simple),
    )
    deep = Series(
        LayerSpace(kind, filters=wide, **settings, **bent),
        LayerSpace(kind, filters=width, kernel_size=1),
    )
    choices = {
        "conv": conv,
        "conv_norm": conv_norm,
        "pair": deep,
        "residual": Residual(deep),
    }
    if rank == 1:
        # Tokens: what is done to each by itself, too.
        choices |= {"dense": dense, "feed_forward": Residual(pair)}
    if rank < 3:
        depthwise = f"DepthwiseConv{rank}D"
        choices["separable"] = Series(
            LayerSpace(depthwise, kernel_size=(3, 5), padding="same", use_bias=False),
            LayerSpace("BatchNormalization", "norm", momentum=0.9),
            LayerSpace(kind, filters=width, kernel_size=1, **simple),
        )
    return Choice(**choices)


