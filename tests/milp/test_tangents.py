"""The curves, their tangents, and the rescaling of utilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_nas.milp import Piece, positive_utilities
from keras_nas.milp.tangents import Change, Lines, Utility

CURVES = [
    Utility(np.array([3.0, 1.0, 1.0, 0.5])),
    Utility(np.ones(7)),
    Change(6),
    Change(0),
]


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_is_the_envelope_of_its_lines(curve):
    sizes = range(12)
    choose = min if isinstance(curve, Utility) else max
    for size in sizes:
        values = [
            curve.value(line) + curve.slope(line) * (size - line) for line in sizes[1:]
        ]
        assert choose(values) == pytest.approx(curve.value(size), abs=1e-9)


@pytest.mark.parametrize("curve", CURVES)
def test_touched_lines_are_exact_and_stay_so(curve):
    lines = Lines(curve, 0, 11)
    choose = min if isinstance(curve, Utility) else max
    for size in range(12):
        lines.touch(size)
        assert not lines.touch(size)
        values = [
            curve.value(line) + curve.slope(line) * (size - line) for line in lines.held
        ]
        assert choose(values) == pytest.approx(curve.value(size), abs=1e-9)


def test_equal_utilities_share_one_line():
    curve = Utility(np.ones(100))
    assert {curve.line(size) for size in range(1, 101)} == {1}


@given(st.integers(0, 300))
def test_change_is_strictly_convex_and_least_at_the_present_size(present):
    curve = Change(present)
    values = np.array([curve.value(size) for size in range(present + 50)])
    assert values.argmin() == present
    assert values[present] == pytest.approx(0, abs=1e-9)
    assert (np.diff(values, 2) > 1e-9).all()


def test_change_of_the_same_sum_is_least_in_proportion():
    costs = [Change(10).value(a) + Change(30).value(60 - a) for a in range(10, 31)]
    assert 10 + int(np.argmin(costs)) == 15


@given(
    hnp.arrays(
        float,
        st.integers(1, 8),
        elements=st.floats(allow_nan=True, allow_infinity=True, width=32),
    )
)
def test_utilities_become_positive_in_the_same_order(values):
    (scaled,) = positive_utilities([Piece("a", len(values), values)])
    assert (scaled > 0).all()
    assert np.isfinite(scaled).all()
    worst = ~np.isfinite(values)
    if worst.any() and not worst.all():
        assert scaled[worst].max() < scaled[~worst].min()
    order = np.argsort(values[~worst], kind="stable")
    assert (np.diff(scaled[~worst][order]) >= 0).all()


def test_positive_utilities_keep_their_ratios_across_pieces():
    pieces = [Piece("a", 2, np.array([1.0, 8.0])), Piece("b", 1, np.array([4.0]))]
    a, b = positive_utilities(pieces)
    assert a[1] / a[0] == pytest.approx(8)
    assert b[0] / a[0] == pytest.approx(4)


def test_one_shift_serves_all_pieces():
    pieces = [Piece("a", 2, np.array([-1.0, 1.0])), Piece("b", 1, np.array([0.0]))]
    a, b = positive_utilities(pieces)
    assert a[1] - b[0] == pytest.approx(b[0] - a[0])
    assert 0 < a[0] < 0.01


def test_empty_pieces_have_empty_utilities():
    a, b = positive_utilities([Piece("a", 0, np.zeros(0)), Piece("b", 0, np.zeros(0))])
    assert a.shape == b.shape == (0,)
