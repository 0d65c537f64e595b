"""Slices weights and arrays along their axes, and fills in new positions."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import keras
import numpy as np

from keras_nas.axes import Atom, Expression, index_of
from keras_nas.graph import Gather
from keras_nas.rules import INITIALIZER, WeightAxes, blocks_of
from keras_nas.surgery.initialization import Part, Shape, initialize

Keep = Mapping[Atom, np.ndarray]
Indices = tuple[np.ndarray | None, ...]
# Where in the new weight, its whole shape, number of the part -> values there.
Fill = Callable[[Part, Shape, int], np.ndarray]


def block_indices(
    axes: WeightAxes, resolve: Callable[[Expression], Expression], keep: Keep
) -> tuple[Indices, ...] | None:
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


def selection(blocks: Sequence[Indices], factor: float) -> Gather | None:
    """Returns the slicing of a weight as a mere selection, if it is one."""
    if len(blocks) > 1 or factor != 1 or any(map(_has_new, blocks[0])):
        return None
    return Gather(blocks[0])


def slice_weight(
    array: np.ndarray,
    axes: WeightAxes,
    blocks: Sequence[Indices],
    fill: Fill,
    factor: float = 1.0,
) -> np.ndarray:
    """Keeps and inserts positions of a weight.

    Positions that read a new neuron are zero; all other new positions come from
    ``fill``, as if it had made the whole new weight. The kept values are multiplied by
    ``factor``.
    """
    pieces = blocks_of(axes, array)
    if any(_has_new(index) for indices in blocks for index in indices):
        result = _filled(axes, blocks, fill, array.dtype)
        _put_kept(result, pieces, axes, blocks, factor)
        return result
    taken = [Gather(i)(piece) for piece, i in zip(pieces, blocks, strict=True)]
    result = taken[0] if len(taken) == 1 else np.concatenate(taken, axis=axes.joined)
    return result if factor == 1.0 else (result * factor).astype(array.dtype)


def no_origin(part: Part, whole: Shape, number: int) -> int:
    """Fills with what says that a value comes from nowhere; see `Weight.derived`."""
    return 0


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
    custom_objects: Mapping[str, Any] | None = None,
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
        custom_objects: Name -> class or function that reading the initializer needs.

    An initializer that gives zeros only would leave a matrix of new neurons without
    gradient for ever, so Glorot's uniform one takes its place.
    """
    if new != INITIALIZER:
        return lambda part, whole, number: new

    def fill(part: Part, whole: Shape, number: int) -> np.ndarray:
        draw_seed = zlib.crc32(f"{seed}/{label}/{number}".encode())
        chosen = initializer if override is None else override
        with keras.saving.custom_object_scope(dict(custom_objects or {})):
            chosen = keras.initializers.get(chosen or "glorot_uniform")
            values = initialize(chosen, part, whole, dtype, draw_seed)
        is_matrix = len(whole) > 1 and not label.endswith("bias")
        if override is None and is_matrix and not values.any():
            glorot = keras.initializers.GlorotUniform()
            values = initialize(glorot, part, whole, dtype, draw_seed)
        return values

    return fill


def _index(axis: Expression, keep: Keep) -> np.ndarray | None:
    if keep.keys().isdisjoint(axis.atoms):
        return None
    return index_of(axis, keep)


def _filled(
    axes: WeightAxes, blocks: Sequence[Indices], fill: Fill, dtype: np.dtype
) -> np.ndarray:
    """Returns a new weight that has its new positions only, and zeros elsewhere."""
    result = np.zeros(new_shape(axes, blocks), dtype)
    count = 0
    for window, indices in zip(_windows(axes, blocks), blocks, strict=True):
        for number, index in enumerate(indices):
            if not _has_new(index) or number in axes.reads:
                continue
            new = np.flatnonzero(index < 0) + (window[number].start or 0)
            part = list(window)
            part[number] = _slice_if_possible(new)
            result[tuple(part)] = fill(tuple(part), result.shape, count)
            count += 1
    return result


def _put_kept(
    result: np.ndarray,
    pieces: Sequence[np.ndarray],
    axes: WeightAxes,
    blocks: Sequence[Indices],
    factor: float,
) -> None:
    """Writes zeros where a new neuron is read, and the kept values."""
    windows = _windows(axes, blocks)
    for piece, window, indices in zip(pieces, windows, blocks, strict=True):
        part = result[window]
        for number in axes.reads:
            index = indices[number]
            if _has_new(index):
                new = np.flatnonzero(index < 0)
                part[(slice(None),) * number + (new,)] = 0
        values = Gather(map(_kept, indices, piece.shape))(piece)
        part[_box(indices, part.shape)] = values if factor == 1 else values * factor


def _kept(index: np.ndarray | None, size: int) -> np.ndarray | None:
    """Returns the old positions of an index; None if these are all, in order."""
    if index is None:
        return None
    kept = index[index >= 0]
    return None if np.array_equal(kept, np.arange(size)) else kept


def _box(indices: Indices, shape: Sequence[int]) -> tuple:
    """Returns where the kept positions stand in the new weight."""
    box = [
        slice(None) if index is None else _slice_if_possible(np.flatnonzero(index >= 0))
        for index in indices
    ]
    if sum(isinstance(where, np.ndarray) for where in box) < 2:
        return tuple(box)
    everywhere = map(np.arange, shape)
    return np.ix_(*(all_[where] for all_, where in zip(everywhere, box, strict=True)))


def _slice_if_possible(positions: np.ndarray) -> np.ndarray | slice:
    """Slices are written to much faster than lists of positions."""
    if len(positions) == 0:
        return slice(0, 0)
    first, last = int(positions[0]), int(positions[-1])
    is_run = last - first + 1 == len(positions)
    return slice(first, last + 1) if is_run else positions


def _windows(axes: WeightAxes, blocks: Sequence[Indices]) -> Iterator[tuple]:
    """Yields where each block stands in the new weight, as slices for all axes."""
    start = 0
    rank = len(axes.blocks[0])
    for block, indices in zip(axes.blocks, blocks, strict=True):
        window = [slice(None)] * rank
        if len(blocks) > 1:
            index = indices[axes.joined]
            size = block[axes.joined].size if index is None else len(index)
            window[axes.joined] = slice(start, start + size)
            start += size
        yield tuple(window)


def _has_new(index: np.ndarray | None) -> TypeGuard[np.ndarray]:
    return index is not None and bool((index < 0).any())


def _nearest_old(index: np.ndarray) -> np.ndarray:
    """Replaces -1 by the last old position before it, else by the first one."""
    result = np.array(index)
    last = next((old for old in index if old >= 0), 0)
    for position, old in enumerate(index):
        last = old if old >= 0 else last
        result[position] = last
    return result
