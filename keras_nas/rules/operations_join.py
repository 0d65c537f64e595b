"""Operations that join tensors, take them apart, and pad them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from keras_nas.axes import Expression, Fixed, total
from keras_nas.rules.call import RuleCall
from keras_nas.rules.merging import join
from keras_nas.rules.operations_shape import freeze_order, permute
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import (
    AxisTensor,
    Computed,
    Relation,
    SizeOf,
    Undescribed,
    leaves,
)


@operation_rule("Concatenate")
def concatenate(call: RuleCall) -> Relation:
    return _joined(call, _parts(call), call.setting("axis"))


@operation_rule("Append")
def append(call: RuleCall) -> Relation:
    if call.setting("axis") is None:
        raise Undescribed("it flattens what it joins")
    tensors = [call.operand(call.argument(name)) for name in ("x1", "x2")]
    return _joined(call, tensors, call.setting("axis"))


@operation_rule("Hstack")
def hstack(call: RuleCall) -> Relation:
    tensors = _parts(call)
    return _joined(call, tensors, 0 if tensors[0].rank == 1 else 1)


@operation_rule("Vstack")
def vstack(call: RuleCall) -> Relation:
    return _joined(call, _parts(call, rank=2), 0)


@operation_rule("Dstack")
def dstack(call: RuleCall) -> Relation:
    return _joined(call, _parts(call, rank=3), 2)


@operation_rule("Stack")
def stack(call: RuleCall) -> Relation:
    """The new axis numbers the tensors, so it is fixed."""
    tensors = _parts(call)
    rank = tensors[0].rank
    place = call.normal_axis(call.setting("axis"), rank + 1)
    for tensor in tensors[1:]:
        for left, right in zip(tensors[0].axes, tensor.axes, strict=True):
            call.unify(left, right)
    numbers: list[int | None] = list(range(rank))
    numbers.insert(place, None)
    output = permute(tensors[0], numbers)
    axes = list(map(call.resolve, output.axes))
    axes[place] = call.fixed(len(tensors))
    return Relation(outputs=(AxisTensor(tuple(axes), output.channel),))


@operation_rule("Split")
def split(call: RuleCall) -> Relation:
    return _split(call, call.normal_axis(call.setting("axis")))


@operation_rule("Hsplit")
def hsplit(call: RuleCall) -> Relation:
    return _split(call, 0 if call.x.rank == 1 else 1)


@operation_rule("Vsplit")
def vsplit(call: RuleCall) -> Relation:
    return _split(call, 0)


@operation_rule("Dsplit")
def dsplit(call: RuleCall) -> Relation:
    return _split(call, 2)


@operation_rule("ArraySplit")
def array_split(call: RuleCall) -> Relation:
    """Keras takes only a number of sections; unequal ones tie sizes too intricately."""
    number = call.normal_axis(call.setting("axis"))
    size = call.x.axes[number].size
    if size is not None and size % call.setting("indices_or_sections"):
        call.freeze(
            call.x.axes[number], f"'{call.name}', which cuts it into unequal parts"
        )
    return _split(call, number)


@operation_rule("Unstack")
def unstack(call: RuleCall) -> Relation:
    number = call.normal_axis(call.setting("axis"))
    freeze_order(call, (number,))
    kept = [place for place in range(call.x.rank) if place != number]
    return call.same(permute(call.x, kept))


@operation_rule("Glu")
def glu(call: RuleCall) -> Relation:
    """The second half gates the first, neuron by neuron."""
    number = call.normal_axis(call.setting("axis"))
    axis = call.x.axes[number]
    if axis.size is None:
        return call.same(_replace(call.x, number, axis))
    first, second = call.unifier.split(axis, (axis.size // 2,) * 2)
    call.unify(first, second)
    return call.same(_replace(call.x, number, call.resolve(first)))


@operation_rule("Pad")
def pad(call: RuleCall) -> Relation:
    """Constants beside neurons are fillers; beside anything else they are fixed."""
    widths = _pad_widths(call)
    axes: list[Expression] = []
    target: list[tuple[Any, Any]] = []
    for number, (before, after) in enumerate(widths):
        axis = call.x.axes[number]
        if axis.size is None or not before + after:
            axes.append(call.fixed(None) if before + after else axis)
            target.append((before, after))
            continue
        if call.setting("mode") != "constant":
            call.freeze(axis, f"'{call.name}', which pads it with its own values")
        is_channel = number == call.x.channel % call.x.rank
        is_free = call.setting("mode") == "constant" and (
            is_channel or bool(call.resolve(axis).atoms)
        )
        left, right = _padding(call, before, is_free), _padding(call, after, is_free)
        axes.append(total((left, call.resolve(axis), right)))
        target.append((SizeOf(left), SizeOf(right)))
    output = AxisTensor(tuple(axes), call.x.channel)
    return Relation(outputs=(output,), config={"pad_width": tuple(target)})


def _joined(call: RuleCall, tensors: Sequence[AxisTensor], axis: int) -> Relation:
    number = call.normal_axis(axis, tensors[0].rank)
    return Relation(outputs=(join(call, tensors, number),))


def _parts(call: RuleCall, rank: int = 0) -> list[AxisTensor]:
    """Returns the tensors of a list, of at least some rank."""
    # The only argument; its name differs between versions of Keras.
    (values,) = (*call.args, *call.kwargs.values())
    if not isinstance(values, (list, tuple)):
        raise Undescribed("its argument is not a list of tensors")
    tensors = [call.operand(value) for value in values]
    if any(tensor.rank < rank for tensor in tensors):
        raise Undescribed(f"it joins tensors of fewer than {rank} axes")
    return tensors


def _split(call: RuleCall, number: int) -> Relation:
    sections = call.setting("indices_or_sections")
    axis = call.x.axes[number]
    if axis.size is None:
        fixed = [call.fixed(shape[number]) for shape in call.output_shapes]
        return Relation(outputs=_each(call, number, fixed))
    if isinstance(sections, int):
        sizes = [shape[number] for shape in call.output_shapes]
        parts = call.unifier.split(axis, sizes)
        is_equal = len(set(sizes)) == 1
        equal = (tuple(parts),) if is_equal else ()
        return Relation(outputs=_each(call, number, parts), equal=equal)
    bounds = (0, *leaves(sections), axis.size)
    if list(bounds) != sorted(bounds):
        raise Undescribed(f"its split points {tuple(sections)} are not in order")
    sizes = [end - start for start, end in pairwise(bounds)]
    parts = call.unifier.split(axis, sizes)
    points = tuple(
        Computed(tuple(parts[:count]), _sum) for count in range(1, len(parts))
    )
    config = {"indices_or_sections": points}
    return Relation(outputs=_each(call, number, parts), config=config)


def _each(
    call: RuleCall, number: int, parts: Sequence[Expression]
) -> tuple[AxisTensor, ...]:
    return tuple(_replace(call.x, number, part) for part in parts)


def _replace(tensor: AxisTensor, number: int, axis: Expression) -> AxisTensor:
    axes = (*tensor.axes[:number], axis, *tensor.axes[number + 1 :])
    return AxisTensor(axes, tensor.channel)


def _sum(*sizes: int) -> int:
    return sum(sizes)


def _pad_widths(call: RuleCall) -> list[tuple[int, int]]:
    """Returns ``(before, after)`` for each axis, however the setting writes it."""
    setting = call.setting("pad_width")
    if isinstance(setting, int):
        return [(setting, setting)] * call.x.rank
    if isinstance(setting[0], int):
        setting = (setting,)
    pairs = [(pair[0], pair[-1]) for pair in setting]
    return pairs * call.x.rank if len(pairs) == 1 else pairs


def _padding(call: RuleCall, size: int, is_free: bool) -> Expression:
    if not size:
        return Fixed(0)
    if is_free:
        return call.atom(size, "pad_width", is_filler=True)
    return call.fixed(size, f"the padding by '{call.name}'")
