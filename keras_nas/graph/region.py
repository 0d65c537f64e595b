"""The part of a network that a change of some axes can reach.

An edit in one place of a large network need not look at the rest of it. Each call is
asked once which axes of what it reads and gives hang together; from the axes that an
edit leaves unequal, the search goes along these ties. Whatever is not reached keeps
its sizes, and may be taken for fixed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

from keras_nas.axes import Atom, Expression, Fixed, Unifier
from keras_nas.graph.check import rule_call_on
from keras_nas.graph.flatten import Call, FlatGraph, flatten
from keras_nas.graph.structure import (
    Graph,
    Seam,
    TensorRef,
    TensorSpec,
    VariableRef,
    Vertex,
)
from keras_nas.rules import AxisTensor, Relation, Undescribed, find_rule


class Slot(NamedTuple):
    """One axis of one tensor that a call reads or gives."""

    is_output: bool
    tensor: int
    axis: int


Groups = tuple[tuple[Slot, ...], ...]

# A vertex never changes; what its axes are to each other depends on the shapes, too.
_KNOWN: WeakKeyDictionary[Vertex, tuple[tuple, Groups]] = WeakKeyDictionary()


def region_of(graph: Graph, start: Iterable[tuple[TensorRef, int]]) -> list[Call]:
    """Returns the calls that a change of some axes can reach, in order.

    Args:
        graph: The graph, which may have seams.
        start: Tensors, each with the number of an axis whose size may have to change.
    """
    return _Search(graph, flatten(graph)).run(start)


class _Search:
    def __init__(self, graph: Graph, flat: FlatGraph):
        self._graph = graph
        self._flat = flat
        self._calls = flat.by_path
        self._specs = flat.specs
        self._readers: dict[TensorRef, list[tuple[str, int]]] = defaultdict(list)
        self._siblings: dict[str, list[str]] = defaultdict(list)
        self._seen: set[tuple[str, Slot]] = set()
        self._reached: set[str] = set()
        self._pending: list[tuple[str, Slot]] = []
        for call in flat.calls:
            self._add(call)
        self._partners = _partners(graph, flat)

    def run(self, start: Iterable[tuple[TensorRef, int]]) -> list[Call]:
        for ref, axis in start:
            self._go_along(ref, axis)
        while self._pending:
            self._visit(*self._pending.pop())
        return [call for call in self._flat.calls if call.path in self._reached]

    def _add(self, call: Call) -> None:
        for number, ref in enumerate(call.reads):
            self._readers[ref].append((call.path, number))
        self._siblings[call.part.key].append(call.path)

    def _go_along(self, ref: TensorRef, axis: int) -> None:
        """Goes to the producer and to all readers of one axis of a tensor."""
        self._go_to(ref.vertex, Slot(True, ref.index, axis))
        for path, number in self._readers[ref]:
            self._go_to(path, Slot(False, number, axis))

    def _go_to(self, path: str, slot: Slot) -> None:
        if (path, slot) not in self._seen:
            self._seen.add((path, slot))
            self._pending.append((path, slot))

    def _visit(self, path: str, slot: Slot) -> None:
        call = self._calls[path]
        if path not in self._reached:
            self._reached.add(path)
            # All calls of one layer have its weights and settings in common.
            for sibling in self._siblings[call.part.key]:
                self._go_to(sibling, slot)
            # A variable with several roles may tie any axis of theirs to any other.
            for partner in self._partners.get(path, ()):
                for other in self._slots(partner):
                    self._leave(partner, other)
        for group in self._groups(call):
            if slot in group:
                for other in group:
                    self._leave(path, other)

    def _leave(self, path: str, slot: Slot) -> None:
        if slot.is_output:
            self._go_along(TensorRef(path, slot.tensor), slot.axis)
        else:
            self._go_along(self._calls[path].reads[slot.tensor], slot.axis)
        for sibling in self._siblings[self._calls[path].part.key]:
            self._go_to(sibling, slot)

    def _slots(self, path: str) -> Iterator[Slot]:
        self._reached.add(path)
        call = self._calls[path]
        return _all_slots(self._arriving(call), call.outputs)

    def _arriving(self, call: Call) -> list[TensorSpec]:
        return [
            leaf.spec if isinstance(leaf, Seam) else self._specs[leaf]
            for leaf in call.tensors
        ]

    def _groups(self, call: Call) -> Groups:
        arriving = self._arriving(call)
        key = (id(call.part), *arriving, *call.outputs)
        known = _KNOWN.get(call.vertex)
        if known is None or known[0] != key:
            known = (key, _tied_axes(self._graph, call, arriving))
            _KNOWN[call.vertex] = known
        return known[1]


def _partners(graph: Graph, flat: FlatGraph) -> dict[str, list[str]]:
    """Returns path of a call -> the calls that use a variable of it in another role.

    Those of one layer that is always called in the same way are not meant.
    """
    users: dict[int, dict[str, Call]] = defaultdict(dict)
    for call in flat.calls:
        for weight in call.part.weights:
            users[id(weight)][call.path] = call
        for leaf in call.variables:
            if isinstance(leaf, VariableRef):
                leaf = graph.parts[leaf.part].weights[leaf.index]
            users[id(leaf)][call.path] = call
    partners: dict[str, list[str]] = {}
    for calls in users.values():
        if len(calls) > 1 and len({_role(call) for call in calls.values()}) > 1:
            for path in calls:
                known = partners.setdefault(path, [])
                known.extend(other for other in calls if other not in known)
    return partners


def _role(call: Call) -> tuple:
    """What two calls of one layer have in common if they use its weights alike."""
    plain = [
        leaf
        for leaf in call.leaves
        if isinstance(leaf, (bool, int, float, str))
    ]
    return (call.part.key, len(call.reads), tuple(plain))


def _tied_axes(graph: Graph, call: Call, arriving: list[TensorSpec]) -> Groups:
    """Asks the rule of a call which of its axes hang together.

    Without an answer they all do.
    """
    unifier = Unifier()
    inputs = [
        AxisTensor(tuple(_free_axis(unifier, size) for size in spec.shape))
        for spec in arriving
    ]
    rule = find_rule(call.part.cls, is_operation=call.part.is_operation)
    try:
        if rule is None:
            raise Undescribed("nobody knows")
        rule_call = rule_call_on(graph, call, unifier, inputs, call.outputs)
        relation = rule(rule_call)
        rule_call.tie_masks()
    except (Undescribed, ValueError):
        return (tuple(_all_slots(arriving, call.outputs)),)
    return _groups(unifier, inputs, relation)


def _free_axis(unifier: Unifier, size: int | None) -> Expression:
    return Fixed(None) if size is None else unifier.atom(size)


def _groups(
    unifier: Unifier, inputs: list[AxisTensor], relation: Relation
) -> Groups:
    """Joins the axes that have a neuron in common, or need equal sizes."""
    slots: list[tuple[Slot, frozenset]] = []
    for is_output, tensors in ((False, inputs), (True, relation.outputs)):
        for number, tensor in enumerate(tensors):
            for place, axis in enumerate(tensor.axes):
                atoms = unifier.resolve(axis).atoms
                slots.append((Slot(is_output, number, place), atoms))
    equal = [
        frozenset[Atom]().union(*(unifier.resolve(axis).atoms for axis in group))
        for group in relation.equal
    ]
    alone: list[tuple[Slot | None, frozenset[Atom]]] = [(None, a) for a in equal]
    joined: list[tuple[set[Atom], list[Slot]]] = []
    for slot, own in (*slots, *alone):
        joining, members = set(own), [] if slot is None else [slot]
        apart = []
        for other in joined:
            if other[0].isdisjoint(joining):
                apart.append(other)
            else:
                joining |= other[0]
                members = other[1] + members
        joined = [*apart, (joining, members)] if joining else joined
    return tuple(tuple(members) for _, members in joined if members)


def _all_slots(
    arriving: list[TensorSpec], outputs: tuple[TensorSpec, ...]
) -> Iterator[Slot]:
    for is_output, specs in ((False, arriving), (True, outputs)):
        for number, spec in enumerate(specs):
            for axis in range(len(spec.shape)):
                yield Slot(is_output, number, axis)
