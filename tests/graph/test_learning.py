"""Layers without a rule: what is learnt from their `call`, and what is not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.graph import analyze


class Swish(layers.Layer):
    def call(self, x):
        return x * ops.sigmoid(x)


class Halves(layers.Layer):
    def call(self, x):
        first, second = ops.split(x, 2, -1)
        return first * second


class FirstThree(layers.Layer):
    def call(self, x):
        return x[..., :3]


class Scaled(layers.Layer):
    def call(self, x):
        return ops.multiply(x, np.linspace(1, 2, 6, dtype="float32"))


class Branching(layers.Layer):
    """Does another thing to narrow tensors."""

    def call(self, x):
        return x * (2.0 if x.shape[-1] > 5 else 1.0)


class Forgetful(layers.Layer):
    """Gives other numbers every time, and Keras knows no seed of it."""

    def call(self, x):
        return x + float(np.random.default_rng().normal())


class Soft(layers.Layer):
    def call(self, x):
        return ops.softmax(x)


class Sum(layers.Layer):
    def call(self, tensors):
        return tensors[0] + tensors[1]


class Opaque(layers.Layer):
    """Leaves Keras on the way."""

    def call(self, x):
        return ops.convert_to_tensor(ops.convert_to_numpy(x) * 2)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape)


def around(layer, shape=(4, 5)) -> keras.Model:
    inputs = keras.Input(shape)
    x = layers.Dense(6, activation="tanh", name="before")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="after")(layer(x)))


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize(
    "make",
    [
        Swish,
        lambda: layers.Lambda(lambda x: x * 2 + 1),
        lambda: layers.Lambda(lambda x: ops.concatenate([x, ops.flip(x, 1)], -1)),
    ],
    ids=["swish", "lambda", "concatenating"],
)
def test_size_goes_through_a_layer_that_nobody_described(make, size):
    model = around(make())
    plan = kn.plan(model, "before", size)
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    assert plan.apply().get_layer("before").units == size


def test_halves_keep_together():
    model = around(Halves())
    plan = kn.plan(model, "before", 4)
    first, second = np.split(plan.keep["before"], 2)
    np.testing.assert_array_equal(first + 3, second)
    assert kn.verify(model, plan).is_equal
    with pytest.raises(kn.InfeasibleError):
        kn.plan(model, "before", 5)


def test_layer_of_two_tensors_ties_them():
    inputs = keras.Input((5,))
    tensors = [layers.Dense(6, name=name)(inputs) for name in ("a", "b")]
    model = keras.Model(inputs, layers.Dense(2)(Sum()(tensors)))
    plan = kn.plan(model, "a", 4)
    assert plan.sizes["b"] == 4
    np.testing.assert_array_equal(plan.keep["a"], plan.keep["b"])
    assert kn.verify(model, plan).is_equal


def test_slice_by_a_number_in_the_code_keeps_its_part():
    model = around(FirstThree())
    plan = kn.plan(model, "before", 4)
    assert set(plan.keep["before"][:3].tolist()) == {0, 1, 2}
    assert kn.verify(model, plan).is_equal


@pytest.mark.parametrize("make", [Scaled, Branching])
def test_size_inside_the_call_is_found_and_frozen(make):
    with pytest.raises(kn.InfeasibleError, match="a size inside the call of"):
        kn.plan(around(make()), "before", 4)


def test_mixing_is_announced():
    plan = kn.plan(around(Soft()), "before", 4)
    assert not plan.exact and "Softmax" in " ".join(plan.notes)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (Forgetful, "running it did not help"),
        (Opaque, "cannot be traced"),
    ],
)
def test_what_cannot_be_learnt_stays_frozen_and_says_why(make, match):
    with pytest.raises(kn.InfeasibleError, match=match):
        kn.plan(around(make()), "before", 4)


def test_learning_leaves_the_layer_and_the_names_of_keras_alone():
    layer = Swish()
    model = around(layer)
    calls = len(layer._inbound_nodes)
    keras.utils.clear_session(free_memory=False)
    analyze(kn.Graph.from_model(model))
    assert len(layer._inbound_nodes) == calls
    assert layers.Dense(1).name == "dense"
    assert ops.relu(keras.KerasTensor((1, 2))).shape == (1, 2)
