"""The axes on both sides of the seams that an edit leaves.

What arrives and what the reader was made for are the same axis where nothing changed.
Elsewhere the reader's side gets neurons of its own, and the two sides need equal sizes
but are not aligned: `Joint` says which axes these are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from keras_nas.axes import Expression, Unifier
from keras_nas.graph.structure import Seam, TensorRef
from keras_nas.rules import AxisTensor


@dataclass(frozen=True, eq=False)
class Joint:
    """A tensor as it arrives at a seam, and as its readers were made for.

    Attributes:
        path: Path of the first call that reads across the seam.
        ref: The tensor that arrives.
        arriving: Its axes.
        expected: Axes that the readers see.
        origins: As in `Seam`.
    """

    path: str
    ref: TensorRef
    arriving: AxisTensor
    expected: AxisTensor
    origins: Mapping[int, np.ndarray]

    def pairs(self) -> Iterator[tuple[int, Expression, Expression]]:
        """Yields number, arriving and expected side of each axis that has two."""
        sides = zip(self.arriving.axes, self.expected.axes, strict=True)
        for number, (arriving, expected) in enumerate(sides):
            if arriving is not expected:
                yield number, arriving, expected


class Seams:
    """The seams of one analysis.

    Args:
        unifier: Makes the neurons on the readers' side.
    """

    def __init__(self, unifier: Unifier):
        self._unifier = unifier
        self._joints: dict[Hashable, Joint] = {}

    @property
    def joints(self) -> tuple[Joint, ...]:
        return tuple(self._joints.values())

    def cross(self, seam: Seam, arriving: AxisTensor, path: str) -> AxisTensor:
        """Returns the axes that a call sees of a tensor behind a seam."""
        key = (seam.key, seam.ref)
        if key not in self._joints:
            axes = tuple(
                self._axis(seam, number, axis, f"{path}.input")
                for number, axis in enumerate(arriving.axes)
            )
            expected = AxisTensor(axes, arriving.channel)
            self._joints[key] = Joint(path, seam.ref, arriving, expected, seam.origins)
        return self._joints[key].expected

    def _axis(
        self, seam: Seam, number: int, arriving: Expression, label: str
    ) -> Expression:
        size = seam.spec.shape[number]
        if number not in seam.origins and arriving.size == size:
            return arriving
        if size is None or arriving.size is None:
            return arriving  # Nobody knows better.
        return self._unifier.atom(size, label)
