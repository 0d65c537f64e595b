"""What mutations look at: the vertices of a graph, each with its surroundings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from keras_nas.axes import MaybeNone
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    FlatGraph,
    Part,
    TensorRef,
    TensorSpec,
    Vertex,
    flatten,
)
from keras_nas.search.mutations.context import Context
from keras_nas.surgery import Graph


@dataclass(frozen=True, eq=False)
class Place:
    """A vertex, and what is around it.

    Attributes:
        path: Path of its first call, as verbs take it.
        owner: Key of the nested model that it is inside of, "" for the outermost.
        vertex: The vertex.
        part: What it calls.
        spec: Shape and dtype of its first output.
        reads: Paths of the vertices that it reads, each once, in order.
        readers: Paths of the vertices that read it, each once, in order.
        is_end: Whether what it gives goes to an output of the network with no other
            weights on the way: the last layer with weights, and all behind it.
        is_tail: Whether it is one of those behind.
        calls: How often its layer is called in the network.
    """

    path: str
    owner: str
    vertex: Vertex
    part: Part
    spec: TensorSpec
    reads: tuple[str, ...]
    readers: tuple[str, ...]
    is_end: bool
    is_tail: bool
    calls: int

    @property
    def is_input(self) -> bool:
        return self.part.is_input

    @property
    def rank(self) -> int:
        """Number of axes of its output, the batch included."""
        return len(self.spec.shape)

    @property
    def grid(self) -> tuple[int | MaybeNone, ...]:
        """The axes of its output between the batch and the last one."""
        return tuple(self.spec.shape[1:-1])

    @property
    def width(self) -> int | None:
        """Size of the last axis of its output."""
        return self.spec.shape[-1] if self.rank > 1 else None

    @property
    def is_floating(self) -> bool:
        """Whether it gives numbers that a layer with weights can read."""
        return "float" in self.spec.dtype

    @property
    def listed_reads(self) -> int:
        """Number of tensors that it takes as a list; 0 if it takes no list."""
        args = self.vertex.args
        if not args or not isinstance(args[0], (list, tuple)):
            return 0
        return sum(isinstance(leaf, TensorRef) for leaf in args[0])


# A graph never changes, and every mutation asks.
_KNOWN: WeakKeyDictionary[Graph, dict[str, Place]] = WeakKeyDictionary()


def all_places(graph: Graph) -> dict[str, Place]:
    """Returns path -> place of every vertex, in order; each vertex once."""
    if graph not in _KNOWN:
        _KNOWN[graph] = _all_places(graph)
    return _KNOWN[graph]


def _all_places(graph: Graph) -> dict[str, Place]:
    flat = flatten(graph)
    paths: dict[tuple[str, str], str] = {}
    for path, home in flat.homes.items():
        paths.setdefault(home, path)
    ends, tail = _ends(flat)
    calls = Counter(call.part.key for call in flat.calls)
    found: dict[str, Place] = {}
    for owner, body in graph.bodies():
        readers: dict[str, dict[str, None]] = {name: {} for name in body.vertices}
        reads: dict[str, dict[str, None]] = {}
        for name, vertex in body.vertices.items():
            reads[name] = dict.fromkeys(ref.vertex for ref in vertex.reads)
            for read in reads[name]:
                readers[read][name] = None
        for name, vertex in body.vertices.items():
            path = paths.get((owner, name), "")
            spec = _spec(flat, path) if path else None
            if spec is None:
                continue  # A nested model that nothing calls; an op without outputs.
            found[path] = Place(
                path=path,
                owner=owner,
                vertex=vertex,
                part=graph.parts[vertex.part],
                spec=spec,
                reads=tuple(paths[owner, read] for read in reads[name]),
                readers=tuple(paths[owner, reader] for reader in readers[name]),
                is_end=(owner, name) in ends,
                is_tail=(owner, name) in tail,
                calls=calls[vertex.part],
            )
    return found


def _spec(flat: FlatGraph, path: str) -> TensorSpec | None:
    inner = flat.aliases.get(path)
    return flat.specs.get(inner[0] if inner else TensorRef(path))


def _ends(flat: FlatGraph) -> tuple[set, set]:
    """Returns the homes of the last vertices, with and without weights; and without."""
    calls = {call.path: call for call in flat.calls}
    ends: set[tuple[str, str]] = set()
    tail: set[tuple[str, str]] = set()
    pending, seen = [ref.vertex for ref in flat.outputs], set()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        call = calls[path]
        words = path.split("/")
        around = {"/".join(words[: n + 1]) for n in range(len(words))}
        homes = {flat.homes[one] for one in around if one in flat.homes}
        ends |= homes
        if not call.part.weights and not call.part.is_input:
            tail |= homes
            pending.extend(ref.vertex for ref in call.reads)
    return ends, tail


def locked_names(graph: Graph, context: Context) -> tuple[str, ...]:
    """Returns the vertices whose neurons must stay for the sake of the shields."""
    if not context.shields:
        return ()
    places = all_places(graph)
    locked: dict[str, None] = {}
    for path, place in places.items():
        if context.is_shielded(path):
            for name in (path, *place.reads):
                other = places.get(name)
                if other is not None and other.width is not None and other.rank > 1:
                    locked[name] = None
    return tuple(locked)


def check_shields(graph: Graph, context: Context) -> None:
    """Makes sure that every shield stands before something.

    Args:
        graph: The graph to start from.
        context: Has the shields.

    Raises:
        InvalidRequestError: A shield matches no vertex: most likely a typing error.
    """
    paths = list(all_places(graph))
    for shield in context.shields:
        alone = Context(shields=(shield,))
        if not any(map(alone.is_shielded, paths)):
            raise InvalidRequestError(
                f"The shield {shield!r} matches no vertex.\n\n"
                "`keras_nas.summary(model)` lists all names. "
                f"Received: shields={context.shields!r}"
            )


def has_channels_last(graph: Graph) -> bool:
    """Whether the last axis of all tensors has their channels."""
    return not any(
        part.config.get("data_format") == "channels_first"
        for part in graph.parts.values()
    )


def num_params(graph: Graph) -> int:
    """Returns the number of weights of a graph, shared ones once."""
    sizes: dict[int, int] = {}
    for part in graph.parts.values():
        for name, weight in part.named_weights:
            if not name.endswith("seed_generator_state"):
                size = 1
                for axis in weight.shape:
                    size *= axis
                sizes[id(weight)] = size
    return sum(sizes.values())


def num_vertices(graph: Graph) -> int:
    """Returns the number of vertices over all levels of nesting."""
    return sum(len(body.vertices) for _, body in graph.bodies())
