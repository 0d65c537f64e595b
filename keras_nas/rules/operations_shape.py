"""Operations that give the same positions other axes, or repeat them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from keras_nas.axes import Expression, Fixed, product
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.regroup import new_widths, reshape_axes
from keras_nas.rules.relation import AxisTensor, Relation, SizeOf, Undescribed


@operation_rule("Reshape")
def reshape(call: RuleCall) -> Relation:
    """The new shape keeps ``-1`` and unknown sizes; other entries follow their axes."""
    newshape = call.setting("newshape")
    sizes = (newshape,) if isinstance(newshape, int) else tuple(newshape)
    axes = reshape_axes(call, call.x, call.output_shapes[0])
    target = tuple(
        SizeOf(axis) if isinstance(size, int) and size >= 0 else size
        for size, axis in zip(sizes, axes, strict=True)
    )
    return Relation(
        outputs=(AxisTensor(axes),),
        config={"newshape": target},
        widths=new_widths(call, call.x, axes),
    )


@operation_rule("Ravel")
def ravel(call: RuleCall) -> Relation:
    return Relation(
        outputs=(AxisTensor(reshape_axes(call, call.x, call.output_shapes[0])),)
    )


@operation_rule("Transpose")
def transpose(call: RuleCall) -> Relation:
    axes = call.setting("axes")
    order = range(call.x.rank)[::-1] if axes is None else _normal(call, axes)
    return Relation(outputs=(permute(call.x, order),))


@operation_rule("Swapaxes")
def swapaxes(call: RuleCall) -> Relation:
    first = call.normal_axis(call.setting("axis1"))
    second = call.normal_axis(call.setting("axis2"))
    order = list(range(call.x.rank))
    order[first], order[second] = second, first
    return Relation(outputs=(permute(call.x, order),))


@operation_rule("Moveaxis")
def moveaxis(call: RuleCall) -> Relation:
    source = _normal(call, call.setting("source"))
    destination = _normal(call, call.setting("destination"))
    order = [number for number in range(call.x.rank) if number not in source]
    for place, number in sorted(zip(destination, source, strict=True)):
        order.insert(place, number)
    return Relation(outputs=(permute(call.x, order),))


@operation_rule("ExpandDims")
def expand_dims(call: RuleCall) -> Relation:
    axis = call.setting("axis")
    numbers = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = call.x.rank + len(numbers)
    added = {call.normal_axis(number, rank) for number in numbers}
    rest = iter(range(call.x.rank))
    sources = [None if number in added else next(rest) for number in range(rank)]
    return Relation(outputs=(permute(call.x, sources),))


@operation_rule("Squeeze")
def squeeze(call: RuleCall) -> Relation:
    """The axes are written out, so that none that becomes 1 goes as well."""
    axis = call.setting("axis")
    if axis is None:
        numbers = tuple(n for n, size in enumerate(call.x.shape) if size == 1)
    else:
        numbers = _normal(call, axis)
    for number in numbers:
        call.freeze(call.x.axes[number], f"'{call.name}', which squeezes it away")
    order = [number for number in range(call.x.rank) if number not in numbers]
    config = {"axis": numbers} if axis is None and numbers else {}
    return Relation(outputs=(permute(call.x, order),), config=config)


@operation_rule("BroadcastTo")
def broadcast_to(call: RuleCall) -> Relation:
    """An axis that comes into being holds equal positions: fillers."""
    shape = tuple(call.setting("shape"))
    missing = len(shape) - call.x.rank
    axes: list[Expression] = []
    for number, size in enumerate(shape):
        old = call.x.axes[number - missing] if number >= missing else Fixed(1)
        if old.size == size or old.size is None or size is None:
            axes.append(old)
        else:
            call.freeze(old, f"'{call.name}', which broadcasts it")
            axes.append(_copies(call, size))
    target = tuple(
        size if size is None or axis.size is None else SizeOf(axis)
        for size, axis in zip(shape, axes, strict=True)
    )
    output = AxisTensor(tuple(axes), call.x.channel % call.x.rank + missing)
    return Relation(outputs=(output,), config={"shape": target})


@operation_rule("Tile")
def tile(call: RuleCall) -> Relation:
    """``k`` times the same axis; of an axis of size 1, ``k`` fillers."""
    repeats = call.setting("repeats")
    counts = [repeats] if isinstance(repeats, int) else list(repeats)
    missing = len(counts) - call.x.rank
    counts = [1] * -missing + counts
    old_axes = (Fixed(1),) * missing + call.x.axes
    axes, target = [], []
    for count, old in zip(counts, old_axes, strict=True):
        if old.size == 1 and count > 1:
            call.freeze(old, f"'{call.name}', which repeats it")
            axes.append(_copies(call, count))
            target.append(SizeOf(axes[-1]))
        else:
            axes.append(_times(call, call.fixed(count), old))
            target.append(count)
    channel = call.x.channel % call.x.rank + max(missing, 0)
    config = {"repeats": tuple(target)}
    return Relation(outputs=(AxisTensor(tuple(axes), channel),), config=config)


@operation_rule("Repeat")
def repeat(call: RuleCall) -> Relation:
    """Each position ``k`` times in a row; different counts freeze the axis."""
    repeats, axis = call.setting("repeats"), call.setting("axis")
    tensor = call.x
    if axis is None:
        (size,) = call.output_shapes[0]
        if size is None:
            raise Undescribed("it repeats the positions of a flattened tensor")
        flat = product(map(call.resolve, tensor.axes))
        tensor, axis = AxisTensor((flat,)), 0
    number = call.normal_axis(axis, tensor.rank)
    axes = list(tensor.axes)
    counts = [repeats] if isinstance(repeats, int) else list(repeats)
    if len(counts) == 1:
        axes[number] = _times(call, axes[number], call.fixed(counts[0]))
    else:
        call.freeze(
            axes[number], f"'{call.name}', which repeats its positions unequally"
        )
        axes[number] = call.fixed(sum(counts))
    return Relation(outputs=(AxisTensor(tuple(axes), tensor.channel),))


@operation_rule("Flip", "Roll")
def reorder(call: RuleCall) -> Relation:
    axis = call.setting("axis")
    return _reordered(call, range(call.x.rank) if axis is None else axis)


@operation_rule("Fliplr")
def fliplr(call: RuleCall) -> Relation:
    return _reordered(call, 1)


@operation_rule("Flipud")
def flipud(call: RuleCall) -> Relation:
    return _reordered(call, 0)


@operation_rule("DepthToSpace")
def depth_to_space(call: RuleCall) -> Relation:
    """Channels are ``(b b c)``: a block of pixels, each with all its channels."""
    batch, height, width, channels = _image_axes(call)
    block = call.fixed(call.setting("block_size"))
    rest = call.atom(channels.size // block.size**2, "channels")
    call.unify(channels, product((block, block, rest)))
    axes = (batch, _times(call, height, block), _times(call, width, block))
    return Relation(outputs=(AxisTensor((*axes, call.resolve(rest))),))


@operation_rule("SpaceToDepth")
def space_to_depth(call: RuleCall) -> Relation:
    """The inverse: pixels of a block one after the other along the channels."""
    batch, height, width, channels = _image_axes(call)
    size = call.setting("block_size")
    axes = [batch]
    for axis in (height, width):
        call.freeze(axis, f"'{call.name}', which cuts it into blocks")
        axes.append(call.fixed(axis.size and axis.size // size))
    axes.append(_times(call, call.fixed(size * size), channels))
    return Relation(outputs=(AxisTensor(tuple(axes)),))


def permute(tensor: AxisTensor, sources: Sequence[int | None]) -> AxisTensor:
    """Returns a tensor of the axes with these numbers; None is a new axis of size 1.

    The channel axis stays the channel axis if it is left, else the last axis is it.
    """
    axes = tuple(Fixed(1) if n is None else tensor.axes[n] for n in sources)
    channel = tensor.channel % tensor.rank if tensor.rank else None
    is_left = channel in sources and channel is not None
    return AxisTensor(axes, list(sources).index(channel) if is_left else -1)


def freeze_order(call: RuleCall, numbers: Iterable[int]) -> None:
    """Freezes axes along which every position has a meaning."""
    for number in numbers:
        call.freeze(
            call.x.axes[number], f"'{call.name}', where positions have a meaning"
        )


def _normal(call: RuleCall, axes: Any) -> tuple[int, ...]:
    numbers = (axes,) if isinstance(axes, int) else axes
    return tuple(call.normal_axis(number) for number in numbers)


def _copies(call: RuleCall, size: int) -> Expression:
    """Positions that are all alike."""
    return call.atom(size, "copies", is_filler=True)


def _times(call: RuleCall, left: Expression, right: Expression) -> Expression:
    """The product of two axes; unknown if one of them is, unless the other is 1."""
    left, right = call.resolve(left), call.resolve(right)
    if None in (left.size, right.size) and 1 not in (left.size, right.size):
        return call.fixed(None)
    return product((left, right))


def _reordered(call: RuleCall, axes: int | Iterable[int]) -> Relation:
    freeze_order(call, _normal(call, axes))
    resolved = tuple(map(call.resolve, call.x.axes))
    return call.same(AxisTensor(resolved, call.x.channel))


def _image_axes(call: RuleCall) -> tuple[Expression, ...]:
    """The axes of an image whose channels are last.

    With channels first, the backends of Keras do not agree on the order of a block.
    """
    if call.setting("data_format") != "channels_last" or call.x.rank != 4:
        raise Undescribed("its channels are not the last of four axes")
    if call.x.axes[-1].size is None:
        raise Undescribed("its number of channels is unknown")
    return call.x.axes
