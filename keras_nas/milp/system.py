"""A size system: how the sizes of pieces hang together, and what is asked of them.

Pure data. A *piece* is a run of neurons that lives and dies on its own; a row is an
integer combination of piece sizes with a demand on its value.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

# Anything that can be hashed; the atoms of a model, outside of tests.
Key: TypeAlias = Any


class Infeasible(Exception):
    """No sizes satisfy the system. Surgery turns it into the public error."""


class Status(enum.Enum):
    """How a solve ended; the value is its sentence."""

    OPTIMAL = "These sizes are the optimum."
    IMPROVED = "Nothing that was tried keeps more than these sizes."
    INCUMBENT = "The time limit was reached; these are the best sizes until then."


@dataclass(frozen=True)
class Linear:
    """An integer combination of piece sizes.

    Attributes:
        terms: Piece key -> coefficient, at least 1.
        constant: Added to the combination.
    """

    terms: Mapping[Key, int]
    constant: int = 0

    def value(self, sizes: Mapping[Key, int]) -> int:
        """Returns the value of the combination at these sizes."""
        total = self.constant
        for key, coefficient in self.terms.items():
            total += coefficient * sizes[key]
        return total


@dataclass(frozen=True, eq=False)
class Piece:
    """Neurons that are dropped, kept and joined by new ones on their own.

    Attributes:
        key: Name of the piece in every row.
        size: Number of present neurons, at least 0.
        utility: Array of shape ``(size,)``; NaN and infinity count as worst.
        low: Smallest size allowed.
        high: Largest size allowed; None is open.
        locked: Whether all neurons must stay and none may be added.
        label: For messages.
    """

    key: Key
    size: int
    utility: np.ndarray
    low: int = 0
    high: int | None = None
    locked: bool = False
    label: str = ""

    @property
    def is_movable(self) -> bool:
        """Whether any other size than the present one is allowed."""
        return not self.locked and not (self.low == self.size == self.high)

    def allows(self, size: int) -> bool:
        """Whether the piece alone may have this size."""
        if self.locked and size != self.size:
            return False
        return max(self.low, 0) <= size and (self.high is None or size <= self.high)


@dataclass(frozen=True)
class SizeSystem:
    """Pieces, the rows between them, and the requests.

    Attributes:
        pieces: All pieces; of two equally good answers the one that gives more
            neurons to an earlier piece wins.
        equal: Pairs of expressions with the same value.
        bounds: ``(expression, low, high)``; None is open.
        steps: ``(expression, step, present)``: the value is a multiple of ``step``
            or equals ``present``.
        exact: Requests ``(expression, size)``.
        near: Requests ``(expression, wanted, present)`` that come as close as they
            can.
    """

    pieces: tuple[Piece, ...]
    equal: tuple[tuple[Linear, Linear], ...] = ()
    bounds: tuple[tuple[Linear, int | None, int | None], ...] = ()
    steps: tuple[tuple[Linear, int, int], ...] = ()
    exact: tuple[tuple[Linear, int], ...] = ()
    near: tuple[tuple[Linear, int, int], ...] = ()

    def present(self) -> dict[Key, int]:
        """Returns the present size of every piece."""
        return {piece.key: piece.size for piece in self.pieces}


@dataclass(frozen=True)
class Sizes:
    """The answer: how many neurons of each piece stay and how many are new.

    Attributes:
        kept: Piece key -> number of present neurons that stay (those of highest
            utility).
        inserted: Piece key -> number of new neurons.
        status: Whether this is the optimum.
    """

    kept: Mapping[Key, int] = field(default_factory=dict)
    inserted: Mapping[Key, int] = field(default_factory=dict)
    status: Status = Status.OPTIMAL

    def size(self, key: Key) -> int:
        """Returns the new size of a piece."""
        return self.kept[key] + self.inserted[key]

    def totals(self) -> dict[Key, int]:
        """Returns the new size of every piece."""
        return {key: self.size(key) for key in self.kept}

    @classmethod
    def from_totals(
        cls, pieces: tuple[Piece, ...], totals: Mapping[Key, int], status: Status
    ) -> Sizes:
        """Splits new sizes into kept and inserted neurons.

        No row can tell a kept neuron from a new one and every utility counts as
        positive, so as many neurons stay as fit.
        """
        kept = {piece.key: min(piece.size, totals[piece.key]) for piece in pieces}
        inserted = {key: totals[key] - count for key, count in kept.items()}
        return cls(kept, inserted, status)
