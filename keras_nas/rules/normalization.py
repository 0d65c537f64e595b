"""Layers that normalise: each neuron by itself, or over several neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras import layers

from keras_nas.axes import Expression
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import layer_rule, shipped
from keras_nas.rules.relation import (
    AxisTensor,
    Relation,
    SizeOf,
    Sliced,
    Undescribed,
    WeightAxes,
)

# New neurons pass unchanged: scale 1, shift 0, statistics of a standard normal.
_NEW_VALUES = {
    "gamma": 1.0,
    "scale": 1.0,
    "beta": 0.0,
    "moving_mean": 0.0,
    "moving_variance": 1.0,
    "moving_stddev": 1.0,
    "renorm_mean": 0.0,
    "renorm_stddev": 1.0,
    "mean": 0.0,
    "variance": 1.0,
}


@layer_rule(layers.BatchNormalization)
def batch_normalization(call: RuleCall) -> Relation:
    (axis,) = _axes(call)
    return _per_neuron(call, (axis,))


@layer_rule(layers.LayerNormalization, *shipped("RMSNormalization"))
def layer_normalization(call: RuleCall) -> Relation:
    axes = _axes(call)
    # With several axes the weights have them in the order of the setting.
    return _per_neuron(call, axes, mixed=axes)


@layer_rule(layers.UnitNormalization)
def unit_normalization(call: RuleCall) -> Relation:
    axes = _axes(call)
    return _per_neuron(call, axes, mixed=axes)


@layer_rule(layers.GroupNormalization)
def group_normalization(call: RuleCall) -> Relation:
    """Groups keep their number and lose the same count of neurons each.

    Where each neuron is a group of its own (instance normalization) the number of
    groups follows the neurons, and nothing is mixed.
    """
    (axis,) = _axes(call)
    groups = call.setting("groups")
    channels = call.x.axes[axis]
    for number, other in enumerate(call.x.axes):
        if number not in (0, axis):
            call.freeze(other, f"'{call.name}', which averages over it")
    if groups in (-1, channels.size):
        config = {"groups": SizeOf(channels)}
        return _per_neuron(call, (axis,), config=config)
    members = call.unifier.split(channels, [channels.size // groups] * groups)
    return _per_neuron(call, (axis,), mixed=(axis,), equal=(members,))


@layer_rule(layers.Normalization)
def normalization(call: RuleCall) -> Relation:
    """Statistics are weights where the layer was adapted, else settings."""
    axes = sorted(_axes(call))
    kept = tuple(call.x.axes[axis] for axis in axes)
    config = {}
    if call.config.get("mean") is not None:
        for key in ("mean", "variance"):
            value = call.config[key]
            shape = _shape(value)
            if shape:
                axes_of_value = _follow(call, shape, kept[-len(shape) :])
                config[key] = Sliced(value, axes_of_value)
    return _per_neuron(call, axes, config=config, scalars=("count",))


def _per_neuron(
    call: RuleCall,
    axes: Sequence[int],
    *,
    mixed: Sequence[Any] = (),
    scalars: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    equal: tuple[tuple[Expression, ...], ...] = (),
) -> Relation:
    """Weights with one value for each neuron of ``axes``; the input passes."""
    normalized = tuple(call.resolve(call.x.axes[axis]) for axis in axes)
    weights = {
        name: WeightAxes((_weight_axes(call, name, normalized),), new=new)
        for name, new in _NEW_VALUES.items()
        if name in call.weights
    }
    weights.update(
        {name: WeightAxes(((),)) for name in scalars if name in call.weights}
    )
    sentence = "its statistics are taken over all of them"
    channel = axes[-1] - call.x.rank if len(axes) == 1 else -1
    return Relation(
        outputs=(AxisTensor(call.x.axes, channel),),
        weights=weights,
        config=config or {},
        equal=equal,
        mixes=tuple((call.x.axes[axis], sentence) for axis in mixed),
    )


def _weight_axes(
    call: RuleCall, name: str, axes: tuple[Expression, ...]
) -> tuple[Expression, ...]:
    """The axes of a weight; some layers store it with axes of size 1 around."""
    shape = call.weights[name]
    if len(shape) == len(axes):
        return axes
    raise Undescribed(f"its weight '{name}' has shape {shape}")


def _axes(call: RuleCall) -> tuple[int, ...]:
    axis = call.setting("axis")
    axes = (axis,) if isinstance(axis, int) else tuple(axis or ())
    return tuple(call.normal_axis(number) for number in axes)


def _shape(value: Any) -> list[int]:
    """The shape of a number, an array or nested lists in the settings."""
    shape = []
    while isinstance(value, (list, tuple)) or getattr(value, "ndim", None):
        shape.append(len(value))
        value = value[0]
    return shape


def _follow(
    call: RuleCall, shape: Sequence[int], axes: tuple[Expression, ...]
) -> tuple[Expression, ...]:
    """Axes of an array in the settings: those it is as long as, else fixed."""
    return tuple(
        axis if axis.size == size else call.fixed(size)
        for axis, size in zip(axes, shape, strict=True)
    )
