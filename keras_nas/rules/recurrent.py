"""Recurrent layers and their cells.

A cell reads its input through one kernel and its own last state through another. The
units are neurons like any other, only that they are read by the layer itself: the rows
of the recurrent kernel *read*, so that new units start without a say in the old ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import layers

from keras_nas.axes import Expression, product
from keras_nas.rules.activations import activation_mixes
from keras_nas.rules.call import RuleCall
from keras_nas.rules.inner import InnerLayer
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.relation import (
    AxisTensor,
    Relation,
    SizeOf,
    Undescribed,
    WeightAxes,
    leaves,
    map_leaves,
)


@layer_rule(layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)
def cell(call: RuleCall) -> Relation:
    """One step: reads the state and writes it again."""
    num_states = 2 if issubclass(call.cls, layers.LSTMCell) else 1
    return _step(call, call.x, call.argument("states"), num_states)


@layer_rule(layers.SimpleRNN, layers.GRU, layers.LSTM)
def recurrent(call: RuleCall) -> Relation:
    """A cell over time; its settings are those of the layer."""
    num_states = 2 if issubclass(call.cls, layers.LSTM) else 1
    x = _first_step(call)
    step = _step(call, x, call.argument("initial_state"), num_states)
    return _over_time(call, step)


@layer_rule(layers.StackedRNNCells)
def stacked_cells(call: RuleCall) -> Relation:
    """Each cell reads the one before; the size is that of the last.

    The widths of the others are ``"cells/0"``, ``"cells/1"`` and so on.
    """
    cells = [_inner_cell(call, entry) for entry in call.setting("cells")]
    if len({inner.name for inner in cells}) < len(cells):
        raise Undescribed("several of its cells have one name")
    states = call.argument("states")
    states = [None] * len(cells) if states is None else states
    if not isinstance(states, (list, tuple)) or len(states) != len(cells):
        raise Undescribed("its states are not one entry for each cell")
    relations: list[Relation] = []
    x = call.x
    for inner, state in zip(cells, states, strict=True):
        relations.append(inner.describe(x, state))
        x = relations[-1].outputs[0]
    widths: dict[str, Expression] = {}
    for number, relation in enumerate(relations):
        if number < len(relations) - 1:
            widths[f"cells/{number}"] = relation.outputs[0].axes[-1]
        for name, axis in relation.widths.items():
            widths[f"cells/{number}/{name}"] = axis
    arguments = {"states": type(states)(r.arguments["states"] for r in relations)}
    return Relation(
        outputs=(x, *(state for r in relations for state in r.outputs[1:])),
        weights={k: v for r in relations for k, v in r.weights.items()},
        config={"cells": [r.config for r in relations]},
        arguments=arguments,
        widths=widths,
        mixes=tuple(mixed for r in relations for mixed in r.mixes),
        macs=tuple(axes for r in relations for axes in r.macs),
    )


@layer_rule(layers.RNN)
def rnn(call: RuleCall) -> Relation:
    """Any known cell over time; its settings are nested in those of the layer."""
    inner = InnerLayer(call, call.setting("cell"))
    if inner.rule not in _CELL_RULES:
        return _over_time(call, _custom_step(call, inner))
    step = inner.describe(_first_step(call), call.argument("initial_state"))
    step = dataclasses.replace(
        step,
        config={"cell": step.config},
        arguments={"initial_state": step.arguments["states"]},
    )
    return _over_time(call, step)


@layer_rule(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
def convolutional_lstm(call: RuleCall) -> Relation:
    """The steps are images: all axes but batch and channels are fixed."""
    x = _first_step(call)
    channel = call.normal_axis(call.channel_axis(), x.rank)
    for place, axis in enumerate(x.axes):
        if place not in (0, channel):
            call.freeze(axis, f"'{call.name}', which works across it")
    shape = list(call.output_shapes[0])
    if call.setting("return_sequences"):
        del shape[1]
    reason = f"a spatial axis of '{call.name}'"
    spatial: list[Expression] = [call.fixed(size, reason) for size in shape]
    step = _step(
        call, x, call.argument("initial_state"), 2, call.channel_axis(), spatial
    )
    return _over_time(call, step)


RECURRENT_RULES = (recurrent, rnn, convolutional_lstm)
_CELL_RULES = (cell, stacked_cells)


class _ForgetBias(keras.initializers.Initializer):
    """The bias of a new LSTM: that of the settings, and ones for the forget gate."""

    def __init__(self, bias: Any, seed: int | None = None):
        self.bias = bias
        self.seed = seed

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        chosen = keras.initializers.get(self.bias)
        if "seed" in chosen.get_config():
            settings = {**chosen.get_config(), "seed": self.seed}
            chosen = type(chosen).from_config(settings)
        gate = shape[0] // 4
        ones = keras.ops.ones((gate,), dtype)
        values = chosen(shape, dtype=dtype)
        return keras.ops.concatenate([values[:gate], ones, values[2 * gate :]])

    def get_config(self) -> dict[str, Any]:
        return {"bias": self.bias, "seed": self.seed}


def _step(
    call: RuleCall,
    x: AxisTensor,
    states: Any,
    num_states: int,
    channel: int = -1,
    others: list[Expression] | None = None,
) -> Relation:
    """Describes one step of a cell whose settings and weights are those of a call.

    Args:
        call: Of the cell, or of a layer that is one cell over time.
        x: Input of the step, without time.
        states: What the call has as states: `AxisTensor`, arrays, or nothing.
        num_states: Number of states that come out beside the output.
        channel: Index of the axis of the units.
        others: All other axes of the output; those of ``x`` by default.
    """
    key = "units" if "units" in call.config else "filters"
    units = call.atom(call.setting(key), key)
    states = map_leaves(lambda s: _tie_state(call, s, x, units, channel), states)
    axes = list(x.axes if others is None else others)
    axes[0], axes[channel] = x.axes[0], call.resolve(units)
    output = AxisTensor(tuple(axes), channel)
    mixes = activation_mixes(call, output)
    if "recurrent_activation" in call.config:
        mixes += activation_mixes(call, output, key="recurrent_activation")
    weights = _weights(call, x.axes[channel], units)
    own = call.normal_axis(channel, output.rank)
    positions = [axis for place, axis in enumerate(output.axes) if place != own]
    return Relation(
        outputs=(output,) * (1 + num_states),
        weights=weights,
        config={key: SizeOf(units)},
        # `StackedRNNCells` and `RNN` hand these on under names of their own.
        arguments={_state_argument(call): states},
        mixes=mixes,
        macs=tuple((*positions, *w.blocks[0]) for w in weights.values() if w.reads),
    )


def _custom_step(call: RuleCall, inner: InnerLayer) -> Relation:
    """Describes one step of a cell whose rule is the user's.

    The rule has the axes of the input and of each state, and then those of the output
    and of each state: what a step leaves is what the next one starts with.
    """
    x = _first_step(call)
    before = [
        AxisTensor((x.axes[0], *(call.atom(n, "state", is_filler=True) for n in sizes)))
        for sizes in inner.state_sizes()
    ]
    given = call.argument("initial_state")
    for leaf, state in zip([] if given is None else leaves(given), before):
        if not isinstance(leaf, AxisTensor) or leaf.shape[1:] != state.shape[1:]:
            raise Undescribed("its initial state is not one tensor for each state")
        for axis, other in zip(leaf.axes, state.axes, strict=True):
            call.unify(axis, other)
    shapes = [call.output_shapes[0][:1] + call.output_shapes[0][-1:]]
    shapes += [state.shape for state in before]
    relation = inner.describe(x, before, output_shapes=shapes)
    if len(relation.outputs) != len(shapes):
        raise Undescribed(f"the rule of its cell gives {len(relation.outputs)} outputs")
    for old, new in zip(before, relation.outputs[1:], strict=True):
        for axis, other in zip(old.axes, new.axes, strict=True):
            call.unify(axis, other)
    outputs = (
        AxisTensor(tuple(map(call.resolve, tensor.axes)), tensor.channel)
        for tensor in relation.outputs
    )
    return dataclasses.replace(
        relation, outputs=tuple(outputs), config={"cell": relation.config}, arguments={}
    )


def _state_argument(call: RuleCall) -> str:
    return "initial_state" if issubclass(call.cls, layers.RNN) else "states"


def _weights(
    call: RuleCall, features: Expression, units: Expression
) -> dict[str, WeightAxes]:
    """Describes the weights of a cell, by the last part of their names.

    The kernels are ``"* i (g u)"`` and ``"* u (g u)"``, one block of columns for each
    gate, and the bias is ``"(g u)"``, or ``"2 (g u)"`` for a GRU that resets after.
    """
    found: dict[str, WeightAxes] = {}
    for name, shape in call.weights.items():
        last = name.rsplit("/", 1)[-1]
        if last not in ("kernel", "recurrent_kernel", "bias"):
            continue
        gates = call.fixed(shape[-1] // units.size, f"the gates of '{call.name}'")
        columns = product((gates, units))
        setting = f"{last.removesuffix('_kernel')}_initializer"
        initializer = call.config.get(setting)
        if last == "bias":
            if call.config.get("unit_forget_bias"):
                initializer = _ForgetBias(initializer)
            axes = (*map(call.fixed, shape[:-1]), columns)
            found[name] = WeightAxes((axes,), initializer=initializer)
            continue
        rows = features if last == "kernel" else units
        axes = (*map(call.fixed, shape[:-2]), rows, columns)
        reads = frozenset((len(shape) - 2,))
        found[name] = WeightAxes((axes,), reads=reads, initializer=initializer)
    return found


def _tie_state(
    call: RuleCall, state: Any, x: AxisTensor, units: Expression, channel: int
) -> Any:
    """Ties one state that goes in; returns what stands for it in the arguments."""
    tensor = state if isinstance(state, AxisTensor) else call.constant(state)
    if tensor is None:
        return state
    if tensor.rank != x.rank or tensor.axes[channel].size != units.size:
        raise Undescribed(f"a state of shape {tensor.shape} has not one axis of units")
    for place, axis in enumerate(tensor.axes):
        if place == call.normal_axis(channel, x.rank):
            call.unify(axis, units)
        elif place == 0 and axis.size == x.axes[0].size:
            call.unify(axis, x.axes[0])
        else:
            call.freeze(axis, f"'{call.name}', which has it as an axis of a state")
    return state if tensor is state else call.sliced(state, tensor)


def _first_step(call: RuleCall) -> AxisTensor:
    """Returns the input without its time axis, which can no longer change."""
    x = call.x
    if x.rank < 3:
        raise Undescribed(f"its input of shape {x.shape} has no time axis")
    call.freeze(x.axes[1], f"'{call.name}', which goes along it")
    return AxisTensor((x.axes[0], *x.axes[2:]))


def _over_time(call: RuleCall, step: Relation) -> Relation:
    """Returns the relation of a layer that takes a step many times."""
    output, *states = step.outputs
    if call.setting("return_sequences"):
        time = call.resolve(call.x.axes[1])
        axes = (output.axes[0], time, *output.axes[1:])
        channel = output.channel
        output = AxisTensor(axes, channel + 1 if channel > 0 else channel)
    outputs = (output, *states) if call.setting("return_state") else (output,)
    macs = tuple((call.x.axes[1], *axes) for axes in step.macs)
    return dataclasses.replace(step, outputs=outputs, macs=macs)


def _inner_cell(call: RuleCall, serialized: Any) -> InnerLayer:
    inner = InnerLayer(call, serialized)
    if inner.rule not in _CELL_RULES:
        raise Undescribed(f"its cell {inner.cls.__name__} is not one that is known")
    return inner
