"""Functions of users as activations: found by running them to pass neurons, or not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn


def wave(x):
    return ops.sin(x) + 0.1 * x


@keras.saving.register_keras_serializable("activations")
def registered(x):
    return ops.maximum(x, 0.3 * x)


def own_softmax(x):
    exponential = ops.exp(x - ops.max(x, -1, keepdims=True))
    return exponential / ops.sum(exponential, -1, keepdims=True)


def backwards(x):
    return ops.flip(x, -1)


def swapped(x):
    return ops.concatenate([x[..., 3:], x[..., :3]], -1)


def of_six(x):
    return x * np.linspace(1, 2, 6, dtype="float32")


def leaves_keras(x):
    return ops.convert_to_tensor(np.tanh(ops.convert_to_numpy(x)))


def scaled(factor):
    return lambda x: factor * ops.tanh(x)


LAYERS = {
    "dense": lambda f: layers.Dense(6, activation=f, name="own"),
    "conv": lambda f: layers.Conv1D(6, 2, activation=f, name="own"),
    "einsum": lambda f: layers.EinsumDense(
        "btc,cd->btd", (None, 6), activation=f, name="own"
    ),
    "lstm": lambda f: layers.LSTM(
        6, activation=f, recurrent_activation=f, return_sequences=True, name="own"
    ),
    "time": lambda f: layers.TimeDistributed(layers.Dense(6, activation=f), name="own"),
    "activation": lambda f: keras.Sequential(
        [layers.Dense(6), layers.Activation(f)], name="own"
    ),
}


def around(layer, shape=(4, 5)) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Dense(2, name="after")(layer(inputs)))


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    "function", [wave, registered, scaled(0.7)], ids=["plain", "registered", "lambda"]
)
def test_function_that_passes_neurons_lets_the_layer_be_resized(kind, function, size):
    model = around(LAYERS[kind](function))
    plan = kn.plan(model, "own", size)
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    assert plan.apply().get_layer("own").output.shape[-1] == size


def test_function_over_all_neurons_is_announced():
    plan = kn.plan(around(LAYERS["dense"](own_softmax)), "own", 4)
    assert not plan.exact
    assert "'own'" in " ".join(plan.notes)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (backwards, "'own/activation/flip"),
        (swapped, "its activation moves neurons to other places"),
        (of_six, "a size inside the call of 'own/activation'"),
        (leaves_keras, "its activation cannot be understood"),
    ],
)
def test_other_functions_freeze_the_layer_and_say_why(function, match):
    inputs = keras.Input((5,))
    layer = layers.Dense(6, name="own")
    x = layer(inputs)
    layer.activation = function
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(kn.InfeasibleError, match=match):
        kn.plan(model, "own", 4)
