"""`nearest` against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import feasible, systems

from keras_nas.milp import Linear, Piece, SizeSystem, nearest


def check(system, expr, wanted, solver):
    values = [expr.value(sizes) for sizes in feasible(system)]
    below = max((v for v in values if v <= wanted), default=None)
    above = min((v for v in values if v >= wanted), default=None)
    assert nearest(system, expr, wanted, solver=solver) == (below, above)


@settings(max_examples=60)
@given(system=systems(), wanted=st.integers(1, 12), factor=st.integers(1, 2))
def test_nearest_equals_brute_force_with_highs(system, wanted, factor):
    key = system.pieces[-1].key
    check(replace(system, near=()), Linear({key: factor}), wanted, "highs")


@settings(max_examples=12)
@given(system=systems(), wanted=st.integers(1, 12))
@pytest.mark.parametrize("solver", ["glpk", "cbc"])
def test_nearest_equals_brute_force_with_programs(solver, system, wanted):
    check(system, Linear({system.pieces[0].key: 1}), wanted, solver)


def test_nearest_counts_what_is_tied():
    pieces = (
        Piece("a", 64, np.ones(64), low=1),
        Piece("b", 32, np.ones(32), locked=True),
        Piece("c", 96, np.ones(96)),
    )
    system = SizeSystem(
        pieces,
        equal=((Linear({"a": 1, "b": 1}), Linear({"c": 1})),),
        steps=((Linear({"a": 1}), 10, 64),),
    )
    assert nearest(system, Linear({"c": 1}), 90) == (82, 92)
    assert nearest(system, Linear({"c": 1}), 96) == (96, 96)
    assert nearest(system, Linear({"c": 1}), 20) == (None, 42)
    assert nearest(system, Linear({"b": 1}), 20) == (None, 32)
    assert nearest(system, Linear({"a": 3}), 100_000) == (99_990, 100_020)
