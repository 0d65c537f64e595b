"""Concave and convex functions of a size, by their tangents.

*Kept utility.* One keep variable per neuron, ``x_1 .. x_n`` in {0, 1}, with the rows
only on ``k = sum(x_j)``, has the optimum ``U(k)``, the sum of the k largest utilities.
Its increments ``u_(1) >= u_(2) >= ...`` fall, so U is concave in k. All utilities are
made positive, so of a piece of new size s as many neurons stay as fit,
``k = min(s, n)``, and ``U(min(s, n))`` is concave in s: its increments fall to 0 behind
n. One integer per piece is left of the n variables.

*Change.* ``|s - n| + s log(s / n) - s + n`` is strictly convex in s, 0 at the present
size n and nowhere else. The first part counts moved neurons, so nothing moves without
need. The second is the relative entropy; among sizes of the same sum it is least
where all change by the same factor, so the change is spread evenly.

*Tangents.* A concave U with values at integers is the minimum of the lines through
``(m - 1, U(m - 1))`` and ``(m, U(m))``, and equals line m and line m + 1 at m. The
model holds a few of these lines; after each solve those at the solution are added
(Kelley 1960 <https://doi.org/10.1137/0108053>). When every size of a solution lies on a
line that the model holds, the bound of the solver is the true value there, so the
solution is optimal. Each round adds a line, of which there are finitely many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_nas.milp.system import Piece


class Utility:
    """Utility of the kept neurons against the size: concave."""

    def __init__(self, utility: np.ndarray):
        self.falling = np.sort(np.asarray(utility, dtype=float))[::-1]
        self.values = np.concatenate([[0.0], np.cumsum(self.falling)])
        self.present = len(self.falling)

    def value(self, size: int) -> float:
        """Returns the total utility of the best neurons that fit."""
        return float(self.values[min(size, self.present)])

    def table(self, sizes: np.ndarray) -> np.ndarray:
        """Returns the value of every size of an int array."""
        return self.values[np.minimum(sizes, self.present)]

    def slope(self, line: int) -> float:
        """Returns the slope of a line, the utility of its neuron."""
        return float(self.falling[line - 1]) if line <= self.present else 0.0

    def line(self, size: int) -> int:
        """The line from ``size - 1`` to ``size``; equal neighbours share one."""
        if size > self.present:
            return self.present + 1
        first = np.searchsorted(-self.falling, -self.falling[size - 1], side="left")
        return int(first) + 1


class Change:
    """Cost of a change of the size: strictly convex, 0 at the present size."""

    def __init__(self, present: int):
        self.present = present
        # An empty piece has no factor to grow by; it is taken from 1 to 1 + s.
        self.offset = 0 if present else 1

    def value(self, size: int) -> float:
        """Returns the cost of this size."""
        ratio = (size + self.offset) / (self.present + self.offset)
        entropy = (size + self.offset) * math.log(ratio) if ratio else 0.0
        return abs(size - self.present) + entropy - size + self.present

    def table(self, sizes: np.ndarray) -> np.ndarray:
        """Returns the value of every size of an int array."""
        after = sizes + self.offset
        ratio = np.maximum(after, 1) / (self.present + self.offset)
        return (
            np.abs(sizes - self.present) + after * np.log(ratio) - sizes + self.present
        )

    def slope(self, line: int) -> float:
        """Returns the cost of one more neuron, from ``line - 1`` to ``line``."""
        return self.value(line) - self.value(line - 1)

    def line(self, size: int) -> int:
        """The line from ``size - 1`` to ``size``; no two are the same."""
        return size


class Lines:
    """The lines of one curve that a model holds, for sizes in ``[low, high]``."""

    def __init__(self, curve: Utility | Change, low: int, high: int):
        self.curve, self.low, self.high = curve, low, high
        self.held: list[int] = []
        if low < high:
            self.touch(curve.present)
            self.touch(low)
            self.touch(high)
            middle = min(high, curve.present)
            for part in range(1, 4):
                self._hold(low + 1 + (middle - low - 1) * part // 4)
            # Growth ends mostly near the present size, far below the invented limit.
            for part in range(1, 6):
                self._hold(middle + (high - middle) // 2**part)

    def within(self, low: int, high: int) -> Lines:
        """Returns the lines for closer limits; what is known of the curve stays."""
        lines = Lines(self.curve, low, high)
        for line in self.held:
            lines._hold(line)
        return lines

    def touch(self, size: float) -> bool:
        """Makes the lines exact at a size; returns whether they were not.

        Between two integers only one line counts; at an integer either of its two
        makes it exact, and both are held for faster progress.
        """
        if self.low == self.high:
            return False
        if size != int(size):
            return self._hold(math.ceil(size))
        size = int(size)
        around = [s for s in (size, size + 1) if self.low < s <= self.high]
        is_exact = any(self.curve.line(s) in self.held for s in around)
        for s in around:
            self._hold(s)
        return not is_exact

    def _hold(self, size: int) -> bool:
        if not self.low < size <= self.high:
            return False
        line = self.curve.line(size)
        if line in self.held:
            return False
        self.held.append(line)
        return True


def positive_utilities(pieces: Sequence[Piece]) -> list[np.ndarray]:
    """Rescales utilities for the solver, in an order-preserving way.

    NaN and infinity become worse than the worst finite utility of all pieces. If a
    utility is not positive, all are shifted by one constant that makes the smallest
    slightly positive, so that no neuron goes without need; otherwise ratios stay. At
    last all are divided by one number so that their median is about 1.

    Args:
        pieces: The pieces in reach; utilities of shape ``(size,)``.

    Returns:
        One array of positive numbers per piece, of the same shape.
    """
    stacked = np.concatenate(
        [np.zeros(0), *(np.asarray(p.utility, dtype=float) for p in pieces)]
    )
    is_finite = np.isfinite(stacked)
    finite = stacked[is_finite]
    scale = np.abs(finite).max(initial=0.0) or 1.0
    stacked = np.where(is_finite, stacked / scale, 0.0)
    least, most = stacked[is_finite].min(initial=1.0), stacked.max(initial=0.0)
    spread = most - least if most > least else 1.0
    worst = least / 2 if least > 0 else least - 1e-3 * spread
    stacked = np.where(is_finite, stacked, worst)
    least = stacked.min(initial=1.0)
    if least <= 0:
        stacked = stacked - least + 1e-3 * spread
    if stacked.size:
        # One huge utility must not push all the others below the tolerances.
        stacked = stacked / max(np.median(stacked), stacked.max() / 1e4)
    return np.split(stacked, np.cumsum([p.size for p in pieces])[:-1])
