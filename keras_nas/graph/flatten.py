"""All calls of a graph in one row, with nested models opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
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

    @cached_property
    def gives(self) -> tuple[TensorRef, ...]:
        """The tensors that it returns."""
        return tuple(TensorRef(self.path, n) for n in range(len(self.outputs)))

    @cached_property
    def specs(self) -> tuple[tuple[TensorRef, TensorSpec], ...]:
        """The same, each with its shape and dtype."""
        return tuple(zip(self.gives, self.outputs, strict=True))


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

    @cached_property
    def by_path(self) -> Mapping[str, Call]:
        """Path -> call."""
        return {call.path: call for call in self.calls}

    def other_tensors(self, before: FlatGraph) -> set[TensorRef]:
        """Returns the tensors that another graph has in another shape, or not."""
        return {
            ref
            for ref, spec in self.specs.items()
            if (known := before.specs.get(ref)) is not spec and known != spec
        }

    def tensor(self, path: str, index: int = 0) -> TensorRef:
        """Returns an output of any call; that of a nested model comes from inside."""
        inner = self.aliases.get(path)
        return inner[index] if inner else TensorRef(path, index)


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
        specs=dict(chain.from_iterable(call.specs for call in opener.calls)),
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
            return TensorRef(path, leaf.index) if prefix else leaf

        arrivals = {}
        if outer_inputs is not None:
            arrivals = _arrivals(body, outer_inputs)
        for vertex in body.vertices.values():
            arrival = arrivals.get(vertex.name)
            self._append(vertex, owner, prefix + vertex.name, resolve, arrival)
        return resolve

    def _append(
        self, vertex: Vertex, owner: str, path: str, resolve: Any, arrival: Any
    ) -> None:
        part = self._parts[vertex.part]
        self.homes[path] = home = (owner, vertex.name)
        if part.body is not None:
            arguments = map_leaves(resolve, (vertex.args, vertex.kwargs))
            self._open_model(part, path, *arguments)
            return
        if arrival is None and not vertex.has_seams:
            self.calls.append(_call(vertex, part, path, resolve, home))
            return
        args, kwargs = map_leaves(resolve, (tuple(vertex.args), vertex.kwargs))
        if arrival is not None:
            args = (_arriving(args, arrival),)
        self.calls.append(Call(path, vertex, part, args, kwargs, vertex.outputs, home))

    def _open_model(self, part: Part, path: str, args: tuple, kwargs: Any) -> None:
        outer_inputs = args[0] if args else kwargs["inputs"]
        resolve = self.open(part.body, part.key, f"{path}/", outer_inputs)
        self.aliases[path] = tuple(resolve(ref) for ref in refs(part.body.outputs))


def _call(
    vertex: Vertex, part: Part, path: str, resolve: Any, home: tuple[str, str]
) -> Call:
    """Returns a call; the same object as in another graph where nothing is new.

    Most of a graph is as it was before an edit, and whoever compares two graphs need
    not look at calls that are identical.
    """
    reads = tuple(map(resolve, vertex.reads))
    known = vertex.memo.get(path)
    if known and (known.part, known.home, known.reads) == (part, home, reads):
        return known
    args, kwargs = map_leaves(resolve, (tuple(vertex.args), vertex.kwargs))
    call = Call(path, vertex, part, args, kwargs, vertex.outputs, home)
    vertex.memo[path] = call
    return call


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
