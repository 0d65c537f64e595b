"""Convolutions: plain, grouped, transposed, depthwise and separable."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import layers

from keras_nas.axes import Expression, total
from keras_nas.rules.activations import activation_mixes
from keras_nas.rules.call import RuleCall
from keras_nas.rules.notation import describe
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.relation import (
    AxisTensor,
    Relation,
    SizeOf,
    Undescribed,
    WeightAxes,
)


@layer_rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(call: RuleCall) -> Relation:
    groups = call.config.get("groups", 1)
    channels = call.x.axes[call.channel_axis()].size
    if groups == 1:
        return _describe(
            call, "i", "o", {"kernel": "* i o", "bias": "o"}, {"filters": "o"}
        )
    if groups == channels:
        # One input for each group: then the groups themselves are the neurons.
        return _describe(
            call,
            "g",
            "(g m)",
            {"kernel": "* 1 (g m)", "bias": "(g m)"},
            {"groups": "g", "filters": "(g m)"},
            widths={"depth_multiplier": "m"},
            kernels=("kernel",),
        )
    return _grouped(call, groups)


@layer_rule(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed_convolution(call: RuleCall) -> Relation:
    """Keras stores the kernel with its outputs before its inputs."""
    if call.config.get("groups", 1) != 1:
        raise Undescribed("it is a transposed convolution in groups")
    relation = _describe(
        call, "i", "o", {"kernel": "* o i", "bias": "o"}, {"filters": "o"}
    )
    # Each input position is spread over the kernel.
    channel = call.normal_axis(call.channel_axis())
    kernel = relation.weights["kernel"].blocks[0]
    macs = (*_without(list(call.x.axes), channel), *kernel)
    return dataclasses.replace(relation, macs=(macs,))


@layer_rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise_convolution(call: RuleCall) -> Relation:
    """Output ``j`` belongs to input ``j // depth_multiplier``."""
    relation = _describe(
        call,
        "c",
        "(c m)",
        {"kernel": "* c m", "bias": "(c m)"},
        {"depth_multiplier": "m"},
        widths={"depth_multiplier": "m"},
        kernels=("kernel",),
    )
    return _with_kernel(
        relation, "kernel", initializer=call.config.get("depthwise_initializer")
    )


@layer_rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable_convolution(call: RuleCall) -> Relation:
    """A depthwise and a pointwise convolution, with ``c m`` neurons between them."""
    relation = _describe(
        call,
        "c",
        "o",
        {"depthwise_kernel": "* c m", "pointwise_kernel": "* (c m) o", "bias": "o"},
        {"filters": "o", "depth_multiplier": "m"},
        widths={"depth_multiplier": "m"},
        kernels=("depthwise_kernel",),
    )
    # The depthwise kernel makes the inner neurons, it does not read them.
    relation = _with_kernel(
        relation,
        "depthwise_kernel",
        reads=frozenset(),
        initializer=call.config.get("depthwise_initializer"),
    )
    return _with_kernel(
        relation,
        "pointwise_kernel",
        initializer=call.config.get("pointwise_initializer"),
    )


def _with_kernel(relation: Relation, name: str, **changes: Any) -> Relation:
    """Returns a relation with other facts about one of its weights."""
    kernel = dataclasses.replace(relation.weights[name], **changes)
    return dataclasses.replace(relation, weights={**relation.weights, name: kernel})


def _describe(
    call: RuleCall,
    inside: str,
    outside: str,
    weights: Mapping[str, str],
    config: Mapping[str, str],
    widths: Mapping[str, str] | None = None,
    kernels: tuple[str, ...] = (),
) -> Relation:
    """Describes a convolution by the patterns of its channel axes."""
    channel = call.channel_axis()
    first = channel == 1
    tensors = (
        f"b {inside} * -> b {outside} *" if first else f"b * {inside} -> b * {outside}"
    )
    relation = describe(
        call,
        tensors,
        weights=weights,
        config=config,
        widths=widths,
        channel=channel,
        kernels=kernels,
    )
    mixes = activation_mixes(call, relation.outputs[0])
    return dataclasses.replace(relation, mixes=mixes)


def _grouped(call: RuleCall, groups: int) -> Relation:
    """Each group has inputs and outputs of its own, as many as every other group.

    The counts are equal, the neurons need not be: so each group is an axis of its own,
    and the kernel is sliced group by group.
    """
    channel = call.normal_axis(call.channel_axis())
    axis = call.x.axes[channel]
    filters = call.setting("filters")
    inputs = call.unifier.split(axis, [axis.size // groups] * groups)
    outputs = tuple(call.atom(filters // groups, "filters") for _ in range(groups))
    for number, other in enumerate(call.x.axes):
        if number not in (0, channel):
            call.freeze(other, f"'{call.name}', which works across it")
    axes = list(call.frozen_output().axes)
    axes[0], axes[channel] = call.x.axes[0], total(outputs)
    spatial = tuple(call.fixed(size) for size in call.weights["kernel"][:-2])
    result = AxisTensor(tuple(axes), call.channel_axis())
    kernel_blocks = tuple(
        (*spatial, i, o) for i, o in zip(inputs, outputs, strict=True)
    )
    weights = {
        "kernel": WeightAxes(kernel_blocks, reads=frozenset((len(spatial),))),
        "bias": WeightAxes(((total(outputs),),)),
    }
    return Relation(
        outputs=(result,),
        weights={name: weights[name] for name in weights if name in call.weights},
        config={"filters": SizeOf(total(outputs))},
        equal=(inputs, outputs),
        mixes=activation_mixes(call, result),
        macs=tuple((*_without(axes, channel), *block) for block in kernel_blocks),
    )


def _without(axes: list[Expression], place: int) -> list[Expression]:
    return [axis for number, axis in enumerate(axes) if number != place]
