"""Operations along some axes: reductions, softmax and cumulative ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_nas.axes import Expression, Fixed
from keras_nas.rules.call import RuleCall
from keras_nas.rules.operations_shape import freeze_order
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import AxisTensor, Relation, Undescribed

_REDUCTIONS = """
    All Amax Amin Any CountNonzero Logsumexp Max Mean Median Min Nanmax
    Nanmean Nanmedian Nanmin Nanprod Nanstd Nansum Nanvar Norm Prod Ptp Std Sum
    Var
"""

_QUANTILES = "Nanpercentile Nanquantile Percentile Quantile"

_POSITIONAL_REDUCTIONS = "Argmax Argmin Nanargmax Nanargmin"

_MIXING = "LogSoftmax Softmax Sparsemax Normalize"

_POSITIONAL = """
    Argpartition Argsort Cumprod Cumsum Nancumprod Nancumsum
    Sort
"""


@operation_rule(_REDUCTIONS)
def reduction(call: RuleCall) -> Relation:
    return _reduced(call, call.setting("axis"), _keepdims(call))


@operation_rule("Average")
def average(call: RuleCall) -> Relation:
    if call.argument("weights") is not None:
        raise Undescribed("it takes an average with weights of its own")
    return _reduced(call, call.setting("axis"), keepdims=False)


@operation_rule(_QUANTILES)
def quantile(call: RuleCall) -> Relation:
    if not isinstance(call.argument("q"), (int, float)):
        raise Undescribed("it computes several quantiles")
    return _reduced(call, call.setting("axis"), _keepdims(call))


@operation_rule("Moments")
def moments(call: RuleCall) -> Relation:
    return _reduced(call, call.setting("axes"), _keepdims(call))


@operation_rule(_POSITIONAL_REDUCTIONS)
def positional_reduction(call: RuleCall) -> Relation:
    """The result names a position, so the positions must stay."""
    axes = _axes(call, call.setting("axis"))
    freeze_order(call, axes)
    return Relation(outputs=(reduce_axes(call.x, axes, _keepdims(call)),))


@operation_rule(_MIXING)
def mixing(call: RuleCall) -> Relation:
    axes = _axes(call, call.setting("axis"))
    return call.same(mixes=mixes_over(call, (call.x.axes[n] for n in axes)))


@operation_rule(_POSITIONAL)
def positional(call: RuleCall) -> Relation:
    """Every position depends on those before it, or on their order."""
    axis = call.setting("axis")
    if axis is None:
        raise Undescribed("it works on the flattened tensor")
    freeze_order(call, _axes(call, axis))
    return call.same(_resolved(call))


@operation_rule("Tril", "Triu")
def triangle(call: RuleCall) -> Relation:
    freeze_order(call, _axes(call, (-2, -1)))
    return call.same(_resolved(call))


@operation_rule("TopK")
def top_k(call: RuleCall) -> Relation:
    """Values in order of size, and where they stood."""
    freeze_order(call, _axes(call, -1))
    axes = (*call.x.axes[:-1], call.fixed(call.setting("k")))
    return call.same(AxisTensor(axes, call.x.channel))


@operation_rule("Diff")
def difference(call: RuleCall) -> Relation:
    (axis,) = _axes(call, call.setting("axis"))
    freeze_order(call, (axis,))
    axes = list(_resolved(call).axes)
    axes[axis] = call.fixed(call.output_shapes[0][axis])
    return Relation(outputs=(AxisTensor(tuple(axes), call.x.channel),))


def reduce_axes(tensor: AxisTensor, axes: Iterable[int], keepdims: bool) -> AxisTensor:
    """Returns a tensor without some axes, or with axes of size 1 in their place.

    The channel axis stays the channel axis if it is left, else the last axis is it.
    """
    removed = set(axes)
    channel = tensor.channel % tensor.rank
    kept: list[Expression] = []
    new_channel = -1
    for number, axis in enumerate(tensor.axes):
        if number in removed and not keepdims:
            continue
        if number == channel:
            new_channel = len(kept)
        kept.append(Fixed(1) if number in removed else axis)
    return AxisTensor(tuple(kept), new_channel)


def mixes_over(
    call: RuleCall, axes: Iterable[Expression]
) -> tuple[tuple[Expression, str], ...]:
    """Says that the values along some axes are mixed, as `Relation.mixes` does."""
    sentence = f"{call.cls.__name__} is taken over all of them"
    return tuple((axis, sentence) for axis in axes if call.resolve(axis).atoms)


def _reduced(call: RuleCall, setting: Any, keepdims: bool) -> Relation:
    axes = _axes(call, setting)
    output = reduce_axes(call.x, axes, keepdims)
    return call.same(output, mixes=mixes_over(call, (call.x.axes[n] for n in axes)))


def _keepdims(call: RuleCall) -> bool:
    """Some reductions never keep the axis and have no such setting."""
    return bool(call.config.get("keepdims", False))


def _axes(call: RuleCall, setting: int | Iterable[int] | None) -> tuple[int, ...]:
    """Returns axes as a setting names them; None stands for all."""
    if setting is None:
        return tuple(range(call.x.rank))
    numbers = (setting,) if isinstance(setting, int) else tuple(setting)
    return tuple(call.normal_axis(number) for number in numbers)


def _resolved(call: RuleCall) -> AxisTensor:
    return AxisTensor(tuple(map(call.resolve, call.x.axes)), call.x.channel)
