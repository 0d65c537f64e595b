"""Normalizations as operations: their statistics and factors are arguments."""

from __future__ import annotations

from collections.abc import Sequence

from keras_nas.rules.call import RuleCall
from keras_nas.rules.operations_reduction import mixes_over
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import AxisTensor, Relation, Sliced, Undescribed


@operation_rule("BatchNorm")
def batch_norm(call: RuleCall) -> Relation:
    """Each neuron by itself."""
    axis = call.normal_axis(call.setting("axis"))
    arguments = _follow(call, ("mean", "variance", "offset", "scale"), (axis,))
    return call.same(arguments=arguments)


@operation_rule("LayerNorm")
def layer_norm(call: RuleCall) -> Relation:
    return _over_axes(call, ("gamma", "beta"))


@operation_rule("RMSNorm")
def rms_norm(call: RuleCall) -> Relation:
    return _over_axes(call, ("scale",))


def _over_axes(call: RuleCall, names: Sequence[str]) -> Relation:
    setting = call.setting("axis")
    numbers = (setting,) if isinstance(setting, int) else tuple(setting)
    axes = sorted(map(call.normal_axis, numbers))
    arguments = _follow(call, names, axes)
    mixes = mixes_over(call, (call.x.axes[axis] for axis in axes))
    return call.same(arguments=arguments, mixes=mixes)


def _follow(
    call: RuleCall, names: Sequence[str], axes: Sequence[int]
) -> dict[str, Sliced]:
    """Ties factors to the axes that they have a value for each position of."""
    arguments = {}
    for name in names:
        value = call.argument(name)
        tensor = value
        if not isinstance(value, AxisTensor):
            tensor = call.constant(value)
            if tensor is None:
                continue
            arguments[name] = call.sliced(value, tensor)
        places = list(axes) if tensor.rank == len(axes) else range(-tensor.rank, 0)
        if tensor.rank > call.x.rank:
            raise Undescribed(f"its argument '{name}' has {tensor.rank} axes")
        for own, place in zip(tensor.axes, places, strict=True):
            if own.size != call.x.axes[place].size:
                call.freeze(own, f"'{call.name}', which broadcasts it")
            else:
                call.unify(own, call.x.axes[place])
    return arguments
