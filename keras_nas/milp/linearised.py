"""What the solver says about ladders: budgets as rows, sizes near to others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from keras_nas.errors import SolverError
from keras_nas.milp.cost import Budget
from keras_nas.milp.ladders import Ladders
from keras_nas.milp.solve import solve
from keras_nas.milp.system import Infeasible, Linear, SizeSystem

# Coefficients of a tangent are whole numbers up to this one: a relative error of 1e-5.
FINEST = 100_000
# Seconds for one solve: it only proposes sizes, which are then improved.
MOST_SECONDS = 5.0


def solve_linearised(
    ladders: Ladders,
    system: SizeSystem,
    budgets: Sequence[Budget],
    position: np.ndarray,
    radius: float,
    solver: str,
    left: Callable[[], float],
) -> np.ndarray | None:
    """Solves the size system with the tangents of all costs as rows.

    Args:
        ladders: The ladders of the system.
        system: Pieces and rows.
        budgets: What must not be exceeded.
        position: Where the tangents are taken.
        radius: Sizes move by at most this fraction of the present ones.
        solver: Name of the solver.
        left: Seconds left.

    Returns:
        The new position, which may cost a little too much; None if there is none.
    """
    sizes = ladders.sizes(position)
    tangents = [_tangent(budget, sizes) for budget in budgets]
    pieces = tuple(
        replace(
            piece,
            low=max(piece.low, int(size - reach)),
            high=min(piece.size, int(size + reach)),
        )
        for piece, size in zip(system.pieces, sizes, strict=True)
        for reach in [np.ceil(radius * piece.size)]
    )
    keys = [piece.key for piece in pieces]
    rows = tuple(
        (Linear({k: c for k, c in zip(keys, whole, strict=True) if c}), None, most)
        for whole, most in tangents
    )
    linearised = replace(system, pieces=pieces, bounds=(*system.bounds, *rows))
    return _solve(ladders, linearised, solver, left)


def nearest_position(
    ladders: Ladders,
    system: SizeSystem,
    position: np.ndarray,
    solver: str,
    left: Callable[[], float],
) -> np.ndarray | None:
    """Returns the position closest to another where every row holds, if any."""
    sizes = ladders.sizes(position)
    near = tuple(
        (Linear({piece.key: 1}), max(int(size), 1), piece.size)
        for piece, size in zip(system.pieces, sizes, strict=True)
        if piece.is_movable
    )
    return _solve(ladders, replace(system, near=near, exact=()), solver, left)


def sizes_above(
    system: SizeSystem, wanted: Sequence[int], solver: str = "auto"
) -> list[int]:
    """Returns the sizes closest to wanted ones at which every row holds.

    Args:
        system: Pieces and rows.
        wanted: A size for each piece; rows may demand more or less.
        solver: For rows between several sizes that single moves cannot satisfy.

    Raises:
        Infeasible: No sizes satisfy the rows.
    """
    ladders = Ladders(system)
    found = [
        np.searchsorted(rungs, max(wanted[i] for i in members))
        for rungs, members in zip(ladders.rungs, ladders.members, strict=True)
    ]
    position = np.minimum(np.array(found, dtype=np.int64), ladders.top)
    settled = ladders.settle(position)
    if settled is None:
        settled = nearest_position(ladders, system, position, solver, lambda: np.inf)
    if settled is None:
        raise Infeasible("the rows leave no sizes")
    return [int(size) for size in ladders.sizes(settled)]


def _solve(
    ladders: Ladders, system: SizeSystem, solver: str, left: Callable[[], float]
) -> np.ndarray | None:
    seconds = min(MOST_SECONDS, left())
    if seconds <= 0:
        return None
    try:
        found = solve(
            system, solver=solver, time_limit_s=seconds, accept_incumbent=True
        )
    except (Infeasible, SolverError):
        return None
    position = ladders.position([found.size(piece.key) for piece in system.pieces])
    return position if ladders.holds(position) else None


def _tangent(budget: Budget, sizes: np.ndarray) -> tuple[list[int], int]:
    """Returns the whole coefficients of a cost at some sizes, and their limit."""
    slope = budget.cost.gradient(sizes)
    room = budget.most - budget.cost.value(sizes) + slope @ sizes
    scale = FINEST / max(slope.max(), 1e-300)
    return [int(c) for c in np.rint(slope * scale)], int(np.floor(room * scale))
