"""Layers that bring several tensors together."""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from keras_nas.axes import total
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.relation import AxisTensor, Relation


@layer_rule(
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    "applications.inception_resnet_v2.CustomScaleLayer",
)
def elementwise_merge(call: RuleCall) -> Relation:
    """Keras gives a tensor of fewer axes new ones behind the batch axis."""
    rank = max(tensor.rank for tensor in call.tensors)
    operands = [_with_rank(call, tensor, rank) for tensor in call.tensors]
    return Relation(outputs=(call.broadcast(operands),))


@layer_rule(layers.Concatenate)
def concatenate(call: RuleCall) -> Relation:
    axis = call.normal_axis(call.config.get("axis", -1))
    return Relation(outputs=(join(call, call.tensors, axis),))


def join(call: RuleCall, tensors: Sequence[AxisTensor], axis: int) -> AxisTensor:
    """Returns tensors one after the other along ``axis``; all other axes are tied."""
    first = tensors[0]
    axes = []
    for number in range(first.rank):
        parts = [tensor.axes[number] for tensor in tensors]
        if number != axis:
            for part in parts[1:]:
                call.unify(parts[0], part)
            axes.append(call.resolve(parts[0]))
        elif None in [part.size for part in parts]:
            for part in parts:
                call.freeze(part)
            axes.append(call.fixed(None))
        else:
            axes.append(total(call.resolve(part) for part in parts))
    return AxisTensor(tuple(axes), _channel(tensors, axis))


def _channel(tensors: Sequence[AxisTensor], axis: int) -> int:
    """The channel axis of the inputs; tokens side by side do not make a new one."""
    channels = [tensor.channel % tensor.rank for tensor in tensors]
    return (axis if axis in channels else channels[0]) - tensors[0].rank


def _with_rank(call: RuleCall, tensor: AxisTensor, rank: int) -> AxisTensor:
    missing = tuple(call.fixed(1) for _ in range(rank - tensor.rank))
    batch, *rest = tensor.axes
    return AxisTensor((batch, *missing, *rest), tensor.channel)
