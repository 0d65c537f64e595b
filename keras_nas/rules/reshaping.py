"""Layers that arrange the same positions in other axes."""

from __future__ import annotations

from keras import layers

from keras_nas.axes import Expression
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.regroup import new_widths, reshape_axes
from keras_nas.rules.relation import AxisTensor, Relation, SizeOf


@layer_rule(layers.Flatten)
def flatten(call: RuleCall) -> Relation:
    """Channels come last, whatever the data format: Keras transposes first."""
    axes = call.x.axes
    if call.config.get("data_format") == "channels_first" and len(axes) > 1:
        axes = (axes[0], *axes[2:], axes[1])
    return _reshaped(call, AxisTensor(axes))


@layer_rule(layers.Reshape)
def reshape(call: RuleCall) -> Relation:
    """The target keeps its ``-1``; every other entry follows its axis."""
    relation = _reshaped(call, call.x)
    axes = relation.outputs[0].axes[1:]
    target = tuple(
        size if size in (-1, None) else SizeOf(axis)
        for size, axis in zip(call.setting("target_shape"), axes, strict=True)
    )
    return Relation(
        outputs=relation.outputs,
        config={"target_shape": target},
        widths=new_widths(call, call.x, relation.outputs[0].axes),
    )


@layer_rule(layers.Permute)
def permute(call: RuleCall) -> Relation:
    order = (0, *call.setting("dims"))
    axes = tuple(call.x.axes[number] for number in order)
    return Relation(outputs=(AxisTensor(axes),))


@layer_rule(layers.RepeatVector)
def repeat_vector(call: RuleCall) -> Relation:
    batch, features = call.x.axes
    repeats = call.fixed(call.setting("n"))
    return Relation(outputs=(AxisTensor((batch, repeats, features)),))


def _reshaped(call: RuleCall, tensor: AxisTensor) -> Relation:
    axes: tuple[Expression, ...] = reshape_axes(call, tensor, call.output_shapes[0])
    return Relation(outputs=(AxisTensor(axes),))
