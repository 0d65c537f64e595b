"""Integer solvability against brute force."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_nas.milp.lattice import has_integer_solution

ROW = st.tuples(
    st.dictionaries(st.integers(0, 2), st.integers(-4, 4), max_size=3),
    st.integers(-6, 6),
)


@pytest.mark.parametrize(
    ("equations", "expected"),
    [
        ([({0: 2, 1: -2}, 1)], False),
        ([({0: 6, 1: 10, 2: 15}, 1)], True),
        ([({0: 1, 1: 1}, 1), ({0: 1, 1: -1}, 2)], False),
        ([({0: 1, 1: 1}, 2), ({0: 1, 1: -1}, 2)], True),
        ([({}, 1)], False),
        ([], True),
    ],
)
def test_known_cases(equations, expected):
    assert has_integer_solution(equations) is expected


@settings(max_examples=80)
@given(st.lists(ROW, max_size=3), st.sampled_from([2, 3, 4, 5, 8, 9]))
def test_a_refusal_is_right_and_an_acceptance_holds_modulo_everything(rows, modulus):
    grid = itertools.product(range(-8, 9), repeat=3)
    found = any(
        all(sum(c * x[i] for i, c in terms.items()) == v for terms, v in rows)
        for x in grid
    )
    accepted = has_integer_solution(rows)
    assert accepted or not found
    residues = itertools.product(range(modulus), repeat=3)
    solvable = any(
        all(
            (sum(c * x[i] for i, c in terms.items()) - v) % modulus == 0
            for terms, v in rows
        )
        for x in residues
    )
    assert solvable or not accepted


def test_many_equations_end_fast():
    chain = [({i: 2, i + 1: -3, i + 2: 5}, math.gcd(i, 7)) for i in range(300)]
    assert has_integer_solution(chain)
    assert not has_integer_solution([*chain, ({301: 4, 302: 6}, 3)])
