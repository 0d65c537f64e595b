"""Layers that wrap another layer."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import layers

from keras_nas.axes import Expression, Fixed, total
from keras_nas.rules.call import RuleCall
from keras_nas.rules.inner import InnerLayer
from keras_nas.rules.recurrent import RECURRENT_RULES
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.relation import (
    AxisTensor,
    Computed,
    Relation,
    SizeOf,
    Sliced,
    Undescribed,
    WeightAxes,
    leaves,
)

_LEAVES = (SizeOf, Sliced, Computed)
_KERNELS = ("kernel", "embeddings")


@layer_rule(layers.TimeDistributed)
def time_distributed(call: RuleCall) -> Relation:
    """The inner layer sees no time, and the time axis passes."""
    batch, time, *rest = call.x.axes
    shapes = [(shape[0], *shape[2:]) for shape in call.output_shapes]
    inner = InnerLayer(call, call.setting("layer"), own_names=tuple(call.weights))
    relation = inner.describe(AxisTensor((batch, *rest)), output_shapes=shapes)
    _refuse_arguments(relation)
    outputs = []
    for output in relation.outputs:
        channel = output.channel
        axes = (output.axes[0], time, *output.axes[1:])
        outputs.append(AxisTensor(axes, channel + 1 if channel > 0 else channel))
    return dataclasses.replace(
        relation,
        outputs=tuple(outputs),
        config={"layer": relation.config},
        arguments={},
        macs=tuple((time, *axes) for axes in relation.macs),
    )


@layer_rule(layers.SpectralNormalization)
def spectral_normalization(call: RuleCall) -> Relation:
    """Only training divides the kernel by its norm; otherwise it is used as it is."""
    inner = InnerLayer(call, call.setting("layer"), own_names=_KERNELS)
    relation = inner.describe(call.x, output_shapes=call.output_shapes)
    _refuse_arguments(relation)
    kernel = next(
        (relation.weights.get(n) for n in _KERNELS if n in call.weights), None
    )
    if kernel is None:
        raise Undescribed(
            f"the kernel of the {inner.cls.__name__} inside it is unknown"
        )
    columns = _last_axis(kernel)
    # An estimate of the largest singular vector: new entries are found in training.
    vector = WeightAxes(((Fixed(1), columns),), new=0.0)
    mixes = relation.mixes
    if call.argument("training"):
        sentence = "its kernel is divided by a norm taken over all of them"
        axes = [axis for axis in kernel.all_axes if call.resolve(axis).atoms]
        mixes += tuple((axis, sentence) for axis in axes)
    return dataclasses.replace(
        relation,
        weights={**relation.weights, "vector_u": vector},
        config={"layer": relation.config},
        arguments={},
        mixes=mixes,
    )


@layer_rule(layers.Bidirectional)
def bidirectional(call: RuleCall) -> Relation:
    """Two recurrent layers side by side, one of them backward in time.

    Their widths are ``"forward"`` and ``"backward"`` where the results are not merged
    neuron by neuron. Keras takes the second to be as wide as the first.
    """
    first, second = _halves(call.argument("initial_state"))
    forward = _direction(call, "layer", first)
    backward = _direction(call, "backward_layer", second)
    pairs = list(zip(forward.outputs, backward.outputs, strict=True))
    if any(left.shape != right.shape for left, right in pairs):
        raise Undescribed("its two layers have different sizes")
    mode = call.setting("merge_mode")
    states = (*forward.outputs[1:], *backward.outputs[1:])
    merged = pairs[0] if mode is None else (_merge(call, mode, *pairs[0]),)
    return Relation(
        outputs=(*merged, *states),
        weights={**forward.weights, **backward.weights},
        config={"layer": forward.config, "backward_layer": backward.config},
        arguments=_both_states(call, forward, backward),
        widths=_both_widths(mode, forward, backward),
        equal=tuple((_units(left), _units(right)) for left, right in pairs),
        mixes=(*forward.mixes, *backward.mixes),
        macs=(*forward.macs, *backward.macs),
    )


def _direction(call: RuleCall, key: str, states: Any) -> Relation:
    inner = InnerLayer(call, call.setting(key))
    if inner.rule not in RECURRENT_RULES:
        raise Undescribed(f"the {inner.cls.__name__} inside it is not a known one")
    shape = call.output_shapes[0]
    if call.setting("merge_mode") == "concat":
        shape = (*shape[:-1], shape[-1] // 2)
    return inner.describe(call.x, initial_state=states, output_shapes=[shape])


def _merge(
    call: RuleCall, mode: str, left: AxisTensor, right: AxisTensor
) -> AxisTensor:
    """Returns the one output that a merge mode makes of two."""
    axes: list[Expression] = []
    for a, b in zip(left.axes, right.axes, strict=True):
        if mode == "concat" and len(axes) == left.rank - 1:
            axes.append(total((call.resolve(a), call.resolve(b))))
        else:
            call.unify(a, b)
            axes.append(call.resolve(a))
    return AxisTensor(tuple(axes), left.channel)


def _units(tensor: AxisTensor) -> Expression:
    return tensor.axes[tensor.channel]


def _halves(states: Any) -> tuple[Any, Any]:
    """The first half of the states is for the forward layer."""
    if states is None:
        return None, None
    if not isinstance(states, (list, tuple)):
        raise Undescribed("its states are not a list")
    half = len(states) // 2
    return states[:half], states[half:]


def _both_states(call: RuleCall, forward: Relation, backward: Relation) -> dict:
    if call.argument("initial_state") is None:
        return {}
    first, second = (r.arguments["initial_state"] for r in (forward, backward))
    return {"initial_state": [*first, *second]}


def _both_widths(mode: str | None, forward: Relation, backward: Relation) -> dict:
    widths: dict[str, Expression] = {}
    for side, relation in (("forward", forward), ("backward", backward)):
        if mode in (None, "concat"):
            widths[side] = _units(relation.outputs[0])
        for name, axis in relation.widths.items():
            widths[f"{side}/{name}"] = axis
    return widths


def _last_axis(weight: WeightAxes) -> Expression:
    """Returns the last axis of a weight, over all of its blocks."""
    last = len(weight.blocks[0]) - 1
    if len(weight.blocks) > 1 and weight.joined % (last + 1) == last:
        return total(block[-1] for block in weight.blocks)
    return weight.blocks[0][-1]


def _refuse_arguments(relation: Relation) -> None:
    """A wrapper does not hand call arguments on, so none can be rewritten."""
    if any(isinstance(leaf, _LEAVES) for leaf in leaves(relation.arguments)):
        raise Undescribed("the layer inside it has sizes among its call arguments")
