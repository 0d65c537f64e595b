"""What a request reaches, and what it must leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.milp import Linear, Piece, SizeSystem, reachable, solve


def piece(key, size, **options) -> Piece:
    return Piece(key, size, np.ones(size), **options)


def expr(*keys) -> Linear:
    return Linear(dict.fromkeys(keys, 1))


def reached(system) -> str:
    return "".join(p.key for p in reachable(system).pieces)


ABCD = tuple(piece(key, 4) for key in "abcd")


def test_equalities_and_steps_are_gone_through():
    system = SizeSystem(
        ABCD,
        equal=((expr("a"), expr("b")),),
        steps=((expr("b", "c"), 2, 8),),
        exact=((expr("a"), 3),),
    )
    assert reached(system) == "abc"


def test_nothing_is_reached_without_a_request():
    assert reached(SizeSystem(ABCD, equal=((expr("a"), expr("b")),))) == ""


def test_a_locked_piece_is_a_wall():
    pieces = (piece("a", 4), piece("b", 4, locked=True), piece("c", 4))
    system = SizeSystem(
        pieces,
        equal=((expr("a", "b"), Linear({}, 8)), (expr("b"), expr("c"))),
        near=((expr("a"), 4, 4),),
    )
    restricted = reachable(system)
    assert [p.key for p in restricted.pieces] == ["a"]
    assert restricted.equal[0][0] == Linear({"a": 1}, 4)


def test_a_sum_of_at_least_one_binds_only_with_an_empty_partner():
    request = {"exact": ((expr("a"), 1),), "bounds": ((expr("a", "b"), 1, None),)}
    assert reached(SizeSystem((piece("a", 4), piece("b", 3)), **request)) == "a"
    assert reached(SizeSystem((piece("a", 4), piece("b", 0)), **request)) == "ab"
    at_least_one = (piece("a", 4, low=1), piece("b", 0))
    assert reached(SizeSystem(at_least_one, **request)) == "a"


def test_a_bound_is_looked_at_again_when_its_other_piece_is_reached():
    system = SizeSystem(
        (piece("a", 4), piece("b", 4), piece("c", 0)),
        bounds=((expr("a", "b", "c"), 1, None),),
        equal=((expr("a"), expr("b")),),
        exact=((expr("a"), 2),),
    )
    assert reached(system) == "abc"


def test_an_upper_bound_binds_if_growth_is_open():
    bounds = ((expr("a", "b"), None, 10),)
    request = ((expr("a"), 9),)
    system = SizeSystem(ABCD, bounds=bounds, exact=request)
    assert reached(system) == "ab"
    assert solve(system).size("b") == 1
    low = (piece("a", 4, high=6), *ABCD[1:])
    assert reached(SizeSystem(low, bounds=bounds, exact=((expr("a"), 5),))) == "a"


@pytest.mark.parametrize(
    "broken",
    [
        {"equal": ((expr("b"), Linear({"c": 1}, 1)),)},
        {"bounds": ((expr("b", "c"), 9, None),)},
        {"steps": ((expr("b", "c"), 3, 6),)},
    ],
)
def test_rows_that_do_not_hold_are_repaired_without_a_request(broken):
    system = SizeSystem(ABCD, **broken)
    assert reached(system) == "bc"
    assert solve(system).size("b") + solve(system).size("c") == 9


def test_a_piece_outside_its_own_limits_is_repaired():
    system = SizeSystem((piece("a", 4, high=3), piece("b", 4)))
    assert reached(system) == "a"
    assert solve(system).kept == {"a": 3, "b": 4}
