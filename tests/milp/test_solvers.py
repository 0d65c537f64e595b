"""Availability, time limits, failures and silence of the three solvers."""

from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from keras_nas import milp
from keras_nas.errors import InternalError, SolverError
from keras_nas.milp import Linear, Piece, Sizes, SizeSystem, Status, check, solve
from keras_nas.milp import solvers as solvers_module

SOLVERS = ("highs", "glpk", "cbc")
SMALL = SizeSystem(
    (Piece("a", 4, np.arange(4.0)), Piece("b", 6, np.arange(6.0))),
    near=((Linear({"a": 1, "b": 1}), 5, 10),),
)


def hard_system() -> SizeSystem:
    """Six budgets at once: a knapsack problem that takes minutes."""
    generator = np.random.default_rng(0)
    pieces = tuple(Piece(i, 100, generator.random(100), low=1) for i in range(40))
    costs = generator.integers(20, 80, size=(6, 40))
    rows = (Linear({i: int(c) for i, c in enumerate(row)}) for row in costs)
    return SizeSystem(pieces, bounds=tuple((row, None, 80_000) for row in rows))


@pytest.mark.parametrize(
    ("solver", "how"), [("glpk", "glpk-utils"), ("cbc", "coinor-cbc")]
)
def test_a_missing_program_is_named_with_its_package(solver, how, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SolverError, match=f"'{solver}' is not installed(?s:.*){how}"):
        solve(SMALL, solver=solver)
    assert solve(SMALL, solver="auto").status is Status.OPTIMAL


def test_auto_takes_what_is_there(monkeypatch):
    there = {"cbc"}
    monkeypatch.setattr(solvers_module, "is_available", lambda name: name in there)
    assert solvers_module.choose("auto") == "cbc"
    with pytest.raises(SolverError, match="pip install highspy"):
        solve(SMALL, solver="highs")
    there.clear()
    with pytest.raises(SolverError, match="none of HiGHS, GLPK and CBC"):
        solve(SMALL)


def test_an_unknown_solver_is_refused():
    with pytest.raises(SolverError, match="no solver 'gurobi'(?s:.*)'highs'"):
        solve(SMALL, solver="gurobi")


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_tiny_time_limit_expires(solver):
    with pytest.raises(SolverError, match=r"time limit of 1e-06 s(?s:.*)no sizes"):
        solve(SMALL, solver=solver, time_limit_s=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_incumbent_is_returned_only_where_it_is_accepted(solver):
    system = hard_system()
    with pytest.raises(SolverError, match="accept_incumbent=True"):
        solve(system, solver=solver, time_limit_s=1.0)
    answer = solve(system, solver=solver, time_limit_s=2.0, accept_incumbent=True)
    assert answer.status is Status.INCUMBENT
    assert list(check.violations(system, answer)) == []
    assert 0 < sum(answer.kept.values()) < 4_000


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_crash_becomes_a_solver_error(solver, monkeypatch):
    def crash(*args):
        raise OSError("disk full")

    monkeypatch.setattr(solvers_module, "_attach_highs", lambda model: crash)
    monkeypatch.setattr(solvers_module, "_attach_program", lambda *args: crash)
    with pytest.raises(SolverError, match=f"'{solver}' failed: OSError: disk full"):
        solve(SMALL, solver=solver)


def test_a_wrong_answer_is_found_by_the_check():
    wrong = Sizes({"a": 5, "b": 1}, {"a": 0, "b": 0})
    with pytest.raises(InternalError, match="piece 'a' keeps 5 of 4"):
        check.verify(SMALL, wrong)
    missed = SizeSystem(
        SMALL.pieces,
        equal=((Linear({"a": 1}), Linear({"b": 1})),),
        bounds=((Linear({"a": 1}), 4, None),),
        steps=((Linear({"a": 1}), 2, 4),),
        exact=((Linear({"b": 1}), 2),),
    )
    broken = list(check.violations(missed, Sizes({"a": 3, "b": 1}, {"a": 0, "b": 0})))
    assert [sentence.split()[0] for sentence in broken] == ["an", "a", "3", "a"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_solving_prints_and_logs_nothing(solver, capfd, caplog):
    solve(SMALL, solver=solver)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


@pytest.mark.parametrize("solver", ["highs", "glpk"])
def test_threads_may_solve_at_the_same_time(solver):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: solve(SMALL, solver=solver), range(8)))
    assert all(answer == answers[0] for answer in answers)


def test_importing_the_package_leaves_pyomo_alone():
    for file in Path(milp.__file__).parent.glob("*.py"):
        top_level = ast.parse(file.read_text(encoding="utf-8")).body
        for node in top_level:
            names = [alias.name for alias in getattr(node, "names", ())]
            names.append(getattr(node, "module", None) or "")
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"pyomo", "highspy"}, file.name
