"""Costs: sums of products of sizes.

A *monomial* is a positive factor times some linear forms of the sizes of pieces. What
a kernel holds is one: ``9 (a + b) c`` numbers for a convolution that reads two
concatenated layers. Forms are kept as they are and not multiplied out, so a cost has
about as many parts as the network has weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_nas.milp.system import Key, Linear


class Cost:
    """A sum of monomials over the sizes of numbered pieces.

    Args:
        keys: Pieces in the order of the size arrays.
        monomials: ``(factor, forms)`` each; the sum is rounded to a whole number.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        monomials: Iterable[tuple[float, Sequence[Linear]]],
    ):
        self._num = len(keys)
        number = {key: i for i, key in enumerate(keys)}
        forms: dict = {}
        groups: dict[int, dict[tuple[int, ...], float]] = {}
        # Whole, if all factors are.
        self.constant: Any = 0
        for factor, linears in monomials:
            free = []
            for linear in linears:
                if linear.terms:
                    name = (tuple(linear.terms.items()), linear.constant)
                    free.append(forms.setdefault(name, len(forms)))
                else:
                    factor *= linear.constant
            if not free or not factor:
                self.constant += factor
                continue
            group = groups.setdefault(len(free), {})
            place = tuple(sorted(free))
            group[place] = group.get(place, 0) + factor
        self.constant = round(self.constant)
        self._offset = np.array([c for _, c in forms] or [0], dtype=np.int64)
        entries = [
            (form, number[key], coefficient)
            for form, (terms, _) in enumerate(forms)
            for key, coefficient in terms
        ]
        table = np.array(entries, dtype=np.int64).reshape(-1, 3)
        self._row, self._piece, self._coefficient = table.T
        self._groups = [
            (
                np.array(list(group), dtype=np.int64),
                np.array(list(group.values()), dtype=np.float64),
            )
            for group in groups.values()
        ]
        # What the slope of each form is made of: its places, and those beside it.
        columns = [
            (place, np.delete(places, column, axis=1), factors)
            for places, factors in self._groups
            for column, place in enumerate(places.T)
        ]
        nothing = np.zeros(0, dtype=np.int64)
        self._targets = np.concatenate([nothing, *(place for place, _, _ in columns)])
        self._beside = [(others, factors) for _, others, factors in columns]

    def value(self, sizes: np.ndarray) -> int:
        """Returns the cost at an int array of sizes, exact below 2 ** 53."""
        forms = self._forms(np.asarray(sizes))
        total = sum(
            float((factors * forms[places].prod(axis=1)).sum())
            for places, factors in self._groups
        )
        return self.constant + round(total)

    def gradient(self, sizes: np.ndarray) -> np.ndarray:
        """Returns what one more neuron of each piece costs, to first order."""
        forms = self._forms(np.asarray(sizes))
        products = [f * forms[others].prod(axis=1) for others, f in self._beside]
        slope = np.bincount(
            self._targets,
            weights=np.concatenate([np.zeros(0), *products]),
            minlength=len(self._offset),
        )
        return np.bincount(
            self._piece,
            weights=self._coefficient * slope[self._row],
            minlength=self._num,
        )

    def _forms(self, sizes: np.ndarray) -> np.ndarray:
        values = np.bincount(
            self._row,
            weights=self._coefficient * sizes[self._piece],
            minlength=len(self._offset),
        )
        return values + self._offset


@dataclass(frozen=True)
class Budget:
    """At most so much of a cost.

    Attributes:
        name: For messages.
        cost: The cost over the pieces of the system, in their order.
        most: Largest value allowed.
    """

    name: str
    cost: Cost
    most: int
