"""Slices weights and arrays along their axes, and fills in new positions."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_nas.axes import Atom, Expression, index_of
from keras_nas.importance import blocks_of
from keras_nas.rules import INITIALIZER, WeightAxes

Keep = Mapping[Atom, np.ndarray]
Indices = tuple[np.ndarray | None, ...]
Fill = Callable[[tuple[int, ...]], np.ndarray]


def block_indices(axes: WeightAxes, resolve, keep: Keep) -> tuple[Indices, ...] | None:
    """Returns the index array of each axis of each block, None where unchanged.

    Returns None as a whole if no axis of the weight changes.
    """
    blocks = tuple(
        tuple(_index(resolve(axis), keep) for axis in block) for block in axes.blocks
    )
    is_changed = any(index is not None for block in blocks for index in block)
    return blocks if is_changed else None


def new_shape(axes: WeightAxes, blocks: Sequence[Indices]) -> tuple[int, ...]:
    """Returns the shape of a weight after slicing."""
    shapes = [
        [
            axis.size if index is None else len(index)
            for axis, index in zip(block, indices, strict=True)
        ]
        for block, indices in zip(axes.blocks, blocks, strict=True)
    ]
    shape = list(shapes[0])
    if len(shapes) > 1:
        shape[axes.joined] = sum(other[axes.joined] for other in shapes)
    return tuple(shape)


def slice_weight(
    array: np.ndarray,
    axes: WeightAxes,
    blocks: Sequence[Indices],
    fill: Fill,
    factor: float = 1.0,
) -> np.ndarray:
    """Keeps and inserts positions of a weight.

    Positions that read a new neuron are zero; all other new positions come from
    ``fill``, which gets the shape of the whole new weight. The kept values are
    multiplied by ``factor``.
    """
    pieces = [
        _take(piece, indices)
        for piece, indices in zip(blocks_of(axes, array), blocks, strict=True)
    ]
    result = pieces[0]
    if len(pieces) > 1:
        result = np.concatenate(pieces, axis=axes.joined)
    if factor != 1.0:
        result = (result * factor).astype(array.dtype)
    if not any(_has_new(index) for indices in blocks for index in indices):
        return result
    return _with_new(result, axes, blocks, fill)


def slice_array(value: Any, indices: Sequence[np.ndarray | None]) -> np.ndarray:
    """Slices an array argument; a new position repeats the nearest old value."""
    array = np.asarray(value)
    for number, index in enumerate(indices):
        if index is not None:
            array = np.take(array, _nearest_old(index), axis=number)
    return array


def fill_for(
    new: float | str,
    initializer: Any,
    dtype: str,
    seed: int,
    label: str,
    override: Any = None,
) -> Fill:
    """Returns the function that makes the new positions of one weight.

    Args:
        new: `WeightAxes.new`: a number, or `INITIALIZER`.
        initializer: The layer's own initializer of this weight, as its settings hold
            it, or None.
        dtype: Of the weight.
        seed: Of the request.
        label: Of the weight; each weight draws numbers of its own.
        override: An initializer to use instead of the layer's own.

    An initializer that gives zeros only would leave a matrix of new neurons without
    gradient for ever, so Glorot's uniform one takes its place.
    """
    if new != INITIALIZER:
        return lambda shape: np.full(shape, new)
    number = zlib.crc32(f"{seed}/{label}".encode())

    def fill(shape: tuple[int, ...]) -> np.ndarray:
        chosen = initializer if override is None else override
        values = _initialize(chosen, shape, dtype, number)
        if override is None and len(shape) > 1 and not values.any():
            values = _initialize("glorot_uniform", shape, dtype, number)
        return values

    return fill


def _initialize(initializer: Any, shape, dtype: str, seed: int) -> np.ndarray:
    """Runs an initializer with a seed of our own, never the global one."""
    chosen = keras.initializers.get(initializer or "glorot_uniform")
    if isinstance(chosen, keras.initializers.Initializer):
        config = chosen.get_config()
        if "seed" in config:
            chosen = type(chosen).from_config({**config, "seed": seed})
    return keras.ops.convert_to_numpy(chosen(shape, dtype=dtype))


def _index(axis: Expression, keep: Keep) -> np.ndarray | None:
    if keep.keys().isdisjoint(axis.atoms):
        return None
    return index_of(axis, keep)


def _take(array: np.ndarray, indices: Indices) -> np.ndarray:
    """Gathers along each changed axis; new positions repeat position 0 for now.

    Axes that shrink most come first, so that the copies in between are small.
    """
    changed = [n for n, index in enumerate(indices) if index is not None]
    for number in sorted(changed, key=lambda n: len(indices[n]) / array.shape[n]):
        index = np.maximum(indices[number], 0)
        array = np.take(array, index, axis=number)
    return array


def _with_new(
    array: np.ndarray, axes: WeightAxes, blocks: Sequence[Indices], fill: Fill
) -> np.ndarray:
    """Overwrites the new positions: made by ``fill``, then reading ones by zero."""
    array = np.array(array)
    filled = None
    for window, indices in _windows(array, axes, blocks):
        for number, index in enumerate(indices):
            if not _has_new(index) or number in axes.reads:
                continue
            if filled is None:
                filled = np.asarray(fill(array.shape))
            new = _positions(window[number], index)
            where = (*window[:number], new, *window[number + 1 :])
            array[where] = filled[where]
    for window, indices in _windows(array, axes, blocks):
        for number in axes.reads:
            if _has_new(indices[number]):
                new = _positions(window[number], indices[number])
                rest = window[number + 1 :]
                array[(*window[:number], new, *rest)] = 0
    return array


def _windows(array: np.ndarray, axes: WeightAxes, blocks: Sequence[Indices]):
    """Yields where each block stands in the new weight, as slices for all axes."""
    start = 0
    joined = axes.joined % max(array.ndim, 1)
    for block, indices in zip(axes.blocks, blocks, strict=True):
        window = [slice(None)] * array.ndim
        if len(blocks) > 1:
            index = indices[joined]
            size = block[joined].size if index is None else len(index)
            window[joined] = slice(start, start + size)
            start += size
        yield tuple(window), indices


def _positions(window: slice, index: np.ndarray) -> np.ndarray:
    return np.flatnonzero(index < 0) + (window.start or 0)


def _has_new(index: np.ndarray | None) -> bool:
    return index is not None and bool((index < 0).any())


def _nearest_old(index: np.ndarray) -> np.ndarray:
    """Replaces -1 by the last old position before it, else by the first one."""
    result = np.array(index)
    last = next((old for old in index if old >= 0), 0)
    for position, old in enumerate(index):
        last = old if old >= 0 else last
        result[position] = last
    return result
