"""Bounds, reduced costs and short lists; systems of many pieces under one row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import feasible, systems, totals
from test_solve import check_against_brute_force

from keras_nas.milp import Infeasible, Linear, Piece, SizeSystem, solve, stages
from keras_nas.milp.knots import Knots
from keras_nas.milp.limits import limit
from keras_nas.milp.objectives import Curves, Objectives
from keras_nas.milp.points import points
from keras_nas.milp.problem import Problem
from keras_nas.milp.reduced import ReducedCosts
from keras_nas.milp.tangents import Change, Utility, positive_utilities

SOLVERS = ("highs", "glpk", "cbc")


@given(
    function=st.sampled_from(
        [Change(40), Change(0), Change(900), Utility(np.arange(300.0) ** 2)]
    ),
    low=st.integers(0, 200),
    width=st.integers(0, 800),
    centre=st.integers(0, 1000),
)
def test_knots_stay_below_their_function(function, low, width, centre):
    sign = -1 if isinstance(function, Utility) else 1
    sizes = np.arange(low, low + width + 1)
    true = sign * function.table(sizes)
    knots = Knots(
        lambda s: sign * function.table(s), low, sizes[-1], centre, function.present
    )
    assert np.allclose(
        np.interp(centre, knots.sizes, knots.values), np.interp(centre, sizes, true)
    )
    for size, value, (first, last) in zip(
        knots.sizes, knots.values, knots.reach.T, strict=True
    ):
        assert first <= size <= last
        assert value <= true[size - low] + 1e-6
    # Whatever line is taken away, the least value is not above the true one.
    for slope in (-30.0, -1.0, 0.0, 0.3, 2.0, 100.0):
        below = (knots.values - slope * knots.sizes).min()
        assert below <= (true - slope * sizes).min() + 1e-6


@given(st.integers(0, 60), st.lists(st.floats(0.1, 9), max_size=9))
def test_a_table_has_the_values_of_single_sizes(present, utilities):
    sizes = np.arange(80)
    for curve in (Change(present), Utility(np.array(utilities))):
        assert curve.table(sizes) == pytest.approx([curve.value(s) for s in sizes])


@settings(max_examples=80)
@given(system=systems(), stage=st.sampled_from(stages.SUMS))
def test_no_sizes_are_below_the_bound_and_the_best_stay(system, stage):
    system = replace(system, near=())
    try:
        limited = limit(Problem.from_system(system), 1)
    except Infeasible:
        assume(False)
    problem = limited.problem
    utilities = positive_utilities(problem.pieces)
    curves = Curves(
        [Utility(u) for u in utilities], [Change(p.size) for p in problem.pieces]
    )
    objectives = Objectives(problem, curves)
    costs = ReducedCosts(objectives, stage, problem.present())
    found = [tuple(sizes.values()) for sizes in feasible(system)]
    assume(found)
    values = [objectives.value(stage, sizes) for sizes in found]
    assert costs.bound <= min(values) + 1e-6
    room = min(values) - costs.bound + 1e-3
    narrow = costs.within(room)
    listed = {tuple(point) for point in points(costs, room).tolist()}
    for sizes, value in zip(found, values, strict=True):
        if value <= min(values) + 1e-3 - 1e-7:
            assert all(np.less_equal(narrow.low, sizes))
            assert all(np.less_equal(sizes, narrow.high))
            assert costs.most(narrow) >= value - costs.bound - 1e-6
            assert sizes in listed


@settings(max_examples=60)
@given(system=systems())
@pytest.mark.parametrize("may_list", [True, False])
def test_few_pieces_are_solved_as_many_are(system, may_list):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "MANY", 0)
        if not may_list:
            patch.setattr(stages, "points", lambda *_: None)
        check_against_brute_force(system, "highs")


@settings(max_examples=8)
@given(system=systems())
@pytest.mark.parametrize("solver", ["glpk", "cbc"])
def test_programs_solve_few_pieces_as_many(solver, system):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "MANY", 0)
        patch.setattr(stages, "points", lambda *_: None)
        check_against_brute_force(system, solver)


def many(utility) -> tuple[Piece, ...]:
    """As many pieces as a ResNet152 has, of the same number of neurons."""
    return tuple(Piece(i, 265, utility(i), low=1) for i in range(105))


def one_row(pieces, coefficients=None) -> Linear:
    coefficients = coefficients or [1] * len(pieces)
    return Linear({p.key: c for p, c in zip(pieces, coefficients, strict=True)})


@pytest.fixture
def count_runs(monkeypatch):
    """A list that grows by one with each start of a solver."""
    runs = []
    attach = stages.solvers.attach

    def counting(name, model):
        run = attach(name, model)

        def counted(seconds):
            runs.append(name)
            return run(seconds)

        return counted

    monkeypatch.setattr(stages.solvers, "attach", counting)
    return runs


RANDOM = np.random.default_rng(0).random((105, 265))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["exact", "near"])
def test_one_total_over_many_pieces_keeps_the_best_neurons_of_all(
    kind, solver, count_runs
):
    pieces, wanted = many(lambda i: RANDOM[i]), 15_000
    total = one_row(pieces)
    requests = {
        "exact": {"exact": ((total, wanted),)},
        "near": {"near": ((total, wanted, 105 * 265),)},
    }
    sizes = totals(
        system := SizeSystem(pieces, **requests[kind]), solve(system, solver=solver)
    )
    # The best neuron of each piece stays in any case; then the best of all others.
    ranked = -np.sort(-RANDOM, axis=1)
    best = np.sort(ranked[:, 1:].ravel())[::-1][: wanted - 105].sum()
    kept = sum(ranked[i, :size].sum() for i, size in sizes.items())
    assert sum(sizes.values()) == wanted
    assert kept == pytest.approx(best + ranked[:, 0].sum(), abs=1e-6)
    assert len(count_runs) <= 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_total_over_equal_pieces_is_spread_evenly(solver, count_runs):
    pieces = many(lambda _: np.ones(265))
    system = SizeSystem(pieces, exact=((one_row(pieces), 105 * 140 + 30),))
    # The 30 neurons that cannot be shared out go to the earlier pieces.
    expected = dict.fromkeys(range(30), 141) | dict.fromkeys(range(30, 105), 140)
    assert totals(system, solve(system, solver=solver)) == expected
    assert len(count_runs) <= 4


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_budget_with_costs_is_used_up_by_the_best_neurons(solver, count_runs):
    pieces = many(lambda i: RANDOM[i])
    costs = np.random.default_rng(1).integers(50, 4000, 105)
    budget = int(costs.sum()) * 140
    row = one_row(pieces, costs.tolist())
    system = SizeSystem(pieces, bounds=((row, None, budget),))
    sizes = totals(system, solve(system, solver=solver))
    assert row.value(sizes) <= budget
    # The greedy of a knapsack, in order of utility per cost, with its last part cut.
    ranked = -np.sort(-RANDOM, axis=1)
    pairs = [(u / c, u, c) for c, us in zip(costs, ranked, strict=True) for u in us[1:]]
    left, most = budget - costs.sum(), ranked[:, 0].sum()
    for _, utility, cost in sorted(pairs, reverse=True):
        part = min(1, left / cost)
        most, left = most + part * utility, left - part * cost
    kept = sum(ranked[i, :size].sum() for i, size in sizes.items())
    assert most - 0.01 <= kept <= most + 1e-6
    assert len(count_runs) <= 20


def test_equal_utilities_under_a_budget_keep_as_many_neurons_as_fit():
    pieces = many(lambda _: np.ones(265))
    costs = np.arange(50, 155).tolist()
    budget = 265 * sum(costs[:60]) + sum(costs[60:]) + 1000
    system = SizeSystem(pieces, bounds=((one_row(pieces, costs), None, budget),))
    sizes = totals(system, solve(system))
    # 60 cheap pieces whole, one neuron of each other, and 1000 // 110 more of the next.
    assert sum(sizes.values()) == 60 * 265 + 45 + 9
    assert one_row(pieces, costs).value(sizes) <= budget


def test_multiples_under_one_total_are_found():
    pieces = tuple(Piece(i, 64, RANDOM[i, :64], low=1) for i in range(40))
    total = one_row(pieces)
    steps = tuple((Linear({p.key: 1}), 8, 64) for p in pieces)
    system = SizeSystem(pieces, steps=steps, exact=((total, 40 * 40),))
    sizes = totals(system, solve(system))
    assert {size % 8 for size in sizes.values()} == {0}
    assert min(sizes.values()) >= 8
    # Blocks of eight neurons in falling order: the best blocks of all.
    ranked = -np.sort(-RANDOM[:40, :64], axis=1)
    blocks = ranked.reshape(40, 8, 8).sum(axis=2)
    best = np.sort(blocks[:, 1:].ravel())[::-1][: 40 * 5 - 40].sum()
    kept = sum(ranked[i, :size].sum() for i, size in sizes.items())
    assert kept == pytest.approx(best + blocks[:, 0].sum(), abs=1e-6)


def test_many_pieces_without_any_sizes_are_infeasible():
    pieces = tuple(Piece(i, 6, np.ones(6), high=6) for i in range(12))
    half = Linear({i: 2 for i in range(6)} | {i: 3 for i in range(6, 12)})
    system = SizeSystem(
        pieces,
        exact=((half, 180),),
        bounds=((one_row(pieces), None, 71),),
    )
    with pytest.raises(Infeasible, match="."):
        solve(system)
