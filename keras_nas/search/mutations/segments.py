"""Segments of a graph: what has one tensor as input and one as output."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from keras_nas.graph import Body, flatten
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.places import Place, all_places
from keras_nas.surgery import Graph
from keras_nas.surgery.edits import Wiring


@dataclass(frozen=True)
class Segment:
    """All that computes one tensor from another, in one model or nested model.

    Attributes:
        entry: Path of the vertex that is read.
        exit: Path of the last vertex.
        names: Paths of its vertices, in order, `exit` included.
        start: Where `entry` stands among all vertices, from 0 to 1.
        end: Where `exit` stands.
        change: Number of axes before and behind it, and by what each axis of the grid
            is divided; segments with equal ones can stand in the same place.
    """

    entry: str
    exit: str
    names: tuple[str, ...]
    start: float
    end: float
    change: Any


def segments(graph: Graph, context: Context) -> list[Segment]:
    """Returns all segments that may be exchanged, in order.

    Left out are those with shields or ends of the network in them, and those without
    weights.

    The pairs of vertices come from dominators: a segment's entry is on all ways from
    the inputs to its exit, and its exit on all ways from what it begins with to the
    outputs.
    """
    homes = flatten(graph).homes
    order = {path: number / len(homes) for number, path in enumerate(homes)}
    inside: dict[str, list[Place]] = {}
    for place in all_places(graph).values():
        inside.setdefault(place.owner, []).append(place)
    found = []
    for owner, places in inside.items():
        # A nested model that is called several times has no place of its own.
        if not owner or all(place.calls < 2 for place in places):
            known = {place.vertex.name: place for place in places}
            found += _segments(graph.body_of(owner), known, order, context)
    return found


def _segments(
    body: Body, places: dict[str, Place], order: dict[str, float], context: Context
) -> list[Segment]:
    names, wiring = list(body.vertices), Wiring(body)
    ways = _Ways(body, wiring)
    found = []
    for end, exit in enumerate(names):
        place = places.get(exit)
        if place is None or not _can_be_exit(place, context):
            continue
        for entry in names[:end]:
            before = places.get(entry)
            if before is None or not _can_be_entry(before):
                continue
            if not ways.may_lead(entry, exit):
                continue
            inside = wiring.inside(entry, exit)
            if inside is None or not _may_move(places, inside, context):
                continue
            if not any(_has_weights(places[name]) for name in inside):
                continue
            found.append(
                Segment(
                    entry=before.path,
                    exit=place.path,
                    names=tuple(places[name].path for name in inside),
                    start=order[before.path],
                    end=order[place.path],
                    change=_change(before, place),
                )
            )
    return found


class _Ways:
    """Knows what is on all ways to a vertex, and on all ways from it."""

    def __init__(self, body: Body, wiring: Wiring):
        vertices = body.vertices
        # Sets of vertices are bits of numbers.
        self._bits = {name: 1 << n for n, name in enumerate(vertices)}
        self._readers = wiring.readers
        reads = {n: {ref.vertex for ref in v.reads} for n, v in vertices.items()}
        self._before: dict[str, int] = {}
        for name in vertices:
            common = _common(self._before, reads[name])
            self._before[name] = common | self._bits[name]
        self._behind: dict[str, int] = {}
        for name in reversed(list(vertices)):
            common = _common(self._behind, self._readers[name])
            self._behind[name] = common | self._bits[name]

    def may_lead(self, entry: str, exit: str) -> bool:
        """Whether a segment between two vertices is not impossible."""
        if not self._before[exit] & self._bits[entry]:
            return False
        bit = self._bits[exit]
        return any(self._behind[reader] & bit for reader in self._readers[entry])


def _common(known: dict[str, int], names: set[str]) -> int:
    if not names:
        return 0
    found = -1
    for name in names:
        found &= known[name]
    return found


def _can_be_exit(place: Place, context: Context) -> bool:
    if place.is_input or place.is_end or not place.is_floating:
        return False
    if len(place.vertex.outputs) != 1 or not place.readers:
        return False
    return not any(map(context.is_shielded, place.readers))


def _can_be_entry(place: Place) -> bool:
    return place.is_floating and len(place.vertex.outputs) == 1 and place.rank > 1


def _may_move(
    places: dict[str, Place], names: tuple[str, ...], context: Context
) -> bool:
    return all(
        name in places
        and not places[name].is_end
        and not places[name].is_input
        and not context.is_shielded(places[name].path)
        for name in names
    )


def _change(before: Place, after: Place) -> Any:
    ratios: tuple[Fraction, ...] | None = None
    if before.rank == after.rank:
        pairs = zip(before.grid, after.grid, strict=True)
        ratios = tuple(
            Fraction(1) if None in (one, other) else Fraction(one, other)
            for one, other in pairs
        )
    return before.rank, after.rank, ratios


def _has_weights(place: Place) -> bool:
    return bool(place.part.weights) or place.part.body is not None
