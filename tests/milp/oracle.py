"""Brute force over all sizes, and random small systems to compare with."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import strategies as st

from keras_nas.milp import Linear, Piece, SizeSystem, positive_utilities, reachable
from keras_nas.milp.tangents import Change

#: Largest size that brute force tries; `systems` draws nothing that wants more.
CEILING = 9


def holds(system: SizeSystem, sizes: dict) -> bool:
    """Whether sizes satisfy every row, written down once more on its own."""

    def value(expr):
        return sum(c * sizes[k] for k, c in expr.terms.items()) + expr.constant

    return (
        all(piece.allows(sizes[piece.key]) for piece in system.pieces)
        and all(value(left) == value(right) for left, right in system.equal)
        and all(
            (low is None or value(e) >= low) and (high is None or value(e) <= high)
            for e, low, high in system.bounds
        )
        and all(value(e) % s == 0 or value(e) == p for e, s, p in system.steps)
        and all(value(e) == size for e, size in system.exact)
    )


def feasible(system: SizeSystem) -> list[dict]:
    """All size assignments up to the ceiling that satisfy the rows."""
    keys = [piece.key for piece in system.pieces]
    grid = itertools.product(range(CEILING + 1), repeat=len(keys))
    candidates = (dict(zip(keys, sizes, strict=True)) for sizes in grid)
    return [sizes for sizes in candidates if holds(system, sizes)]


def deviation(system: SizeSystem, sizes: dict) -> float:
    """First objective: relative distance to the near requests."""
    return sum(abs(e.value(sizes) - w) / w for e, w, _ in system.near)


def wrong_side(system: SizeSystem, sizes: dict) -> float:
    """Second objective: the part of it against the direction of the requests."""
    parts = 0.0
    for expr, wanted, present in system.near:
        gap = (expr.value(sizes) - wanted) / wanted
        parts += max(0, gap if wanted < present else -gap) * (wanted != present)
    return parts


def kept_utility(system: SizeSystem, sizes: dict) -> float:
    """Third objective: utility of the best neurons that fit.

    Pieces out of reach take no part in the scaling; their neurons count 1 here.
    """
    reached = reachable(system).pieces
    utilities = {piece.key: np.ones(piece.size) for piece in system.pieces}
    scaled = positive_utilities(reached)
    utilities |= {p.key: u for p, u in zip(reached, scaled, strict=False)}
    return sum(
        math.fsum(sorted(utility, reverse=True)[: sizes[key]])
        for key, utility in utilities.items()
    )


def change(system: SizeSystem, sizes: dict) -> float:
    """Fourth objective."""
    return sum(Change(p.size).value(sizes[p.key]) for p in system.pieces)


def totals(system: SizeSystem, answer) -> dict:
    """The new size of every piece."""
    return {piece.key: answer.size(piece.key) for piece in system.pieces}


@st.composite
def systems(draw, utilities=None) -> SizeSystem:
    """One to four pieces of one to five neurons, with rows of every kind."""
    if utilities is None:
        utilities = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 1.0, 2.5, 0.3, 7.0])
    keys = "abcd"[: draw(st.integers(1, 4))]
    pieces = []
    for key in keys:
        size = draw(st.integers(1, 5))
        values = draw(st.lists(utilities, min_size=size, max_size=size))
        pieces.append(
            Piece(
                key,
                size,
                np.array(values),
                low=draw(st.integers(0, 1)),
                high=draw(st.integers(size, CEILING)),
                locked=draw(st.integers(0, 9)) == 0,
            )
        )
    present = {piece.key: piece.size for piece in pieces}

    def expr(max_terms=2):
        chosen = draw(
            st.lists(st.sampled_from(keys), min_size=1, max_size=max_terms, unique=True)
        )
        terms = {key: draw(st.sampled_from([1, 1, 1, 2, 3])) for key in chosen}
        return Linear(terms, draw(st.sampled_from([0, 0, 0, 1, 2])))

    def some(make, most):
        return tuple(make() for _ in range(draw(st.integers(0, most))))

    def bound():
        low = draw(st.none() | st.integers(0, 4))
        return expr(), low, draw(st.none() | st.integers(4, 16))

    def step():
        e = expr()
        return e, draw(st.integers(1, 4)), e.value(present)

    def near():
        e = expr()
        return e, draw(st.integers(1, 12)), e.value(present)

    return SizeSystem(
        tuple(pieces),
        equal=some(lambda: (expr(), expr()), 1),
        bounds=some(bound, 2),
        steps=some(step, 2),
        exact=some(lambda: (expr(), draw(st.integers(1, 10))), 1),
        near=some(near, 2),
    )
