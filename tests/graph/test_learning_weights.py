"""Layers with weights and without a rule: which of their weights follow the input."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.graph import analyze
from keras_nas.graph.trials import Trials


class Factor(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight((), name="factor", initializer="ones")

    def call(self, x):
        return x * self.factor


class Scale(layers.Layer):
    """A factor for each neuron; as wide as its input."""

    def build(self, shape):
        self.gamma = self.add_weight((shape[-1],), name="gamma", initializer="ones")

    def call(self, x):
        return x * self.gamma

    def compute_output_shape(self, shape):
        return shape


class ScaleReshaped(Scale):
    """Does something to the weight alone, and has it first."""

    def call(self, x):
        return ops.reshape(self.gamma, (1, 1, -1)) * x


class ScaleBefore(Scale):
    def call(self, x):
        return self.gamma * x


class ScaleOfSetting(layers.Layer):
    """Was told how wide it is."""

    def __init__(self, size=6, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, shape):
        self.gamma = self.add_weight((self.size,), name="gamma", initializer="ones")

    def call(self, x):
        return x * self.gamma

    def get_config(self):
        return {**super().get_config(), "size": self.size}


class Linear(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 6), name="kernel")
        self.bias = self.add_weight((6,), name="bias", initializer="zeros")

    def call(self, x):
        return ops.matmul(x, self.kernel) + self.bias

    def compute_output_shape(self, shape):
        return (*shape[:-1], 6)


class Parts(layers.Layer):
    """Weights in a list and in a dict."""

    def build(self, shape):
        add = self.add_weight
        self.many = [add((shape[-1],), name=f"many_{n}") for n in range(2)]
        self.named = {"shift": add((shape[-1],), name="shift")}

    def call(self, x):
        return x * self.many[0] + x * self.many[1] + self.named["shift"]


class Block(layers.Layer):
    """Two dense layers and a residual, as wide as the input."""

    def build(self, shape):
        self.up = layers.Dense(8, activation="gelu")
        self.down = layers.Dense(shape[-1])
        self.up.build(shape)
        self.down.build((*shape[:-1], 8))

    def call(self, x):
        return x + self.down(self.up(x))

    def compute_output_shape(self, shape):
        return shape


class BlockOfSetting(Block):
    def build(self, shape):
        self.up = layers.Dense(8, activation="gelu")
        self.down = layers.Dense(6)
        self.up.build(shape)
        self.down.build((*shape[:-1], 8))


class NormedBlock(Block):
    def build(self, shape):
        super().build(shape)
        self.norm = layers.LayerNormalization()
        self.norm.build(shape)

    def call(self, x):
        return x + self.down(self.up(self.norm(x)))


class BatchNormedBlock(Block):
    def build(self, shape):
        super().build(shape)
        self.norm = layers.BatchNormalization()
        self.norm.build(shape)

    def call(self, x):
        return ops.relu(self.norm(x)) + self.down(self.up(x))


class Twice(Block):
    """Calls one layer two times."""

    def call(self, x):
        y = x + self.down(self.up(x))
        return y + self.down(self.up(y))


class Attending(layers.Layer):
    def build(self, shape):
        self.attention = layers.MultiHeadAttention(2, 3)
        self.attention.build(shape, shape)

    def call(self, x):
        return x + self.attention(x, x)


class Counting(Scale):
    """Has a weight of whole numbers, and one that draws random ones."""

    def build(self, shape):
        super().build(shape)
        self.count = self.add_weight((), dtype="int32", trainable=False, name="count")
        self.dropout = layers.Dropout(0.5)

    def call(self, x):
        return self.dropout(super().call(x))


FOLLOWING = [
    Counting,
    Factor,
    Scale,
    ScaleReshaped,
    ScaleBefore,
    Linear,
    Parts,
    Block,
    BatchNormedBlock,
    Twice,
    Attending,
]


def around(layer) -> keras.Model:
    inputs = keras.Input((4, 5))
    x = layers.Dense(6, activation="tanh", name="before")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="after")(layer(x)))
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if "float" in variable.dtype:
            variable.assign(rng.uniform(0.2, 0.9, variable.shape))
    return model


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize("cls", FOLLOWING)
def test_weights_that_follow_the_input_are_sliced_with_it(cls, size):
    model = around(cls(name="own"))
    plan = kn.plan(model, "before", size)
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    new = plan.apply()
    assert new.get_layer("before").units == size
    assert len(new.variables) == len(model.variables)


def test_layer_that_computes_in_half_precision_is_learnt_too():
    model = around(Scale(name="own", dtype="mixed_bfloat16"))
    plan = kn.plan(model, "before", 4)
    assert plan.exact
    assert plan.apply().get_layer("own").gamma.shape == (4,)


def test_kept_weights_are_those_of_the_kept_neurons():
    model = around(Scale(name="own"))
    plan = kn.plan(model, "before", 8)
    gamma = plan.apply().get_layer("own").gamma.numpy()
    keep = plan.keep["before"]
    old = model.get_layer("own").gamma.numpy()
    np.testing.assert_array_equal(gamma[keep >= 0], old[keep[keep >= 0]])
    # As a new layer has it.
    np.testing.assert_array_equal(gamma[keep < 0], 1)


@pytest.mark.parametrize("cls", [ScaleOfSetting, BlockOfSetting])
def test_size_in_a_setting_is_frozen_and_the_way_out_is_named(cls):
    with pytest.raises(kn.InfeasibleError, match=r"'own', for which .*register_rule"):
        kn.plan(around(cls(name="own")), "before", 4)


def test_mixing_inside_is_announced():
    model = around(NormedBlock(name="own"))
    plan = kn.plan(model, "before", 4)
    assert not plan.exact
    assert plan.apply().get_layer("own").norm.gamma.shape == (4,)


def test_like_layers_are_tried_once(monkeypatch):
    tried = []
    failing = Trials.failing

    def counted(self, atoms):
        tried.append(self)
        return failing(self, atoms)

    monkeypatch.setattr(Trials, "failing", counted)
    inputs = keras.Input((4, 5))
    x = layers.Dense(6, name="before")(inputs)
    for _ in range(5):
        x = Block()(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    analyze(kn.Graph.from_model(model))
    assert len(tried) == 1
    plan = kn.plan(model, "before", 4)
    assert plan.exact and kn.verify(model, plan).is_equal


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize("cls", [Scale, Linear, Block])
def test_layer_inside_a_wrapper_is_learnt_as_well(cls, size):
    model = around(layers.TimeDistributed(cls(name="inner"), name="own"))
    plan = kn.plan(model, "before", size)
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    assert len(plan.apply().variables) == len(model.variables)


class Cell(layers.Layer):
    """A recurrent cell that no rule describes."""

    state_size = output_size = 3

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 3), name="kernel")
        self.back = self.add_weight((3, 3), name="back")

    def call(self, x, states):
        y = ops.tanh(ops.matmul(x, self.kernel) + ops.matmul(states[0], self.back))
        return y, [y]


def test_cell_without_a_rule_reads_any_size_and_keeps_its_own():
    model = around(layers.RNN(Cell(), name="own"))
    plan = kn.plan(model, "before", 4)
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    with pytest.raises(kn.InfeasibleError, match="'own/cell', for which"):
        kn.plan(model, "own", 2)
