"""What layers do with the grid: the spatial axes of what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Grid = tuple[int, ...]


def grid_after(kind: str, settings: Mapping[str, Any], grid: Grid) -> Grid | None:
    """Returns the grid of the output of a layer; None if the layer is impossible.

    Args:
        kind: Name of the class in ``keras.layers``.
        settings: Its arguments.
        grid: Spatial axes of its input: ``()`` for vectors.
    """
    if kind.startswith("Global") or kind == "Flatten":
        return () if grid else None
    window = settings.get("kernel_size", settings.get("pool_size"))
    if "Pooling" in kind and window is None:
        window = 2
    if window is None:
        return grid
    if not grid:
        return None
    windows = _each(window, grid)
    strides = settings.get("strides")
    if strides is None:
        strides = window if "Pooling" in kind else 1
    dilations = _each(settings.get("dilation_rate", 1), grid)
    keeps = settings.get("padding", "valid") in ("same", "causal")
    found = []
    for size, taps, stride, dilation in zip(
        grid, windows, _each(strides, grid), dilations, strict=True
    ):
        reach = 1 if keeps else (taps - 1) * dilation + 1
        if size < reach:
            return None
        found.append((size - reach) // stride + 1)
    return tuple(found)


def _each(value: Any, grid: Grid) -> tuple[int, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(value)
    return (value,) * len(grid)
