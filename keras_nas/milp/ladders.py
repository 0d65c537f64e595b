"""The sizes that pieces may have, as ladders that are climbed up and down.

Pieces that must have one size by equality rows move together: they are one *unit*.
The *ladder* of a unit has all sizes that its own limits, bounds and steps allow,
smallest first. Rows between several units are checked at each move.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_nas.milp.components import joined
from keras_nas.milp.system import Infeasible, Linear, SizeSystem

# A move climbs at most so many rungs to get past a row between several units.
MOST_RUNGS = 64
# So many units move together at most where equalities tie them.
MOST_TOGETHER = 8


@dataclass(frozen=True)
class SharedRow:
    """A row over the sizes of units: limits, or multiples of a step.

    Attributes:
        terms: ``(unit, coefficient)``.
        constant: Added to the combination.
        low: Smallest value; None is open.
        high: Largest value; None is open.
        step: The value is a multiple of it.
        present: Or equals this.
    """

    terms: tuple[tuple[int, int], ...]
    constant: int
    low: int | None = None
    high: int | None = None
    step: int = 1
    present: int | None = None

    def allows(self, sizes: np.ndarray) -> bool:
        """Whether the row holds at sizes of all units."""
        value = self.constant + sum(c * int(sizes[u]) for u, c in self.terms)
        if self.low is not None and value < self.low:
            return False
        if self.high is not None and value > self.high:
            return False
        return value % self.step == 0 or value == self.present


class Ladders:
    """Units, their ladders and what each rung keeps.

    A *position* is an int array: the rung of each unit.

    Args:
        system: Pieces and rows; requests in it are ignored.

    Attributes:
        members: Piece numbers of each unit.
        rungs: Allowed sizes of each unit, rising.
        kept: Importance that each unit keeps at each rung.
        rows: Rows between several units that some rungs would break.
        rows_of: Numbers of these rows, for each unit.

    Raises:
        Infeasible: A unit has no size at all.
    """

    def __init__(self, system: SizeSystem):
        pieces = system.pieces
        number = {piece.key: i for i, piece in enumerate(pieces)}
        rows = list(_rows(system, number))
        self.members = _units(len(pieces), rows, [p.size for p in pieces])
        self.unit_of = np.zeros(len(pieces), dtype=np.int64)
        for unit, members in enumerate(self.members):
            self.unit_of[members] = unit
        own: list[list[SharedRow]] = [[] for _ in self.members]
        shared: list[SharedRow] = []
        for row in map(self._over_units, rows):
            if len(row.terms) > 1:
                shared.append(row)
            elif row.terms:
                own[row.terms[0][0]].append(row)
            elif not row.allows(np.zeros(0)):
                raise Infeasible("a row of fixed sizes does not hold")
        self.rungs = [
            _rungs([pieces[i] for i in members], rows_of_unit)
            for members, rows_of_unit in zip(self.members, own, strict=True)
        ]
        falling = usable([piece.utility for piece in pieces])
        self.kept = []
        for members, rungs in zip(self.members, self.rungs, strict=True):
            tables = [_kept(falling[i]) for i in members]
            self.kept.append(sum(t[np.minimum(rungs, len(t) - 1)] for t in tables))
        lengths = [len(rungs) for rungs in self.rungs]
        self._start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)[:-1]
        self._all_rungs = np.concatenate([np.zeros(0, np.int64), *self.rungs])
        self._all_kept = np.concatenate([np.zeros(0), *self.kept])
        self.rows = [row for row in shared if self._can_break(row)]
        self.rows_of: list[list[int]] = [[] for _ in self.members]
        for place, row in enumerate(self.rows):
            for unit, _ in row.terms:
                self.rows_of[unit].append(place)

    @cached_property
    def top(self) -> np.ndarray:
        """The position of the largest sizes."""
        return np.array([len(rungs) - 1 for rungs in self.rungs], dtype=np.int64)

    @property
    def is_tied(self) -> bool:
        """Whether units are tied by an equality, so that none can move alone."""
        return any(row.low is not None and row.low == row.high for row in self.rows)

    def unit_sizes(self, position: np.ndarray) -> np.ndarray:
        """Returns the size of each unit."""
        return self._all_rungs[self._start + position]

    def sizes(self, position: np.ndarray) -> np.ndarray:
        """Returns the size of each piece."""
        return self.unit_sizes(position)[self.unit_of]

    def position(self, sizes: Sequence[int]) -> np.ndarray:
        """Returns the highest rungs that are not above some sizes of pieces."""
        found = [
            np.searchsorted(rungs, min(sizes[i] for i in members), side="right") - 1
            for rungs, members in zip(self.rungs, self.members, strict=True)
        ]
        return np.maximum(np.array(found, dtype=np.int64), 0)

    def value(self, position: np.ndarray) -> float:
        """Returns the importance that is kept."""
        return float(self._all_kept[self._start + position].sum())

    def steps(self, position: np.ndarray, way: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns what one rung up (1) or down (-1) adds to size and importance.

        Returns:
            Two float arrays with one entry for each unit; NaN where the ladder ends.
        """
        there = position + way
        is_open = (there >= 0) & (there <= self.top)
        here = self._start + position
        there = np.where(is_open, here + way, here)
        size = self._all_rungs[there] - self._all_rungs[here]
        gain = self._all_kept[there] - self._all_kept[here]
        return np.where(is_open, size, np.nan), np.where(is_open, gain, np.nan)

    def holds(self, position: np.ndarray, unit: int | None = None) -> bool:
        """Whether the rows between units hold, all or those of one unit."""
        rows = range(len(self.rows)) if unit is None else self.rows_of[unit]
        if not rows:
            return True
        sizes = self.unit_sizes(position)
        return all(self.rows[row].allows(sizes) for row in rows)

    def move(self, position: np.ndarray, unit: int, way: int) -> np.ndarray | None:
        """Returns the position after the smallest move of one unit, up or down."""
        most = MOST_RUNGS if self.rows_of[unit] else 1
        for rungs in range(1, most + 1):
            rung = position[unit] + way * rungs
            if not 0 <= rung < len(self.rungs[unit]):
                return None
            moved = position.copy()
            moved[unit] = rung
            if self.holds(moved, unit):
                return moved
        return self._move_together(position, unit, way)

    def _move_together(
        self, position: np.ndarray, unit: int, way: int
    ) -> np.ndarray | None:
        """Moves a unit by a rung, and one more for each equality that this breaks."""
        if not self.rows_of[unit]:
            return None
        moved = position.copy()
        moved[unit] += way
        moving = {unit}
        for _ in range(MOST_TOGETHER):
            sizes = self.unit_sizes(moved)
            broken = [r for r in self.rows if not r.allows(sizes)]
            if not broken:
                return moved
            value = broken[0].constant
            value += sum(c * int(sizes[u]) for u, c in broken[0].terms)
            wanted = 1 if broken[0].low is not None and value < broken[0].low else -1
            others = [
                (abs(self._gain(u, moved[u], way)), u)
                for u, c in broken[0].terms
                if u not in moving
                and way * c * wanted > 0
                and 0 <= moved[u] + way < len(self.rungs[u])
            ]
            if not others:
                return None
            # Upward the most important neurons, downward the least important.
            other = (max if way > 0 else min)(others)[1]
            moved[other] += way
            moving.add(other)
        return None

    def settle(self, position: np.ndarray) -> np.ndarray | None:
        """Makes the rows between units hold by moving units of the rows, or fails."""
        position = position.copy()
        for _ in range(3):
            broken = False
            sizes = self.unit_sizes(position)
            for row in self.rows:
                if not row.allows(sizes):
                    broken = True
                    self._mend(row, position)
                    sizes = self.unit_sizes(position)
            if not broken:
                return position
        return position if self.holds(position) else None

    def _mend(self, row: SharedRow, position: np.ndarray) -> None:
        """Climbs, where that costs least importance per rung, until the row holds."""
        for _ in range(sum(len(self.rungs[u]) for u, _ in row.terms)):
            sizes = self.unit_sizes(position)
            if row.allows(sizes):
                return
            value = row.constant + sum(c * int(sizes[u]) for u, c in row.terms)
            way = -1 if row.high is not None and value > row.high else 1
            moves = [
                (abs(self._gain(u, position[u], way * np.sign(c))), u, c)
                for u, c in row.terms
                if 0 <= position[u] + way * np.sign(c) < len(self.rungs[u])
            ]
            if not moves:
                return
            # Upward the most important neurons, downward the least important.
            _, unit, c = (max if way > 0 else min)(moves, key=lambda move: move[0])
            position[unit] += way * np.sign(c)

    def _gain(self, unit: int, rung: int, way: int) -> float:
        return self.kept[unit][rung + way] - self.kept[unit][rung]

    def _can_break(self, row: SharedRow) -> bool:
        """Whether some rungs, each of its own ladder, break a row."""
        ends = [(c * self.rungs[u][0], c * self.rungs[u][-1]) for u, c in row.terms]
        least = row.constant + sum(map(min, ends))
        most = row.constant + sum(map(max, ends))
        is_low = row.low is not None and least < row.low
        return is_low or (row.high is not None and most > row.high) or row.step > 1

    def _over_units(self, row: SharedRow) -> SharedRow:
        """Rewrites a row over pieces as one over units."""
        summed: dict[int, int] = {}
        for piece, coefficient in row.terms:
            unit = int(self.unit_of[piece])
            summed[unit] = summed.get(unit, 0) + coefficient
        terms = tuple((u, c) for u, c in summed.items() if c)
        return SharedRow(terms, row.constant, row.low, row.high, row.step, row.present)


