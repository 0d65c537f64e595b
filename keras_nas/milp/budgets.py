"""Sizes that keep most importance while costs stay within budgets.

The problem, over the sizes ``s`` of all pieces,

    maximise   sum U_i(s_i)             U concave: the importance of the best s_i
    such that  c_k(s) <= B_k            costs: sums of products of sizes
               s satisfies every row, and no s_i is above its present size

is not convex. It is solved in these steps, each of which ends by construction:

1. *Descend.* From the present sizes the budget is drawn in over `STAGES` stages. In
   each, a cost is replaced by its tangent at the sizes so far, which gives every neuron
   a price; neurons stay in the order of importance per price, as many as the true
   cost allows. This is the Lagrangian relaxation of the linearised problem, whose
   multiplier is found by bisection.
2. *Relinearise.* The prices are taken anew at the sizes that were found, mixed with
   the old ones (as a trust region would hold them back), until `PATIENCE` rounds in a
   row keep no more. Also from where dropping by importance alone leads, so the answer
   never keeps less than that ranking does. Several budgets are priced together, from
   several weights on; the weight of a budget that is not used up falls.
3. *Solve.* With rows that tie several sizes, or few pieces, the linearised problem
   goes to the solver of size systems as one more row; see `linearised`. Answers that
   keep more than the best, but leave more than 1 % of the budgets, are looked around.
4. *Fill.* While a neuron fits into what is left of every budget, the best one is
   taken back.
5. *Exchange.* A few moves of one unit down, then filling again, or up, then making
   room, as long as that keeps more; with few units also two of them down. This also
   looks for sizes within 1 % of the budget where filling did not find them.
   Of very small systems all sizes are tried instead.

Sources: Griffith 1961 <https://doi.org/10.1287/mnsc.7.4.379> for sequential linear
programming; Everett 1963 <https://doi.org/10.1287/opre.11.3.399> for budgets by prices.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from keras_nas.milp.cost import Cost
from keras_nas.milp.ladders import Ladders
from keras_nas.milp.linearised import nearest_position, solve_linearised
from keras_nas.milp.ranking import Ranking
from keras_nas.milp.system import Infeasible, Sizes, SizeSystem, Status

STAGES = 12
PATIENCE = 4
MOST_ROUNDS = 40
# So often the linearised problem is solved one answer after the other.
MOST_SOLVES = 6
# How much of new prices is taken at least, where several budgets have to be weighed.
LEAST_SHARE = 0.25
# Power of its load by which the weight of a budget falls.
HASTE = 4
# An answer uses at least so much of one budget, where sizes allow.
USED = 0.99
# With room for so many moves, they are made together.
MANY = 8
# So many answers that keep more, but leave too much of the budgets, are looked around.
RICHEST = 3
# Of so few positions all are tried.
MOST_TRIED = 5000
# How many moves an exchange tries in a small system; in a larger one it is 2.
REACH = 16
# So many units are looked at in all exchanges together, about.
EXCHANGED = 20_000
# The linearised problem of so few units goes to the solver even without rows.
FEW = 12


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


class OverBudget(Infeasible):
    """Even the smallest sizes cost too much.

    Attributes:
        least: Name of a budget -> its cost at the smallest sizes.
        sizes: The smallest sizes.
    """

    def __init__(self, least: dict[str, int], sizes: Sizes):
        super().__init__(f"the smallest sizes cost {least}")
        self.least = least
        self.sizes = sizes


def solve_budgets(
    system: SizeSystem,
    budgets: Sequence[Budget],
    *,
    groups: Sequence[int] | None = None,
    solver: str = "auto",
    time_limit_s: float = 20.0,
) -> Sizes:
    """Finds sizes within budgets that keep as much importance as possible.

    Args:
        system: Pieces, none of which can grow, and rows. Not modified.
        budgets: At least one.
        groups: Group of each piece: in each group the same fraction stays, that of
            highest importance. By default all pieces compete with each other.
        solver: For the linearised problem.
        time_limit_s: Seconds after which no further improvement is looked for.

    Returns:
        Kept neurons of every piece. Deterministic, unless the time limit is reached.

    Raises:
        OverBudget: The smallest sizes cost too much.
        Infeasible: No sizes satisfy the rows.
    """
    search = _Search(Ladders(system), system, budgets, solver, time_limit_s)
    smallest = search.smallest()
    if not search.fits(smallest):
        raise OverBudget(search.costs(smallest), search.answer(smallest))
    if groups is None:
        best = search.best(smallest)
    else:
        best = search.alike(np.asarray(groups), smallest)
    return search.answer(best)


class _Search:
    def __init__(
        self,
        ladders: Ladders,
        system: SizeSystem,
        budgets: Sequence[Budget],
        solver: str,
        time_limit_s: float,
    ):
        self.ladders, self.system, self.solver = ladders, system, solver
        self.budgets = budgets
        self.end = time.monotonic() + time_limit_s
        self.ranking = Ranking(ladders)
        self.weights = np.array([len(m) for m in ladders.members], dtype=float)

    # --- costs ------------------------------------------------------------------

    def costs(self, position: np.ndarray) -> dict[str, int]:
        sizes = self.ladders.sizes(position)
        return {budget.name: budget.cost.value(sizes) for budget in self.budgets}

    def loads(self, position: np.ndarray) -> np.ndarray:
        """Each cost as a fraction of its budget."""
        sizes = self.ladders.sizes(position)
        return np.array([b.cost.value(sizes) / b.most for b in self.budgets])

    def fits(self, position: np.ndarray) -> bool:
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

    # --- steps ------------------------------------------------------------------

    def smallest(self) -> np.ndarray:
        """The position of the smallest sizes that satisfy the rows."""
        position = self.ladders.settle(np.zeros(len(self.ladders.members), int))
        if position is None:
            position = nearest_position(
                self.ladders, self.system, self.ladders.top * 0, self.solver, self.left
            )
        if position is None:
            raise Infeasible("the rows leave no sizes")
        return position

    def best(self, smallest: np.ndarray) -> np.ndarray:
        """Steps 1 to 5."""
        top = self.ladders.settle(self.ladders.top)
        if not len(self.ladders.members) or (top is not None and self.fits(top)):
            return self.ladders.top if top is None else top
        found = [smallest]
        if len(self.ladders.members) <= FEW:
            found += [self.filled(smallest), self.filled(smallest, by_gain=True)]
        ranked = self.within(self.ranking.by_price(self.weights), smallest)
        if ranked is not None:
            found.append(self.relinearised(self.filled(ranked), self.weights))
            found.append(self.filled(ranked, by_gain=True))
        for mix in _mixes(len(self.budgets)):
            start, prices = self.descended(mix)
            if start is not None:
                found.append(self.relinearised(self.filled(start), prices, mix))
        best = max(found, key=self.key)
        if prod(map(len, self.ladders.rungs)) <= MOST_TRIED:
            return self.tried(best)
        if self.ladders.is_tied or len(self.ladders.members) <= FEW:
            found += self.solved(best)
        best = max(found, key=self.key)
        keeps = self.ladders.value(best)
        distinct = {tuple(p): p for p in found if self.ladders.value(p) > keeps}
        for rich in sorted(distinct.values(), key=self.ladders.value)[-RICHEST:]:
            best = max(best, self.used_up(rich), key=self.key)
        return self.exchanged(best)

    def used_up(self, rich: np.ndarray) -> np.ndarray:
        """The best position around one that leaves too much of the budgets."""
        best = rich
        for unit in range(len(rich)):
            if self.left() <= 0:
                break
            for start in self.around(rich, unit):
                for by_gain in (False, True):
                    trial = self.filled(start, by_gain=by_gain, barred=unit)
                    best = max(best, trial, key=self.key)
        return best

    def descended(self, mix: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        position = self.ladders.top
        prices = self.weights
        for stage in range(STAGES, 0, -1):
            load = self.loads(position).max()
            if load <= 1:
                break
            prices = mix @ self.slopes(position)
            target = load ** ((stage - 1) / stage)
            position = self.cut(self.ranking.by_price(prices), target)
        return self.settled(position), prices

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
                    self.ladders, self.system, position, self.solver, self.left
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

    def relinearised(
        self, position: np.ndarray, prices: np.ndarray, mix: np.ndarray | None = None
    ) -> np.ndarray:
        count = len(self.budgets)
        mix = np.full(count, 1 / count) if mix is None else mix
        best, key, failed = position, self.key(position), 0
        prices = prices / max(prices.max(), 1e-300)
        for _ in range(MOST_ROUNDS):
            if failed >= PATIENCE * count or self.left() <= 0:
                break
            new = mix @ self.slopes(best)
            new = new / max(new.max(), 1e-300)
            share = max(0.5**failed, LEAST_SHARE) if count > 1 else 0.5**failed
            prices = prices ** (1 - share) * new**share
            trial = self.settled(self.cut(self.ranking.by_price(prices)))
            if trial is not None:
                # A budget that is not used up weighs less from now on.
                mix = mix * self.loads(trial) ** HASTE
                mix = mix / mix.sum()
                trial = self.filled(trial)
            if trial is not None and self.key(trial) > key:
                best, key, failed = trial, self.key(trial), 0
            else:
                failed += 1
        return best

    def solved(self, best: np.ndarray) -> list[np.ndarray]:
        """What the solver chooses: from the present sizes on, and around the best."""
        found: list[np.ndarray] = []

        def propose(point: np.ndarray, radius: float) -> np.ndarray | None:
            after = solve_linearised(
                self.ladders,
                self.system,
                self.budgets,
                point,
                radius,
                self.solver,
                self.left,
            )
            trial = None if after is None else self.settled(after)
            if trial is not None:
                found.append(self.filled(trial))
            return after

        point: np.ndarray | None = self.ladders.top
        for number in range(MOST_SOLVES):
            before, point = point, propose(point, 0.7**number)
            if point is None or (point == before).all():
                break
        radius = 0.5
        while radius > 0.05 and self.left() > 0:
            known = len(found)
            propose(best, radius)
            better = [p for p in found[known:] if self.key(p) > self.key(best)]
            best, radius = (better[0], radius) if better else (best, radius / 2)
        return found

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

    def tried(self, best: np.ndarray) -> np.ndarray:
        """The best of all positions, where there are few."""
        key = self.key(best)
        for rungs in itertools.product(*(range(len(r)) for r in self.ladders.rungs)):
            position = np.array(rungs, dtype=np.int64)
            if not self.ladders.holds(position) or not self.fits(position):
                continue
            if self.key(position) > key:
                best, key = position, self.key(position)
        return best

    def exchanged(self, best: np.ndarray) -> np.ndarray:
        """Single moves down, each followed by filling, while that is better."""
        key, failed, units = self.key(best), 0, len(best)
        tries = range(min(max(EXCHANGED // units, 50), 2000))
        for unit, _ in zip(itertools.cycle(range(units)), tries):
            failed += 1
            if failed > units or self.left() <= 0:
                break
            for start in self.around(best, unit):
                for by_gain in (False, True):
                    trial = self.filled(start, by_gain=by_gain, barred=unit)
                    if self.key(trial) > key:
                        best, key, failed = trial, self.key(trial), 0
        return best

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

    def alike(self, groups: np.ndarray, smallest: np.ndarray) -> np.ndarray:
        """Keeps the same fraction in each group; what is left is filled by rank."""
        units = np.array([groups[m[0]] for m in self.ladders.members])
        order, ranks = self.ranking.by_fraction(units, self.weights)
        position = self.within(order, smallest)
        return self.filled(position, ranks=ranks)

    # --- answer -----------------------------------------------------------------

    def left(self) -> float:
        return self.end - time.monotonic()

    def answer(self, position: np.ndarray) -> Sizes:
        totals = dict(
            zip(
                self.system.present(),
                map(int, self.ladders.sizes(position)),
                strict=True,
            )
        )
        status = Status.IMPROVED if self.left() > 0 else Status.INCUMBENT
        return Sizes.from_totals(self.system.pieces, totals, status)


def _mixes(count: int) -> list[np.ndarray]:
    """Weights of several budgets: each alone, pairs, and all."""
    if count == 1:
        return [np.ones(1)]
    parts = [p for p in itertools.product(range(5), repeat=count) if sum(p) == 4]
    return [np.maximum(np.array(p) / 4, 1e-3) for p in parts]


def sizes_above(
    system: SizeSystem, wanted: Sequence[int], solver: str = "auto"
) -> list[int]:
    """Returns the sizes closest to wanted ones at which every row holds.

    Args:
        system: Pieces and rows.
        wanted: A size for each piece; rows may demand more or less.
        solver: For rows between several sizes that single moves cannot satisfy.

    Raises:
        Infeasible: No sizes satisfy the rows.
    """
    ladders = Ladders(system)
    found = [
        np.searchsorted(rungs, max(wanted[i] for i in members))
        for rungs, members in zip(ladders.rungs, ladders.members, strict=True)
    ]
    position = np.minimum(np.array(found, dtype=np.int64), ladders.top)
    settled = ladders.settle(position)
    if settled is None:
        settled = nearest_position(ladders, system, position, solver, lambda: np.inf)
    if settled is None:
        raise Infeasible("the rows leave no sizes")
    return [int(size) for size in ladders.sizes(settled)]
