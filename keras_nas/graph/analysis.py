"""One pass over a graph that finds how all of its axes hang together.

Every call asks the rule of its class how the axes of its inputs, outputs, weights and
settings are tied, and `Sharing` ties what several calls have in common. What has no
rule is learned from what it does, or frozen, and the reason kept.

The pass is linear in the number of calls, whatever the graph, and ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from keras_nas.axes import Atom, Expression, Fixed, Unifier
from keras_nas.graph import keras_private
from keras_nas.graph.flatten import Call, FlatGraph, flatten
from keras_nas.graph.learned import Inside, Known
from keras_nas.graph.learning import learn_activation, learn_inner, learn_layer
from keras_nas.graph.network import describe_network
from keras_nas.graph.region import region_of
from keras_nas.graph.seams import Joint, Seams
from keras_nas.graph.sharing import Sharing
from keras_nas.graph.structure import (
    Graph,
    Part,
    Seam,
    TensorRef,
    TensorSpec,
    VariableRef,
)
from keras_nas.graph.weight import Weight
from keras_nas.rules import (
    AxisTensor,
    Mixed,
    Relation,
    RuleCall,
    Undescribed,
    WeightAxes,
    find_rule,
    leaves,
    map_leaves,
    split_masks,
    why_frozen,
)

# Random layers count their draws in a variable that has no neurons.
_SEED_STATE = "seed_generator_state"
_AROUND = "the rest of the network, which the change does not reach"


@dataclass(frozen=True, eq=False)
class Analysis:
    """The axes of a graph.

    Attributes:
        flat: The calls of the graph over all levels of nesting.
        unifier: Knows what every axis turned out to be.
        tensors: Axes of every tensor.
        relations: Path of a call -> how its axes hang together.
        parts: Key of a part -> relation of its first call, which speaks for the
            weights and settings that all its calls share.
        homes: Vertex of a body -> relation of its first call, which speaks for the
            arguments that all expansions of a nested model share.
        variables: Axes of each variable, by the identity of its `Weight`.
        frozen: Path of a call that no rule describes -> why.
        seams: What an edit has yet to make equal.
    """

    flat: FlatGraph
    unifier: Unifier
    tensors: dict[TensorRef, AxisTensor] = field(default_factory=dict)
    relations: dict[str, Relation] = field(default_factory=dict)
    parts: dict[str, Relation] = field(default_factory=dict)
    homes: dict[tuple[str, str], Relation] = field(default_factory=dict)
    variables: dict[int, WeightAxes] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    seams: Seams | None = None
    # By identity, with the axis itself, so that no other can take its place.
    _resolved: dict[int, tuple[Expression, Expression]] = field(default_factory=dict)

    @property
    def specs(self) -> Mapping[TensorRef, TensorSpec]:
        """Shape and dtype of every tensor."""
        return self.flat.specs

    @property
    def joints(self) -> tuple[Joint, ...]:
        """The two sides of each seam; none in a finished graph."""
        return () if self.seams is None else self.seams.joints

    def resolve(self, axis: Expression) -> Expression:
        """Returns what an axis turned out to be, now that all calls are known."""
        known = self._resolved.get(id(axis))
        if known is None:
            known = self._resolved[id(axis)] = (axis, self.unifier.resolve(axis))
        return known[1]

    def axes_of(self, ref: TensorRef) -> tuple[Expression, ...]:
        """Returns the resolved axes of a tensor."""
        return tuple(map(self.resolve, self.tensors[ref].axes))

    def channel_of(self, ref: TensorRef) -> Expression | None:
        """Returns the resolved channel axis of a tensor; None if it has none."""
        tensor = self.tensors[ref]
        if tensor.rank < 2:
            return None
        return self.resolve(tensor.axes[tensor.channel])

    def output_of(self, path: str) -> TensorRef:
        """Returns the first output of a vertex, nested models included."""
        return self.flat.tensor(path)

    def all_axes(self) -> Iterator[Expression]:
        """Yields every resolved axis of every tensor and weight, with repeats."""
        for tensor in self.tensors.values():
            yield from map(self.resolve, tensor.axes)
        for joint in self.joints:
            yield from map(self.resolve, joint.expected.axes)
        for relation in self.parts.values():
            for weight in relation.weights.values():
                yield from map(self.resolve, weight.all_axes)

    def all_atoms(self) -> list[Atom]:
        """Returns all atoms in the order of their creation."""
        found = frozenset[Atom]().union(*(axis.atoms for axis in self.all_axes()))
        return sorted(found, key=lambda atom: atom.serial)


def analyze(graph: Graph) -> Analysis:
    """Finds the axes of a graph. Touches no weights and changes nothing."""
    return _Pass(graph, flatten(graph), Unifier(), {}).analysis({})


def analyze_region(graph: Graph, start: Iterable[tuple[TensorRef, int]]) -> Analysis:
    """Finds the axes that a change of some can reach; all others count as fixed.

    Args:
        graph: The graph.
        start: Tensors, each with the number of an axis whose size may have to change.
    """
    flat = flatten(graph)
    region = replace(flat, calls=tuple(region_of(graph, start)))
    inside = {call.path for call in region.calls}
    around = {
        ref: AxisTensor(tuple(Fixed(size, _AROUND) for size in flat.specs[ref].shape))
        for call in region.calls
        for ref in call.reads
        if ref.vertex not in inside
    }
    return _Pass(graph, region, Unifier(), {}).analysis({}, around)


class _Pass:
    """One pass over the calls of a graph.

    Args:
        graph: The graph.
        flat: Its calls, or those to look at.
        unifier: Knows what every axis turned out to be.
        known: What was learned before. Added to.
        within: Path of the layer that the graph is the inside of.
    """

    def __init__(
        self,
        graph: Graph,
        flat: FlatGraph,
        unifier: Unifier,
        known: Known,
        within: str = "",
    ):
        self._graph = graph
        self._known = known
        self._within = within
        self._sharing = Sharing(unifier)
        self._seams = Seams(unifier)
        self._analysis = Analysis(
            flat,
            unifier,
            seams=self._seams,
            parts=self._sharing.parts,
            homes=self._sharing.homes,
            variables=self._sharing.variables,
        )

    def analysis(
        self,
        arriving: Mapping[TensorRef, AxisTensor],
        around: Mapping[TensorRef, AxisTensor] = MappingProxyType({}),
    ) -> Analysis:
        """Goes over all calls.

        Args:
            arriving: Axes of inputs that are known from outside.
            around: Axes of tensors that come from calls that are not looked at.
        """
        analysis = self._analysis
        analysis.tensors.update(around)
        for call in analysis.flat.calls:
            ref = TensorRef(call.path)
            if ref in arriving:
                relation = Relation(outputs=(arriving[ref],))
            else:
                relation = self._relation(call)
            analysis.relations[call.path] = relation
            for number, tensor in enumerate(relation.outputs):
                analysis.tensors[TensorRef(call.path, number)] = tensor
            self._sharing.add(call, relation)
        self._sharing.finish()
        return analysis

    def _relation(self, call: Call) -> Relation:
        """Asks the rule of a call; freezes what the call touches if it has none."""
        rule_call = self._rule_call(call)
        rule = find_rule(call.part.cls, is_operation=call.part.is_operation)
        try:
            if rule is None:
                why = why_frozen(call.part.cls, is_operation=call.part.is_operation)
                if why is not None:
                    raise Undescribed(why)
                relation = self._learned(call, rule_call)
            else:
                relation = rule(rule_call)
            rule_call.tie_masks()
            _check_weights(call.part, relation)
        except Undescribed as error:
            kind = call.part.cls.__name__
            reason = f"'{rule_call.name}' ({kind}), which is not understood ({error})"
            self._analysis.frozen[call.path] = str(error)
            return _frozen(rule_call, reason)
        return relation

    def _rule_call(self, call: Call) -> RuleCall:
        def with_axes(leaf: Any) -> Any:
            if isinstance(leaf, TensorRef):
                return self._analysis.tensors[leaf]
            if isinstance(leaf, Seam):
                arriving = self._analysis.tensors[leaf.ref]
                return self._seams.cross(leaf, arriving, call.path)
            if isinstance(leaf, VariableRef):
                leaf = self._graph.parts[leaf.part].weights[leaf.index]
            if isinstance(leaf, Weight):
                return self._sharing.use(leaf)
            return leaf

        def learn(rule_call: RuleCall, key: str, output: AxisTensor) -> Mixed:
            inside = self._inside(f"{rule_call.name}/{key}")
            return learn_activation(call, rule_call, key, output, inside, self._known)

        def learn_inside(rule_call: RuleCall) -> Relation:
            inside = self._inside(rule_call.name)
            if keras_private.is_functional_class(rule_call.cls):
                return describe_network(rule_call, inside, call.part.custom_objects)
            return learn_inner(call, rule_call, inside, self._known)

        return RuleCall(
            self._analysis.unifier,
            call.part.cls,
            self._within + call.path,
            call.part.config,
            {name: weight.shape for name, weight in call.part.named_weights},
            map_leaves(with_axes, tuple(call.args)),
            map_leaves(with_axes, dict(call.kwargs)),
            [spec.shape for spec in call.outputs],
            None if call.part.is_operation else call.part.template,
            learn,
            learn_inside,
        )

    def _learned(self, call: Call, rule_call: RuleCall) -> Relation:
        """Learns the relation of a call without rule from what its layer does."""
        data, _ = split_masks(call.part.cls, call.args, call.kwargs)
        specs = [
            leaf.spec if isinstance(leaf, Seam) else self._analysis.specs[leaf]
            for leaf in leaves(data)
            if isinstance(leaf, (TensorRef, Seam))
        ]
        inside = self._inside(rule_call.name)
        return learn_layer(call, rule_call, specs, inside, self._known)

    def _inside(self, name: str) -> Inside:
        """Returns what runs the rules of all that is inside a layer of this name."""

        def inside(graph: Graph, tensors: list[AxisTensor]) -> Analysis:
            flat, unifier = flatten(graph), self._analysis.unifier
            inner = _Pass(graph, flat, unifier, self._known, f"{name}/")
            return inner.analysis(dict(zip(flat.inputs, tensors, strict=True)))

        return inside


def _check_weights(part: Part, relation: Relation) -> None:
    """Makes sure that a rule describes all weights, and as they are."""
    for name, weight in part.named_weights:
        axes = relation.weights.get(name)
        if axes is None:
            if name.endswith(_SEED_STATE):
                continue
            raise Undescribed(
                f"its rule does not describe the weight '{name}' of shape "
                f"{weight.shape}"
            )
        if axes.shape != tuple(weight.shape):
            raise Undescribed(
                f"its rule gives the weight '{name}' the shape {axes.shape}, "
                f"but it has {weight.shape}"
            )


def _frozen(call: RuleCall, reason: str) -> Relation:
    """Freezes every axis that goes into a call, and all that it has or gives."""
    for tensor in (*call.tensors, *call.masks):
        for axis in tensor.axes:
            call.freeze(axis, reason)
    return Relation(
        outputs=tuple(
            call.frozen_output(number, reason)
            for number in range(len(call.output_shapes))
        ),
        weights={
            name: WeightAxes((tuple(call.fixed(size, reason) for size in shape),))
            for name, shape in call.weights.items()
        },
    )
