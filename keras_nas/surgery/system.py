"""From the axes of a graph and what is asked of it to a size system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from keras_nas.axes import Atom, Expression, Sum, factors_of
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Graph
from keras_nas.importance import atom_utilities, check_importance, sized_layers
from keras_nas.milp import Linear, Piece, SizeSystem, reachable
from keras_nas.surgery.names import Names
from keras_nas.surgery.options import Options
from keras_nas.surgery.products import Held, hold, linear_size
from keras_nas.surgery.requests import Request, check_not_huge

# Size of an axis -> the same in sizes of atoms.
LinearSize: TypeAlias = Callable[[Expression], Linear]


@dataclass(frozen=True, eq=False)
class Job:
    """A graph, what is asked of it, and on which terms.

    Attributes:
        graph: The graph. Not modified.
        analysis: Its axes.
        names: Its names.
        requests: What is asked for.
        options: The shared keywords.
        held: Atoms that an edit holds as they are.
        forced: Atom -> keep array that an edit prescribes.
        direction: ``"grow"`` if no neuron may go, ``"shrink"`` if none may come, else
            ``"both"``.
    """

    graph: Graph
    analysis: Analysis
    names: Names
    requests: tuple[Request, ...]
    options: Options
    held: frozenset[Atom] = frozenset()
    forced: Mapping[Atom, np.ndarray] = field(default_factory=dict)
    direction: str = "both"

    @cached_property
    def axes(self) -> tuple[Expression, ...]:
        """All different axes that could change, in order of first appearance."""
        distinct = dict.fromkeys(self.analysis.all_axes())
        return tuple(axis for axis in distinct if axis.atoms)

    @cached_property
    def atoms(self) -> tuple[Atom, ...]:
        """All atoms of the graph, in order of creation."""
        return tuple(self.analysis.all_atoms())

    @cached_property
    def locks(self) -> dict[Atom, str]:
        """Atom that may not change -> why."""
        locks: dict[Atom, str] = {}
        for name in self.options.locked:
            path = self.names.find(name)
            for atom in self.names.width(path).atoms:
                locks.setdefault(atom, f"'{path}' is locked")
        if not self.options.free_outputs:
            for path, axis in self._held_outputs():
                for atom in axis.atoms:
                    locks.setdefault(atom, f"'{path}' is an output of the model")
        for atom in self.held:
            locks.setdefault(atom, f"'{atom.label}' is held")
        return locks

    @cached_property
    def importance(self) -> Any:
        """The checked importance."""
        return check_importance(self.options.importance, self.names.find_width)

    def _held_outputs(self) -> Iterable[tuple[str, Expression]]:
        """Axes of model outputs, but for those whose very layer is asked for."""
        named = {
            self.analysis.output_of(request.path)
            for request in self.requests
            if request.releases
        }
        for ref in self.analysis.flat.outputs:
            if ref in named or ref not in self.analysis.tensors:
                continue
            for axis in self.analysis.axes_of(ref):
                yield ref.vertex, axis

    def system(self, requests: Sequence[Request], *, last_free: bool) -> BoundSystem:
        """Returns the size system of some of the requests."""
        locked = frozenset(self.locks)
        exact = {r.axis: None if r.is_near else r.size for r in requests}
        held = hold(self.axes, exact, locked, last_free=last_free)

        def linear(axis: Expression) -> Linear:
            return linear_size(axis, held, locked)

        system = SizeSystem(
            pieces=self._pieces(held),
            equal=tuple(self._equalities(linear)),
            bounds=tuple(self._bounds(linear)),
            steps=tuple(self._steps(linear)),
            exact=(
                *((linear(r.axis), r.size) for r in requests if not r.is_near),
                *((Linear({a: 1}), len(index)) for a, index in self.forced.items()),
            ),
            near=tuple(
                (linear(r.axis), r.size, r.axis.size) for r in requests if r.is_near
            ),
        )
        return BoundSystem(system, held, linear)

    def with_utilities(self, system: SizeSystem) -> SizeSystem:
        """Adds what importance says, for the pieces that a request can reach only."""
        reached = {piece.key for piece in reachable(system).pieces}
        utilities = atom_utilities(self.graph, self.analysis, self.importance, reached)
        pieces = tuple(
            replace(piece, utility=utilities[piece.key])
            if piece.key in utilities
            else piece
            for piece in system.pieces
        )
        return replace(system, pieces=pieces)

    def _pieces(self, held: Held) -> tuple[Piece, ...]:
        whole = self._atoms_that_stay()
        return tuple(
            Piece(
                key=atom,
                size=atom.size,
                utility=np.zeros(atom.size),
                low=atom.size if self.direction == "grow" else int(atom in whole),
                high=atom.size if self.direction == "shrink" else None,
                locked=atom in self.locks or atom in held.atoms,
                label=atom.label,
            )
            for atom in self.atoms
        )

    def _atoms_that_stay(self) -> set[Atom]:
        """Atoms that are a whole axis, or a factor of one, and so need a neuron."""
        stay: set[Atom] = set()
        for axis in self.axes:
            stay.update(f for f in factors_of(axis) if isinstance(f, Atom))
        return stay

    def _equalities(
        self, linear: LinearSize
    ) -> Iterable[tuple[Linear, Linear]]:
        for group in self._equal_groups():
            first, *others = map(linear, group)
            for other in others:
                if first != other:
                    yield first, other

    def _equal_groups(self) -> Iterable[tuple[Expression, ...]]:
        for joint in self.analysis.joints:
            for _, arriving, expected in joint.pairs():
                yield self.analysis.resolve(arriving), self.analysis.resolve(expected)
        seen = set()
        for relation in self.analysis.relations.values():
            for group in relation.equal:
                axes = tuple(map(self.analysis.resolve, group))
                if axes not in seen:
                    seen.add(axes)
                    yield axes

    def _bounds(
        self, linear: LinearSize
    ) -> Iterable[tuple[Linear, int | None, int | None]]:
        for axis in self._axes_that_could_vanish():
            yield linear(axis), 1, None
        for name, (low, high) in (self.options.bounds or {}).items():
            yield linear(self.names.width(self.names.find(name))), low, high

    def _axes_that_could_vanish(self) -> Iterable[Expression]:
        """Sums, alone or as a factor: each must keep a position."""
        found: dict[Expression, None] = {}
        for axis in self.axes:
            found.update((f, None) for f in factors_of(axis) if isinstance(f, Sum))
        return found

    def _steps(
        self, linear: LinearSize
    ) -> Iterable[tuple[Linear, int, int]]:
        for axis, step in self._multiples():
            if step > 1:
                yield linear(axis), int(step), axis.size

    def _multiples(self) -> Iterable[tuple[Expression, int]]:
        """Axes and steps; tied layers with different steps give one axis twice."""
        multiple_of = self.options.multiple_of
        if multiple_of is None:
            return ()
        if isinstance(multiple_of, Mapping):
            return [
                (self.names.width(self.names.find(name)), step)
                for name, step in multiple_of.items()
            ]
        axes: dict[Expression, int] = {}
        for path in sized_layers(self.graph, self.analysis):
            axis = self.analysis.channel_of(self.analysis.output_of(path))
            if axis is not None and axis.atoms:
                axes[axis] = multiple_of
        return axes.items()

    def check_names(self) -> None:
        """Raises for a name in the options that is not in the model."""
        for name, bound in (self.options.bounds or {}).items():
            self._check_bound_is_open(name, bound)
        tuple(self._multiples())
        _ = self.locks, self.importance

    def _check_bound_is_open(self, name: str, bound: tuple) -> None:
        path = self.names.find(name)
        axis = self.names.width(path)
        low, high = bound
        if low is not None:
            check_not_huge(int(low), axis, name)
        size = axis.size
        outside = (low is not None and size < low) or (high is not None and size > high)
        if outside and not axis.atoms:
            raise InvalidRequestError(
                f"'{path}' has {size} neurons and cannot change, so it cannot keep the "
                f"bounds {tuple(bound)}.\n\nRemove them. "
                f"Received: bounds={{{name!r}: {tuple(bound)!r}}}"
            )


@dataclass(frozen=True, eq=False)
class BoundSystem:
    """A size system with the way from axes to its expressions."""

    system: SizeSystem
    held: Held
    linear: Callable[[Expression], Linear]
