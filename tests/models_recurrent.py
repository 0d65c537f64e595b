"""Tiny models with recurrent layers, their cells, and wrappers of layers."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers
from models import add, dense, through

STEPS = (4, 3)


def after(x):
    """A head of two neurons."""
    return layers.Dense(2, name="after")(x)


def _encoder_decoder(encoder: Callable, decoder: Callable) -> keras.Model:
    """The states of one layer are where another one starts."""
    source, target = keras.Input(STEPS), keras.Input((3, 2))
    _, *states = encoder()(source)
    return keras.Model([source, target], after(decoder()(target, initial_state=states)))


def _residual() -> keras.Model:
    """Two recurrent layers, each added to what it reads."""
    inputs = keras.Input(STEPS)
    x = dense(4)(inputs)
    for number in range(2):
        y = layers.LSTM(4, return_sequences=True, name=f"lstm_{number}")(x)
        x = layers.Add(name=f"add_{number}")([x, y])
    return keras.Model(inputs, after(x))


def _network() -> keras.Model:
    """A model with a residual, an operation and a width of its own."""
    inputs = keras.Input((4, 4, 6))
    x = layers.Conv2D(4, 2, padding="same", name="first")(inputs)
    x = layers.Add()([x, layers.Conv2D(4, 1, name="second")(x)]) * 0.5
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def _all_outputs(layer: layers.Layer, shape=STEPS, *, states=None) -> keras.Model:
    """A model with every output of a layer among its own."""
    inputs = keras.Input(shape)
    x = dense(4)(inputs)
    outputs = layer(x) if states is None else layer(x, initial_state=states(x))
    heads = [layers.Dense(2)(y) for y in keras.tree.flatten(outputs)]
    return keras.Model(inputs, heads)


def _cell(make: Callable, *sizes: int, nested=None) -> keras.Model:
    """A cell that is called as a layer, with states made by dense layers."""
    inputs = keras.Input((3,))
    states = [dense(size, f"state_{n}")(inputs) for n, size in enumerate(sizes)]
    outputs = make()(dense(4)(inputs), states if nested is None else nested(states))
    joined = layers.Concatenate()(keras.tree.flatten(outputs))
    return keras.Model(inputs, after(joined))


def _states_of(*sizes: int) -> Callable:
    """Returns a function that makes states from the first step."""
    return lambda x: [dense(n, f"state_{i}")(x[:, 0]) for i, n in enumerate(sizes)]


def _masked(layer: layers.Layer) -> keras.Model:
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(6, 4, mask_zero=True, name="embedding")(inputs)
    return keras.Model(inputs, after(layer(x)))


def _stateful(layer: layers.Layer) -> keras.Model:
    inputs = keras.Input(batch_shape=(3, *STEPS))
    return keras.Model(inputs, after(layer(dense(4)(inputs))))


def _fixed_states() -> keras.Model:
    """States that are constants."""
    inputs = keras.Input(batch_shape=(3, *STEPS))
    state = [[0.1, 0.2, 0.3, 0.4]] * 3
    state = keras.ops.convert_to_numpy(keras.ops.array(state, "float32"))
    x = layers.GRU(4, name="gru")(inputs, initial_state=state)
    return keras.Model(inputs, after(x))


def _add_layers(prefix: str, shape, makers: dict[str, Callable]) -> None:
    """Adds one model that goes through a single layer for each maker."""
    for name, make in makers.items():
        add(f"{prefix}{name}", lambda make=make: through(shape, make()))


def _lstm(units: int = 4, **settings) -> layers.Layer:
    """The layer that most of these models are about."""
    return layers.LSTM(units, **settings)


_add_layers(
    "recurrent_",
    STEPS,
    {
        "simple": lambda: layers.SimpleRNN(4, return_sequences=True),
        "simple_relu": lambda: layers.SimpleRNN(4, activation="relu", use_bias=False),
        "gru": lambda: layers.GRU(4, return_sequences=True, dropout=0.2),
        "gru_reset_before": lambda: layers.GRU(
            4, reset_after=False, go_backwards=True, recurrent_activation="hard_sigmoid"
        ),
        "gru_softmax": lambda: layers.GRU(4, activation="softmax"),
        "lstm": lambda: _lstm(return_sequences=True, recurrent_dropout=0.2),
        "lstm_unrolled": lambda: _lstm(unroll=True, unit_forget_bias=False),
        "cell_over_time": lambda: layers.RNN(layers.LSTMCell(4)),
        "stacked_cells_over_time": lambda: layers.RNN(
            [layers.LSTMCell(4), layers.SimpleRNNCell(3), layers.GRUCell(5)],
            return_sequences=True,
        ),
    },
)
add(
    "recurrent_returning_states",
    lambda: _all_outputs(_lstm(return_state=True, return_sequences=True)),
)
add(
    "recurrent_stacked_returning_states",
    lambda: _all_outputs(
        layers.RNN([layers.SimpleRNNCell(4), layers.GRUCell(3)], return_state=True),
        states=_states_of(4, 3),
    ),
)
add("recurrent_residual", _residual)
add(
    "recurrent_encoder_decoder",
    lambda: _encoder_decoder(
        lambda: _lstm(return_state=True, name="encoder"),
        lambda: _lstm(return_sequences=True, name="decoder"),
    ),
)
add("recurrent_fixed_states", _fixed_states)
add("recurrent_masked", lambda: _masked(_lstm(return_sequences=True)))
add("recurrent_masked_both_ways", lambda: _masked(layers.Bidirectional(_lstm())))
add(
    "recurrent_stateful",
    lambda: _stateful(_lstm(stateful=True)),
    # Keras itself cannot: it overwrites states that PyTorch needs for the gradient.
    trains=keras.backend.backend() != "torch",
)
add("cell_simple", lambda: _cell(lambda: layers.SimpleRNNCell(4), 4))
add("cell_gru", lambda: _cell(lambda: layers.GRUCell(4), 4))
add("cell_lstm", lambda: _cell(lambda: layers.LSTMCell(4), 4, 4))
add(
    "cells_stacked",
    lambda: _cell(
        lambda: layers.StackedRNNCells([layers.LSTMCell(4), layers.GRUCell(3)]),
        *(4, 4, 3),
        nested=lambda states: [states[:2], states[2:]],
    ),
)

_add_layers(
    "recurrent_conv_",
    (3, 4, 4, 2),
    {
        "2d": lambda: layers.ConvLSTM2D(3, 2, return_sequences=True),
        "2d_last": lambda: layers.ConvLSTM2D(3, 2, padding="same", strides=2),
    },
)
add("recurrent_conv_1d", lambda: through((3, 4, 2), layers.ConvLSTM1D(3, 2)))
add(
    "recurrent_conv_3d",
    lambda: through((2, 3, 3, 3, 2), layers.ConvLSTM3D(3, 2, use_bias=False)),
)
add(
    "recurrent_conv_states",
    lambda: _all_outputs(
        layers.ConvLSTM1D(3, 2, return_state=True, padding="same"), (3, 4, 2)
    ),
)

_add_layers(
    "bidirectional_",
    STEPS,
    {
        "concat": lambda: layers.Bidirectional(_lstm(return_sequences=True)),
        "sum": lambda: layers.Bidirectional(_lstm(), merge_mode="sum"),
        "mul": lambda: layers.Bidirectional(layers.GRU(4), merge_mode="mul"),
        "ave": lambda: layers.Bidirectional(layers.SimpleRNN(4), merge_mode="ave"),
        "two_layers": lambda: layers.Bidirectional(
            _lstm(), backward_layer=layers.GRU(4, go_backwards=True)
        ),
        "cells": lambda: layers.Bidirectional(
            layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)])
        ),
    },
)
for _mode in ("concat", "sum"):
    add(
        f"bidirectional_{_mode}_states",
        lambda mode=_mode: _all_outputs(
            layers.Bidirectional(_lstm(return_state=True), merge_mode=mode),
            states=_states_of(4, 4, 4, 4),
        ),
    )
add(
    "bidirectional_apart",
    lambda: _all_outputs(
        layers.Bidirectional(_lstm(return_sequences=True), merge_mode=None)
    ),
)
add(
    "bidirectional_conv",
    lambda: through((3, 4, 2), layers.Bidirectional(layers.ConvLSTM1D(3, 2))),
)

_add_layers(
    "each_step_",
    STEPS,
    {
        "dense": lambda: layers.TimeDistributed(dense(4, "inner")),
        "norm": lambda: layers.TimeDistributed(layers.BatchNormalization()),
        "activation": lambda: layers.TimeDistributed(layers.ReLU()),
    },
)
_add_layers(
    "each_step_",
    (3, 4, 4, 2),
    {
        "conv": lambda: layers.TimeDistributed(layers.Conv2D(4, 2, groups=2)),
        "pooling": lambda: layers.TimeDistributed(layers.GlobalAveragePooling2D()),
        "flatten": lambda: layers.TimeDistributed(layers.Flatten()),
        "network": lambda: layers.TimeDistributed(_network()),
    },
)
add(
    "each_step_model",
    lambda: through(
        (3, 4, 4, 2),
        layers.TimeDistributed(
            keras.Sequential(
                [
                    keras.Input((4, 4, 6)),
                    layers.Conv2D(4, 3, name="conv"),
                    layers.BatchNormalization(name="norm"),
                    layers.Flatten(name="flatten"),
                    dense(3, "inner"),
                ],
                name="model",
            )
        ),
    ),
)
add(
    "each_step_recurrent",
    lambda: through((2, 3, 2), layers.TimeDistributed(layers.Bidirectional(_lstm(3)))),
)
_add_layers(
    "spectral_",
    (4, 4, 3),
    {
        "dense": lambda: layers.SpectralNormalization(dense(4, "inner")),
        "conv": lambda: layers.SpectralNormalization(layers.Conv2D(4, 2, groups=2)),
        "transposed": lambda: layers.SpectralNormalization(
            layers.Conv2DTranspose(4, 2)
        ),
        "depthwise": lambda: layers.SpectralNormalization(layers.DepthwiseConv2D(2)),
    },
)
