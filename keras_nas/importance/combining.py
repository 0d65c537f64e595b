"""How what several layers say about one neuron becomes one number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from keras_nas.axes import Atom
from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_real

Values = dict[Atom, np.ndarray]


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a + b


# "mean" adds up, too, and divides by the number of layers in the end.
_STEPS: dict[str, Callable] = {"sum": _sum, "mean": _sum, "max": np.maximum}
NORMALIZATIONS = ("mean", "max", "sum", "gaussian", "none")


class Aggregation:
    """Collects what layers say about the neurons of some atoms.

    Args:
        how: ``"sum"``, ``"mean"`` or ``"max"`` over the layers.
        atoms: The atoms.
    """

    def __init__(self, how: str, atoms: Iterable[Atom]):
        self._how = how
        self._values: Values = {atom: np.zeros(atom.size) for atom in atoms}
        self._counts = dict.fromkeys(self._values, 0)

    def add(self, more: Mapping[Atom, np.ndarray]) -> None:
        """Adds what one layer says; nothing about other atoms."""
        for atom, values in more.items():
            if atom in self._values:
                is_first = self._how == "max" and not self._counts[atom]
                step = _sum if is_first else _STEPS[self._how]
                self._values[atom] = step(self._values[atom], values)
                self._counts[atom] += 1

    @property
    def silent(self) -> frozenset[Atom]:
        """Atoms that nobody spoke for so far."""
        return frozenset(atom for atom, count in self._counts.items() if not count)

    def result(self) -> Values:
        """Returns the aggregated values; 0 where nobody spoke."""
        if self._how != "mean":
            return dict(self._values)
        return {a: v / max(self._counts[a], 1) for a, v in self._values.items()}


def normalize(how: str, values: Values) -> Values:
    """Rescales values by one number for all of the given atoms together.

    Args:
        how: ``"mean"``, ``"max"`` and ``"sum"`` divide by the mean, the maximum and
            the sum; ``"gaussian"`` counts standard deviations above the least value
            (so that nothing is negative); ``"none"`` changes nothing.
        values: Atom -> values.
    """
    if how == "none" or not values:
        return values
    if how == "gaussian":
        everything = np.concatenate(list(values.values()))
        low, width = everything.min(), everything.std()
        return {a: (v - low) / (width if width > 0 else 1.0) for a, v in values.items()}
    scale = _scale(how, values)
    return {atom: numbers / scale for atom, numbers in values.items()}


def normalize_each(how: str, values: Values) -> Values:
    """Rescales the values of each atom by a number of its own. See `normalize`."""
    return {a: normalize(how, {a: numbers})[a] for a, numbers in values.items()}


def _scale(how: str, values: Values) -> float:
    if how == "max":
        scale = max(float(v.max()) for v in values.values())
        return scale if scale > 0 else 1.0
    total = sum(float(v.sum()) for v in values.values())
    if how == "mean":
        count = sum(v.size for v in values.values())
        return total / count if total > 0 else 1.0
    return total if total > 0 else 1.0


def check_choice(name: str, value: Any, choices: Iterable) -> None:
    """Raises `InvalidRequestError` unless a setting is one of some choices."""
    choices = tuple(choices)
    if not isinstance(value, (str, int)) or value not in choices:
        raise InvalidRequestError(
            f"{name!r} cannot be {value!r}.\n\nChoose one of "
            f"{', '.join(map(repr, choices))}. Received: {name}={value!r}"
        )


def check_combining(aggregation: Any, normalization: Any) -> None:
    """Raises `InvalidRequestError` for settings that do not exist."""
    check_choice("aggregation", aggregation, _STEPS)
    check_choice("normalization", normalization, NORMALIZATIONS)


def check_decay(decay: Any) -> None:
    """Raises `InvalidRequestError` for what no average can keep."""
    if decay is not None and not (is_real(decay) and 0 <= decay < 1):
        raise InvalidRequestError(
            "The decay must be a number of at least 0 and below 1, or None.\n\n"
            f"Give what the average keeps, such as 0.95. Received: decay={decay!r}"
        )
