"""Importance that was measured once, for one model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from keras_nas.axes import Atom, Expression, Product, Sum
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Graph
from keras_nas.importance.along import Along, axes_with_neurons, parts_of, positions
from keras_nas.importance.combining import Values
from keras_nas.importance.criterion import Criterion


class Scores(Criterion):
    """The importance of all neurons of one model, as a criterion measured it.

    Does not look at data again, so that it serves any number of edits of that model,
    and those that cannot be run half way through, such as `keras_nas.insert`.

    Args:
        graph: The graph that was measured.
        analysis: Its axes.
        values: Atom -> float array of shape ``(atom.size,)``.
    """

    def __init__(self, graph: Graph, analysis: Analysis, values: Values):
        self._values = values
        self._axes: dict[tuple, Expression] = {}
        self._shapes: dict[tuple[str, str], tuple[int, ...]] = {}
        for along in axes_with_neurons(analysis, _parts(graph, analysis)):
            self._axes[_key(along)] = along.axis
            self._shapes[along.part, along.name] = along.weight.shape

    def __repr__(self) -> str:
        return f"Scores(of {sum(v.size for v in self._values.values())} neurons)"

    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """See `Criterion.utilities`. Layers that were not measured count 0.

        Raises:
            InvalidRequestError: Another model was measured.
        """
        totals = {atom: np.zeros(atom.size) for atom in atoms}
        counts = dict.fromkeys(totals, 0)
        for along in axes_with_neurons(analysis, _parts(graph, analysis)):
            if totals.keys().isdisjoint(along.axis.atoms):
                continue
            self._check_shape(along)
            old = self._axes.get(_key(along))
            if old is None:
                continue
            for atom, values in self._transfer(old, along.axis).items():
                if atom in totals:
                    totals[atom] = totals[atom] + values
                    counts[atom] += 1
        return {atom: total / max(counts[atom], 1) for atom, total in totals.items()}

    def _check_shape(self, along: Along) -> None:
        shape = self._shapes.get((along.part, along.name), along.weight.shape)
        if shape != along.weight.shape:
            raise InvalidRequestError(
                f"The importance was measured on another model: '{along.part}' had a "
                f"weight '{along.name}' of shape {shape}, not {along.weight.shape}."
                "\n\nMeasure it on this model. Received: importance of shape "
                f"{shape}"
            )

    def _transfer(self, old: Expression, new: Expression) -> Values:
        """Returns the values of the atoms of an axis in another analysis of it."""
        found: dict[Atom, list[np.ndarray]] = {}
        stack: list[tuple[Any, Any]] = [(old, new)]
        while stack:
            ours, theirs = stack.pop()
            if not theirs.atoms or not ours.atoms:
                continue
            if isinstance(ours, Atom) and isinstance(theirs, Atom):
                if ours in self._values:
                    found.setdefault(theirs, []).append(self._values[ours])
            elif _same_form(ours, theirs):
                stack.extend(zip(ours.parts, theirs.parts, strict=True))
            else:
                for atom, values in self._along(ours, theirs).items():
                    found.setdefault(atom, []).append(values)
        return {atom: np.mean(several, axis=0) for atom, several in found.items()}

    def _along(self, ours: Expression, theirs: Expression) -> Values:
        """Goes through the positions of the axis, where its parts differ."""
        along = np.zeros(ours.size)
        for atom, where in positions(ours).items():
            along[where] += self._values.get(atom, np.zeros(atom.size))[:, None]
        return {a: along[where].mean(axis=1) for a, where in positions(theirs).items()}


def _parts(graph: Graph, analysis: Analysis) -> list:
    return list(parts_of(graph, analysis).values())


def _key(along: Along) -> tuple[Any, ...]:
    return along.part, along.name, along.block, along.number


def _same_form(a: Expression, b: Expression) -> bool:
    return (
        isinstance(a, (Sum, Product))
        and type(a) is type(b)
        and [part.size for part in a.parts] == [part.size for part in b.parts]
    )
