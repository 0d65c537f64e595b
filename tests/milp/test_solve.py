"""`solve` against brute force, and by hand on systems with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from oracle import (
    change,
    deviation,
    feasible,
    kept_utility,
    systems,
    totals,
    wrong_side,
)

from keras_nas.milp import Infeasible, Linear, Piece, SizeSystem, Status, solve

SOLVERS = ("highs", "glpk", "cbc")


def piece(key, size, utility=None, **options) -> Piece:
    values = np.ones(size) if utility is None else np.asarray(utility, dtype=float)
    return Piece(key, size, values, **options)


def expr(constant=0, **terms) -> Linear:
    return Linear(terms, constant)


def sizes_of(system, solver="highs") -> dict:
    return totals(system, solve(system, solver=solver))


def check_against_brute_force(system, solver) -> None:
    """Each objective is at its best among the sizes best for those before."""
    candidates = feasible(system)
    if not candidates:
        with pytest.raises(Infeasible, match="."):
            solve(system, solver=solver)
        return
    answer = totals(system, solve(system, solver=solver))
    assert answer in candidates
    for objective, sign in (
        (deviation, 1),
        (wrong_side, 1),
        (kept_utility, -1),
        (change, 1),
    ):
        values = [sign * objective(system, sizes) for sizes in candidates]
        assert sign * objective(system, answer) == pytest.approx(min(values), abs=1e-6)
        candidates = [
            sizes
            for sizes, value in zip(candidates, values, strict=True)
            if value <= min(values) + 1e-7
        ]


@settings(max_examples=120)
@given(system=systems())
def test_solve_equals_brute_force_with_highs(system):
    check_against_brute_force(system, "highs")


@settings(max_examples=50)
@given(system=systems())
def test_solve_equals_brute_force_with_glpk(system):
    check_against_brute_force(system, "glpk")


@settings(max_examples=25)
@given(system=systems())
def test_solve_equals_brute_force_with_cbc(system):
    check_against_brute_force(system, "cbc")


def random_system(seed: int) -> SizeSystem:
    """Ten pieces of real widths, tied in sums, with steps and requests."""
    generator = np.random.default_rng(seed)
    widths = generator.choice([8, 16, 24, 48, 64], size=10)
    pieces = tuple(
        piece(i, int(width), generator.standard_normal(width), low=1)
        for i, width in enumerate(widths)
    )
    present = {p.key: p.size for p in pieces}
    ends = [Linear({0: 1, 1: 1}), Linear({2: 1, 3: 2}), Linear({4: 1, 5: 1, 6: 1})]
    return SizeSystem(
        pieces,
        equal=((ends[0], ends[1]), (ends[1], ends[2])),
        bounds=((Linear({7: 3, 8: 5, 9: 7}), None, 6 * sum(present.values()) // 5),),
        steps=(
            (Linear({0: 1}), 8, present[0]),
            (Linear({8: 1, 9: 1}), 4, present[8] + present[9]),
            (ends[2], 3, ends[2].value(present)),
        ),
        near=((ends[0], 40 + 10 * seed, 64), (Linear({7: 1, 8: 1}), 30, 60)),
    )


SHARED = {
    "half": SizeSystem((piece("a", 64), piece("b", 5)), exact=((expr(a=1), 32),)),
    "twins": SizeSystem(
        (piece("a", 9), piece("b", 9), piece("c", 18)),
        equal=((expr(a=1, b=1), expr(c=1)),),
        exact=((expr(c=1), 11),),
    ),
    "grow": SizeSystem(
        (piece("a", 4), piece("b", 4), piece("c", 8)),
        equal=((expr(a=1, b=1), expr(c=1)),),
        exact=((expr(c=1), 1001),),
    ),
    "spread": SizeSystem(
        tuple(piece(key, 20) for key in "abcdefghijkl"),
        exact=((Linear(dict.fromkeys("abcdefghijkl", 1)), 151),),
    ),
    "new edge": SizeSystem(
        (piece("a", 10), piece("b", 16), piece("c", 3)),
        equal=((expr(a=2), expr(b=1, c=1)),),
    ),
    **{f"random {seed}": random_system(seed) for seed in range(4)},
}


@pytest.mark.parametrize("name", SHARED)
def test_all_solvers_give_the_same_sizes(name):
    answers = [solve(SHARED[name], solver=solver) for solver in SOLVERS]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].status is Status.OPTIMAL


@pytest.mark.parametrize("name", SHARED)
def test_the_answer_is_the_same_when_asked_twice(name):
    assert solve(SHARED[name]) == solve(SHARED[name])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_earlier_of_equal_pieces_wins_when_a_neuron_must_go(order, solver):
    pieces = [piece(key, 7) for key in "abc"]
    pieces = tuple(pieces[i] for i in order)
    system = SizeSystem(pieces, exact=((expr(a=1, b=1, c=1), 16),))
    assert list(sizes_of(system, solver).values()) == [6, 5, 5]
    assert [p.key for p in pieces] == list(sizes_of(system, solver))


def test_the_change_is_spread_in_proportion_to_the_sizes():
    system = SizeSystem(
        (piece("a", 40), piece("b", 80), piece("c", 120)),
        exact=((expr(a=1, b=1, c=1), 180),),
    )
    assert sizes_of(system) == {"a": 30, "b": 60, "c": 90}
    larger = SizeSystem(system.pieces, exact=((expr(a=1, b=1, c=1), 480),))
    assert sizes_of(larger) == {"a": 80, "b": 160, "c": 240}


def test_the_worst_neurons_go_whichever_piece_they_are_in():
    system = SizeSystem(
        (piece("a", 4, [9, 8, 7, 0.1]), piece("b", 4, [0.3, 6, 0.2, 5])),
        exact=((expr(a=1, b=1), 5),),
    )
    answer = solve(system)
    assert answer.kept == {"a": 3, "b": 2}
    assert answer.inserted == {"a": 0, "b": 0}


def test_growth_keeps_all_neurons_even_negative_ones():
    system = SizeSystem((piece("a", 4, [-5, 0, 1, 2]),), exact=((expr(a=1), 7),))
    answer = solve(system)
    assert (answer.kept["a"], answer.inserted["a"]) == (4, 3)


def test_a_large_growth_reaches_every_tied_piece():
    system = SizeSystem(
        (piece("a", 4), piece("b", 12), piece("c", 36), piece("d", 40)),
        equal=(
            (expr(a=3), expr(b=1)),
            (expr(b=3), expr(c=1)),
            (expr(a=1, c=1), expr(d=1)),
        ),
        exact=((expr(a=1), 100_000),),
    )
    assert sizes_of(system) == {
        "a": 100_000,
        "b": 300_000,
        "c": 900_000,
        "d": 1_000_000,
    }


def test_a_near_request_is_not_cut_off_by_invented_limits():
    pieces = tuple(piece(i, 2 * 3**i) for i in range(6))
    equal = tuple((Linear({i: 3}), Linear({i + 1: 1})) for i in range(5))
    system = SizeSystem(pieces, equal=equal, near=((Linear({0: 1}), 50_000, 2),))
    assert sizes_of(system)[5] == 50_000 * 3**5


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("wanted", "expected"), [(60, 64), (52, 48), (100, 96)])
def test_near_takes_the_closest_multiple(wanted, expected, solver):
    system = SizeSystem(
        (piece("a", 60),),
        steps=((expr(a=1), 16, 64),),
        near=((expr(a=1), wanted, 60),),
    )
    assert sizes_of(system, solver) == {"a": expected}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("present", "expected"), [(64, 24), (16, 32)])
def test_the_direction_of_the_request_breaks_ties(present, expected, solver):
    system = SizeSystem(
        (piece("a", present),),
        steps=((expr(a=1), 8, present),),
        near=((expr(a=1), 28, present),),
    )
    assert sizes_of(system, solver) == {"a": expected}


def test_the_present_value_is_allowed_beside_multiples():
    system = SizeSystem(
        (piece("a", 50), piece("b", 50)),
        steps=((expr(a=1), 16, 50),),
        near=((expr(a=1), 52, 50),),
    )
    # 48 and 50 are 4 and 2 away.
    assert sizes_of(system)["a"] == 50


def test_locked_pieces_leave_the_change_to_others():
    system = SizeSystem(
        (piece("a", 8, locked=True), piece("b", 8), piece("c", 16)),
        equal=((expr(a=1, b=1), expr(c=1)),),
        exact=((expr(c=1), 10),),
    )
    assert sizes_of(system) == {"a": 8, "b": 2, "c": 10}


def test_a_shrink_can_force_another_piece_to_grow():
    system = SizeSystem(
        (piece("a", 8), piece("b", 8)),
        equal=((expr(a=1, b=1), Linear({}, 16)),),
        exact=((expr(a=1), 3),),
    )
    answer = solve(system)
    assert totals(system, answer) == {"a": 3, "b": 13}
    assert answer.inserted == {"a": 0, "b": 5}


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (
            SizeSystem((piece("a", 4, locked=True),), exact=((expr(a=1), 3),)),
            "fixed sizes miss",
        ),
        (
            SizeSystem((piece("a", 4, high=6),), exact=((expr(a=1), 7),)),
            "must be at least 7, at most 6",
        ),
        (
            SizeSystem(
                (piece("a", 4), piece("b", 4)),
                equal=((expr(a=2), expr(1, b=2)),),
            ),
            "whole numbers",
        ),
        (
            SizeSystem(
                (piece("a", 6), piece("b", 7), piece("c", 9)),
                equal=((expr(a=2), expr(b=3)), (expr(1, b=2), expr(c=6))),
            ),
            "whole numbers",
        ),
        (
            SizeSystem(
                (piece("a", 8),), steps=((expr(a=1), 4, 8),), exact=((expr(a=1), 6),)
            ),
            "whole numbers",
        ),
        (
            SizeSystem((piece("a", 3, locked=True, low=5),)),
            "fixed sizes miss",
        ),
    ],
)
def test_what_cannot_be_is_infeasible(system, words):
    with pytest.raises(Infeasible, match=words):
        solve(system)


@pytest.mark.parametrize("solver", SOLVERS)
def test_nothing_moves_without_a_request(solver):
    system = SizeSystem(
        (piece("a", 4, [-1, -1, 0, np.nan]), piece("b", 4), piece("c", 0)),
        equal=((expr(a=1), expr(b=1)),),
        steps=((expr(a=1), 3, 4),),
    )
    assert sizes_of(system, solver) == {"a": 4, "b": 4, "c": 0}


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_request_for_the_present_size_changes_nothing(solver):
    system = SizeSystem(
        (piece("a", 4, [-1, -1, 0, np.inf]), piece("b", 4), piece("c", 8)),
        equal=((expr(a=1, b=1), expr(c=1)),),
        exact=((expr(c=1), 8),),
        near=((expr(a=1), 4, 4),),
    )
    assert sizes_of(system, solver) == {"a": 4, "b": 4, "c": 8}


@pytest.mark.parametrize("solver", SOLVERS)
def test_widths_of_a_whole_network_are_halved_at_once(solver):
    generator = np.random.default_rng(0)
    pieces = tuple(piece(i, 265, generator.random(265), low=1) for i in range(105))
    near = tuple((Linear({p.key: 1}), 132, 265) for p in pieces)
    answer = solve(SizeSystem(pieces, near=near), solver=solver)
    assert set(answer.kept.values()) == {132}
    assert set(answer.inserted.values()) == {0}


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_hundred_choices_between_two_multiples_end_fast(solver):
    pieces = tuple(piece(i, 265, low=1) for i in range(105))
    system = SizeSystem(
        pieces,
        steps=tuple((Linear({p.key: 1}), 8, 265) for p in pieces),
        near=tuple((Linear({p.key: 1}), 132, 265) for p in pieces),
    )
    # 128 and 136 are equally far; the request is for fewer.
    assert set(sizes_of(system, solver).values()) == {128}


def test_a_tie_without_direction_goes_to_more_utility():
    system = SizeSystem(
        (piece("a", 12),),
        bounds=((expr(a=1), None, 16),),
        steps=((expr(a=1), 8, 8),),
        near=((expr(a=1), 12, 12),),
    )
    assert sizes_of(system) == {"a": 16}


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_highs_presolve_refuses_is_solved(solver):
    system = SizeSystem(
        (piece("a", 1, high=2), piece("b", 2, high=2)),
        steps=((expr(a=1), 1, 1), (expr(a=1, b=1), 1, 3)),
        near=((expr(a=1, b=1), 1, 3), (expr(a=1), 2, 1)),
    )
    assert sizes_of(system, solver) == {"a": 1, "b": 0}
