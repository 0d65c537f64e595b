"""Recurrent layers and wrappers: which numbers stay, which are new, what is tied."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn

STEPS = (4, 3)


def over(layer: layers.Layer, shape=STEPS) -> keras.Model:
    """A model of one layer and a head."""
    inputs = keras.Input(shape)
    x = keras.tree.flatten(layer(inputs))[0]
    return filled(keras.Model(inputs, layers.Dense(2, name="head")(x)))


def filled(model: keras.Model) -> keras.Model:
    """Gives all weights numbers that are all different."""
    start = 1
    for variable in model.weights:
        if "float" in variable.dtype:
            stop = start + int(np.prod(variable.shape))
            numbers = np.arange(start, stop, dtype="float32")
            variable.assign(0.001 * numbers.reshape(variable.shape))
            start = stop
    return model


def arrays(layer: layers.Layer) -> dict[str, np.ndarray]:
    """Last part of the name of each weight -> value."""
    return {
        weight.path.rsplit("/", 1)[-1]: ops.convert_to_numpy(weight)
        for weight in layer.weights
    }


def favour(size: int, *kept: int) -> np.ndarray:
    """Importance that wants some neurons and no others."""
    return np.isin(np.arange(size), kept).astype("float64")


GATED = [
    (lambda: layers.SimpleRNN(4, name="layer"), 1),
    (lambda: layers.GRU(4, name="layer"), 3),
    (lambda: layers.GRU(4, reset_after=False, name="layer"), 3),
    (lambda: layers.LSTM(4, name="layer"), 4),
    (lambda: layers.RNN(layers.LSTMCell(4), name="layer"), 4),
    (lambda: layers.TimeDistributed(layers.LSTM(4), name="layer"), 4),
]


@pytest.mark.parametrize(("make", "gates"), GATED)
def test_same_units_stay_in_every_gate_when_shrinking(make, gates):
    layer = make()
    shape = (2, *STEPS) if isinstance(layer, layers.TimeDistributed) else STEPS
    model = over(layer, shape)
    new = kn.resize(model, "layer", 2, importance={"layer": favour(4, 1, 3)})
    old, found = arrays(layer), arrays(new.get_layer("layer"))
    kept = [4 * gate + unit for gate in range(gates) for unit in (1, 3)]
    np.testing.assert_array_equal(found["kernel"], old["kernel"][:, kept])
    np.testing.assert_array_equal(found["bias"], old["bias"][..., kept])
    recurrent = old["recurrent_kernel"][[1, 3]][:, kept]
    np.testing.assert_array_equal(found["recurrent_kernel"], recurrent)


@pytest.mark.parametrize(("make", "gates"), GATED)
def test_new_units_are_not_read_when_growing(make, gates):
    layer = make()
    shape = (2, *STEPS) if isinstance(layer, layers.TimeDistributed) else STEPS
    new = kn.resize(over(layer, shape), "layer", 6)
    old, found = arrays(layer), arrays(new.get_layer("layer"))
    kernel = found["recurrent_kernel"].reshape(6, gates, 6)
    before = old["recurrent_kernel"].reshape(4, gates, 4)
    np.testing.assert_array_equal(kernel[:4, :, :4], before)
    assert (kernel[4:] == 0).all()
    assert (kernel[:4, :, 4:] != 0).all()


@pytest.mark.parametrize("is_nested", [False, True])
def test_new_units_come_from_the_initializers_of_the_layer(is_nested):
    layer = layers.LSTM(
        4,
        kernel_initializer="ones",
        recurrent_initializer=keras.initializers.Constant(7),
    )
    layer = layers.Bidirectional(layer, name="layer") if is_nested else layer
    layer.name = "layer"
    new = kn.resize(over(layer), "layer", 12 if is_nested else 6)
    found = arrays(new.get_layer("layer"))
    np.testing.assert_array_equal(found["kernel"].reshape(3, 4, 6)[:, :, 4:], 1)
    recurrent = found["recurrent_kernel"].reshape(6, 4, 6)
    np.testing.assert_array_equal(recurrent[:4, :, 4:], 7)
    # The second gate is the one that forgets; Keras starts its bias at one.
    expected = np.zeros((4, 2))
    expected[1] = 1
    np.testing.assert_array_equal(found["bias"].reshape(4, 6)[:, 4:], expected)


def test_new_biases_are_zero_when_units_need_not_remember():
    layer = layers.LSTM(4, unit_forget_bias=False, name="layer")
    found = arrays(kn.resize(over(layer), "layer", 6).get_layer("layer"))
    np.testing.assert_array_equal(found["bias"].reshape(4, 6)[:, 4:], 0)


def test_states_keep_the_same_units_as_the_layer_that_they_start():
    source, target = keras.Input(STEPS), keras.Input((3, 2))
    _, h, c = layers.LSTM(4, return_state=True, name="encoder")(source)
    x = layers.LSTM(4, name="decoder")(target, initial_state=[h, c])
    model = filled(keras.Model([source, target], layers.Dense(2, name="head")(x)))
    plan = kn.plan(model, "decoder", 2, importance={"encoder": favour(4, 0, 3)})
    assert plan.keep["encoder"].tolist() == plan.keep["decoder"].tolist() == [0, 3]
    assert kn.verify(model, plan).is_equal


def test_first_half_of_the_states_starts_the_forward_layer():
    inputs = keras.Input(STEPS)
    states = [layers.Dense(4, name=f"state_{n}")(inputs[:, 0]) for n in range(4)]
    layer = layers.Bidirectional(layers.LSTM(4), name="layer")
    x = layers.Dense(2, name="head")(layer(inputs, initial_state=states))
    model = filled(keras.Model(inputs, x))
    importance = {"layer": favour(8, 0, 1, 6, 7)}
    plan = kn.plan(model, "layer", 4, importance=importance)
    assert plan.keep["layer"].tolist() == [0, 1, 6, 7]
    kept = [plan.keep[f"state_{n}"].tolist() for n in range(4)]
    assert kept == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert kn.verify(model, plan).is_equal


def test_constant_states_are_sliced():
    inputs = keras.Input(batch_shape=(2, *STEPS))
    state = np.arange(8, dtype="float32").reshape(2, 4)
    x = layers.GRU(4, name="layer")(inputs, initial_state=state)
    model = filled(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    plan = kn.plan(model, "layer", 3, importance={"layer": favour(4, 0, 2, 3)})
    arguments = plan.apply_to_graph().body.vertices["layer"].kwargs
    np.testing.assert_array_equal(arguments["initial_state"], state[:, [0, 2, 3]])
    assert kn.verify(model, plan).is_equal


def test_odd_width_is_infeasible_when_two_directions_stand_side_by_side():
    model = over(layers.Bidirectional(layers.GRU(4), name="layer"))
    with pytest.raises(kn.InfeasibleError, match="cannot have 7") as caught:
        kn.plan(model, "layer", 7)
    assert caught.value.nearest == {"layer": (6, 8)}


def test_two_directions_choose_their_units_apart_when_not_merged_by_unit():
    model = over(layers.Bidirectional(layers.GRU(4), name="layer"))
    importance = {"layer": favour(8, 0, 3, 5, 6)}
    plan = kn.plan(model, {("layer", "forward"): 2}, importance=importance)
    assert plan.keep["layer", "forward"].tolist() == [0, 3]
    assert plan.keep["layer", "backward"].tolist() == [1, 2]
    new = plan.apply().get_layer("layer")
    assert new.forward_layer.units == new.backward_layer.units == 2


@pytest.mark.parametrize("mode", ["sum", "mul", "ave"])
def test_two_directions_share_their_units_when_merged_by_unit(mode):
    layer = layers.Bidirectional(layers.GRU(4), merge_mode=mode, name="layer")
    model = over(layer)
    plan = kn.plan(model, "layer", 3, importance={"layer": favour(4, 0, 1, 3)})
    assert plan.keep["layer"].tolist() == [0, 1, 3]
    assert kn.verify(model, plan).is_equal
    new = plan.apply().get_layer("layer")
    assert new.forward_layer.units == new.backward_layer.units == 3


def test_each_stacked_cell_has_a_width_of_its_own():
    cells = [layers.LSTMCell(4), layers.GRUCell(5), layers.SimpleRNNCell(6)]
    model = over(layers.RNN(cells, name="layer"))
    plan = kn.plan(model, {("layer", "cells/1"): 3, "layer": 7})
    assert dict(plan.sizes)["layer", "cells/0"] == 4
    new = plan.apply().get_layer("layer")
    assert [cell.units for cell in new.cell.cells] == [4, 3, 7]
    assert kn.verify(model, plan).is_equal


def test_time_passes_a_layer_that_is_applied_to_each_step():
    inputs = keras.Input(STEPS)
    x = layers.Permute((2, 1))(layers.Dense(6, name="before")(inputs))
    x = layers.TimeDistributed(layers.Dense(5), name="each")(x)
    x = layers.Dense(2, name="head")(layers.Flatten()(x))
    model = filled(keras.Model(inputs, x))
    plan = kn.plan(model, {"before": 4, "each": 7})
    assert kn.verify(model, plan).is_equal
    assert plan.apply().get_layer("each").layer.units == 7


def test_time_is_fixed_when_a_recurrent_layer_goes_along_it():
    inputs = keras.Input(STEPS)
    x = layers.Permute((2, 1))(layers.Dense(6, name="before")(inputs))
    x = layers.Dense(2, name="head")(layers.LSTM(4, name="layer")(x))
    with pytest.raises(kn.InfeasibleError, match="goes along it"):
        kn.plan(keras.Model(inputs, x), "before", 4)


def test_layers_of_a_model_for_each_step_have_widths_of_their_own():
    inner = [
        keras.Input((3,)),
        layers.Dense(4, name="first"),
        layers.BatchNormalization(name="norm"),
        layers.Dense(5, name="second"),
    ]
    layer = layers.TimeDistributed(keras.Sequential(inner), name="layer")
    inputs = keras.Input(STEPS)
    x = layer(layers.Dense(3, name="before")(inputs))
    model = filled(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    plan = kn.plan(model, {("layer", "first"): 6, "layer": 3, "before": 2})
    assert kn.verify(model, plan).is_equal
    new = plan.apply().get_layer("layer").layer
    assert [new.get_layer(name).units for name in ("first", "second")] == [6, 3]
    assert new.input_shape == (None, 2)
    assert [key for key in plan.sizes if key[0] == "layer"] == [("layer", "first")]


def test_layer_that_is_called_directly_and_for_each_step_keeps_one_width():
    inputs = keras.Input(STEPS)
    layer = layers.Dense(5, name="layer")
    direct = layer(inputs)
    each = layers.TimeDistributed(layer, name="each")(inputs)
    x = layers.Dense(2, name="head")(layers.Concatenate()([direct, each]))
    model = filled(keras.Model(inputs, x))
    new = kn.resize(model, "layer", 3)
    assert new.get_layer("each").layer is new.get_layer("layer")
    assert new.get_layer("layer").units == 3


def test_norm_estimate_follows_the_last_axis_of_the_kernel():
    layer = layers.SpectralNormalization(layers.Conv1D(4, 2), name="layer")
    model = over(layer)
    plan = kn.plan(model, "layer", 2, importance={"layer": favour(4, 0, 2)})
    old, new = arrays(layer), arrays(plan.apply().get_layer("layer"))
    np.testing.assert_array_equal(new["vector_u"], old["vector_u"][:, [0, 2]])
    np.testing.assert_array_equal(new["kernel"], old["kernel"][..., [0, 2]])
    assert plan.exact


def test_norm_over_the_kernel_is_noted_when_the_call_is_for_training():
    inputs = keras.Input(STEPS)
    layer = layers.SpectralNormalization(layers.Dense(4), name="layer")
    x = layers.Dense(2, name="head")(layer(inputs, training=True))
    plan = kn.plan(filled(keras.Model(inputs, x)), "layer", 2)
    assert not plan.exact and "divided by a norm" in plan.notes[0]


def test_mixing_activation_is_noted():
    model = over(layers.GRU(4, activation="softmax", name="layer"))
    plan = kn.plan(model, "layer", 2)
    assert not plan.exact and "softmax" in plan.notes[0]


class Unknown(layers.Layer):
    """A layer, and a cell, that no rule describes."""

    state_size = output_size = 3

    def call(self, x, states=None):
        return x if states is None else (x, [x])

    def compute_output_shape(self, shape):
        return shape


def _two_cells_of_one_name():
    return layers.RNN([layers.GRUCell(3, name="cell"), layers.GRUCell(3, name="cell")])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: layers.RNN(Unknown()), "Unknown inside it"),
        (_two_cells_of_one_name, "have one name"),
    ],
)
def test_what_is_not_understood_is_frozen(make, reason):
    layer = make()
    layer.name = "layer"
    model = over(layer)
    with pytest.raises(kn.InfeasibleError):
        kn.plan(model, "layer", 2)
    assert reason in str(kn.explain(model, "layer"))


@keras.saving.register_keras_serializable("test_recurrent")
class LeakyCell(layers.Layer):
    """A cell of a user with two states."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = [units, units]
        self.output_size = units

    def build(self, shape, *_):
        self.kernel = self.add_weight((shape[-1], self.units), name="kernel")
        self.back = self.add_weight((self.units, self.units), name="back")

    def call(self, inputs, states):
        slow, fast = states
        fast = ops.tanh(inputs @ self.kernel + slow @ self.back)
        slow = 0.9 * slow + 0.1 * fast
        return fast, [slow, fast]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def leaky(**settings) -> keras.Model:
    return over(layers.RNN(LeakyCell(4), name="layer", **settings))


@pytest.mark.parametrize("size", [2, 6])
@pytest.mark.parametrize(
    "settings", [{}, {"return_sequences": True}], ids=["last", "all"]
)
def test_cell_of_a_user_is_resized_by_its_rule(settings, size):
    kn.register_rule(
        LeakyCell,
        "b i, b u, b u -> b u, b u, b u",
        weights={"kernel": "i -> u", "back": "u -> u"},
        config={"units": "u"},
    )
    try:
        model = leaky(**settings)
        plan = kn.plan(model, "layer", size)
        assert plan.exact
        assert kn.verify(model, plan).is_equal
        assert plan.apply().get_layer("layer").cell.units == size
    finally:
        kn.register_rule(LeakyCell, None)


def test_cell_of_a_user_without_a_rule_is_frozen_by_its_name():
    with pytest.raises(kn.InfeasibleError, match=r"leaky_cell.*register_rule"):
        kn.plan(leaky(), "layer", 3)
