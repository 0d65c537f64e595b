"""A graph while one edit rewires it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Call,
    Graph,
    Part,
    Seam,
    TensorRef,
    TensorSpec,
    Vertex,
    flatten,
    infer_outputs,
    map_arguments,
    sort_vertices,
)
from keras_nas.rules import map_leaves
from keras_nas.surgery.names import Paths

Origins = Mapping[int, np.ndarray]


class Site(NamedTuple):
    """Where a vertex stands.

    Attributes:
        owner: Key of the nested model that it is inside of, "" for the outermost.
        name: Name of the vertex there.
        path: Path of its first call in the opened network.
    """

    owner: str
    name: str
    path: str


class Draft:
    """The vertices of a graph, open for exchange; the graph itself stays as it is.

    Args:
        graph: The graph to start from.

    Attributes:
        old: That graph.
        flat: Its calls.
        moved: Body and tensor whose positions are now others -> where each of them
            was, as in `Seam.origins`.
    """

    def __init__(self, graph: Graph):
        self.old = graph
        self.flat = flatten(graph)
        self.moved: dict[tuple[str, TensorRef], Origins] = {}
        self._paths = Paths(self.flat)
        self._first_paths: dict[tuple[str, str], str] = {}
        for path, home in self.flat.homes.items():
            self._first_paths.setdefault(home, path)
        self._bodies: dict[str, dict[str, Vertex]] = {}
        self._body_outputs: dict[str, Any] = {}
        self._parts: dict[str, Part] = {}

    @property
    def new_parts(self) -> Mapping[str, Part]:
        """The parts that were added or exchanged."""
        return dict(self._parts)

    def find(self, name: Any) -> Site:
        """Returns the site of a vertex. See `Paths.find`."""
        path = self._paths.find(name)
        return Site(*self.flat.homes[path], path)

    def vertices(self, owner: str) -> Mapping[str, Vertex]:
        """Returns the present vertices of one body."""
        return self._bodies.get(owner) or self.old.body_of(owner).vertices

    def outputs(self, owner: str) -> Any:
        """Returns the present output structure of one body."""
        return self._body_outputs.get(owner, self.old.body_of(owner).outputs)

    def vertex(self, site: Site) -> Vertex:
        return self.vertices(site.owner)[site.name]

    def part(self, site: Site) -> Part:
        key = self.vertex(site).part
        return self._parts.get(key) or self.old.parts[key]

    def spec(self, owner: str, ref: TensorRef | Seam) -> TensorSpec:
        """Returns the shape of a tensor before the edit, or of a new vertex.

        Across a seam, it is the shape that the reader sees.
        """
        if isinstance(ref, Seam):
            return ref.spec
        path = self._first_paths.get((owner, ref.vertex))
        if path is None:
            return self.vertices(owner)[ref.vertex].outputs[ref.index]
        return self.flat.specs[self.flat.tensor(path, ref.index)]

    def readers(self, owner: str, ref: TensorRef) -> list[str]:
        """Returns the vertices that read a tensor, in order."""
        return [n for n, v in self.vertices(owner).items() if ref in v.reads]

    # --- exchanging -----------------------------------------------------------

    def put(self, owner: str, vertex: Vertex, after: str | None = None) -> None:
        """Adds a vertex, or exchanges the one of its name."""
        vertices = dict(self.vertices(owner))
        is_new = vertex.name not in vertices
        vertices[vertex.name] = vertex
        if is_new and after is not None:
            names = list(vertices)[:-1]
            names.insert(names.index(after) + 1, vertex.name)
            vertices = {name: vertices[name] for name in names}
        self._bodies[owner] = vertices

    def record(self, key: str, name: str, outputs: tuple[TensorSpec, ...]) -> None:
        """Says what a vertex inside of a new nested model gives."""
        part = self._parts[key]
        vertices = dict(part.body.vertices)
        vertices[name] = replace(vertices[name], outputs=outputs)
        self.put_part(replace(part, body=replace(part.body, vertices=vertices)))

    def put_part(self, part: Part) -> None:
        """Adds a part, or exchanges the one of its key."""
        self._parts[part.key] = part

    def drop(self, owner: str, names: Collection[str]) -> None:
        """Takes vertices out; nothing may read them any more."""
        self._bodies[owner] = {
            n: v for n, v in self.vertices(owner).items() if n not in names
        }

    def lead(
        self,
        owner: str,
        old: TensorRef,
        lead_to: Callable[[TensorRef | Seam], Any],
        readers: Collection[str],
    ) -> None:
        """Exchanges what vertices read.

        Args:
            owner: The body.
            old: The tensor that they read.
            lead_to: Gives what they read instead, for a `TensorRef`, or a `Seam` that
                an earlier step left at the same place.
            readers: Names of the vertices.
        """

        def exchange(leaf: Any) -> Any:
            ref = leaf.ref if isinstance(leaf, Seam) else leaf
            return lead_to(leaf) if ref == old else leaf

        vertices = dict(self.vertices(owner))
        for name in readers:
            vertices[name] = map_arguments(vertices[name], exchange)
        self._bodies[owner] = vertices

    def lead_outputs(self, owner: str, old: TensorRef, new: TensorRef) -> None:
        """Exchanges a tensor among the outputs of a body."""
        self._body_outputs[owner] = map_leaves(
            lambda leaf: new if leaf == old else leaf, self.outputs(owner)
        )

    def seam(
        self, owner: str, ref: TensorRef, spec: TensorSpec, label: Any
    ) -> Seam | TensorRef:
        """Returns what leads a reader to a tensor: a seam if the shapes differ."""
        if self.spec(owner, ref).shape == spec.shape:
            return ref
        return Seam(ref, spec, (owner, label))

    def path(self, owner: str, name: str) -> str:
        """Returns the path of a vertex's first call; that of a new one is as good."""
        return self._first_paths.get((owner, name), path_in(owner, name))

    def old_call(self, owner: str, vertex: Vertex) -> Call:
        """Returns a vertex as it was before the edit, as a call."""
        return self._call(owner, vertex, self.old.parts[vertex.part])

    def call(self, owner: str, vertex: Vertex) -> Call:
        """Returns a vertex as a call of the opened network, for what asks about one."""
        part = self._parts.get(vertex.part) or self.old.parts[vertex.part]
        return self._call(owner, vertex, part)

    def _call(self, owner: str, vertex: Vertex, part: Part) -> Call:
        path = self.path(owner, vertex.name)
        args, kwargs = vertex.args, vertex.kwargs
        home = (owner, vertex.name)
        return Call(path, vertex, part, args, kwargs, vertex.outputs, home)

    def arriving(self, owner: str, vertex: Vertex) -> list[TensorSpec]:
        """Returns the shape that a vertex sees of each tensor it reads."""
        return [self.spec(owner, leaf) for leaf in vertex.tensors]

    def with_outputs(
        self, owner: str, vertex: Vertex, *, is_called: bool = False
    ) -> Vertex:
        """Returns a vertex with the outputs that Keras says it has.

        See `infer_outputs`.

        Raises:
            Exception: Keras refuses what it reads, in whatever way.
        """
        call = self.call(owner, vertex)
        arriving = self.arriving(owner, vertex)
        graph = self.old.replace_parts(self._parts)
        if call.part.body is not None:
            return replace(vertex, outputs=self._open(graph, call.part, arriving))
        outputs = infer_outputs(graph, call, arriving, is_called=is_called)
        return replace(vertex, outputs=outputs)

    def _open(
        self, graph: Graph, model: Part, arriving: Sequence[TensorSpec]
    ) -> tuple[TensorSpec, ...]:
        """Returns what a nested model gives.

        Its inside may have been recorded for a grid of any size; now its size is known.
        """
        flat = flatten(replace(graph, body=model.body))
        given = dict(zip(flat.inputs, arriving, strict=True))
        specs: dict[TensorRef, TensorSpec] = {}
        seen: set[tuple[str, str]] = set()
        for call in flat.calls:
            outputs, ref = call.outputs, TensorRef(call.path)
            if ref in given:
                outputs = (TensorSpec(given[ref].shape, outputs[0].dtype),)
            elif any(None in output.shape[1:] for output in outputs):
                found = [specs[read] for read in call.reads]
                outputs = infer_outputs(graph, call, found)
            for number, output in enumerate(outputs):
                specs[TensorRef(call.path, number)] = output
            owner, name = call.home
            home = (owner or model.key, name)
            if outputs != call.outputs and home not in seen:
                self.record(*home, outputs)
            seen.add(home)
        return tuple(specs[ref] for ref in flat.outputs)

    def note_origins(self, owner: str, ref: TensorRef, origins: Origins) -> None:
        """Notes where the readers of a tensor had its positions before."""
        if origins:
            self.moved[owner, ref] = origins

    def has_origins(self) -> bool:
        """Whether it is known where a reader had the positions that it reads now."""
        return bool(self.moved) or any(
            isinstance(leaf, Seam) and leaf.origins
            for vertices in self._bodies.values()
            for vertex in vertices.values()
            for leaf in vertex.tensors
        )

    def free_name(self, owner: str, name: str) -> str:
        """Returns a name that no vertex of a body has, nor a part with that path."""
        taken = {*self.vertices(owner)}
        parts = self.old.parts.keys() | self._parts.keys()
        free, number = name, 0
        while free in taken or path_in(owner, free) in parts:
            number += 1
            free = f"{name}_{number}"
        return free

    def graph(self) -> Graph:
        """Returns the rewired graph, producers before consumers."""
        graph = self.old.replace_parts(self._parts) if self._parts else self.old
        for owner in dict.fromkeys((*self._bodies, *self._body_outputs)):
            body = replace(
                graph.body_of(owner),
                vertices=sort_vertices(self.vertices(owner)),
                outputs=self.outputs(owner),
            )
            graph = graph.replace_body(owner, body)
        return graph


def path_in(owner: str, name: str) -> str:
    """Returns the path of a vertex inside of a nested model, "" for the outermost."""
    return f"{owner}/{name}" if owner else name


def same_owner(sites: Collection[Site], what: str) -> str:
    """Returns the body that all sites are in."""
    owners = {site.owner for site in sites}
    if len(owners) > 1:
        names = [site.path for site in sites]
        raise InvalidRequestError(
            f"{what} have to be in one model, but {names} are in different nested "
            "models.\n\nName vertices of the same model; a nested model as a whole has "
            f"a name, too. Received: {names!r}"
        )
    return owners.pop()
