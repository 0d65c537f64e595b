"""Regroups the axes of a tensor, as Reshape and Flatten do.

A reshape keeps the row-major order of all positions. Where the sizes of some
neighbouring axes before it and of some neighbouring axes after it have the same
product, and the same holds to the left and to the right of them, these axes say all
about each other, whatever happens elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from keras_nas.axes import Expression, MaybeNone, product
from keras_nas.rules.call import RuleCall
from keras_nas.rules.relation import AxisTensor, Undescribed

Range = tuple[int, int]


def reshape_axes(
    call: RuleCall, tensor: AxisTensor, target_sizes: Sequence[int | None]
) -> tuple[Expression, ...]:
    """Returns the axes of a tensor after a reshape.

    Groups of axes are matched from the right and from the left up to the first axis
    of unknown size. What stays between, for instance a batch axis that swallows
    others, is frozen. An axis of size 1 that has no counterpart stays 1.

    Args:
        call: The call that reshapes; named in reasons.
        tensor: The tensor that is reshaped.
        target_sizes: Shape after it, batch axis included; None where unknown.

    Returns:
        One expression for each target size.

    Raises:
        Undescribed: The tensor is empty, or the numbers of positions differ.
    """
    sizes, targets = tensor.shape, tuple(target_sizes)
    if 0 in (*sizes, *targets):
        raise Undescribed("it reshapes an empty tensor")
    right = _match_groups(sizes[::-1], targets[::-1])
    num_old = sum(old for old, _ in right)
    num_new = sum(new for _, new in right)
    old_stop, new_stop = len(sizes) - num_old, len(targets) - num_new
    left = _match_groups(sizes[:old_stop], targets[:new_stop])

    axes: list[Expression] = []
    start = 0
    for old, new in left:
        group = tensor.axes[start : start + old]
        axes += _regroup(call, group, targets[len(axes) : len(axes) + new])
        start += old
    axes += _rest(call, tensor.axes[start:old_stop], targets[len(axes) : new_stop])
    start = old_stop
    for old, new in reversed(right):
        group = tensor.axes[start : start + old]
        axes += _regroup(call, group, targets[len(axes) : len(axes) + new])
        start += old
    return tuple(map(call.resolve, axes))


def new_widths(
    call: RuleCall, tensor: AxisTensor, axes: Sequence[Expression]
) -> dict[str, Expression]:
    """Returns the axes that a reshape makes of others, by position: ``"axis_2"``.

    So the heads of attention that is written out have a name. The last axis is the
    size of the vertex itself, and an axis that only passes has its name elsewhere.
    """
    before = set(map(call.resolve, tensor.axes))
    return {
        f"axis_{number}": axis
        for number, axis in enumerate(axes[:-1])
        if number and axis.atoms and axis not in before
    }


def _match_groups(
    sizes: Sequence[int | None], targets: Sequence[int | None]
) -> list[Range]:
    """Pairs up the shortest groups of equal products, until one cannot be closed.

    Returns:
        ``(number of sizes, number of targets)`` of each group, in order.
    """
    groups = []
    old = new = 0
    while old < len(sizes) and new < len(targets):
        group = _first_group(sizes[old:], targets[new:])
        if group is None:
            break
        groups.append(group)
        old, new = old + group[0], new + group[1]
    return groups


def _first_group(
    sizes: Sequence[int | MaybeNone], targets: Sequence[int | MaybeNone]
) -> Range | None:
    old = new = 1
    if sizes[0] is None or targets[0] is None:
        return None
    old_product, new_product = sizes[0], targets[0]
    while old_product != new_product:
        if old_product < new_product:
            if old == len(sizes) or sizes[old] is None:
                return None
            old_product, old = old_product * sizes[old], old + 1
        else:
            if new == len(targets) or targets[new] is None:
                return None
            new_product, new = new_product * targets[new], new + 1
    return old, new


def _regroup(
    call: RuleCall, group: Sequence[Expression], targets: Sequence[int | MaybeNone]
) -> Sequence[Expression]:
    """Returns the axes that a group of axes of the same product becomes."""
    if len(targets) == 1:
        return (product(map(call.resolve, group)),)
    whole = product(map(call.resolve, group))
    return call.unifier.factor(whole, targets, call.name)


def _rest(
    call: RuleCall, group: Sequence[Expression], targets: Sequence[int | MaybeNone]
) -> list[Expression]:
    """Returns the axes between the matched groups, which are fixed."""
    reason = f"'{call.name}', which regroups it with an axis of unknown size"
    long = [axis for axis in group if axis.size != 1]
    sizes = [axis.size for axis in group]
    if None not in (*sizes, *targets) and prod(sizes) != prod(targets):
        raise Undescribed(f"{sizes} cannot become {list(targets)}")
    # If all but one axis are matched or of size 1, that one is the same.
    is_same = len(long) == 1 and [size for size in targets if size != 1] == [None]
    for axis in group:
        call.freeze(axis, reason)
    if is_same:
        reason = getattr(long[0], "reason", "") or reason
    return [call.fixed(size, reason if size is None else "") for size in targets]
