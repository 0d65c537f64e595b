"""Ties the calls that have weights, settings or arguments in common.

Calls of one shared layer, and the same place inside a nested model that is called
twice, have one set of weights and settings; a variable that two layers share, or that
an operation uses directly, has several roles. The axes are tied, and the roles added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keras_nas.axes import Expression, Fixed, Unifier
from keras_nas.graph.flatten import Call
from keras_nas.graph.structure import Part
from keras_nas.graph.weight import Weight
from keras_nas.rules import (
    AxisTensor,
    Computed,
    Relation,
    SizeOf,
    Sliced,
    WeightAxes,
    leaves,
)


class Sharing:
    """What the calls of one graph have in common.

    Args:
        unifier: Of the axes.

    Attributes:
        parts: Key of a part -> relation of its first call.
        homes: Vertex of a body -> relation of its first call.
        variables: Axes of each variable, by the identity of its `Weight`.
        used_directly: Axes that operations see of a variable, likewise.
    """

    def __init__(self, unifier: Unifier):
        self.parts: dict[str, Relation] = {}
        self.homes: dict[tuple[str, str], Relation] = {}
        self.variables: dict[int, WeightAxes] = {}
        self.used_directly: dict[int, AxisTensor] = {}
        self._unifier = unifier
        self._called: dict[str, Part] = {}
        self._reads: set[Expression] = set()

    def add(self, call: Call, relation: Relation) -> None:
        """Ties a call to earlier calls with the same weights, settings or arguments."""
        self._called.setdefault(call.part.key, call.part)
        self._reads.update(relation.reads)
        self._add_variables(call, relation)
        pairs = (
            (self.parts.setdefault(call.part.key, relation).config, relation.config),
            (self.homes.setdefault(call.home, relation).arguments, relation.arguments),
        )
        for first, other in pairs:
            if first is not other:
                self._tie(_leaf_axes(first), _leaf_axes(other), call.path)

    def use(self, weight: Weight) -> AxisTensor:
        """Returns the axes of a variable for an operation that uses it directly.

        They are tied to those of its owner by `finish`, since that may come later.
        """
        if id(weight) not in self.used_directly:
            self.used_directly[id(weight)] = AxisTensor(
                tuple(
                    Fixed(1) if size == 1 else self._unifier.atom(size, weight.name)
                    for size in weight.shape
                ),
                is_variable=True,
            )
        return self.used_directly[id(weight)]

    def finish(self) -> None:
        """Ties what could not be tied before all calls were known."""
        for weight, tensor in self.used_directly.items():
            owner = self.variables.get(weight)
            self._tie_use(owner, tensor)
            if owner is not None:
                reads = {n for n, a in enumerate(tensor.axes) if a in self._reads}
                owner = replace(owner, reads=owner.reads | reads)
                self.variables[weight] = owner
        for key, relation in self.parts.items():
            merged = self._merged(self._called[key], relation)
            if merged:
                weights = {**relation.weights, **merged}
                self.parts[key] = replace(relation, weights=weights)

    def _add_variables(self, call: Call, relation: Relation) -> None:
        """Ties the axes that several layers, or calls of one, give to one variable.

        What one of them reads is read: new positions there are zero, which keeps the
        function whatever the others make of them.
        """
        for name, weight in call.part.named_weights:
            axes = relation.weights.get(name)
            if axes is None:
                continue
            first = self.variables.setdefault(id(weight), axes)
            if first is axes:
                continue
            if len(first.blocks) == len(axes.blocks):
                self._tie(first.all_axes, axes.all_axes, call.path)
            else:
                reason = f"'{call.path}', which shares a weight in another arrangement"
                for axis in (*first.all_axes, *axes.all_axes):
                    self._unifier.freeze(axis, reason)
            reads = first.reads | axes.reads
            self.variables[id(weight)] = replace(first, reads=reads)

    def _merged(self, part: Part, relation: Relation) -> dict[str, WeightAxes]:
        """Returns the weights of a part that have more roles than it knows."""
        return {
            name: replace(axes, reads=self.variables[id(weight)].reads)
            for name, weight in part.named_weights
            if (axes := relation.weights.get(name)) is not None
            and axes.reads != self.variables[id(weight)].reads
        }

    def _tie_use(self, owner: WeightAxes | None, tensor: AxisTensor) -> None:
        """Ties a variable that is used directly to the axes its layer gives it."""
        reason = "its use as a variable by an operation"
        if owner is not None and len(owner.blocks) == 1:
            for axis, used in zip(owner.blocks[0], tensor.axes, strict=True):
                self._unifier.unify(axis, used, reason)
            return
        for axis in (*tensor.axes, *(owner.all_axes if owner is not None else ())):
            self._unifier.freeze(axis, reason)

    def _tie(
        self, left: Sequence[Expression], right: Sequence[Expression], path: str
    ) -> None:
        """Makes two lists of axes equal; axes that do not pair up are frozen."""
        reason = f"'{path}', which is called on different shapes"
        if len(left) != len(right):
            for axis in (*left, *right):
                self._unifier.freeze(axis, reason)
            return
        for a, b in zip(left, right, strict=True):
            if a.size == b.size:
                self._unifier.unify(a, b, f"'{path}', which is called several times")
            else:
                for axis in (a, b):
                    self._unifier.freeze(axis, reason)


def _leaf_axes(value: Mapping[str, Any]) -> list[Expression]:
    axes: list[Expression] = []
    for leaf in leaves(value):
        if isinstance(leaf, SizeOf):
            axes.append(leaf.axis)
        elif isinstance(leaf, (Sliced, Computed)):
            axes.extend(leaf.axes)
    return axes
