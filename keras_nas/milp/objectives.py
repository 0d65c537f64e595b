"""The objectives of the stages, as functions of integer sizes."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_nas.milp.problem import Near, Problem, total
from keras_nas.milp.tangents import Change, Utility


class Stage(enum.Enum):
    """The objectives, most important first."""

    DEVIATION = "deviation"
    DIRECTION = "direction"
    UTILITY = "utility"
    CHANGE = "change"
    ORDER = "order"


@dataclass(frozen=True)
class Curves:
    """The nonlinear functions of a problem, one of each kind per piece."""

    utility: Sequence[Utility]
    change: Sequence[Change]


class Objectives:
    """True values of the stage objectives at integer sizes."""

    def __init__(self, problem: Problem, curves: Curves):
        self.problem, self.curves = problem, curves
        largest = max((near.wanted for near in problem.nears), default=1)
        self.weights = [largest / max(near.wanted, 1) for near in problem.nears]
        self.order = [math.sqrt(prime) for prime in _primes(len(problem.pieces))]

    def value(self, stage: Stage, sizes: Sequence[int]) -> float:
        """Returns the objective of a stage; smaller is better."""
        if stage is Stage.DEVIATION:
            return math.fsum(
                weight * abs(near_value(near, sizes) - near.wanted)
                for near, weight in zip(self.problem.nears, self.weights, strict=True)
            )
        if stage is Stage.DIRECTION:
            return math.fsum(
                weight * max(0, side * (near_value(near, sizes) - near.wanted))
                for near, weight in zip(self.problem.nears, self.weights, strict=True)
                for side in [against(near)]
            )
        if stage is Stage.UTILITY:
            pairs = zip(self.curves.utility, sizes, strict=True)
            return -math.fsum(curve.value(size) for curve, size in pairs)
        if stage is Stage.CHANGE:
            changes = zip(self.curves.change, sizes, strict=True)
            return math.fsum(curve.value(size) for curve, size in changes)
        return math.fsum(w * size for w, size in zip(self.order, sizes, strict=True))

    def values(self, stage: Stage, i: int, sizes: np.ndarray) -> np.ndarray:
        """Returns what piece i adds to the utility, change or order at some sizes."""
        if stage is Stage.UTILITY:
            return -self.curves.utility[i].table(sizes)
        if stage is Stage.CHANGE:
            return self.curves.change[i].table(sizes)
        return self.order[i] * sizes


def against(near: Near) -> int:
    """1 if a size above the wanted one is the wrong side of a tie, -1 if below."""
    return (near.wanted < near.present) - (near.wanted > near.present)


def near_value(near: Near, sizes: Sequence[int]) -> int:
    """Returns the size that a near request speaks of."""
    return near.constant + total(near.terms, sizes)


def _primes(count: int) -> list[int]:
    """The first primes."""
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % p for p in primes if p * p <= candidate):
            primes.append(candidate)
        candidate += 1
    return primes
