"""Fronts and crowding against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_nas.search.pareto import (
    best_first,
    crowding_distances,
    dominates,
    front_ranks,
    pareto_front,
)

POINTS = st.integers(1, 3).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 4), min_size=width, max_size=width),
        min_size=1,
        max_size=12,
    )
)


def ranks_by_peeling(points):
    """Front by front, point against point."""
    left, ranks, rank = set(range(len(points))), {}, 0
    while left:
        front = {
            i
            for i in left
            if not any(
                all(a >= b for a, b in zip(points[j], points[i], strict=True))
                and any(a > b for a, b in zip(points[j], points[i], strict=True))
                for j in left
            )
        }
        ranks.update(dict.fromkeys(front, rank))
        left -= front
        rank += 1
    return [ranks[i] for i in range(len(points))]


@given(POINTS)
def test_ranks_are_those_of_peeling(points):
    assert front_ranks(points).tolist() == ranks_by_peeling(points)


@given(POINTS)
def test_front_is_what_nobody_dominates(points):
    array = np.array(points)
    free = [i for i, p in enumerate(array) if not any(dominates(q, p) for q in array)]
    assert pareto_front(points).tolist() == free


@given(POINTS)
def test_best_first_lists_every_point_once_front_by_front(points):
    order = best_first(points)
    assert sorted(order) == list(range(len(points)))
    assert np.all(np.diff(front_ranks(points)[order]) >= 0)


def test_front_of_no_points_is_empty():
    assert pareto_front([]).tolist() == []
    assert best_first([]).tolist() == []


def test_crowding_is_the_box_between_the_neighbours():
    points = [[0, 10], [1, 8], [4, 5], [10, 0]]
    expected = [np.inf, 4 / 10 + 5 / 10, 9 / 10 + 8 / 10, np.inf]
    assert crowding_distances(points) == pytest.approx(expected)


def test_equal_points_have_finite_order():
    distances = crowding_distances([[1, 1]] * 4)
    assert np.isinf(distances).sum() == 2
    assert (distances[np.isfinite(distances)] == 0).all()
