"""A reachable size system as rows over numbered integer sizes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from keras_nas.axes import MaybeNone
from keras_nas.milp.system import Infeasible, Linear, Piece, SizeSystem

Terms = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Row:
    """``low <= sum(coefficient * size) <= high``; None is open."""

    terms: Terms
    low: int | None
    high: int | None

    @property
    def is_demanding(self) -> bool:
        """Whether any limit is given."""
        return self.low is not None or self.high is not None


@dataclass(frozen=True)
class Step:
    """``constant + sum`` is a multiple of ``step`` or equals ``present``."""

    terms: Terms
    constant: int
    step: int
    present: int

    @property
    def is_choice(self) -> bool:
        """Whether the present value is an alternative of its own."""
        return self.present % self.step != 0

    def allows(self, value: Any) -> Any:
        """Says of a value, or of each in an array, whether the step is met."""
        return (value % self.step == 0) | (value == self.present)


@dataclass(frozen=True)
class Near:
    """``constant + sum`` should be close to ``wanted``."""

    terms: Terms
    constant: int
    wanted: int
    present: int


@dataclass(frozen=True)
class Problem:
    """Sizes between ``low`` and ``high`` (None is open), and the rows over them."""

    pieces: tuple[Piece, ...]
    low: tuple[int, ...]
    high: tuple[int | MaybeNone, ...]
    rows: tuple[Row, ...]
    steps: tuple[Step, ...]
    nears: tuple[Near, ...]

    @classmethod
    def from_system(cls, system: SizeSystem) -> Problem:
        """Numbers the pieces and moves all constants out of the rows.

        Raises:
            Infeasible: A row without any piece does not hold.
        """
        index = {piece.key: i for i, piece in enumerate(system.pieces)}

        def terms(expr: Linear) -> Terms:
            return tuple((index[key], c) for key, c in expr.terms.items() if c)

        rows = [_difference(left, right, index) for left, right in system.equal]
        rows += [
            _row(terms(expr), expr.constant, low, high)
            for expr, low, high in system.bounds
        ]
        rows += [
            _row(terms(expr), expr.constant, size, size) for expr, size in system.exact
        ]
        steps = [Step(terms(e), e.constant, *rest) for e, *rest in system.steps]
        for row in rows:
            _check_constant(row)
        for step in steps:
            if not step.terms and not step.allows(step.constant):
                raise Infeasible(
                    f"{step.constant} is fixed and no multiple of {step.step}"
                )
        return cls(
            pieces=system.pieces,
            low=tuple(max(piece.low, 0) for piece in system.pieces),
            high=tuple(piece.high for piece in system.pieces),
            rows=tuple(row for row in rows if row.terms and row.is_demanding),
            steps=tuple(step for step in steps if step.terms),
            nears=tuple(Near(terms(e), e.constant, *r) for e, *r in system.near),
        )

    def present(self) -> tuple[int, ...]:
        """The present sizes."""
        return tuple(piece.size for piece in self.pieces)

    def span(self, terms: Terms) -> tuple[int, int]:
        """Returns the least and the largest value of a sum within finite limits."""
        low, high = self.low, self.high
        least = sum(c * (low if c > 0 else high)[i] for i, c in terms)
        return least, sum(c * (high if c > 0 else low)[i] for i, c in terms)


def total(terms: Terms, sizes: Any) -> int:
    """Returns ``sum(coefficient * size)``."""
    return sum(coefficient * sizes[i] for i, coefficient in terms)


def _row(terms: Terms, constant: int, low: int | None, high: int | None) -> Row:
    return Row(
        terms,
        None if low is None else low - constant,
        None if high is None else high - constant,
    )


def _difference(left: Linear, right: Linear, index: dict) -> Row:
    """``left - right = 0``; a piece on both sides is joined and may cancel."""
    count: Counter[int] = Counter()
    for expr, sign in ((left, 1), (right, -1)):
        for key, coefficient in expr.terms.items():
            count[index[key]] += sign * coefficient
    terms = tuple((i, c) for i, c in sorted(count.items()) if c)
    gap = right.constant - left.constant
    return Row(terms, gap, gap)


def _check_constant(row: Row) -> None:
    """A row without pieces is true or false for good."""
    too_low = not row.terms and row.low is not None and row.low > 0
    too_high = not row.terms and row.high is not None and row.high < 0
    if too_low or too_high:
        raise Infeasible(f"fixed sizes miss the range {row.low} to {row.high} by them")
