"""Puts a graph in order after vertices and references in it were exchanged."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from keras_nas.errors import InfeasibleError, InvalidRequestError
from keras_nas.graph.structure import (
    Body,
    Graph,
    Part,
    TensorRef,
    VariableRef,
    Vertex,
    refs,
)
from keras_nas.graph.weight import Weight
from keras_nas.rules import map_leaves


def map_arguments(vertex: Vertex, function: Any) -> Vertex:
    """Returns a vertex with every leaf of its arguments replaced."""
    args = tuple(map_leaves(function, tuple(vertex.args)))
    kwargs = map_leaves(function, dict(vertex.kwargs))
    return replace(vertex, args=args, kwargs=kwargs)


def exchange_weights(graph: Graph, new: Mapping[int, Weight]) -> Graph:
    """Returns a graph with other weights.

    Args:
        graph: The graph.
        new: Identity of a weight -> what takes its place, wherever it stands.
    """
    parts = {}
    for key, part in graph.parts.items():
        if any(id(weight) in new for weight in part.weights):
            weights = tuple(new.get(id(weight), weight) for weight in part.weights)
            parts[key] = replace(part, weights=weights)
    return graph.replace_parts(parts)


def rename_vertices(graph: Graph, key: str, name: str) -> Graph:
    """Returns a graph in which a part and all of its calls have another name."""
    part = graph.parts[key]
    for owner, body in tuple(graph.bodies()):
        names = {
            old: name + old[len(part.name) :]
            for old, vertex in body.vertices.items()
            if vertex.part == key
        }
        if names:
            graph = graph.replace_body(owner, _renamed(body, names))
    return graph.replace_parts({key: graph.parts[key].named(name)})


def _renamed(body: Body, names: Mapping[str, str]) -> Body:
    def follow(leaf: Any) -> Any:
        if isinstance(leaf, TensorRef) and leaf.vertex in names:
            return TensorRef(names[leaf.vertex], leaf.index)
        return leaf

    vertices = {}
    for old, vertex in body.vertices.items():
        if any(ref.vertex in names for ref in vertex.reads):
            vertex = map_arguments(vertex, follow)
        if old in names:
            vertex = replace(vertex, name=names[old])
        vertices[vertex.name] = vertex
    outputs = map_leaves(follow, body.outputs)
    return replace(body, vertices=vertices, outputs=outputs)


def sort_vertices(vertices: Mapping[str, Vertex]) -> dict[str, Vertex]:
    """Puts producers before consumers, otherwise leaving the order as it is.

    Raises:
        InvalidRequestError: A vertex reads, over others, what it computes itself.
    """
    if _is_sorted(vertices):
        return dict(vertices)
    place = {name: number for number, name in enumerate(vertices)}
    names = list(vertices)
    readers: dict[str, list[str]] = {name: [] for name in names}
    waiting: dict[str, int] = {}
    for name, vertex in vertices.items():
        producers = {ref.vertex for ref in vertex.reads}
        waiting[name] = len(producers)
        for producer in producers:
            readers[producer].append(name)
    ready = [place[name] for name in names if not waiting[name]]
    heapq.heapify(ready)
    ordered: dict[str, Vertex] = {}
    while ready:
        name = names[heapq.heappop(ready)]
        ordered[name] = vertices[name]
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, place[reader])
    if len(ordered) < len(names):
        circle = [name for name in names if name not in ordered]
        raise InvalidRequestError(
            f"The vertices {_listed(circle)} would feed each other in a circle.\n\nA "
            f"network has no loops: choose another place. Received: {circle[0]!r}"
        )
    return ordered


def _is_sorted(vertices: Mapping[str, Vertex]) -> bool:
    seen: set[str] = set()
    for name, vertex in vertices.items():
        if any(ref.vertex not in seen for ref in vertex.reads):
            return False
        seen.add(name)
    return True


def find_path(body: Body, source: str, target: str) -> list[str] | None:
    """Returns the vertices on a way that data take, both ends included, or None."""
    came_from: dict[str, str] = {target: target}
    pending = [target]
    while pending and source not in came_from:
        name = pending.pop()
        for ref in body.vertices[name].reads:
            if ref.vertex not in came_from:
                came_from[ref.vertex] = name
                pending.append(ref.vertex)
    if source not in came_from:
        return None
    path = [source]
    while path[-1] != target:
        path.append(came_from[path[-1]])
    return path


def drop_unused(graph: Graph) -> Graph:
    """Returns a graph without what reaches no output.

    Raises:
        InfeasibleError: An input of a model would reach no output.
    """
    for owner, body in tuple(graph.bodies()):
        used = _used(body)
        lost = [ref.vertex for ref in refs(body.inputs) if ref.vertex not in used]
        if lost:
            where = f" of the nested model '{owner}'" if owner else ""
            raise InfeasibleError(
                f"The input {_listed(lost)}{where} would no longer reach an output."
                "\n\nConnect what it feeds to something else first. "
                f"Received: {lost[0]!r}"
            )
        if len(used) < len(body.vertices):
            kept = {name: v for name, v in body.vertices.items() if name in used}
            graph = graph.replace_body(owner, replace(body, vertices=kept))
    return _drop_parts(graph)


def _used(body: Body) -> set[str]:
    used: set[str] = set()
    pending = [ref.vertex for ref in refs(body.outputs)]
    while pending:
        name = pending.pop()
        if name not in used:
            used.add(name)
            pending.extend(ref.vertex for ref in body.vertices[name].reads)
    return used


def _drop_parts(graph: Graph) -> Graph:
    """Drops parts that nothing calls; a variable of theirs may live on by itself."""
    called = set(_called_parts(graph))
    if len(called) == len(graph.parts):
        return graph
    gone = graph.parts.keys() - called

    def own(leaf: Any) -> Any:
        if isinstance(leaf, VariableRef) and leaf.part in gone:
            return graph.parts[leaf.part].weights[leaf.index]
        return leaf

    new = graph
    for owner, body in tuple(graph.bodies()):
        if owner in gone:
            continue
        orphans = {
            name: map_arguments(vertex, own)
            for name, vertex in body.vertices.items()
            if any(
                isinstance(leaf, VariableRef) and leaf.part in gone
                for leaf in vertex.variables
            )
        }
        if orphans:
            new = new.replace_vertices(owner, orphans)
    parts = {
        key: _without_inner(part, gone)
        for key, part in new.parts.items()
        if key in called
    }
    return replace(new, parts=parts)


def _called_parts(graph: Graph) -> Iterator[str]:
    pending, seen = [graph.body], set()
    while pending:
        for vertex in pending.pop().vertices.values():
            if vertex.part not in seen:
                seen.add(vertex.part)
                yield vertex.part
                if graph.parts[vertex.part].body is not None:
                    pending.append(graph.parts[vertex.part].body)


def _without_inner(part: Part, gone: Any) -> Part:
    if not any(key in gone for key in part.inner.values()):
        return part
    inner = {path: key for path, key in part.inner.items() if key not in gone}
    return replace(part, inner=inner)


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