def usable(utilities: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns utilities in falling order; NaN and infinity count as the worst."""
    arrays = [np.asarray(u, dtype=float) for u in utilities]
    least = min((u[np.isfinite(u)].min(initial=0.0) for u in arrays), default=0.0)
    return [-np.sort(-np.where(np.isfinite(u), u, least)) for u in arrays]


def _kept(falling: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(falling)])


def _rows(system: SizeSystem, number: dict) -> Iterator[SharedRow]:
    """All rows over piece numbers."""

    def terms(linear: Linear) -> tuple[tuple[int, int], ...]:
        return tuple((number[key], c) for key, c in linear.terms.items())

    for left, right in system.equal:
        both = terms(left) + tuple((i, -c) for i, c in terms(right))
        gap = left.constant - right.constant
        yield SharedRow(both, gap, 0, 0)
    for linear, low, high in system.bounds:
        yield SharedRow(terms(linear), linear.constant, low, high)
    for linear, step, present in system.steps:
        yield SharedRow(terms(linear), linear.constant, step=step, present=present)


def _units(
    count: int, rows: Sequence[SharedRow], present: Sequence[int]
) -> list[list[int]]:
    """Joins pieces that rows ``a = b`` tie, in order."""
    pairs = []
    for row in rows:
        if row.low == row.high == row.constant == 0 and len(row.terms) == 2:
            (i, a), (j, b) = row.terms
            if a == -b and present[i] == present[j]:
                pairs.append((i, j))
    return joined(count, pairs)


def _rungs(pieces: Sequence, rows: Sequence[SharedRow]) -> np.ndarray:
    low = max(piece.size if piece.locked else piece.low for piece in pieces)
    high = min(
        piece.size if piece.locked or piece.high is None else piece.high
        for piece in pieces
    )
    sizes = np.arange(max(low, 0), high + 1)
    for row in rows:
        ((_, coefficient),) = row.terms
        values = row.constant + coefficient * sizes
        allowed = np.ones(len(sizes), dtype=bool)
        if row.low is not None:
            allowed &= values >= row.low
        if row.high is not None:
            allowed &= values <= row.high
        allowed &= (values % row.step == 0) | (values == row.present)
        sizes = sizes[allowed]
    if not len(sizes):
        raise Infeasible(f"'{pieces[0].label}' has no size that every row allows")
    return sizes
