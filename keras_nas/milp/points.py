"""All sizes that cost little above a bound, one after the other.

Where reduced costs leave a few values per size, the combinations whose costs add up to
at most the room are few as well: they are the best of a knapsack problem and those next
to it. Listing them settles this stage and all after it at once.
"""

from __future__ import annotations

import math

import numpy as np

from keras_nas.milp.problem import Problem, Step
from keras_nas.milp.reduced import ReducedCosts

# So many combinations are listed at most; so many are looked at for one more size.
MOST, WORK = 30_000, 200_000


def points(costs: ReducedCosts, room: float) -> np.ndarray | None:
    """Lists the sizes that satisfy all rows and steps, up to a cost above the bound.

    Args:
        costs: Bound and reduced costs of a stage.
        room: How much more than the bound.

    Returns:
        Int array of shape ``(points, pieces)``; None if they are too many to be listed.
    """
    low, high = (np.array(limits) for limits in costs.limits(room))
    free = np.flatnonzero(low < high)
    if (high - low).sum() > MOST:
        return None
    fixed = [costs.of(i, low[i : i + 1])[0] for i in np.flatnonzero(low == high)]
    spent = np.array([math.fsum(fixed)])
    found = np.zeros((1, len(free)), dtype=np.int64)
    values = (costs.matrix @ low)[None, :]
    for place, i in enumerate(free):
        sizes = np.arange(low[i], high[i] + 1)
        if len(found) * len(sizes) > WORK:
            return None
        extra = costs.of(i, sizes)
        point, value = np.nonzero(spent[:, None] + extra <= room)
        spent, more = spent[point] + extra[value], sizes[value] - low[i]
        values = values[point] + more[:, None] * costs.matrix[:, i]
        # The rows can still change by the pieces to come, which stand at their low.
        rest = costs.matrix[:, free[place + 1 :]] * (high - low)[free[place + 1 :]]
        keep = spent <= room - costs.pressing(
            values + np.minimum(rest, 0).sum(axis=1),
            values + np.maximum(rest, 0).sum(axis=1),
        )
        found = found[point[keep]]
        found[:, place] = more[keep]
        spent, values = spent[keep], values[keep]
        if len(found) > MOST:
            return None
    keep = spent <= room - costs.pressing(values, values)
    result = np.repeat(low[None, :], keep.sum(), axis=0)
    result[:, free] += found[keep]
    return _stepping(result, costs.problem)


def _stepping(found: np.ndarray, problem: Problem) -> np.ndarray:
    """The points that satisfy the steps."""
    for step in problem.steps:
        found = found[_satisfies(found, step)]
    return found


def _satisfies(found: np.ndarray, step: Step) -> np.ndarray:
    value = step.constant + sum(c * found[:, i] for i, c in step.terms)
    return step.allows(value)
