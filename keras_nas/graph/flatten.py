"""All calls of a graph in one row, with nested models opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from keras_nas.graph import keras_private
from keras_nas.graph.structure import (
    Body,
    Graph,
    HasArguments,
    Part,
    Seam,
    TensorRef,
    TensorSpec,
    Vertex,
    refs,
)
from keras_nas.rules import map_leaves


@dataclass(frozen=True)
class Call(HasArguments):
    """One call at one place of the opened network.

    Attributes:
        path: Unique: ``"conv"``, ``"encoder/conv2"``, ``"encoder^1/conv2"``.
        vertex: The vertex. Its arguments refer to names of its body.
        part: What is called.
        args: Its arguments with `TensorRef` leaves that refer to paths of calls.
            An input layer of a nested model has one: the tensor from outside.
        kwargs: Likewise.
        outputs: What the call returned, flat.
        home: Key of the part whose inside it is in ("" for the outermost) and name of
            the vertex. The same for all expansions of one vertex.
    """

    path: str
    vertex: Vertex
    part: Part
    args: tuple
    kwargs: Mapping[str, Any]
    outputs: tuple[TensorSpec, ...]
    home: tuple[str, str]


@dataclass(frozen=True)
class FlatGraph:
    """The calls of a graph over all levels of nesting.

    Attributes:
        calls: In topological order.
        aliases: Path of a call of a nested model -> the tensors that are its outputs.
        homes: Path of any call, nested models included -> key of the part whose inside
            it is in ("" for the outermost) and name of the vertex there.
        specs: Shape and dtype of every tensor.
        inputs: Flat inputs of the outermost model.
        outputs: Its flat outputs.
    """

    calls: tuple[Call, ...]
    aliases: Mapping[str, tuple[TensorRef, ...]]
    homes: Mapping[str, tuple[str, str]]
    specs: Mapping[TensorRef, TensorSpec]
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]


# A graph never changes, and every step of an edit asks for its calls.
_KNOWN: WeakKeyDictionary[Graph, FlatGraph] = WeakKeyDictionary()


def flatten(graph: Graph) -> FlatGraph:
    """Returns the calls of all levels in topological order. O(number of calls)."""
    if graph not in _KNOWN:
        _KNOWN[graph] = _flatten(graph)
    return _KNOWN[graph]


def _flatten(graph: Graph) -> FlatGraph:
    opener = _Opener(graph)
    body = graph.body
    resolve = opener.open(body, owner="", prefix="", outer_inputs=None)
    return FlatGraph(
        calls=tuple(opener.calls),
        aliases=opener.aliases,
        homes=opener.homes,
        specs={
            TensorRef(call.path, number): spec
            for call in opener.calls
            for number, spec in enumerate(call.outputs)
        },
        inputs=tuple(resolve(ref) for ref in refs(body.inputs)),
        outputs=tuple(resolve(ref) for ref in refs(body.outputs)),
    )


class _Opener:
    def __init__(self, graph: Graph):
        self._parts = graph.parts
        self.calls: list[Call] = []
        self.aliases: dict[str, tuple[TensorRef, ...]] = {}
        self.homes: dict[str, tuple[str, str]] = {}

    def open(self, body: Body, owner: str, prefix: str, outer_inputs: Any) -> Any:
        """Appends the calls of a body; returns how its references are to be read."""

        def resolve(leaf: Any) -> Any:
            if isinstance(leaf, Seam) and leaf.ref is not None:
                return replace(leaf, ref=resolve(leaf.ref))
            if not isinstance(leaf, TensorRef):
                return leaf
            path = prefix + leaf.vertex
            if path in self.aliases:
                return self.aliases[path][leaf.index]
            return TensorRef(path, leaf.index)

        arrivals = {}
        if outer_inputs is not None:
            arrivals = _arrivals(body, outer_inputs)
        for vertex in body.vertices.values():
            args = tuple(map_leaves(resolve, vertex.args))
            kwargs = map_leaves(resolve, vertex.kwargs)
            if vertex.name in arrivals:
                args = (_arriving(args, arrivals[vertex.name]),)
            self._append(vertex, owner, prefix + vertex.name, args, kwargs)
        return resolve

    def _append(
        self, vertex: Vertex, owner: str, path: str, args: tuple, kwargs: Any
    ) -> None:
        part = self._parts[vertex.part]
        self.homes[path] = home = (owner, vertex.name)
        if part.body is None:
            self.calls.append(
                Call(path, vertex, part, args, kwargs, vertex.outputs, home)
            )
            return
        outer_inputs = args[0] if args else kwargs["inputs"]
        resolve = self.open(part.body, part.key, f"{path}/", outer_inputs)
        self.aliases[path] = tuple(resolve(ref) for ref in refs(part.body.outputs))


def _arriving(args: tuple, arrival: Any) -> Any:
    """Returns what reaches an input of a nested model, across its seam if it has one.

    A seam in the call of the model is one of the outer tensors; it comes first.
    """
    if args and isinstance(arrival, TensorRef):
        return replace(args[0], ref=arrival)
    return arrival


def _arrivals(body: Body, outer_inputs: Any) -> dict[str, Any]:
    """Returns name of an input vertex -> what the call passes to it.

    Keras matches by position, and by name where a dict is passed to a model that was
    made with a list or a single input.
    """
    own = refs(body.inputs)
    if isinstance(outer_inputs, dict) and not isinstance(body.inputs, dict):
        return {ref.vertex: outer_inputs[ref.vertex] for ref in own}
    given = keras_private.flatten(outer_inputs)
    return {ref.vertex: value for ref, value in zip(own, given)}
