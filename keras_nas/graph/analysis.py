"""One pass over a graph that finds how all of its axes hang together.

Every call asks the rule of its class how the axes of its inputs, outputs, weights and
settings are tied. Calls of one shared layer, and the same place inside a nested model
that is called twice, have one set of weights and settings, so those are tied as well;
and so are the two roles of a variable that two layers share, or that an operation
uses directly. What has no rule is frozen, and the reason kept.

The pass is linear in the number of calls, whatever the graph, and ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from keras_nas.axes import Expression, Fixed, Unifier
from keras_nas.graph.flatten import Call, FlatGraph, flatten
from keras_nas.graph.learning import learn
from keras_nas.graph.seams import Joint, Seams
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
    Computed,
    Relation,
    RuleCall,
    SizeOf,
    Sliced,
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

    @cached_property
    def specs(self) -> dict[TensorRef, TensorSpec]:
        """Shape and dtype of every tensor."""
        return {
            TensorRef(call.path, number): spec
            for call in self.flat.calls
            for number, spec in enumerate(call.outputs)
        }

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
        if path in self.flat.aliases:
            return self.flat.aliases[path][0]
        return TensorRef(path, 0)

    def all_axes(self) -> Iterator[Expression]:
        """Yields every resolved axis of every tensor and weight, with repeats."""
        for tensor in self.tensors.values():
            yield from map(self.resolve, tensor.axes)
        for joint in self.joints:
            yield from map(self.resolve, joint.expected.axes)
        for relation in self.parts.values():
            for weight in relation.weights.values():
                yield from map(self.resolve, weight.all_axes)


def analyze(graph: Graph) -> Analysis:
    """Finds the axes of a graph. Touches no weights and changes nothing."""
    unifier = Unifier()
    analysis = Analysis(flatten(graph), unifier, seams=Seams(unifier))
    used_directly: dict[int, AxisTensor] = {}
    for call in analysis.flat.calls:
        relation = _relation(analysis, graph, call, used_directly)
        analysis.relations[call.path] = relation
        for number, tensor in enumerate(relation.outputs):
            analysis.tensors[TensorRef(call.path, number)] = tensor
        _share(analysis, call, relation)
    for weight, tensor in used_directly.items():
        _tie_use(analysis, analysis.variables.get(weight), tensor)
    return analysis


def _relation(
    analysis: Analysis,
    graph: Graph,
    call: Call,
    used_directly: dict[int, AxisTensor],
    within: str = "",
) -> Relation:
    """Asks the rule of a call; freezes what the call touches if it has none.

    Reasons name a call inside a learned layer by its path ``within`` that layer.
    """
    rule_call = _rule_call(analysis, graph, call, used_directly)
    rule_call.name = within + rule_call.name
    rule = find_rule(call.part.cls, is_operation=call.part.is_operation)
    try:
        if rule is None:
            why = why_frozen(call.part.cls, is_operation=call.part.is_operation)
            if why is not None:
                raise Undescribed(why)
            relation = _learned(analysis, call, rule_call)
        else:
            relation = rule(rule_call)
        rule_call.tie_masks()
        _check_weights(call.part, relation)
    except Undescribed as error:
        kind = call.part.cls.__name__
        reason = f"'{rule_call.name}' ({kind}), which is not understood ({error})"
        analysis.frozen[call.path] = str(error)
        return _frozen(rule_call, reason)
    return relation


def _learned(analysis: Analysis, call: Call, rule_call: RuleCall) -> Relation:
    """Learns the relation of a call without rule from what its layer does."""

    def describe(
        inner_graph: Graph, tensors: list[AxisTensor]
    ) -> tuple[list[AxisTensor], list[Relation]]:
        inner = Analysis(flatten(inner_graph), analysis.unifier)
        arriving = dict(zip(inner.flat.inputs, tensors, strict=True))
        used_directly: dict[int, AxisTensor] = {}
        for step in inner.flat.calls:
            ref = TensorRef(step.path)
            if ref in arriving:
                relation = Relation(outputs=(arriving[ref],))
            else:
                relation = _relation(
                    inner, inner_graph, step, used_directly, f"{rule_call.name}/"
                )
            inner.relations[step.path] = relation
            for number, tensor in enumerate(relation.outputs):
                inner.tensors[TensorRef(step.path, number)] = tensor
        if used_directly:
            raise Undescribed("its call reads a variable that belongs to no layer")
        outputs = [inner.tensors[ref] for ref in inner.flat.outputs]
        return outputs, list(inner.relations.values())

    specs = [analysis.specs[ref] for ref in _data_refs(call)]
    return learn(call, rule_call, specs, describe)


def _data_refs(call: Call) -> list[TensorRef]:
    """Returns the tensors of a call, without masks, in the order of a `RuleCall`."""
    data, _ = split_masks(call.part.cls, call.args, call.kwargs)
    return [leaf for leaf in leaves(data) if isinstance(leaf, TensorRef)]


def _rule_call(
    analysis: Analysis, graph: Graph, call: Call, used_directly: dict[int, AxisTensor]
) -> RuleCall:
    def with_axes(leaf: Any) -> Any:
        if isinstance(leaf, TensorRef):
            return analysis.tensors[leaf]
        if isinstance(leaf, Seam):
            arriving = analysis.tensors[leaf.ref]
            return analysis.seams.cross(leaf, arriving, call.path)
        if isinstance(leaf, VariableRef):
            leaf = graph.parts[leaf.part].weights[leaf.index]
        if isinstance(leaf, Weight):
            if id(leaf) not in used_directly:
                used_directly[id(leaf)] = _fresh_axes(analysis.unifier, leaf)
            return used_directly[id(leaf)]
        return leaf

    return RuleCall(
        analysis.unifier,
        call.part.cls,
        call.path,
        call.part.config,
        {weight.name: weight.shape for weight in call.part.weights},
        map_leaves(with_axes, tuple(call.args)),
        map_leaves(with_axes, dict(call.kwargs)),
        [spec.shape for spec in call.outputs],
        None if call.part.is_operation else call.part.template,
    )


def _check_weights(part: Part, relation: Relation) -> None:
    """Makes sure that a rule describes all weights, and as they are."""
    for weight in part.weights:
        axes = relation.weights.get(weight.name)
        if axes is None:
            if weight.name.endswith(_SEED_STATE):
                continue
            raise Undescribed(
                f"its rule does not describe the weight '{weight.name}' of shape "
                f"{weight.shape}"
            )
        if axes.shape != tuple(weight.shape):
            raise Undescribed(
                f"its rule gives the weight '{weight.name}' the shape {axes.shape}, "
                f"but it has {weight.shape}"
            )


def _frozen(call: RuleCall, reason: str) -> Relation:
    """Freezes every axis that goes into a call, and all that come out."""
    for tensor in (*call.tensors, *call.masks):
        for axis in tensor.axes:
            call.freeze(axis, reason)
    return Relation(
        outputs=tuple(
            call.frozen_output(number, reason)
            for number in range(len(call.output_shapes))
        )
    )


def _share(analysis: Analysis, call: Call, relation: Relation) -> None:
    """Ties a call to earlier calls with the same weights, settings or arguments."""
    _share_variables(analysis, call, relation)
    first = analysis.parts.setdefault(call.part.key, relation)
    if first is not relation:
        _tie(
            analysis.unifier,
            _leaf_axes(first.config),
            _leaf_axes(relation.config),
            call.path,
        )
    first = analysis.homes.setdefault(call.home, relation)
    if first is not relation:
        _tie(
            analysis.unifier,
            _leaf_axes(first.arguments),
            _leaf_axes(relation.arguments),
            call.path,
        )


def _fresh_axes(unifier: Unifier, weight: Weight) -> AxisTensor:
    """Axes of a variable that an operation uses; tied to its owner's at the end."""
    axes = (Fixed(1) if n == 1 else unifier.atom(n, weight.name) for n in weight.shape)
    return AxisTensor(tuple(axes))


