"""Operations that pick positions: ``x[..., a:b]``, ``slice``, ``take``, ``one_hot``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_nas.axes import Expression, product
from keras_nas.rules.call import RuleCall
from keras_nas.rules.operations_shape import permute
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import (
    AxisTensor,
    Computed,
    Relation,
    SizeOf,
    Undescribed,
    leaves,
)


@dataclass(frozen=True, eq=False)
class _Pick:
    """What one entry of an index does to one axis.

    Attributes:
        axis: What is left of the axis; None where a single position was picked.
        key: The entry, with `Computed` leaves.
    """

    axis: Expression | None
    key: Any


@operation_rule("GetItem")
def get_item(call: RuleCall) -> Relation:
    """Cuts each axis into parts; the bounds follow the sizes of the parts."""
    old_key = call.argument("key")
    key = _written_out(old_key, call.x.rank)
    axes: list[Expression] = []
    sources: list[int | None] = []
    new_key: list[Any] = []
    remaining = iter(range(call.x.rank))
    for entry in key:
        if entry is None:
            axes.append(call.fixed(1))
            sources.append(None)
            new_key.append(None)
            continue
        number = next(remaining)
        pick = _pick(call, call.x.axes[number], entry)
        new_key.append(pick.key)
        if pick.axis is not None:
            axes.append(pick.axis)
            sources.append(number)
    channel = permute(call.x, sources).channel
    is_single = not isinstance(old_key, (list, tuple))
    return Relation(
        outputs=(AxisTensor(tuple(axes), channel),),
        arguments={"key": new_key[0] if is_single and new_key else tuple(new_key)},
    )


@operation_rule("Slice")
def slice_rule(call: RuleCall) -> Relation:
    starts = call.argument("start_indices")
    if any(isinstance(leaf, AxisTensor) for leaf in leaves(starts)):
        raise Undescribed("it starts where a tensor says")
    starts = [int(start) for start in np.asarray(starts)]
    # An argument of the call in Keras 3.8, a setting since then.
    is_argument = call.argument("shape") is not None
    shape = call.argument("shape") if is_argument else call.setting("shape")
    axes: list[Expression] = []
    new_starts: list[int | SizeOf] = []
    new_shape: list[int | SizeOf] = []
    for axis, start, size in zip(call.x.axes, starts, shape, strict=True):
        if axis.size is None:
            axes.append(call.fixed(None if size == -1 else size))
            new_starts.append(start)
            new_shape.append(size)
            continue
        length = axis.size - start if size == -1 else size
        before, middle, _ = _cut(call, axis, start, start + length)
        axes.append(middle)
        new_starts.append(SizeOf(before))
        new_shape.append(-1 if size == -1 else SizeOf(middle))
    sizes = {"shape": tuple(new_shape)}
    return Relation(
        outputs=(AxisTensor(tuple(axes), call.x.channel),),
        arguments={
            "start_indices": tuple(new_starts),
            **(sizes if is_argument else {}),
        },
        config={} if is_argument else sizes,
    )


@operation_rule("Take")
def take(call: RuleCall) -> Relation:
    """Picks by number, so the positions must stay; what numbers them may change."""
    table, indices = call.argument("x"), call.argument("indices")
    if not isinstance(table, AxisTensor):
        raise Undescribed("it picks from a constant")
    axis = call.setting("axis")
    numbers = (
        range(table.rank) if axis is None else [call.normal_axis(axis, table.rank)]
    )
    for number in numbers:
        call.freeze(
            table.axes[number], f"'{call.name}', which picks positions by number"
        )
    if isinstance(indices, AxisTensor):
        picked = indices.axes
    else:
        picked = tuple(map(call.fixed, np.shape(indices)))
    if axis is None:
        return Relation(outputs=(AxisTensor(picked),))
    before, after = table.axes[: numbers[0]], table.axes[numbers[0] + 1 :]
    return Relation(outputs=(AxisTensor((*before, *picked, *after)),))


@operation_rule("OneHot")
def one_hot(call: RuleCall) -> Relation:
    """Class numbers are data, so the classes must stay."""
    place = call.normal_axis(call.setting("axis"), call.x.rank + 1)
    axes = list(call.x.axes)
    axes.insert(place, call.fixed(call.setting("num_classes")))
    return Relation(outputs=(AxisTensor(tuple(axes), place),))


def _written_out(key: Any, rank: int) -> list[Any]:
    """Returns an index with one entry for each axis, besides new axes."""
    entries = list(key) if isinstance(key, (list, tuple)) else [key]
    for entry in entries:
        bounds = leaves(entry)
        if entry is not Ellipsis and not all(map(_is_bound, bounds)):
            raise Undescribed(f"it is indexed with {type(entry).__name__}")
    if Ellipsis not in entries:
        entries.append(Ellipsis)
    place = entries.index(Ellipsis)
    missing = rank - sum(entry not in (None, Ellipsis) for entry in entries)
    entries[place : place + 1] = [slice(None)] * missing
    return entries


def _is_bound(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return value is None or isinstance(value, (int, np.integer))


def _pick(call: RuleCall, axis: Expression, entry: Any) -> _Pick:
    if isinstance(entry, slice):
        return _pick_range(call, axis, entry)
    if axis.size is None:
        return _Pick(None, entry)
    position = entry % axis.size
    before, middle, after = _cut(call, axis, position, position + 1)
    call.freeze(middle, f"'{call.name}', which picks this position")
    key = Computed(
        (before, after), _unless_same((before, after), entry, lambda left, _: left)
    )
    return _Pick(None, key)


def _pick_range(call: RuleCall, axis: Expression, entry: slice) -> _Pick:
    if entry == slice(None):
        return _Pick(axis, entry)
    if axis.size is None:
        return _Pick(call.fixed(None), entry)
    start, stop, step = entry.indices(axis.size)
    count = len(range(start, stop, step))
    if step == 1:
        parts = _cut(call, axis, start, start + count)
        key = Computed(parts, _unless_same(parts, entry, _as_slice))
        return _Pick(parts[1], key)
    if 0 <= start < step and axis.size % step == 0 and count == axis.size // step:
        # One position of every row of ``step``, so rows stand or fall as a whole.
        rows = call.atom(count, "rows")
        call.unify(axis, product((rows, call.fixed(step))))
        first = None if entry.start is None else start
        return _Pick(call.resolve(rows), slice(first, None, step))
    call.freeze(axis, f"'{call.name}', which picks positions of it by number")
    return _Pick(call.fixed(count), entry)


def _cut(
    call: RuleCall, axis: Expression, start: int, stop: int
) -> tuple[Expression, Expression, Expression]:
    """Returns what is before, between and after two positions."""
    sizes = (start, stop - start, axis.size - stop)
    before, between, after = call.unifier.split(axis, sizes)
    return before, between, after


def _as_slice(before: int, middle: int, after: int) -> slice:
    return slice(before or None, before + middle if after else None)


def _unless_same(
    parts: tuple[Expression, ...], old: Any, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Returns a function of the sizes that gives ``old`` for the present sizes."""
    present = tuple(part.size for part in parts)

    def value(*sizes: int) -> Any:
        return old if sizes == present else function(*sizes)

    return value
