"""All weights along each neuron: their norm, and making them smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_nas.axes import Atom
from keras_nas.importance.along import Along, axes_with_neurons, parts_of, positions
from keras_nas.surgery import PrunePlan


@dataclass(frozen=True, eq=False)
class Place:
    """Where the neurons of some atoms stand along one axis of a variable."""

    along: Along
    where: Mapping[Atom, np.ndarray]

    @property
    def window(self) -> tuple[slice, ...]:
        """The block of the variable."""
        return self.along.axes.window(self.along.block)


class Groups:
    """All trained weights along each neuron that could go.

    Args:
        plan: Says which neurons could go.
        trained: Identity of a weight of its graph -> the variable, if it is trained.

    Attributes:
        atoms: Atoms with such neurons.
    """

    def __init__(self, plan: PrunePlan, trained: Mapping[int, Any]):
        self._places: dict[int, list[Place]] = {}
        self._variables = trained
        self.atoms: dict[Atom, None] = {}
        parts = parts_of(plan.graph, plan.analysis).values()
        for along in axes_with_neurons(plan.analysis, parts):
            if id(along.weight) not in trained:
                continue
            found = positions(along.axis)
            found = {a: w for a, w in found.items() if a in plan.removable_atoms}
            if found:
                self.atoms.update(dict.fromkeys(found))
                place = Place(along, found)
                self._places.setdefault(id(along.weight), []).append(place)

    def norms(self) -> dict[Atom, np.ndarray]:
        """Returns the norm of each group."""
        squares = {atom: np.zeros(atom.size) for atom in self.atoms}
        for key, places in self._places.items():
            value = ops.convert_to_numpy(self._variables[key].value)
            value = np.square(value.astype(np.float64))
            for place in places:
                block = value[place.window]
                others = tuple(n for n in range(block.ndim) if n != place.along.number)
                sums = block.sum(axis=others)
                for atom, where in place.where.items():
                    squares[atom] += sums[where].sum(axis=1)
        return {atom: np.sqrt(sums) for atom, sums in squares.items()}

    def multiply(self, factors: Mapping[Atom, np.ndarray]) -> None:
        """Multiplies all weights of each group by the factor of its neuron."""
        for key, places in self._places.items():
            if any(atom in factors for place in places for atom in place.where):
                variable = self._variables[key]
                scale = _scale(variable.shape, places, factors)
                value = ops.convert_to_tensor(variable.value)
                variable.assign(value * ops.cast(scale, value.dtype))


def _scale(shape: Any, places: list[Place], factors: Mapping) -> np.ndarray:
    """Returns the factor of each number of a variable, without axes that are alike."""
    # All axes that any of the places, or a cut into blocks, tells apart.
    told = {place.along.number for place in places}
    axes = places[0].along.axes
    if len(axes.blocks) > 1:
        told.add(axes.joined % len(shape))
    sizes = [size if n in told else 1 for n, size in enumerate(shape)]
    scale = np.ones(sizes, dtype=np.float32)
    for place in places:
        own = np.ones(place.along.axis.size, dtype=np.float32)
        for atom, where in place.where.items():
            if atom in factors:
                own[where] *= factors[atom][:, None]
        along = [1] * len(shape)
        along[place.along.number] = len(own)
        scale[place.window] *= own.reshape(along)
    return scale
