"""Operations that work across space: pooling, convolutions, images, patches."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from keras_nas.axes import Expression, product
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import AxisTensor, Relation, Sliced, Undescribed

_POOLING = "MaxPool AveragePool AdaptiveMaxPool AdaptiveAveragePool"

_IMAGES = """
    AffineTransform CropImages ElasticTransform GaussianBlur PadImages
    PerspectiveTransform Resize
"""


@operation_rule(_POOLING, _IMAGES)
def per_channel(call: RuleCall) -> Relation:
    """Space is fixed before and after; each channel is left to itself."""
    for tensor in call.tensors[1:]:
        for axis in tensor.axes:
            call.freeze(axis, f"'{call.name}', which moves pixels by it")
    return _across_space(call, call.x.axes[_channel(call)])


@operation_rule("Conv")
def conv(call: RuleCall) -> Relation:
    """The kernel is a tensor: what it sums over is summed without weights."""
    kernel, arguments = _kernel(call, "kernel")
    channels = call.x.axes[_channel(call)]
    if kernel.axes[-2].size != channels.size:
        # Keras records it, and refuses it when it runs.
        raise Undescribed("its kernel has another number of channels than its input")
    call.unify(channels, kernel.axes[-2])
    return _across_space(
        call, kernel.axes[-1], arguments, (kernel,), _sums(call, kernel.axes[-2])
    )


@operation_rule("ConvTranspose")
def conv_transpose(call: RuleCall) -> Relation:
    """Keras stores the kernel with its outputs before its inputs."""
    kernel, arguments = _kernel(call, "kernel")
    call.unify(call.x.axes[_channel(call)], kernel.axes[-1])
    relation = _across_space(
        call, kernel.axes[-2], arguments, mixes=_sums(call, kernel.axes[-1])
    )
    # Each input position is spread over the kernel.
    macs = ((*_positions(call, call.x.axes), *kernel.axes),)
    return dataclasses.replace(relation, macs=macs)


@operation_rule("DepthwiseConv")
def depthwise_conv(call: RuleCall) -> Relation:
    """Nothing is summed but space, so a constant kernel (a blur) follows its input.

    A constant has its outputs for each channel for good; those of a tensor are made
    by a layer, and are a width.
    """
    kernel, arguments = _kernel(call, "kernel")
    channels = call.x.axes[_channel(call)]
    call.unify(channels, kernel.axes[-2])
    multiplier = kernel.axes[-1]
    if arguments:
        reason = f"'{call.name}', which has a constant for each of them"
        multiplier = call.freeze(multiplier, reason)
    multiplier = call.resolve(multiplier)
    output = product((call.resolve(channels), multiplier))
    relation = _across_space(call, output, arguments, (kernel,))
    widths = {"depth_multiplier": multiplier} if multiplier.atoms else {}
    return dataclasses.replace(relation, widths=widths)


@operation_rule("SeparableConv")
def separable_conv(call: RuleCall) -> Relation:
    depthwise, first = _kernel(call, "depthwise_kernel")
    pointwise, second = _kernel(call, "pointwise_kernel")
    channels = call.x.axes[_channel(call)]
    call.unify(channels, depthwise.axes[-2])
    multiplier = call.freeze(depthwise.axes[-1])
    call.unify(product((call.resolve(channels), multiplier)), pointwise.axes[-2])
    return _across_space(
        call,
        pointwise.axes[-1],
        {**first, **second},
        (depthwise, pointwise),
        _sums(call, pointwise.axes[-2]),
    )


@operation_rule("ExtractPatches")
def extract_patches(call: RuleCall) -> Relation:
    """The pixels of a patch one after the other, each with all its channels."""
    if _channel(call) != call.x.rank - 1:
        raise Undescribed("its channels are not the last axis")
    channels = call.x.axes[-1]
    pixels = call.output_shapes[0][-1] // channels.size
    output = product((call.fixed(pixels), call.resolve(channels)))
    return _across_space(call, output)


@operation_rule("Unfold")
def unfold(call: RuleCall) -> Relation:
    """Channels come first, then the pixels of a patch; patches are the last axis."""
    batch, channels, *space = call.x.axes
    for axis in space:
        call.freeze(axis, f"'{call.name}', which works across it")
    _, features, patches = call.output_shapes[0]
    if features is None or channels.size is None:
        raise Undescribed("its number of channels is unknown")
    pixels = call.fixed(features // channels.size)
    axes = (batch, product((call.resolve(channels), pixels)), call.fixed(patches))
    return Relation(outputs=(AxisTensor(axes, 1),))


@operation_rule("Fold")
def fold(call: RuleCall) -> Relation:
    """The inverse of ``unfold``; pixels of several patches are added."""
    batch, features, patches = call.x.axes
    call.freeze(patches, f"'{call.name}', which works across it")
    _, channels, *space = call.output_shapes[0]
    if None in (channels, features.size):
        raise Undescribed("its number of channels is unknown")
    pixels = call.fixed(features.size // channels)
    neurons = call.atom(channels, is_filler=True)
    call.unify(features, product((neurons, pixels)))
    axes = (batch, call.resolve(neurons), *map(call.fixed, space))
    return Relation(outputs=(AxisTensor(axes, 1),))


def _channel(call: RuleCall) -> int:
    """Index of the channel axis; a batch axis may be missing."""
    data_format = call.config.get("data_format") or keras.config.image_data_format()
    if data_format == "channels_last":
        return call.x.rank - 1
    return 0 if _is_single(call) else 1


def _is_single(call: RuleCall) -> bool:
    """Whether it is one image, without a batch axis."""
    return call.cls.__name__ in _IMAGES.split() and call.x.rank == 3


def _across_space(
    call: RuleCall,
    channels: Expression,
    arguments: dict[str, Any] | None = None,
    kernels: tuple[AxisTensor, ...] = (),
    mixes: tuple = (),
) -> Relation:
    """Everything but batch and channels is fixed; kernels are used at each pixel."""
    channel = _channel(call)
    batch = None if _is_single(call) else 0
    for number, axis in enumerate(call.x.axes):
        if number not in (batch, channel):
            call.freeze(axis, f"'{call.name}', which works across it")
    axes = list(call.frozen_output().axes)
    if len(axes) != call.x.rank:
        raise Undescribed("Keras records another shape for it than it has")
    if batch is not None:
        axes[0] = call.x.axes[0]
    axes[channel] = call.resolve(channels)
    output = AxisTensor(tuple(axes), channel - call.x.rank)
    pixels = _positions(call, output.axes)
    return Relation(
        outputs=(output,),
        arguments=arguments or {},
        mixes=mixes,
        macs=tuple((*pixels, *kernel.axes) for kernel in kernels),
    )


def _positions(call: RuleCall, axes: tuple[Expression, ...]) -> list[Expression]:
    """All axes but the channels."""
    return [axis for place, axis in enumerate(axes) if place != _channel(call)]


def _kernel(call: RuleCall, name: str) -> tuple[AxisTensor, dict[str, Sliced]]:
    """Returns a kernel whose spatial axes are fixed, and the argument if constant."""
    value = call.argument(name)
    arguments = {}
    if isinstance(value, AxisTensor):
        kernel = value
    else:
        known = call.constant(value)
        if known is None:
            raise Undescribed(f"its argument '{name}' is not a tensor")
        kernel = known
        arguments[name] = call.sliced(value, kernel)
    for axis in kernel.axes[:-2]:
        call.freeze(axis, f"'{call.name}', which has it as its kernel")
    return AxisTensor(tuple(map(call.resolve, kernel.axes))), arguments


def _sums(call: RuleCall, axis: Expression) -> tuple[tuple[Expression, str], ...]:
    sentence = "it sums over them without weights"
    return ((axis, sentence),) if call.resolve(axis).atoms else ()
