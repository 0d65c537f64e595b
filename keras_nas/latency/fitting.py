"""Seconds as a line over multiply-accumulates and bytes, by least squares.

A layer is limited by arithmetic or by memory (the roofline model), and a call costs
something however small it is: ``seconds = fixed + a * macs + b * bytes``, all three not
negative. A sum in place of the maximum of the roofline keeps it a sum of products of
sizes, as budgets need it; between the two, it is at most twice too high at one point,
and the fit takes most of that away.

Source: Williams 2009, "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM, <https://doi.org/10.1145/1498765.1498785>.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np


class Line(NamedTuple):
    """``fixed + per_mac * macs + per_byte * bytes``, in seconds."""

    fixed: float
    per_mac: float
    per_byte: float

    def seconds(self, macs: float, num_bytes: float) -> float:
        """Returns the value of the line."""
        return self.fixed + self.per_mac * macs + self.per_byte * num_bytes


def fit_line(
    macs: Sequence[float], num_bytes: Sequence[float], seconds: Sequence[float]
) -> Line:
    """Fits a line without negative coefficients, by relative error.

    Every set of coefficients is left at 0 in turn, and the best of the fits without
    negative ones is taken: the exact solution, as there are only eight sets.

    Args:
        macs: Of each measurement.
        num_bytes: Of each measurement.
        seconds: Of each measurement, not negative.
    """
    times = np.asarray(seconds, dtype=np.float64)
    columns = np.stack([np.ones(len(times)), macs, num_bytes], axis=1).astype(float)
    # Relative errors; times of 0 must not count infinitely much.
    weights = 1 / np.maximum(times, max(times.max(initial=0.0) / 20, 1e-12))
    scales = np.maximum(columns.max(axis=0, initial=0.0), 1e-300)
    rows, wanted = columns / scales * weights[:, None], times * weights
    best, least = np.zeros(3), float((wanted**2).sum())
    for count in (1, 2, 3):
        for chosen in combinations(range(3), count):
            own = rows[:, list(chosen)]
            found = np.linalg.lstsq(own, wanted, rcond=None)[0]
            error = float(((own @ found - wanted) ** 2).sum())
            # A further coefficient has to be worth it.
            if (found >= 0).all() and error < least * (1 - 1e-9):
                best, least = np.zeros(3), error
                best[list(chosen)] = found
    return Line(*map(float, best / scales))
