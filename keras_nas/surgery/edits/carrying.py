"""Carries the weights of a layer over to another one in its place.

A kernel keeps every tap at the input that it read before; taps that the new kernel does
not have go, and new ones are zero. So a convolution with a larger kernel computes the
same function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from keras import layers

from keras_nas.graph import Part, Weight

# Layers with a window on the grid -> the weight that it is the first axes of.
_WINDOWED = {
    layers.Conv1D: "kernel",
    layers.Conv2D: "kernel",
    layers.Conv3D: "kernel",
    layers.DepthwiseConv1D: "kernel",
    layers.DepthwiseConv2D: "kernel",
    layers.SeparableConv1D: "depthwise_kernel",
    layers.SeparableConv2D: "depthwise_kernel",
}

# New position -> old one, -1 for none; None where all are the same.
Index: TypeAlias = "np.ndarray | None"


def carry_weights(old: Part, new: Part, grid: Sequence[int | None]) -> Part:
    """Returns the new part with the values of the old one where their axes agree.

    Weights are paired by name. Where a width differs, the first positions are carried
    over, and the others keep the values that they were made with.

    Args:
        old: The part that is replaced.
        new: The part in its place, with weights for the same input.
        grid: Sizes of the spatial axes of what both read; None where unknown.
    """
    known = dict(old.named_weights)
    weights = tuple(
        _carried(old, new, known.get(name), weight, grid)
        for name, weight in new.named_weights
    )
    return replace(new, weights=weights)


def _carried(
    old: Part, new: Part, source: Weight | None, weight: Weight, grid: Sequence[Any]
) -> Weight:
    if source is None or len(source.shape) != len(weight.shape):
        return weight
    taps: list[Index] = []
    if _WINDOWED.get(old.cls) == _WINDOWED.get(new.cls) == weight.name:
        taps = _window_indices(old, new, source, weight, grid)
    widths = zip(source.shape[len(taps) :], weight.shape[len(taps) :], strict=True)
    indices = (*taps, *(_first_positions(*pair) for pair in widths))
    if all(index is None for index in indices) and source.dtype == weight.dtype:
        return replace(source, name=weight.name, trainable=weight.trainable)
    put = partial(_put, indices=indices, taps=len(taps))
    return Weight.derived((weight, source), weight.shape, put, origins=put)


def _put(
    fresh: np.ndarray, source: np.ndarray, indices: tuple[Index, ...], taps: int
) -> np.ndarray:
    """Writes the values of ``source`` to their places in a new weight."""
    full = [
        np.arange(size) if index is None else index
        for size, index in zip(fresh.shape, indices, strict=True)
    ]
    values = source[np.ix_(*(np.maximum(index, 0) for index in full))]
    for number in range(taps):
        shape = [1] * fresh.ndim
        shape[number] = -1
        values = values * (full[number] >= 0).reshape(shape)
    # Old neurons read nothing at new taps; new neurons keep what they were made with.
    old = np.ix_(
        *(np.arange(size) for size in fresh.shape[:taps]),
        *(np.flatnonzero(index >= 0) for index in full[taps:]),
    )
    result = np.array(fresh)
    result[old] = values[old]
    return result


def _first_positions(old: int, new: int) -> Index:
    if old == new:
        return None
    positions = np.arange(new)
    return np.where(positions < old, positions, -1)


def _window_indices(
    old: Part, new: Part, source: Weight, weight: Weight, grid: Sequence[int | None]
) -> list[Index]:
    """Returns for each tap of the new window the old tap that read the same input."""
    indices: list[Index] = []
    for number, size in enumerate(grid):
        before = _Window.of(old, number, source.shape[number], size)
        after = _Window.of(new, number, weight.shape[number], size)
        taps = [before.tap_at(after.reads(tap)) for tap in range(after.taps)]
        same = before == after
        indices.append(None if same else np.array(taps))
    return indices


@dataclass(frozen=True)
class _Window:
    """A window along one axis: what its taps read, from where the stride is."""

    taps: int
    dilation: int
    padding: int

    @classmethod
    def of(cls, part: Part, axis: int, taps: int, size: int | None) -> _Window:
        config = part.config
        dilation = _entry(config, "dilation_rate", axis)
        stride = _entry(config, "strides", axis)
        reach = (taps - 1) * dilation + 1
        padding = 0
        if config["padding"] == "causal":
            padding = reach - 1
        elif config["padding"] == "same":
            # Of an unknown size, one that the stride divides.
            rest = size % stride if size else 0
            padding = max(reach - (rest or stride), 0) // 2
        return cls(taps, dilation, padding)

    def reads(self, tap: int) -> int:
        """Returns how far behind the place of the window a tap reads."""
        return tap * self.dilation - self.padding

    def tap_at(self, offset: int) -> int:
        """Returns the tap that reads there, -1 if none does."""
        tap, rest = divmod(offset + self.padding, self.dilation)
        return tap if rest == 0 and 0 <= tap < self.taps else -1


def _entry(config: Mapping[str, Any], key: str, axis: int) -> int:
    value = config.get(key, 1)
    return int(value[axis] if isinstance(value, (list, tuple)) else value)
