"""Limits that follow from rows, and invented ones."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.milp import Infeasible, Linear, Piece, SizeSystem
from keras_nas.milp.limits import limit, tighten
from keras_nas.milp.problem import Problem, Row


def test_rows_tighten_both_ways_and_round_inwards():
    rows = [Row(((0, 2), (1, 3)), 7, 13), Row(((0, 1), (1, -1)), 1, None)]
    low, high = tighten([0, 0], [None, None], rows)
    # 2 a + 3 b <= 13, 7 <= 2 a + 3 b and a >= b + 1.
    assert (low, high) == ([1, 0], [6, 3])


def test_a_contradiction_is_found():
    with pytest.raises(Infeasible, match="at least 5, at most 4"):
        tighten([0], [4], [Row(((0, 1),), 5, None)])


def test_a_drifting_contradiction_ends():
    rows = [Row(((0, 1), (1, -1)), None, -1), Row(((0, -1), (1, 1)), None, -1)]
    low, _ = tighten([0, 0], [None, None], rows)
    assert low[0] > 0


def test_limits_follow_equalities_and_the_rest_is_invented():
    pieces = tuple(Piece(key, 2, np.ones(2)) for key in "abc")
    system = SizeSystem(
        pieces,
        equal=((Linear({"a": 5}), Linear({"b": 1})),),
        exact=((Linear({"a": 1}), 100),),
    )
    limited = limit(Problem.from_system(system), 4)
    assert limited.problem.low[:2] == limited.problem.high[:2] == (100, 500)
    assert limited.invented == (2,)
    assert limited.problem.high[2] > 400
    assert limited.is_touched([100, 500, limited.problem.high[2]])
    assert not limited.is_touched([100, 500, 2])
