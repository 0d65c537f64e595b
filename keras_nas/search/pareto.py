"""What is best when several things count: fronts and crowding.

All points are rows of scores of which more is better.
"""

from __future__ import annotations

import numpy as np


def dominates(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether a point is nowhere worse than another, and somewhere better."""
    return bool(np.all(first >= second) and np.any(first > second))


def front_ranks(points: np.ndarray) -> np.ndarray:
    """Returns the front of every point: 0 if no other point dominates it.

    Front 1 is what nobody dominates once front 0 is away, and so on.

    Args:
        points: Shape `(n, objectives)`; more is better.

    Returns:
        Int array of shape `(n,)`.

    Example:
        >>> front_ranks([[1, 0], [0, 1], [0, 0]]).tolist()
        [0, 0, 1]

    Source: the non-dominated sorting of Deb et al. 2002 (NSGA-II), without its
    bookkeeping: populations are small.
    """
    points = np.asarray(points, float)
    not_worse = np.all(points[:, None] >= points[None], axis=2)
    better = np.any(points[:, None] > points[None], axis=2)
    dominating = not_worse & better  # [i, j]: i dominates j
    ranks = np.full(len(points), -1)
    rank = 0
    while np.any(ranks < 0):
        left = ranks < 0
        front = left & ~np.any(dominating & left[:, None], axis=0)
        ranks[front] = rank
        rank += 1
    return ranks


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Returns the indices of the points that no other point dominates.

    Example:
        >>> pareto_front([[1, 0], [0, 1], [0, 0]]).tolist()
        [0, 1]
    """
    if len(points) == 0:
        return np.zeros(0, int)
    return np.flatnonzero(front_ranks(points) == 0)


def crowding_distances(points: np.ndarray) -> np.ndarray:
    """Returns how lonely every point of one front is; the ends are infinitely so.

    Args:
        points: Shape `(n, objectives)`, all of one front.

    Returns:
        Floats of shape `(n,)`: the sum over the objectives of the distance between
        both neighbours, as a fraction of the whole range.

    Example:
        >>> crowding_distances([[0, 4], [1, 3], [4, 0]]).tolist()
        [inf, 2.0, inf]

    Source: Deb et al. 2002 (NSGA-II), section III.B.
    """
    points = np.asarray(points, float)
    distances = np.zeros(len(points))
    for values in points.T:
        order = np.argsort(values, kind="stable")
        span = values[order[-1]] - values[order[0]] if len(values) else 0.0
        distances[order[:1]] = np.inf
        distances[order[-1:]] = np.inf
        if span > 0:
            distances[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / span
    return distances


def best_first(points: np.ndarray) -> np.ndarray:
    """Returns the indices by front, and within a front the loneliest first."""
    points = np.asarray(points, float)
    if len(points) == 0:
        return np.zeros(0, int)
    ranks = front_ranks(points)
    crowding = np.zeros(len(points))
    for rank in np.unique(ranks):
        front = ranks == rank
        crowding[front] = crowding_distances(points[front])
    return np.lexsort((np.arange(len(points)), -crowding, ranks))