def _tie_use(analysis: Analysis, owner: WeightAxes | None, tensor: AxisTensor) -> None:
    """Ties a variable that is used directly to the axes that its layer gives it."""
    reason = "it is an axis of a variable that an operation uses directly"
    if owner is not None and len(owner.blocks) == 1:
        for axis, used in zip(owner.blocks[0], tensor.axes, strict=True):
            analysis.unifier.unify(axis, used, reason)
        return
    for axis in (*tensor.axes, *(owner.all_axes if owner is not None else ())):
        analysis.unifier.freeze(axis, reason)


def _share_variables(analysis: Analysis, call: Call, relation: Relation) -> None:
    """Ties the axes that several layers give to one variable."""
    for weight in call.part.weights:
        axes = relation.weights.get(weight.name)
        if axes is None:
            continue
        first = analysis.variables.setdefault(id(weight), axes)
        if first is not axes:
            if len(first.blocks) == len(axes.blocks):
                _tie(analysis.unifier, first.all_axes, axes.all_axes, call.path)
            else:
                for axis in (*first.all_axes, *axes.all_axes):
                    analysis.unifier.freeze(axis, f"'{call.path}' shares a weight")


def _tie(unifier: Unifier, left, right, path: str) -> None:
    """Makes two lists of axes equal; axes that do not pair up are frozen."""
    if len(left) != len(right):
        for axis in (*left, *right):
            unifier.freeze(axis, f"'{path}' is called on different shapes")
        return
    for a, b in zip(left, right, strict=True):
        if a.size == b.size:
            unifier.unify(a, b, f"'{path}' is called several times")
        else:
            for axis in (a, b):
                unifier.freeze(axis, f"'{path}' is called on different shapes")


def _leaf_axes(value: Mapping[str, Any]) -> list[Expression]:
    axes: list[Expression] = []
    for leaf in leaves(value):
        if isinstance(leaf, SizeOf):
            axes.append(leaf.axis)
        elif isinstance(leaf, (Sliced, Computed)):
            axes.extend(leaf.axes)
    return axes
