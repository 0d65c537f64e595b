"""Edges that come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_nas.axes import MaybeNone
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import TensorRef
from keras_nas.search.mutations.base import VertexMutation, check_range
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.guards import attempt, keywords
from keras_nas.search.mutations.places import Place, all_places, has_channels_last
from keras_nas.surgery import Graph

# Layers whose weights can start at zero for what is concatenated in front of them.
_READERS = (
    layers.Dense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)
# Layers that pass zeros and new channels on to such readers, each by itself.
_PASSING = (
    layers.BatchNormalization,
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.Concatenate,
)
_MERGES = ("concatenate", "add")


@dataclass(frozen=True)
class AddEdge(VertexMutation):
    """Leads the output of a vertex to a later one as well; the function stays.

    Either it is concatenated to what the target reads, and the weights that read it
    start at zero; or it is added to that, through a projection that starts at zero and
    makes the widths equal. Networks with their channels first stay as they are.

    Args:
        near: How much likelier each target is than the next farther one, relative to
            itself: from 0 (all alike) to 1 (always the nearest).
        merges: What to choose from: ``"concatenate"``, ``"add"``.
        each: See `VertexMutation`; of each vertex to be the source.
        lean: See `VertexMutation`.

    Raises:
        InvalidRequestError: A number is out of range, or there is no such merge.

    Source: ``AddEdgeMutation`` of NaiveGAflux.jl. The addition starts at zero as in
    Goyal 2017 (arXiv 1706.02677, section 5.1); there it is plain.
    """

    near: float = 0.3
    merges: tuple[str, ...] = _MERGES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("near", self.near, 0, 1)
        merges = (self.merges,) if isinstance(self.merges, str) else tuple(self.merges)
        object.__setattr__(self, "merges", merges)
        if not merges or not set(merges) <= set(_MERGES):
            raise InvalidRequestError(
                "Edges are merged by 'concatenate' or 'add'.\n\nGive one or both. "
                f"Received: merges={self.merges!r}"
            )

    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """See `VertexMutation`."""
        if place.is_end or not place.is_floating or place.width is None:
            return False
        if len(place.vertex.outputs) != 1 or place.rank < 2:
            return False
        if not has_channels_last(graph):
            return False
        return any(self._targets(graph, place, kind, context) for kind in self.merges)

    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """See `VertexMutation`."""
        found = {k: self._targets(graph, place, k, context) for k in self.merges}
        kinds = [kind for kind in self.merges if found[kind]]
        kind = kinds[int(rng.integers(len(kinds)))]
        target = found[kind][_nearly_first(len(found[kind]), self.near, rng)]
        options = keywords(graph, rng, context)
        options["merge"] = kind
        if kind == "add":
            options["via"] = _projection(place, all_places(graph), target)
        return attempt(
            graph,
            context,
            lambda: graph.connect(place.path, target.path, **options),
        )

    def _targets(
        self, graph: Graph, source: Place, kind: str, context: Context
    ) -> list[Place]:
        """Returns the later vertices that the edge can lead to, nearest first."""
        places = all_places(graph)
        body = list(graph.body_of(source.owner).vertices)
        start = body.index(source.vertex.name)
        later = set(body[start + 1 :])
        return [
            place
            for place in places.values()
            if place.owner == source.owner
            and place.vertex.name in later
            and source.path not in place.reads
            and not place.is_tail
            and not context.is_shielded(place.path)
            and _takes(places, place, kind)
            and _same_grid(places, source, place)
        ]


@dataclass(frozen=True)
class RemoveEdge(VertexMutation):
    """Takes an edge to a merge away, and the merge if one input is left.

    Args:
        drop_paths: Whether an edge may go that is the only one of its source: then all
            that leads only there goes, too.
        each: See `VertexMutation`; of each merge to lose an edge.
        lean: See `VertexMutation`.

    Source: ``RemoveEdgeMutation`` of NaiveGAflux.jl.
    """

    drop_paths: bool = True

    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """See `VertexMutation`."""
        if place.listed_reads < 2 or place.is_tail:
            return False
        around = (place.path, *place.readers)
        return not any(map(context.is_shielded, around)) and bool(
            self._sources(graph, place)
        )

    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """See `VertexMutation`."""
        sources = self._sources(graph, place)
        source = sources[int(rng.integers(len(sources)))]
        options = keywords(graph, rng, context)
        return attempt(
            graph,
            context,
            lambda: graph.disconnect(source, place.path, tidy=True, **options),
        )

    def _sources(self, graph: Graph, place: Place) -> list[str]:
        """Returns the vertices of which an edge to a merge can go."""
        names = [ref.vertex for ref in place.vertex.reads]
        single = {name for name in names if names.count(name) == 1}
        places = all_places(graph)
        return [
            path
            for path in place.reads
            if places[path].vertex.name in single
            and (self.drop_paths or len(places[path].readers) > 1)
        ]


def _nearly_first(count: int, near: float, rng: np.random.Generator) -> int:
    """Draws a number, each less likely than the one before it."""
    weights = (1.0 - near) ** np.arange(count)
    return int(rng.choice(count, p=weights / weights.sum()))


def _takes(places: dict[str, Place], place: Place, kind: str) -> bool:
    """Whether an edge to a vertex can be merged so that the function stays."""
    if place.listed_reads > 0:
        if kind == "add":
            return place.part.cls is layers.Add
        return place.part.cls is layers.Concatenate and _ends_in_weights(places, place)
    if len(place.vertex.tensors) != 1 or place.part.is_input:
        return False
    if kind == "add":
        return not place.part.is_operation
    return _has_own_weights(place)


def _has_own_weights(place: Place) -> bool:
    """Whether a layer reads each channel with weights that no other call shares."""
    if place.part.cls not in _READERS or place.calls > 1:
        return False
    return place.part.config.get("groups", 1) == 1


def _ends_in_weights(places: dict[str, Place], place: Place) -> bool:
    """Whether all that reads a vertex can have zeros as weights for more channels."""
    pending, seen = [place], {place.path}
    while pending:
        current = pending.pop()
        if current.is_tail or not current.readers:
            return False
        for path in current.readers:
            reader = places[path]
            if _has_own_weights(reader) or path in seen:
                continue
            seen.add(path)
            is_softmax = reader.part.config.get("activation") == "softmax"
            if reader.part.cls not in _PASSING or is_softmax:
                return False
            pending.append(reader)
    return True


def _read(places: dict[str, Place], place: Place) -> Place | MaybeNone:
    """Returns the first vertex that one reads."""
    ref: Any = place.vertex.tensors[0]
    found = next((p for p in place.reads if places[p].vertex.name == ref.vertex), None)
    return places[found] if isinstance(ref, TensorRef) and found else None


def _same_grid(places: dict[str, Place], source: Place, target: Place) -> bool:
    read = _read(places, target)
    if read is None or not read.is_floating:
        return False
    return read.rank == source.rank and read.grid == source.grid


def _projection(source: Place, places: dict[str, Place], target: Place) -> Any:
    """Returns a layer that gives zeros of the width that a vertex reads."""
    width = _read(places, target).width
    settings = {
        "use_bias": False,
        "kernel_initializer": keras.initializers.Zeros(),
        "name": f"{target.vertex.name.split('^')[0]}_skip",
    }
    rank = source.rank - 2
    if rank in (1, 2, 3):
        convolution = getattr(layers, f"Conv{rank}D")
        return convolution(width, 1, **settings)
    return layers.Dense(width, **settings)
