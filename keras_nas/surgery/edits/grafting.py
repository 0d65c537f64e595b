"""Putting a segment of one graph, with its weights, into another one.

A segment is all that computes one tensor from another: nothing else is read from
outside, and nothing but its end is read there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Body,
    Graph,
    Part,
    Seam,
    TensorRef,
    TensorSpec,
    VariableRef,
    Vertex,
    Weight,
    map_arguments,
    refs,
    shape_problem,
)
from keras_nas.surgery.edits.draft import Draft, Site, path_in, same_owner
from keras_nas.surgery.edits.finishing import finish
from keras_nas.surgery.edits.removal import read_align
from keras_nas.surgery.options import Options


def graft_segment(
    graph: Graph,
    other: Graph,
    segment: tuple[str, str],
    place: tuple[str, str],
    align: Any,
    options: Options,
) -> Graph:
    """Returns the graph with a segment of another one. See `keras_nas.Graph.graft`."""
    attempts = read_align(align)
    draft, donor = Draft(graph), Draft(other)
    start, end = _ends(draft, place, "place")
    first, last = _ends(donor, segment, "segment")
    gone = _inside(draft, start, end)
    come = _inside(donor, first, last)
    owner = start.owner
    old = TensorRef(end.name)
    readers = [name for name in draft.readers(owner, old) if name not in gone]
    gives_output = old in refs(draft.outputs(owner))
    new = _Graft(draft, donor, start, first, come).put(TensorRef(last.name))
    leaf = draft.seam(owner, new, draft.spec(owner, old), ("graft", old))
    draft.lead(owner, old, lambda _: leaf, readers)
    if gives_output:
        draft.lead_outputs(owner, old, new)
    draft.drop(owner, gone)
    return finish(draft, options, attempts)


class Wiring:
    """Knows who reads whom in a body, to find segments.

    Args:
        body: The body.
    """

    def __init__(self, body: Body):
        self.readers: dict[str, set[str]] = {name: set() for name in body.vertices}
        self._vertices = body.vertices
        self._places = {name: number for number, name in enumerate(body.vertices)}
        self._outputs = {ref.vertex for ref in refs(body.outputs)}
        # Read at another output than the first one.
        self._further: set[tuple[str, str]] = set()
        for name, vertex in body.vertices.items():
            for ref in vertex.reads:
                self.readers[ref.vertex].add(name)
                if ref.index:
                    self._further.add((ref.vertex, name))

    def inside(self, entry: str, exit: str) -> tuple[str, ...] | None:
        """Returns the vertices that compute one vertex from another, its end included.

        Args:
            entry: Name of the vertex that is read.
            exit: Name of the vertex that is computed.

        Returns:
            Names in order, none if both are the same vertex; None if more is read from
            outside, more than the end is read there, or there is no way.
        """
        if entry == exit:
            return ()
        found: set[str] = set()
        pending, start = [exit], self._places[entry]
        while pending:
            name = pending.pop()
            if name in found:
                continue
            reads = self._vertices[name].reads
            if self._places[name] < start or not reads:
                return None  # It does not all come from the entry.
            found.add(name)
            pending.extend(ref.vertex for ref in reads if ref.vertex != entry)
        for name in found:
            outside = self.readers[name] - found
            if name != exit and (outside or name in self._outputs):
                return None
            if (entry, name) in self._further:
                return None
        if any((exit, reader) in self._further for reader in self.readers[exit]):
            return None
        return tuple(sorted(found, key=self._places.__getitem__))


def _ends(draft: Draft, pair: Any, what: str) -> tuple[Site, Site]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise InvalidRequestError(
            f"A {what} is told by two vertices: the one that it reads, and its last."
            f"\n\nGive a pair of names. Received: {what}={pair!r}"
        )
    first, last = draft.find(pair[0]), draft.find(pair[1])
    same_owner([first, last], f"Both ends of a {what}")
    return first, last


def _inside(draft: Draft, first: Site, last: Site) -> tuple[str, ...]:
    body = draft.old.body_of(first.owner)
    found = Wiring(body).inside(first.name, last.name)
    if found is None:
        raise InvalidRequestError(
            f"What leads from '{first.path}' to '{last.path}' is no segment: something "
            "else leads into it or out of it, or there is no way.\n\nChoose vertices "
            "that all ways between them pass through. "
            f"Received: {(first.path, last.path)!r}"
        )
    return found


class _Graft:
    """Copies vertices of one graph into the draft of another.

    Args:
        draft: The graph under way.
        donor: The graph that the vertices are of.
        start: Where they are put behind.
        first: What they stand behind in the other graph.
        names: Names of the vertices, in order.
    """

    def __init__(
        self, draft: Draft, donor: Draft, start: Site, first: Site, names: Any
    ):
        self._draft = draft
        self._graph = donor.old
        self._owner = start.owner
        self._entry = TensorRef(start.name)
        self._vertices = [donor.vertices(first.owner)[name] for name in names]
        self._old_entry = TensorRef(first.name)
        self._made_for = donor.spec(first.owner, self._old_entry)
        self._weights: dict[int, Weight] = {}
        self._keys: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def put(self, last: TensorRef) -> TensorRef:
        """Adds the vertices; returns what comes in place of a tensor of theirs."""
        self._check_entry()
        for vertex in self._vertices:
            self._put_part(vertex)
        grid_differs = self._fit_entry()
        leaf = self._draft.seam(self._owner, self._entry, self._made_for, "graft")
        after = self._entry.vertex
        for vertex in self._vertices:
            new = map_arguments(vertex, self._follow(leaf))
            new = replace(
                new, name=self._names[vertex.name], part=self._keys[vertex.part]
            )
            if grid_differs:
                new = self._on_grid(new)
            self._draft.put(self._owner, new, after=after)
            after = new.name
        if last == self._old_entry:
            return self._entry
        return TensorRef(self._names[last.vertex])

    def _check_entry(self) -> None:
        found = self._draft.spec(self._owner, self._entry)
        if len(found.shape) != len(self._made_for.shape):
            raise InvalidRequestError(
                f"The segment reads {len(self._made_for.shape)} axes, "
                f"{self._made_for.shape}, but '{self._entry.vertex}' gives "
                f"{len(found.shape)}, {found.shape}.\n\nChoose another place. "
                f"Received: {self._entry.vertex!r}"
            )

    # --- parts ----------------------------------------------------------------

    def _put_part(self, vertex: Vertex) -> None:
        """Gives a vertex its new name, and puts its part and all inside of it."""
        part = self._graph.parts[vertex.part]
        if part.key in self._keys:
            new = self._keys[part.key].rsplit("/", 1)[-1]
            calls = sum(name.split("^")[0] == new for name in self._names.values())
            self._names[vertex.name] = f"{new}^{calls}"
            return
        name = self._free_name(part.name)
        self._names[vertex.name] = name
        inside = self._parts_inside(part)
        self._keys[part.key] = key = path_in(self._owner, name)
        for number, inner in enumerate(inside):
            rest = inner.key.removeprefix(f"{part.key}/")
            unique = rest if rest != inner.key else f"shared_{number}"
            self._keys[inner.key] = f"{key}/{unique}"
        for one in (part, *inside):
            copied = self._copied(one)
            self._draft.put_part(copied.named(name) if one is part else copied)

    def _free_name(self, name: str) -> str:
        """Returns a name that was never in the graph; numbers do not pile up."""
        stem = re.sub(r"(_\d+)+$", "", name) or name
        if self._draft.free_name(self._owner, name) == name:
            return name
        return self._draft.free_name(self._owner, stem)

    def _parts_inside(self, part: Part) -> list[Part]:
        """Returns the parts of a nested model that are not called outside of it."""
        found: dict[str, Part] = {}
        pending = [part]
        while pending:
            body = pending.pop().body
            for vertex in body.vertices.values() if body is not None else ():
                inner = self._graph.parts[vertex.part]
                if inner.key not in found and inner.key not in self._keys:
                    found[inner.key] = inner
                    pending.append(inner)
        return list(found.values())

    def _copied(self, part: Part) -> Part:
        body = part.body
        if body is not None:
            # References inside are to vertices of the same body, which keep names.
            vertices = {
                name: replace(
                    map_arguments(vertex, self._own_variables),
                    part=self._keys[vertex.part],
                )
                for name, vertex in body.vertices.items()
            }
            body = replace(body, vertices=vertices)
        return replace(
            part,
            key=self._keys[part.key],
            weights=tuple(map(self._copied_weight, part.weights)),
            weight_names=tuple(name for name, _ in part.named_weights),
            body=body,
            inner={
                path: self._keys[key]
                for path, key in part.inner.items()
                if key in self._keys
            },
            constants={
                name: self._copied_weight(w) for name, w in part.constants.items()
            },
        )

    def _copied_weight(self, weight: Weight) -> Weight:
        """The same values as another variable: both graphs may have an ancestor."""
        if id(weight) not in self._weights:
            self._weights[id(weight)] = replace(weight)
        return self._weights[id(weight)]

    # --- arguments ------------------------------------------------------------

    def _own_variables(self, leaf: Any) -> Any:
        if isinstance(leaf, VariableRef):
            if leaf.part in self._keys:
                return VariableRef(self._keys[leaf.part], leaf.index)
            leaf = self._graph.parts[leaf.part].weights[leaf.index]
        return self._copied_weight(leaf) if isinstance(leaf, Weight) else leaf

    def _follow(self, entry: TensorRef | Seam) -> Callable[[Any], Any]:
        def follow(leaf: Any) -> Any:
            if leaf == self._old_entry:
                return entry
            if isinstance(leaf, TensorRef):
                return TensorRef(self._names[leaf.vertex], leaf.index)
            return self._own_variables(leaf)

        return follow

    # --- grids ----------------------------------------------------------------

    def _fit_entry(self) -> bool:
        """Makes only the channels at the entry differ; returns if the grid did."""
        found, wanted = self._draft.spec(self._owner, self._entry), self._made_for
        configs = [self._graph.parts[vertex.part].config for vertex in self._vertices]
        first = any(c.get("data_format") == "channels_first" for c in configs)
        channel = 1 if first and len(found.shape) > 2 else len(found.shape) - 1
        shape = tuple(
            (wanted if number == channel else found).shape[number]
            for number in range(len(found.shape))
        )
        self._made_for = TensorSpec(shape, found.dtype)
        return shape[1:] != wanted.shape[1:]

    def _on_grid(self, vertex: Vertex) -> Vertex:
        """Returns a vertex with what it gives on another grid.

        Raises:
            InvalidRequestError: It was made for its grid.
        """
        draft, owner = self._draft, self._owner
        new, problem = vertex, None
        try:
            call = draft.call(owner, vertex)
            if call.part.body is not None:
                problem = "a nested model has the grid that it was made for"
            else:
                new = draft.with_outputs(owner, vertex)
                graph = draft.old.replace_parts(draft.new_parts)
                arriving = draft.arriving(owner, new)
                problem = shape_problem(graph, call, arriving, new.outputs)
        except Exception as error:  # noqa: BLE001  Keras refuses in many ways.
            problem = str(error)
        if problem is not None:
            raise InvalidRequestError(
                f"'{vertex.name}' does not take another grid: {problem}\n\nChoose a "
                f"place with the same one. Received: {vertex.name!r}"
            )
        return new
