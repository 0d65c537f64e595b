"""Layers that pass every position on, whatever they do to its value."""

from __future__ import annotations

from typing import Any

from keras import layers

from keras_nas.rules.activations import activation_mixes
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.relation import (
    Relation,
    SizeOf,
    Sliced,
    Undescribed,
    WeightAxes,
)


@layer_rule(
    layers.Identity,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.ActivityRegularization,
    layers.GaussianNoise,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    "applications.convnext.StochasticDepth",
)
def unchanged(call: RuleCall) -> Relation:
    return call.same()


@layer_rule(layers.Masking)
def masking(call: RuleCall) -> Relation:
    """Hides a step where all neurons have one value, so it looks at all of them."""
    return call.same(mixes=((call.x.axes[-1], "it masks by all of them"),))


@layer_rule(layers.Activation)
def activation(call: RuleCall) -> Relation:
    return call.same(mixes=activation_mixes(call, call.x))


@layer_rule(layers.Softmax)
def softmax(call: RuleCall) -> Relation:
    axis = call.config.get("axis", -1)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    sentence = "its softmax is taken over all of them"
    return call.same(mixes=tuple((call.x.axes[number], sentence) for number in axes))


@layer_rule(layers.Dropout, layers.GaussianDropout, layers.AlphaDropout)
def dropout(call: RuleCall) -> Relation:
    """A noise shape follows the axes that it is as long as."""
    shape = call.config.get("noise_shape")
    if shape is None:
        return call.same()
    sizes = list(shape)
    for number, (size, axis) in enumerate(zip(shape, call.x.axes, strict=True)):
        if size not in (None, 1):
            sizes[number] = SizeOf(axis)
    return call.same(config={"noise_shape": tuple(sizes)})


@layer_rule(layers.PReLU)
def prelu(call: RuleCall) -> Relation:
    """One slope for each position, shared along ``shared_axes``."""
    shape = call.weights["alpha"]
    axes = tuple(
        axis if size == axis.size else call.fixed(size)
        for size, axis in zip(shape, call.x.axes[1:], strict=True)
    )
    return call.same(weights={"alpha": WeightAxes((axes,))})


@layer_rule(layers.Rescaling)
def rescaling(call: RuleCall) -> Relation:
    """A list of scales or offsets follows the last axis."""
    config = {}
    for key in ("scale", "offset"):
        value: Any = call.config.get(key)
        if isinstance(value, dict):
            raise Undescribed(f"its setting '{key}' is not a list of numbers")
        if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1:
            axis = call.x.axes[-1]
            if len(value) not in (1, axis.size):
                raise Undescribed(f"its setting '{key}' has {len(value)} values")
            config[key] = Sliced(value, (axis if len(value) > 1 else call.fixed(1),))
        elif not isinstance(value, (int, float, type(None))):
            raise Undescribed(f"its setting '{key}' has several axes")
    return call.same(config=config)


@layer_rule("applications.convnext.LayerScale")
def layer_scale(call: RuleCall) -> Relation:
    """One factor for each neuron (Touvron 2021, arXiv 2103.17239)."""
    (name,) = call.weights
    axis = call.x.axes[-1]
    return call.same(
        weights={name: WeightAxes(((axis,),), new=call.setting("init_values"))},
        config={"projection_dim": SizeOf(axis)},
    )
