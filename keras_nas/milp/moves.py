"""Moves between positions of ladders, up and down, within budgets.

What a search for sizes is made of: what a position costs, and how to get from it to one
that fits, that uses up what is left, or that lies beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_nas.milp.cost import Budget
from keras_nas.milp.ladders import Ladders
from keras_nas.milp.linearised import nearest_position
from keras_nas.milp.ranking import Ranking
from keras_nas.milp.solvers import Deadline
from keras_nas.milp.system import SizeSystem

# An answer uses at least so much of one budget, where sizes allow.
USED = 0.99
# With room for so many moves, they are made together.
MANY = 8
# How many moves an exchange tries in a small system; in a larger one it is 2.
REACH = 16
# A system of so few units is small.
FEW = 12


class Moves:
    """Costs of positions, and the ways from one to another.

    Args:
        ladders: The ladders of the system.
        system: Pieces and rows.
        budgets: What must not be exceeded, at least one.
        solver: For rows that single moves cannot satisfy.
        time_limit_s: Seconds until `left` is 0.

    Attributes:
        ladders: As given.
        budgets: As given.
        ranking: All runs of the ladders.
    """

    def __init__(
        self,
        ladders: Ladders,
        system: SizeSystem,
        budgets: Sequence[Budget],
        solver: str,
        time_limit_s: float,
    ):
        self.ladders, self.budgets = ladders, budgets
        self.ranking = Ranking(ladders)
        self._system, self._solver = system, solver
        self._deadline = Deadline(time_limit_s)

    def costs(self, position: np.ndarray) -> dict[str, int]:
        """Each cost by its name."""
        sizes = self.ladders.sizes(position)
        return {budget.name: budget.cost.value(sizes) for budget in self.budgets}

    def loads(self, position: np.ndarray) -> np.ndarray:
        """Each cost as a fraction of its budget."""
        sizes = self.ladders.sizes(position)
        return np.array([b.cost.value(sizes) / b.most for b in self.budgets])

    def fits(self, position: np.ndarray) -> bool:
        """Whether every budget is kept."""
        sizes = self.ladders.sizes(position)
        return all(b.cost.value(sizes) <= b.most for b in self.budgets)

    def slopes(self, position: np.ndarray) -> np.ndarray:
        """Load of one more neuron of each unit, of shape ``(budgets, units)``."""
        sizes, count = self.ladders.sizes(position), len(self.ladders.members)
        return np.array(
            [
                np.bincount(
                    self.ladders.unit_of, b.cost.gradient(sizes), minlength=count
                )
                / b.most
                for b in self.budgets
            ]
        )

    def key(self, position: np.ndarray) -> tuple[bool, float]:
        """What makes one position better than another."""
        return self.loads(position).max() >= USED, self.ladders.value(position)

    def left(self) -> float:
        """Seconds left."""
        return self._deadline.left()

    def cut(self, order: np.ndarray, target: float = 1.0) -> np.ndarray:
        """The position that keeps most of an order while no load is above a target."""
        low, high = 0, len(order)
        while low < high:
            middle = (low + high + 1) // 2
            if self.loads(self.ranking.first(order, middle)).max() <= target:
                low = middle
            else:
                high = middle - 1
        return self.ranking.first(order, low)

    def within(self, order: np.ndarray, smallest: np.ndarray) -> np.ndarray | None:
        """The same within the budgets and with all rows in force."""
        return self.settled(self.cut(order), smallest)

    def settled(
        self, position: np.ndarray, smallest: np.ndarray | None = None
    ) -> np.ndarray | None:
        """A position near another where every row holds, within the budgets."""
        if not self.ladders.holds(position):
            settled = self.ladders.settle(position)
            if settled is None:
                settled = nearest_position(
                    self.ladders, self._system, position, self._solver, self.left
                )
            position = settled
        if position is not None and not self.fits(position):
            position = self.lightened(position)
        return smallest if position is None else position

    def lightened(
        self, position: np.ndarray, barred: int | None = None
    ) -> np.ndarray | None:
        """Moves down, least importance per load first, until the budgets are kept."""
        stuck = set() if barred is None else {barred}
        while not self.fits(position):
            loads = self.loads(position)
            prices = np.maximum(loads - 1, 0) @ self.slopes(position)
            size, gain = self.ladders.steps(position, -1)
            relief = -prices * size
            with np.errstate(divide="ignore", invalid="ignore"):
                score = np.where(relief > 0, -gain / relief, np.nan)
            score[list(stuck)] = np.nan
            if np.isnan(score).all():
                return None
            unit = int(np.nanargmin(score))
            moved = self.ladders.move(position, unit, -1)
            if moved is None:
                stuck.add(unit)
            else:
                position = moved
        return position

    def filled(
        self,
        position: np.ndarray,
        *,
        by_gain: bool = False,
        barred: int | None = None,
        ranks: Sequence[np.ndarray] | None = None,
    ) -> np.ndarray:
        """Moves up while anything fits: the best importance per load first.

        Args:
            position: Within the budgets.
            by_gain: Whether importance alone decides.
            barred: A unit that must not move, if any.
            ranks: For each unit and rung the rank that decides instead; low is first.
        """
        closed = np.zeros(len(position), dtype=bool)
        if barred is not None:
            closed[barred] = True
        if ranks is None and not by_gain:
            position = self.heaped(position, closed)
        while True:
            room = 1 - self.loads(position)
            size, gain = self.ladders.steps(position, 1)
            load = self.slopes(position) * size
            # Costs only rise, so what does not fit now will not fit later either.
            closed |= np.isnan(size) | (load > room[:, None] + 1e-12).any(axis=0)
            is_out = closed | ((gain < 0) & (room.min() < 1 - USED))
            if is_out.all():
                return position
            if ranks is not None:
                score = -np.array([r[p] for r, p in zip(ranks, position, strict=True)])
            else:
                score = gain if by_gain else gain / np.maximum(load.max(axis=0), 1e-12)
            unit = int(np.argmax(np.where(is_out, -np.inf, score)))
            moved = self.ladders.move(position, unit, 1)
            if moved is None or not self.fits(moved):
                closed[unit] = True
            else:
                position = moved

    def heaped(self, position: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """Fills with many moves at once, as long as there is room for many."""
        while True:
            room = 1 - self.loads(position)
            size, _ = self.ladders.steps(position, 1)
            slopes = self.slopes(position)
            fits = (slopes * np.nan_to_num(size) <= room[:, None]).all(axis=0)
            order = self.ranking.by_price(slopes.max(axis=0))
            runs = self.ranking.next_runs(position, order, fits & ~closed)
            runs = runs[self.ranking.slope[runs] > 0]
            units = self.ranking.unit[runs]
            loads = np.cumsum(slopes[:, units] * self.ranking.length[runs], axis=1)
            many = int((loads <= room[:, None] / 4).all(axis=0).sum())
            moved = position + np.bincount(units[:many], minlength=len(position))
            if many < MANY or not self.fits(moved):
                return position
            position = moved

    def around(self, position: np.ndarray, unit: int) -> Iterator[np.ndarray]:
        """Yields positions within the budgets with one unit some moves away."""
        down = up = position
        is_small = len(position) <= FEW
        others = range(len(position)) if is_small else ()
        for number in range(REACH if is_small else 2):
            down = None if down is None else self.ladders.move(down, unit, -1)
            if down is not None:
                yield down
                for other in others if number < 2 else ():
                    pair = self.ladders.move(down, other, -1)
                    if pair is not None and other != unit:
                        yield pair
            up = None if up is None else self.ladders.move(up, unit, 1)
            if up is not None:
                lighter = self.lightened(up, barred=unit)
                if lighter is not None:
                    yield lighter
