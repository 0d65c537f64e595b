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
from collections.abc import Sequence
from math import prod

import numpy as np

from keras_nas.milp.cost import Budget
from keras_nas.milp.ladders import Ladders
from keras_nas.milp.linearised import nearest_position, solve_linearised
from keras_nas.milp.moves import FEW, Moves
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
# So many answers that keep more, but leave too much of the budgets, are looked around.
RICHEST = 3
# Of so few positions all are tried.
MOST_TRIED = 5000
# So many units are looked at in all exchanges together, about.
EXCHANGED = 20_000


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
    moves = Moves(Ladders(system), system, budgets, solver, time_limit_s)
    search = _Search(moves, system, solver)
    smallest = search.smallest()
    if not moves.fits(smallest):
        raise OverBudget(moves.costs(smallest), search.answer(smallest))
    if groups is None:
        best = search.best(smallest)
    else:
        best = search.alike(np.asarray(groups), smallest)
    return search.answer(best)


class _Search:
    """What is tried one after the other; the moves themselves are those of `Moves`."""

    def __init__(self, moves: Moves, system: SizeSystem, solver: str):
        self.moves, self.system, self.solver = moves, system, solver
        self.ladders = moves.ladders
        members = self.ladders.members
        self.weights = np.array([len(each) for each in members], dtype=float)

    def smallest(self) -> np.ndarray:
        """The position of the smallest sizes that satisfy the rows."""
        lowest = np.zeros(len(self.ladders.members), dtype=np.int64)
        position = self.ladders.settle(lowest)
        if position is None:
            position = nearest_position(
                self.ladders, self.system, lowest, self.solver, self.moves.left
            )
        if position is None:
            raise Infeasible("the rows leave no sizes")
        return position

    def best(self, smallest: np.ndarray) -> np.ndarray:
        """Steps 1 to 5."""
        top = self.ladders.settle(self.ladders.top)
        if not len(self.ladders.members) or (top is not None and self.moves.fits(top)):
            return self.ladders.top if top is None else top
        found = [smallest]
        if len(self.ladders.members) <= FEW:
            found.append(self.moves.filled(smallest))
            found.append(self.moves.filled(smallest, by_gain=True))
        ranked = self.moves.within(self.moves.ranking.by_price(self.weights), smallest)
        if ranked is not None:
            found.append(self.relinearised(self.moves.filled(ranked), self.weights))
            found.append(self.moves.filled(ranked, by_gain=True))
        for mix in _mixes(len(self.moves.budgets)):
            start, prices = self.descended(mix)
            if start is not None:
                found.append(self.relinearised(self.moves.filled(start), prices, mix))
        best = max(found, key=self.moves.key)
        if prod(map(len, self.ladders.rungs)) <= MOST_TRIED:
            return self.tried(best)
        if self.ladders.is_tied or len(self.ladders.members) <= FEW:
            found += self.solved(best)
        best = max(found, key=self.moves.key)
        keeps = self.ladders.value(best)
        distinct = {tuple(p): p for p in found if self.ladders.value(p) > keeps}
        for rich in sorted(distinct.values(), key=self.ladders.value)[-RICHEST:]:
            best = max(best, self.used_up(rich), key=self.moves.key)
        return self.exchanged(best)

    def used_up(self, rich: np.ndarray) -> np.ndarray:
        """The best position around one that leaves too much of the budgets."""
        best = rich
        for unit in range(len(rich)):
            if self.moves.left() <= 0:
                break
            for start in self.moves.around(rich, unit):
                for by_gain in (False, True):
                    trial = self.moves.filled(start, by_gain=by_gain, barred=unit)
                    best = max(best, trial, key=self.moves.key)
        return best

    def descended(self, mix: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        position = self.ladders.top
        prices = self.weights
        for stage in range(STAGES, 0, -1):
            load = self.moves.loads(position).max()
            if load <= 1:
                break
            prices = mix @ self.moves.slopes(position)
            target = load ** ((stage - 1) / stage)
            position = self.moves.cut(self.moves.ranking.by_price(prices), target)
        return self.moves.settled(position), prices

    def relinearised(
        self, position: np.ndarray, prices: np.ndarray, mix: np.ndarray | None = None
    ) -> np.ndarray:
        count = len(self.moves.budgets)
        mix = np.full(count, 1 / count) if mix is None else mix
        best, key, failed = position, self.moves.key(position), 0
        prices = prices / max(prices.max(), 1e-300)
        for _ in range(MOST_ROUNDS):
            if failed >= PATIENCE * count or self.moves.left() <= 0:
                break
            new = mix @ self.moves.slopes(best)
            new = new / max(new.max(), 1e-300)
            share = max(0.5**failed, LEAST_SHARE) if count > 1 else 0.5**failed
            prices = prices ** (1 - share) * new**share
            order = self.moves.ranking.by_price(prices)
            trial = self.moves.settled(self.moves.cut(order))
            if trial is not None:
                # A budget that is not used up weighs less from now on.
                mix = mix * self.moves.loads(trial) ** HASTE
                mix = mix / mix.sum()
                trial = self.moves.filled(trial)
            if trial is not None and self.moves.key(trial) > key:
                best, key, failed = trial, self.moves.key(trial), 0
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
                self.moves.budgets,
                point,
                radius,
                self.solver,
                self.moves.left,
            )
            trial = None if after is None else self.moves.settled(after)
            if trial is not None:
                found.append(self.moves.filled(trial))
            return after

        point: np.ndarray | None = self.ladders.top
        for number in range(MOST_SOLVES):
            before, point = point, propose(point, 0.7**number)
            if point is None or (point == before).all():
                break
        radius = 0.5
        while radius > 0.05 and self.moves.left() > 0:
            known = len(found)
            propose(best, radius)
            key = self.moves.key(best)
            better = [p for p in found[known:] if self.moves.key(p) > key]
            best, radius = (better[0], radius) if better else (best, radius / 2)
        return found

    def tried(self, best: np.ndarray) -> np.ndarray:
        """The best of all positions, where there are few."""
        key = self.moves.key(best)
        for rungs in itertools.product(*(range(len(r)) for r in self.ladders.rungs)):
            position = np.array(rungs, dtype=np.int64)
            if not self.ladders.holds(position) or not self.moves.fits(position):
                continue
            if self.moves.key(position) > key:
                best, key = position, self.moves.key(position)
        return best

    def exchanged(self, best: np.ndarray) -> np.ndarray:
        """Single moves down, each followed by filling, while that is better."""
        key, failed, units = self.moves.key(best), 0, len(best)
        tries = range(min(max(EXCHANGED // units, 50), 2000))
        for unit, _ in zip(itertools.cycle(range(units)), tries):
            failed += 1
            if failed > units or self.moves.left() <= 0:
                break
            for start in self.moves.around(best, unit):
                for by_gain in (False, True):
                    trial = self.moves.filled(start, by_gain=by_gain, barred=unit)
                    if self.moves.key(trial) > key:
                        best, key, failed = trial, self.moves.key(trial), 0
        return best

    def alike(self, groups: np.ndarray, smallest: np.ndarray) -> np.ndarray:
        """Keeps the same fraction in each group; what is left is filled by rank."""
        units = np.array([groups[m[0]] for m in self.ladders.members])
        order, ranks = self.moves.ranking.by_fraction(units, self.weights)
        position = self.moves.within(order, smallest)
        return self.moves.filled(position, ranks=ranks)

    def answer(self, position: np.ndarray) -> Sizes:
        totals = dict(
            zip(
                self.system.present(),
                map(int, self.ladders.sizes(position)),
                strict=True,
            )
        )
        status = Status.IMPROVED if self.moves.left() > 0 else Status.INCUMBENT
        return Sizes.from_totals(self.system.pieces, totals, status)


def _mixes(count: int) -> list[np.ndarray]:
    """Weights of several budgets: each alone, pairs, and all."""
    if count == 1:
        return [np.ones(1)]
    parts = [p for p in itertools.product(range(5), repeat=count) if sum(p) == 4]
    return [np.maximum(np.array(p) / 4, 1e-3) for p in parts]
