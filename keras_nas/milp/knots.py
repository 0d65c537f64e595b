"""A convex function of a size, written down at few sizes.

A size may go up to millions, but only those near the best one matter. The *knots* of a
function lie close together there and ever further apart beyond. From one knot to a far
one the function is replaced by its tangent, which is nowhere above it; so what is least
at the knots is a bound for all sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# All sizes up to this distance from the centre are knots; then each distance is this
# many times the one before.
NEAR, GROWTH = 24, 1.3

Values = Callable[[np.ndarray], np.ndarray]


class Knots:
    """The knots of one function.

    Attributes:
        sizes: Rising int array, from the lowest to the highest size.
        values: Lower limits of the function there; the function itself close to the
            centre.
        reach: Int array of shape ``(2, knots)``: the first and the last size that each
            knot stands for, which is the knot alone where they lie close together.
    """

    def __init__(
        self,
        function: Values,
        low: int,
        high: int,
        centre: int,
        present: int,
        allows: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        """Chooses the knots.

        Args:
            function: Convex; takes an int array.
            low: Smallest size.
            high: Largest size.
            centre: Where the knots are closest together.
            present: Where the function may have a kink.
            allows: Which sizes are allowed at all; None for all.
        """
        centre = min(max(centre, low), high)
        sizes = _places(low, high, centre, present)
        right = sizes[sizes > centre]
        left = sizes[sizes < centre][::-1]
        self.sizes = sizes
        self.values = np.concatenate(
            [
                _along(function, centre, left, -1)[::-1],
                function(np.array([centre])),
                _along(function, centre, right, 1),
            ]
        )
        gap_below = np.diff(sizes, prepend=sizes[0] - 1) - 1
        gap_above = np.diff(sizes, append=sizes[-1] + 1) - 1
        self.reach = np.stack([sizes - gap_below, sizes + gap_above])
        if allows is not None:
            # A knot beside a gap stands for other sizes, too.
            self._take((gap_below > 0) | (gap_above > 0) | allows(sizes))

    def _take(self, keep: np.ndarray) -> None:
        # No allowed size at all is for the solver to find.
        if keep.any():
            self.sizes, self.values = self.sizes[keep], self.values[keep]
            self.reach = self.reach[:, keep]


def _places(low: int, high: int, centre: int, present: int) -> np.ndarray:
    count = max(int(np.log(max(high - low, 1)) / np.log(GROWTH)), 0) + 2
    far = NEAR + np.cumsum(np.ceil(GROWTH ** np.arange(count))).astype(np.int64)
    distances = np.concatenate([np.arange(NEAR + 1), far])
    sizes = np.concatenate(
        [centre - distances, centre + distances, [low, high, present]]
    )
    return np.unique(sizes[(low <= sizes) & (sizes <= high)])


def _along(function: Values, centre: int, sizes: np.ndarray, side: int) -> np.ndarray:
    """Values at knots that go away from the centre, by the tangents before them."""
    before = np.concatenate([[centre], sizes])[:-1].astype(np.int64)
    start = function(before)
    return start + (function(before + side) - start) * np.abs(sizes - before)
