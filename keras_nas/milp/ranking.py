"""Orders of all neurons, and the sizes that the first of an order make.

The neurons of a unit fall in importance, so whatever order puts a unit's own neurons
best first, its first entries are prefixes of all units: sizes. Where a ladder misses
some sizes, the runs between the corners of its concave hull take the place of neurons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_nas.milp.ladders import Ladders


class Ranking:
    """All runs of all units in one row.

    Attributes:
        slope: Importance per neuron of each run, falling within a unit.
        unit: The unit of each run.
        length: Neurons of each run.
    """

    def __init__(self, ladders: Ladders):
        self._num_units = len(ladders.members)
        corners = [
            _corners(rungs, kept)
            for rungs, kept in zip(ladders.rungs, ladders.kept, strict=True)
        ]
        counts = np.array([len(c) for c in corners], dtype=np.int64)
        self._corner = _joined(corners)
        self._start = np.cumsum(counts) - counts
        pairs = list(zip(ladders.rungs, ladders.kept, corners, strict=True))
        self.length = _joined([np.diff(r[c]) for r, _, c in pairs])
        gains = _joined([np.diff(k[c]) for _, k, c in pairs])
        self.slope = gains / np.maximum(self.length, 1)
        self.unit = np.repeat(np.arange(self._num_units), counts - 1)
        self._ladders, self._corners = ladders, corners
        # Units whose rungs are all corners and that no row ties to others: their runs
        # are their rungs, and can be counted.
        self.is_free = np.array(
            [
                len(corner) == len(rungs) and not rows
                for corner, rungs, rows in zip(
                    corners, ladders.rungs, ladders.rows_of, strict=True
                )
            ],
            dtype=bool,
        )
        firsts = np.cumsum(counts - 1) - (counts - 1)
        self._place = np.arange(len(self.unit)) - firsts[self.unit]

    def by_price(self, prices: np.ndarray) -> np.ndarray:
        """Runs by importance per price, best first.

        Args:
            prices: Of one neuron of each unit, not negative.
        """
        price = prices[self.unit]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(price > 0, self.slope / price, np.inf)
        return np.argsort(-ratio, kind="stable")

    def by_fraction(
        self, groups: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Runs by the fraction of their group that is better, best first.

        Args:
            groups: Group of each unit.
            weights: Pieces of each unit, over which its importance is averaged.

        Returns:
            The order, and for each unit the fraction at each rung.
        """
        fraction = np.zeros(len(self.slope))
        group = groups[self.unit]
        value = self.slope / weights[self.unit]
        for name in np.unique(group):
            place = np.flatnonzero(group == name)
            place = place[np.argsort(-value[place], kind="stable")]
            length = np.cumsum(self.length[place])
            fraction[place] = length / length[-1]
        ranks: list[np.ndarray] = []
        for unit, corners in enumerate(self._corners):
            runs = fraction[self.unit == unit]
            rungs = np.arange(len(self._ladders.rungs[unit]))
            run = np.searchsorted(corners, rungs, side="right") - 1
            ranks.append(np.append(runs, 1.0)[np.minimum(run, len(runs))])
        return np.argsort(fraction, kind="stable"), ranks

    def next_runs(
        self, position: np.ndarray, order: np.ndarray, is_open: np.ndarray
    ) -> np.ndarray:
        """Returns the runs of an order above a position, of free open units only."""
        unit = self.unit[order]
        is_next = self._place[order] >= position[unit]
        return order[is_next & (is_open & self.is_free)[unit]]

    def first(self, order: np.ndarray, count: int) -> np.ndarray:
        """Returns the position that the first runs of an order make."""
        runs = np.bincount(self.unit[order[:count]], minlength=self._num_units)
        return self._corner[self._start + runs]


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)


def _corners(rungs: Sequence[int], kept: np.ndarray) -> np.ndarray:
    """The rungs on the concave hull of what is kept, first and last included."""
    if len(rungs) < 3 or rungs[-1] - rungs[0] == len(rungs) - 1:
        return np.arange(len(rungs))
    hull: list[int] = []
    for rung in range(len(rungs)):
        while len(hull) > 1 and _is_below(rungs, kept, hull[-2], hull[-1], rung):
            hull.pop()
        hull.append(rung)
    return np.array(hull)


def _is_below(
    rungs: Sequence[int], kept: np.ndarray, first: int, middle: int, last: int
) -> bool:
    """Whether the middle one of three rungs is not above the line of the others."""
    rise = (kept[middle] - kept[first]) * (rungs[last] - rungs[first])
    return rise <= (kept[last] - kept[first]) * (rungs[middle] - rungs[first])
