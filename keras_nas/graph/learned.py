"""The relation of a layer from what is inside it, as far as trials confirm it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_nas.axes import Atom, Expression, Fixed, Product, Sum
from keras_nas.graph.structure import Graph
from keras_nas.graph.tracing import Subject, Trace, first_line
from keras_nas.graph.trials import Trials, fewer
from keras_nas.rules import (
    INITIALIZER,
    AxisTensor,
    Mixed,
    Relation,
    RuleCall,
    Undescribed,
    WeightAxes,
    with_initializer,
)

# Runs the rules of an inner graph on the axes of its inputs; returns its analysis.
Inside = Callable[[Graph, list[AxisTensor]], Any]
# What trials showed of a layer, by what it is and how its axes hang together: numbers
# of the atoms that must be frozen, and whether nothing is mixed; or why it is refused.
Known = dict[Any, Any]


@dataclass
class Learned:
    """What the rules say about the inside of a layer, and whether it is so."""

    subject: Subject
    call: RuleCall
    trace: Trace
    inside: Inside
    known: Known

    def relation(self) -> Relation:
        names = list(self.call.weights)
        own = {n: self._fresh(names[n]) for n in self.trace.own}
        inner = self.inside(self.trace.graph, [*self.call.tensors, *own.values()])
        self._outputs = [inner.tensors[ref] for ref in inner.flat.outputs]
        self._relations = list(inner.relations.values())
        weights = [self._weight(n, own, inner) for n in range(len(names))]
        self._freeze_inner(weights)
        is_exact = self._try(weights)
        if is_exact:
            mixed = self._mixed
            weights = [self._reading(w, mixed) for w in weights]
        return Relation(
            outputs=tuple(map(self._resolved, self._outputs)),
            weights={
                name: self._fixed(name) if axes is None else axes
                for name, axes in zip(names, weights, strict=True)
            },
            mixes=() if is_exact else self._all("mixes"),
            partial=self._all("partial"),
            macs=tuple(axes for r in self._relations for axes in r.macs),
        )

    # --- what the rules say ---------------------------------------------------

    def _fresh(self, name: str) -> AxisTensor:
        """Axes of a weight of the layer itself, before anything is known of them."""
        axes = (
            Fixed(1) if size == 1 else self.call.atom(size, name)
            for size in self.call.weights[name]
        )
        return AxisTensor(tuple(axes))

    def _weight(self, number: int, own: dict, inner: Any) -> WeightAxes | None:
        """Returns the axes of a weight; None for whole numbers, such as a count."""
        name = list(self.call.weights)[number]
        first = self.trace.first_values[number]
        if first.dtype.kind not in "fV":
            return None
        if number in own:
            return WeightAxes((own[number].axes,), new=_usual(first))
        weight = self.trace.inner.get(number)
        for part in {call.part.key: call.part for call in inner.flat.calls}.values():
            for inner_name, found in part.named_weights:
                axes = inner.parts[part.key].weights.get(inner_name)
                if found is weight and axes is not None:
                    return with_initializer(axes, inner_name, part.config)
        return self._fixed(name)

    def _fixed(self, name: str) -> WeightAxes:
        reason = f"'{name}', a weight of '{self.call.name}' that nothing describes"
        axes = (self.call.fixed(n, reason) for n in self.call.weights[name])
        return WeightAxes((tuple(axes),))

    def _freeze_inner(self, weights: Sequence[WeightAxes | None]) -> None:
        """Freezes what nobody can rewrite: widths made inside, and equal sizes."""
        reason = self._reason
        known = set(self._atoms())
        axes = [axis for tensor in self._outputs for axis in tensor.axes]
        axes += [axis for weight in weights if weight for axis in weight.all_axes]
        for axis in axes:
            if not self.call.resolve(axis).atoms <= known:
                self.call.freeze(axis, reason)
        for group in (group for r in self._relations for group in r.equal):
            if len({self.call.resolve(axis) for axis in group}) > 1:
                for axis in group:
                    self.call.freeze(axis, reason)

    @property
    def _reason(self) -> str:
        text = f"a size inside the call of '{self.call.name}'"
        if self.call.weights:
            text += ", for which `keras_nas.register_rule` would help"
        return text

    def _atoms(self) -> list[Atom]:
        axes = [self.call.resolve(axis) for x in self.call.tensors for axis in x.axes]
        found = frozenset().union(*(axis.atoms for axis in axes))
        return sorted(found, key=lambda atom: atom.serial)

    def _all(self, field: str) -> Mixed:
        return tuple(
            (axis, sentence)
            for relation in self._relations
            for axis, sentence in getattr(relation, field)
            if self.call.resolve(axis).atoms
        )

    @property
    def _mixed(self) -> frozenset[Atom]:
        mixed = (*self._all("mixes"), *self._all("partial"))
        return frozenset().union(*(self.call.resolve(axis).atoms for axis, _ in mixed))

    def _reading(self, weight: WeightAxes | None, mixed: frozenset) -> Any:
        """The same weight if it is a matrix that reads what is summed over."""
        if weight is None or weight.reads or len(weight.blocks[0]) < 2:
            return weight
        axes = [self.call.resolve(axis) for axis in weight.blocks[0]]
        reads = (n for n, axis in enumerate(axes) if axis.atoms & mixed)
        return replace(weight, reads=frozenset(reads))

    def _resolved(self, tensor: AxisTensor) -> AxisTensor:
        return AxisTensor(tuple(map(self.call.resolve, tensor.axes)), tensor.channel)

    # --- whether it is so -----------------------------------------------------

    def _try(self, weights: Sequence[WeightAxes | None]) -> bool:
        """Freezes the atoms along which the layer does something else.

        Returns:
            Whether it keeps its function although something seemed to be mixed.
        """
        atoms = self._atoms()
        key = (self.subject.fingerprint, self._form(weights))
        if key not in self.known:
            self.known[key] = self._tried(weights, atoms)
        outcome = self.known[key]
        if isinstance(outcome, str):
            raise Undescribed(outcome)
        numbers, is_exact = outcome
        for number in numbers:
            self.call.freeze(atoms[number], self._reason)
        return is_exact

    def _tried(self, weights: Sequence[WeightAxes | None], atoms: list[Atom]) -> Any:
        """What stands in `Known` for this layer."""
        reading = [self._reading(weight, self._mixed) for weight in weights]
        exact: Any = None
        if any(a is not b for a, b in zip(reading, weights, strict=True)):
            exact = self._failing(self._trials(reading, frozenset()), atoms)
            if exact == ():
                return (), True
        failing = self._failing(self._trials(weights, self._mixed), atoms)
        if isinstance(failing, str):
            return failing
        # The same fail: then those that are left keep the function.
        return failing, failing == exact

    def _failing(self, trials: Trials, atoms: list[Atom]) -> Any:
        """Returns the numbers of the atoms that fail, or why all of it does."""
        try:
            failing = trials.failing(atoms)
            rest = [atom for atom in atoms if atom not in failing]
            trials.check({atom: fewer(atom) for atom in rest})
        except Exception as error:  # noqa: BLE001  A user's call may fail in any way.
            return (
                "no rule describes its class, and running it did not help: "
                f"{first_line(error)}"
            )
        return tuple(atoms.index(atom) for atom in failing)

    def _trials(self, weights: Sequence[WeightAxes | None], mixed: frozenset) -> Trials:
        return Trials(
            self.subject,
            self.call.resolve,
            self.call.tensors,
            self._outputs,
            weights,
            mixed,
        )

    def _form(self, weights: Sequence[WeightAxes | None]) -> Any:
        """How the axes hang together, whatever the names of the atoms."""
        numbers: dict[Expression, int] = {
            atom: number for number, atom in enumerate(self._atoms())
        }

        def form(axis: Expression) -> Any:
            axis = self.call.resolve(axis)
            if isinstance(axis, (Sum, Product)):
                return type(axis), tuple(map(form, axis.parts))
            return axis.size, numbers.get(axis)

        return (
            tuple(tuple(map(form, x.axes)) for x in self.call.tensors),
            tuple(tuple(map(form, y.axes)) for y in self._outputs),
            tuple(
                w and (tuple(map(form, w.all_axes)), w.reads, w.joined) for w in weights
            ),
            tuple(sorted(numbers[atom] for atom in self._mixed if atom in numbers)),
        )


def _usual(first: np.ndarray) -> float | str:
    """What new positions of a weight are: what a new layer has everywhere."""
    values = np.asarray(first, "float64")
    is_constant = values.size > 0 and np.ptp(values) == 0
    return float(values.flat[0]) if is_constant else INITIALIZER
