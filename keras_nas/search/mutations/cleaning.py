"""Takes out what does nothing, as mutations leave it behind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from keras import layers

from keras_nas.search.mutations.base import DEFAULT_CONTEXT, Mutation
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.guards import attempt, keywords
from keras_nas.search.mutations.places import Place, all_places
from keras_nas.surgery import Graph

# With one input they give that input.
_MERGES = (
    layers.Add,
    layers.Average,
    layers.Concatenate,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
)
_DROPOUTS = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.AlphaDropout,
)
_POOLINGS = tuple(
    getattr(layers, f"{word}Pooling{rank}D")
    for word in ("Max", "Average")
    for rank in (1, 2, 3)
)


@dataclass(frozen=True)
class CleanUp(Mutation):
    """Removes vertices that do nothing, so that the function stays.

    These are merges of one tensor, linear activations, a ReLU behind another, dropouts
    that drop nothing, and poolings of one position.

    Source: ``check_apply`` of NaiveGAflux.jl, and more.
    """

    def __call__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        context: Context = DEFAULT_CONTEXT,
    ) -> Graph:
        """See `Mutation`."""
        tried: set[str] = set()
        while True:
            places = all_places(graph)
            path = next(
                (
                    path
                    for path, place in places.items()
                    if path not in tried and _is_redundant(places, place, context)
                ),
                None,
            )
            if path is None:
                return graph
            tried.add(path)
            options = keywords(graph, rng, context)
            graph = attempt(
                graph,
                context,
                partial(graph.remove, path, **options),
            )


def _is_redundant(places: dict[str, Place], place: Place, context: Context) -> bool:
    if not place.readers or not _does_nothing(places, place):
        return False
    return not any(map(context.is_shielded, (place.path, *place.readers)))


def _does_nothing(places: dict[str, Place], place: Place) -> bool:
    part, config = place.part, place.part.config
    if part.cls in _MERGES:
        return place.listed_reads == 1
    if part.cls in _DROPOUTS:
        return config["rate"] == 0
    if part.cls in _POOLINGS:
        return {*_sizes(config["pool_size"]), *_sizes(config["strides"])} == {1}
    if part.cls is layers.Activation and config["activation"] == "linear":
        return True
    if not _is_relu(place) or len(place.vertex.tensors) != 1:
        return False
    before = places.get(place.reads[0])
    if before is None or not before.vertex.outputs:
        return False
    return _is_relu_at_end(before)


def _is_relu(place: Place) -> bool:
    config = place.part.config
    if place.part.cls is layers.ReLU:
        plain = config["max_value"] is None and not config["threshold"]
        return plain and not config["negative_slope"]
    return place.part.cls is layers.Activation and config["activation"] == "relu"


def _is_relu_at_end(place: Place) -> bool:
    return _is_relu(place) or (
        place.part.cls in (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
        and place.part.config["activation"] == "relu"
    )


def _sizes(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
