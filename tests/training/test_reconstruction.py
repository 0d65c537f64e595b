"""Layers behind a cut learn from data to give what they gave."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from contract import run
from digits import data, loss, network
from keras import layers
from models import randomize

import keras_nas as kn

RNG = np.random.default_rng(0)


def twins(*behind, shape=(4,), first=None):
    """Layers of which every second neuron is twice the one before it."""
    source = keras.Input(shape, name="in")
    make = first or layers.Dense
    x = make(6, name="a")(source) if first is None else first(source)
    for layer in behind:
        x = layer(x)
    model = randomize(keras.Model(source, x))
    for variable in model.get_layer("a").weights:
        values = keras.ops.convert_to_numpy(variable)
        values[..., 1::2] = 2 * values[..., ::2]
        variable.assign(values)
    return model


def cut(model, **keywords):
    """A plan that drops the second neuron of each pair."""
    return kn.plan(model, "a", 3, importance={"a": [1, 0] * 3}, **keywords)


EXACT = {
    "dense": lambda: twins(layers.Dense(3, activation="relu", name="b")),
    "without_bias": lambda: twins(layers.Dense(3, use_bias=False, name="b")),
    "one_after_the_other": lambda: twins(
        layers.Dense(5, name="b"), layers.Dense(3, name="c")
    ),
    "convolution": lambda: twins(
        layers.Conv1D(3, 3, padding="same", strides=2, name="b"), shape=(7, 4)
    ),
    "dilated": lambda: twins(
        layers.Conv1D(3, 2, dilation_rate=2, padding="causal", name="b"), shape=(7, 4)
    ),
    "image": lambda: twins(
        layers.Conv2D(3, (2, 3), activation="tanh", name="b"), shape=(4, 5, 4)
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_function_is_recovered_when_kept_neurons_say_what_dropped_ones_said(name):
    model = EXACT[name]()
    shape = model.input.shape[1:]
    x = RNG.normal(size=(60, *shape)).astype("f")
    plan = cut(model)
    before = model.get_weights()
    new = kn.reconstruct(plan, x, ridge=1e-8)
    (old,), (found,), (plain,) = (run(m, x) for m in (model, new, plan.apply()))
    np.testing.assert_allclose(found, old, rtol=1e-3, atol=1e-3)
    assert np.abs(plain - old).max() > 0.1
    for value, same in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, same)


def test_weights_are_those_of_least_squares_when_it_cannot_be_exact():
    source = keras.Input((5,), name="in")
    x = layers.Dense(6, activation="tanh", name="a")(source)
    model = randomize(keras.Model(source, layers.Dense(3, name="b")(x)))
    x = RNG.normal(size=(80, 5)).astype("f")
    plan = kn.plan(model, "a", 4)
    new = kn.reconstruct(plan, x, ridge=0.0, batch_size=33)
    read = run(keras.Model(new.input, new.get_layer("a").output), x)[0]
    columns = np.concatenate([read, np.ones((80, 1))], axis=1).astype("float64")
    best = np.linalg.lstsq(columns, run(model, x)[0].astype("float64"), rcond=None)[0]
    kernel, bias = map(keras.ops.convert_to_numpy, new.get_layer("b").weights)
    np.testing.assert_allclose(kernel, best[:-1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bias, best[-1], rtol=1e-3, atol=1e-4)


def test_large_ridge_leaves_kernels_as_they_are():
    model = EXACT["dense"]()
    x = RNG.normal(size=(60, 4)).astype("f")
    plan = cut(model)
    new = kn.reconstruct(plan, x, ridge=1e9)
    kernel, old = (m.get_layer("b").kernel for m in (new, plan.apply()))
    np.testing.assert_allclose(
        *map(keras.ops.convert_to_numpy, (kernel, old)), rtol=1e-5, atol=1e-6
    )


def test_layers_that_cannot_be_taken_apart_stay_as_the_plan_leaves_them():
    model = twins(layers.LSTM(3, name="b"), shape=(5, 4))
    x = RNG.normal(size=(8, 5, 4)).astype("f")
    plan = cut(model)
    for old, new in zip(
        plan.apply().get_weights(), kn.reconstruct(plan, x).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(old, new)


def test_model_that_was_trained_since_keeps_its_other_weights():
    model = EXACT["one_after_the_other"]()
    x = RNG.normal(size=(60, 4)).astype("f")
    plan = cut(model)
    trained = plan.apply()
    trained.get_layer("a").bias.assign([9.0, 8.0, 7.0])
    new = kn.reconstruct(plan, x, model=trained)
    bias = keras.ops.convert_to_numpy(new.get_layer("a").bias)
    np.testing.assert_array_equal(bias, [9.0, 8.0, 7.0])
    assert not np.allclose(
        keras.ops.convert_to_numpy(new.get_layer("b").bias),
        keras.ops.convert_to_numpy(trained.get_layer("b").bias),
    )


def test_loss_falls_on_digits_when_weights_are_reconstructed():
    plan = kn.plan_prune(network(), sparsity=0.4)
    new = kn.reconstruct(plan, data()[0][:400], batch_size=200)
    assert loss(new) < 0.5 * loss(plan.apply())


def test_loss_falls_on_digits_when_constants_are_folded():
    x = data()[0][:400]
    keywords = {"sparsity": 0.3, "importance": "l1"}
    plain = loss(kn.prune(network(), **keywords))
    folded = kn.prune(network(), fold_constants=True, data=x, **keywords)
    assert loss(folded) < plain


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"plan": None}, "does not say which neurons were dropped"),
        ({"ridge": -1}, "ridge must be a number"),
        ({"ridge": float("nan")}, "ridge must be a number"),
        ({"x": np.ones((3, 9), "f")}, "do not fit the model"),
        ({"x": np.ones((0, 4), "f")}, "0.* samples"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"model": None}, "is not what this plan leads to"),
    ],
)
def test_what_makes_no_sense_is_refused(change, match):
    model = EXACT["dense"]()
    given = {"plan": cut(model), "x": np.ones((3, 4), "f"), **change}
    for name in {"plan", "model"} & set(change):
        given[name] = model
    with pytest.raises(kn.InvalidRequestError, match=match):
        kn.reconstruct(**given)
