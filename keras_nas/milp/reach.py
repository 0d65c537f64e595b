"""The part of a size system that a request can reach; the rest stays as it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from keras_nas.milp.system import Key, Linear, SizeSystem


def reachable(system: SizeSystem, start: Iterable[Key] = ()) -> SizeSystem:
    """Restricts a system to what has to take part in its solution.

    The search starts at the pieces of the requests, of rows that do not hold at the
    present sizes, and at pieces whose own limits do not hold. From a movable piece it
    goes through every row to the other pieces of that row. A locked piece is a
    constant, so nothing is reached through it.

    A row of ``bounds`` is gone through only if it could bind: if the pieces reached
    so far, each at its own limits, with the others at their present sizes, can break
    it. Leaving out a row that cannot be broken is right: the others of that row then
    have no reason to move, since every stage of the objective is best for a piece
    without rows at its present size. Leaving out more would be wrong: ``a + b >= 1``
    binds if ``a`` vanishes and ``b`` is empty, and if ``b`` is reached from elsewhere
    it may vanish too. So a row is looked at again whenever one more of its pieces is
    reached. ``a + b >= 1`` with an untouched ``b`` of 3 neurons can never bind.

    Args:
        system: The whole system. Not modified.
        start: More pieces to start from.

    Returns:
        A system with the movable pieces in reach, in their old order. All other
        pieces are constants in its rows; a row may have no term left.
    """
    search = _Search(system)
    search.add(start)
    search.run()
    return search.restricted()


class _Search:
    def __init__(self, system: SizeSystem):
        self.system = system
        self.pieces = {piece.key: piece for piece in system.pieces}
        self.present = system.present()
        self.reached: set[Key] = set()
        self.todo: list[Key] = []
        self.bounds_of = defaultdict(list)
        self.ties_of = defaultdict(list)
        for number, (expr, _, _) in enumerate(system.bounds):
            for key in expr.terms:
                self.bounds_of[key].append(number)
        for terms in self._ties():
            for key in terms:
                self.ties_of[key].append(terms)
        self.add(self._start())

    def _ties(self) -> Iterator[tuple[Key, ...]]:
        """Rows that any change of one piece alone can break."""
        for left, right in self.system.equal:
            yield (*left.terms, *right.terms)
        system = self.system
        rows: tuple[Any, ...] = (*system.steps, *system.exact, *system.near)
        for expr, *_ in rows:
            yield tuple(expr.terms)

    def _start(self) -> Iterator[Key]:
        system, present = self.system, self.present
        for expr, _ in system.exact:
            yield from expr.terms
        for expr, _, _ in system.near:
            yield from expr.terms
        for left, right in system.equal:
            if left.value(present) != right.value(present):
                yield from (*left.terms, *right.terms)
        for expr, low, high in system.bounds:
            if not _within(expr.value(present), low, high):
                yield from expr.terms
        for expr, step, was in system.steps:
            if expr.value(present) not in (was, expr.value(present) // step * step):
                yield from expr.terms
        for piece in system.pieces:
            if not piece.allows(piece.size):
                yield piece.key

    def add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if key not in self.reached:
                self.reached.add(key)
                if self.pieces[key].is_movable:
                    self.todo.append(key)

    def run(self) -> None:
        while self.todo:
            key = self.todo.pop()
            for terms in self.ties_of[key]:
                self.add(terms)
            for number in self.bounds_of[key]:
                if self._can_bind(*self.system.bounds[number]):
                    self.add(self.system.bounds[number][0].terms)

    def _can_bind(self, expr: Linear, low: int | None, high: int | None) -> bool:
        least: float = expr.constant
        most: float = expr.constant
        for key, coefficient in expr.terms.items():
            piece = self.pieces[key]
            if key not in self.reached or not piece.is_movable:
                least += coefficient * piece.size
                most += coefficient * piece.size
                continue
            least += coefficient * max(piece.low, 0)
            top = float("inf") if piece.high is None else piece.high
            most += coefficient * top
        return not _within(least, low, None) or not _within(most, None, high)

    def restricted(self) -> SizeSystem:
        """The rows that hold a reached piece, with everything else folded in."""
        system, fold = self.system, self._fold
        pieces = [p for p in system.pieces if p.key in self.reached]
        broken = [p for p in pieces if not p.is_movable and not p.allows(p.size)]
        return replace(
            system,
            pieces=tuple(piece for piece in pieces if piece.is_movable),
            equal=tuple(
                (fold(left), fold(right))
                for left, right in system.equal
                if self._touches(left) or self._touches(right)
            ),
            bounds=tuple(
                (fold(e), low, high)
                for e, low, high in system.bounds
                if self._touches(e)
            )
            + tuple((Linear({}, p.size), p.low, p.high) for p in broken),
            steps=tuple(
                (fold(e), step, was)
                for e, step, was in system.steps
                if self._touches(e)
            ),
            exact=tuple((fold(e), size) for e, size in system.exact),
            near=tuple((fold(e), size, weight) for e, size, weight in system.near),
        )

    def _touches(self, expr: Linear) -> bool:
        return any(key in self.reached for key in expr.terms) or not expr.terms

    def _fold(self, expr: Linear) -> Linear:
        """Replaces pieces that do not move by their present sizes."""
        terms, constant = {}, expr.constant
        for key, coefficient in expr.terms.items():
            if key in self.reached and self.pieces[key].is_movable:
                terms[key] = coefficient
            else:
                constant += coefficient * self.present[key]
        return Linear(terms, constant)


def _within(value: float, low: int | None, high: int | None) -> bool:
    return (low is None or low <= value) and (high is None or value <= high)
