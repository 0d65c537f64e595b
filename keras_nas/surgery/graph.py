"""The graph with the verbs that change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from keras_nas.graph import Graph as Structure
from keras_nas.graph import build, wrap
from keras_nas.surgery.edits import (
    connect_vertices,
    disconnect_vertices,
    graft_segment,
    insert_layers,
    remove_vertices,
    replace_layer,
)
from keras_nas.surgery.options import Options
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.planning import plan_inputs, plan_sizes
from keras_nas.surgery.prune_plan import PrunePlan
from keras_nas.surgery.pruning import plan_pruning
from keras_nas.surgery.targets import Targets


class Graph(Structure):
    """A model as an immutable value; every verb returns a new graph.

    Copies share weights, edits compose, and Keras layers are built once, in `build`.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(4, name="a"),
        ...     keras.layers.Dense(5, name="b"),
        ...     keras.layers.Dense(2, name="head"),
        ... ])
        >>> graph = kn.Graph.from_model(model)
        >>> smaller = graph.resize("a", 2).resize("b", 3).build()
        >>> smaller.count_params()
        25
    """

    @classmethod
    def from_model(cls, model: Any) -> Graph:
        """Returns the graph of a built functional or sequential model.

        The model is not changed, and changes of the model do not reach the graph.

        Raises:
            UnsupportedModelError: Not a Keras model, a subclassed one, not built, or
                with a layer that cannot be copied.
        """
        structure = wrap(model)
        return cls(structure.body, structure.parts)

    def __repr__(self) -> str:
        return f"<Graph of '{self.body.name}': {len(self.body.vertices)} vertices>"

    def build(self, *, carry_optimizer: bool | None = None) -> Any:
        """Returns a new ``keras.Model`` that shares nothing mutable with any other.

        Args:
            carry_optimizer: Whether the model goes on with the state that the
                optimizer had when the graph was made, as in `keras_nas.resize`. By
                default if a verb on the way was told so.

        Raises:
            InvalidRequestError: There is no such state.
        """
        if carry_optimizer is None:
            return build(self)
        return build(self.with_optimizer(carry_optimizer))

    def plan(self, requests: Any, size: Any = None, **keywords: Any) -> Plan:
        """Returns the `Plan` of a resize. See `keras_nas.resize`."""
        axis = keywords.pop("axis", None)
        wanted = as_requests(requests, size, axis)
        return plan_sizes(self, wanted, self._options(keywords))

    def plan_prune(self, **keywords: Any) -> PrunePlan:
        """Returns the `PrunePlan` of a pruning. See `keras_nas.prune`."""
        names = Targets.__dataclass_fields__
        given = {key: keywords.pop(key) for key in names if key in keywords}
        targets = Targets(**given)
        importance = keywords.pop("importance", "auto")
        if isinstance(importance, str) and importance == "auto":
            importance = targets.default_importance
        options = self._options({"importance": importance, **keywords})
        return plan_pruning(self, targets, options)

    def prune(self, **keywords: Any) -> Graph:
        """Returns the graph without unimportant neurons. See `keras_nas.prune`."""
        return _own(self.plan_prune(**keywords).apply_to_graph())

    def resize(self, requests: Any, size: Any = None, **keywords: Any) -> Graph:
        """Returns the graph with layers of other sizes. See `keras_nas.resize`."""
        return _own(self.plan(requests, size, **keywords).apply_to_graph())

    def resize_inputs(self, name: str, sizes: Any, **keywords: Any) -> Graph:
        """Returns the graph with a layer's inputs of other sizes.

        See `keras_nas.resize_inputs`.
        """
        plan = plan_inputs(self, name, sizes, self._options(keywords))
        return _own(plan.apply_to_graph())

    def insert(
        self,
        layers: Any,
        after: str,
        to: Any = None,
        *,
        identity: bool = False,
        **keywords: Any,
    ) -> Graph:
        """Returns the graph with more layers. See `keras_nas.insert`."""
        options = self._options(keywords)
        return _own(insert_layers(self, layers, after, to, identity, options))

    def remove(
        self,
        names: Any,
        *,
        align: Any = ("grow", "shrink", "both"),
        connect: bool = True,
        **keywords: Any,
    ) -> Graph:
        """Returns the graph without some vertices. See `keras_nas.remove`."""
        options = self._options(keywords)
        return _own(remove_vertices(self, names, align, connect, options))

    def connect(
        self,
        source: str,
        target: str,
        position: int | None = None,
        *,
        merge: str = "add",
        via: Any = None,
        align: Any = ("grow", "shrink", "both"),
        **keywords: Any,
    ) -> Graph:
        """Returns the graph with one more edge. See `keras_nas.connect`."""
        options = self._options(keywords)
        return _own(
            connect_vertices(
                self, source, target, position, merge, via, align, options
            )
        )

    def disconnect(
        self,
        source: str,
        target: str,
        occurrence: int = 0,
        *,
        tidy: bool = False,
        align: Any = ("grow", "shrink", "both"),
        **keywords: Any,
    ) -> Graph:
        """Returns the graph without one edge. See `keras_nas.disconnect`."""
        options = self._options(keywords)
        return _own(
            disconnect_vertices(self, source, target, occurrence, tidy, align, options)
        )

    def graft(
        self,
        other: Graph,
        segment: tuple[str, str],
        place: tuple[str, str],
        *,
        align: Any = ("grow", "shrink", "both"),
        **keywords: Any,
    ) -> Graph:
        """Returns the graph with a segment of another one, weights included.

        A segment is all that computes the output of its last vertex from that of the
        vertex in front of it: nothing else leads into it or out of it. Where widths
        differ at its two ends, they are made equal as by `keras_nas.remove`; on another
        grid its layers run if they take it. Names that are taken get a number.

        Args:
            other: The graph that the segment comes from. Not changed.
            segment: Vertex in front of the segment there, and its last one.
            place: Vertex in front of the segment here that goes, and its last one. The
                same name twice: nothing goes, the new one comes behind that vertex.
            align: How widths are made equal; see `keras_nas.remove`.
            **keywords: The shared keywords of `keras_nas.resize`.

        Raises:
            InvalidRequestError: Something else leads into a segment or out of it, or
                it does not fit into the place.
            InfeasibleError: No sizes fit.
            UnknownLayerError: No vertex, or more than one, has a name.

        Example:
            >>> import keras, keras_nas as kn
            >>> def chain(*units):
            ...     layers = [keras.layers.Dense(n, name=f"d{i}")
            ...               for i, n in enumerate(units)]
            ...     return kn.Graph.from_model(
            ...         keras.Sequential([keras.Input((3,), name="x"), *layers]))
            >>> child = chain(4, 5, 2).graft(chain(8, 9, 2), ("d0", "d1"), ("d0", "d1"))
            >>> [(layer.name, layer.units) for layer in child.build().layers]
            [('d0', 8), ('d1_1', 9), ('d2', 2)]

        Source: the ``CrossoverSwap`` of NaiveGAflux.jl.
        """
        options = self._options(keywords)
        return _own(graft_segment(self, other, segment, place, align, options))

    def replace(self, name: str, layer: Any, **keywords: Any) -> Graph:
        """Returns the graph with another layer in a place. See `keras_nas.replace`."""
        return _own(replace_layer(self, name, layer, self._options(keywords)))

    def _options(self, keywords: Mapping[str, Any]) -> Options:
        """Reads the shared keywords, and refuses what this graph cannot do."""
        options = Options(**keywords)
        if options.carry_optimizer:
            self.check_optimizer()
        return options


def _own(edited: Structure) -> Graph:
    """Says that an edit keeps the class of the graph that it was given."""
    return cast(Graph, edited)


def as_requests(requests: Any, size: Any, axis: str | None) -> Mapping[Any, Any]:
    """Brings the two ways to write requests to one mapping."""
    if isinstance(requests, Mapping):
        if axis is None:
            return requests
        return {
            (key, axis) if isinstance(key, str) else key: value
            for key, value in requests.items()
        }
    return {requests if axis is None else (requests, axis): size}
