"""What dropped neurons contributed on average is added to what comes next."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
from contract import run
from editing import untouched
from keras import layers
from models import randomize

import keras_nas as kn

RNG = np.random.default_rng(0)


def chosen(model, name, dropped):
    """Importance with which exactly some neurons of a layer go."""
    size = kn.plan(model, name, kn.near(1)).old_sizes[name]
    importance = {name: np.where(np.isin(np.arange(size), dropped), 0.0, 1.0)}
    return size - len(dropped), importance


def fold(model, name, dropped, x, **keywords):
    """Drops neurons; returns the model, the one that folds, and its plan."""
    size, importance = chosen(model, name, dropped)
    with untouched(model):
        plain = kn.resize(model, name, size, importance=importance, **keywords)
        plan = kn.plan(
            model,
            name,
            size,
            importance=importance,
            fold_constants=True,
            data=x,
            **keywords,
        )
        return plain, plan.apply(), plan


def frozen_neurons(model, name, neurons):
    """Neurons of a layer that give the same whatever they read."""
    layer = model.get_layer(name)
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    kernel[..., neurons] = 0
    layer.kernel.assign(kernel)
    return model


def dense(**settings):
    source = keras.Input((5,), name="in")
    x = layers.Dense(6, activation="tanh", name="a")(source)
    x = layers.Dense(4, name="b", **settings)(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(40, 5)).astype("f")


def convolution(padding="valid", **settings):
    source = keras.Input((7, 7, 2), name="in")
    x = layers.Conv2D(6, 1, activation="relu", name="a")(source)
    x = layers.Conv2D(4, 3, padding=padding, name="b", **settings)(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(8, 7, 7, 2)).astype("f")


def means(model, x):
    """Mean of each channel of the output."""
    values = run(model, x)[0].astype("float64")
    return values.reshape(-1, values.shape[-1]).mean(axis=0)


# --- constant neurons go without loss ------------------------------------------------


def einsum():
    source = keras.Input((3, 5), name="in")
    x = layers.Dense(6, activation="tanh", name="a")(source)
    x = layers.EinsumDense(
        "bti,iho->btoh", (None, 3, 2), bias_axes="ho", name="b"
    )(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 3, 5)).astype("f")


def two_groups():
    source = keras.Input((7, 5), name="in")
    x = layers.Dense(6, activation="tanh", name="a")(source)
    x = layers.Conv1D(4, 3, groups=2, activation="relu", name="b")(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 7, 5)).astype("f")


def separable():
    source = keras.Input((7, 5), name="in")
    x = layers.Dense(6, activation="tanh", name="a")(source)
    x = layers.SeparableConv1D(4, 3, depth_multiplier=2, name="b")(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 7, 5)).astype("f")


def in_each_step():
    source = keras.Input((3, 5), name="in")
    x = layers.Dense(6, activation="tanh", name="a")(source)
    x = layers.TimeDistributed(layers.Dense(4), name="b")(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 3, 5)).astype("f")


def flattened():
    source = keras.Input((3, 5), name="in")
    x = layers.Dense(6, activation="tanh", name="a")(source)
    x = layers.Dense(4, activation="relu", name="b")(layers.Flatten()(x))
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 3, 5)).astype("f")


def normed():
    return convolution_with(layers.BatchNormalization(name="norm"))


def convolution_with(*behind):
    source = keras.Input((7, 7, 2), name="in")
    x = layers.Conv2D(6, 1, activation="relu", name="a")(source)
    x = layers.Conv2D(4, 3, use_bias=False, name="b")(x)
    for layer in behind:
        x = layer(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(8, 7, 7, 2)).astype("f")


def nested():
    inside = keras.Input((6,), name="inside")
    inner = keras.Model(inside, layers.Dense(4, name="b")(inside), name="encoder")
    source = keras.Input((5,), name="in")
    x = inner(layers.Dense(6, activation="tanh", name="a")(source))
    return randomize(keras.Model(source, x)), RNG.normal(size=(40, 5)).astype("f")


EXACT = {
    "dense": dense,
    "dense_with_activation": lambda: dense(activation="tanh"),
    "convolution": convolution,
    "convolution_with_strides": lambda: convolution(strides=2),
    "einsum": einsum,
    "two_groups": two_groups,
    "separable": separable,
    "in_each_step": in_each_step,
    "flattened": flattened,
    "norm_behind": normed,
    "nested": nested,
}


@pytest.mark.parametrize("name", EXACT)
def test_constant_neurons_go_without_loss(name):
    model, x = EXACT[name]()
    dropped = [1, 4] if name == "two_groups" else [1, 3]
    frozen_neurons(model, "a", dropped)
    plain, folded, plan = fold(model, "a", dropped, x)
    (old,), (new,), (other,) = (run(m, x) for m in (model, folded, plain))
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    assert np.abs(other - old).max() > 0.01
    assert not plan.exact
    assert any("b' goes on with what its dropped inputs" in n for n in plan.notes)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_mean_of_the_output_stays_when_neurons_are_not_constant(padding):
    model, x = convolution(padding)
    plain, folded, _ = fold(model, "a", [0, 2], x)
    np.testing.assert_allclose(means(folded, x), means(model, x), rtol=1e-4, atol=1e-5)
    assert np.abs(means(plain, x) - means(model, x)).max() > 0.01


def test_moving_mean_is_what_shifts_when_there_is_no_bias():
    model, x = normed()
    _, folded, _ = fold(model, "a", [0, 2], x)
    np.testing.assert_allclose(means(folded, x), means(model, x), rtol=1e-4, atol=1e-5)
    norm, old = (m.get_layer("norm") for m in (folded, model))
    for name in ("gamma", "beta", "moving_variance"):
        values = (keras.ops.convert_to_numpy(getattr(n, name)) for n in (norm, old))
        np.testing.assert_array_equal(*values)


def test_several_readers_and_batches_are_measured_at_once():
    source = keras.Input((5,), name="in")
    a = layers.Dense(6, activation="tanh", name="a")(source)
    outputs = [layers.Dense(3, name="b")(a), layers.Dense(2, name="c")(a)]
    model = randomize(keras.Model(source, outputs))
    x = RNG.normal(size=(40, 5)).astype("f")
    _, folded, _ = fold(model, "a", [5], [(x[:33],), (x[33:],)])
    for old, new in zip(run(model, x), run(folded, x), strict=True):
        np.testing.assert_allclose(new.mean(axis=0), old.mean(axis=0), rtol=1e-4)


def test_optimizer_goes_with_folded_weights():
    model, x = dense()
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(x, np.ones((40, 4), "f"))
    _, folded, _ = fold(model, "a", [0], x, carry_optimizer=True)
    own, old = (m.optimizer._momentums[-1] for m in (folded, model))
    np.testing.assert_array_equal(
        *map(keras.ops.convert_to_numpy, (own, old))
    )


def test_prune_folds_when_asked_to():
    model, x = dense()
    plan = kn.plan_prune(model, sparsity=0.5, fold_constants=True, data=x)
    np.testing.assert_allclose(
        means(plan.apply(), x), means(model, x), rtol=1e-4, atol=1e-5
    )
    assert "'b' goes on with what its dropped inputs contributed" in str(plan)


# --- without data --------------------------------------------------------------------


def pooled():
    source = keras.Input((None, 5), name="in")
    x = layers.Conv1D(6, 3, padding="same", name="a")(source)
    x = layers.BatchNormalization(name="norm_a")(x)
    x = layers.Activation("sigmoid", name="sigmoid")(x)
    y = layers.Add(name="add")([x, layers.Dropout(0.5)(x)])
    x = layers.Concatenate(name="cat")([x, y])
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    x = layers.Dense(4, name="b")(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 7, 5)).astype("f")


WITHOUT_DATA = {**EXACT, "pooled": pooled}


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_neurons_with_zero_weights_go_without_loss_and_without_data(name):
    model, x = WITHOUT_DATA[name]()
    dropped = [1, 4] if name == "two_groups" else [1, 3]
    frozen_neurons(model, "a", dropped)
    plain, folded, plan = fold(model, "a", dropped, None)
    (old,), (new,), (other,) = (run(m, x) for m in (model, folded, plain))
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    assert np.abs(other - old).max() > 0.01
    assert any("b' goes on with what its dropped constant" in n for n in plan.notes)


def test_only_certainly_constant_neurons_count_without_data():
    model, x = dense()
    frozen_neurons(model, "a", [1])
    _, folded, _ = fold(model, "a", [1, 3], None)
    # Neuron 3 just goes, as without folding.
    zeroed = frozen_neurons(model, "a", [3])
    zeroed.get_layer("a").bias.assign(
        keras.ops.convert_to_numpy(model.get_layer("a").bias) * [1, 1, 1, 0, 1, 1]
    )
    np.testing.assert_allclose(
        run(folded, x)[0], run(zeroed, x)[0], rtol=1e-4, atol=1e-5
    )


def test_scales_of_zero_make_neurons_constant():
    source = keras.Input((5,), name="in")
    x = layers.Dense(6, name="a")(source)
    x = layers.BatchNormalization(name="norm")(x)
    model = randomize(keras.Model(source, layers.Dense(4, name="b")(x)))
    model.get_layer("norm").gamma.assign([1, 0, 1, 0, 1, 1])
    x = RNG.normal(size=(9, 5)).astype("f")
    _, folded, _ = fold(model, "a", [1, 3], None)
    np.testing.assert_allclose(run(folded, x)[0], run(model, x)[0], rtol=1e-4)


def test_border_of_an_image_is_no_constant():
    model, x = convolution("same")
    frozen_neurons(model, "a", [0, 2])
    plain, folded, plan = fold(model, "a", [0, 2], None)
    np.testing.assert_array_equal(run(plain, x)[0], run(folded, x)[0])
    assert plan.exact


# --- where it is impossible ----------------------------------------------------------


def without_bias():
    return convolution_with(layers.ReLU(name="relu"))


def norm_behind_activation():
    source = keras.Input((5,), name="in")
    x = layers.Dense(6, name="a")(source)
    x = layers.Dense(4, use_bias=False, activation="relu", name="b")(x)
    x = layers.BatchNormalization(name="norm")(x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 5)).astype("f")


def norm_and_another_reader():
    source = keras.Input((5,), name="in")
    x = layers.Dense(6, name="a")(source)
    x = layers.Dense(4, use_bias=False, name="b")(x)
    norm = layers.BatchNormalization(name="norm")(x)
    model = keras.Model(source, layers.Add()([x, norm]))
    return randomize(model), RNG.normal(size=(9, 5)).astype("f")


def recurrent():
    source = keras.Input((3, 5), name="in")
    x = layers.LSTM(4, name="b")(layers.Dense(6, name="a")(source))
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 3, 5)).astype("f")


def attention():
    source = keras.Input((3, 5), name="in")
    x = layers.Dense(6, name="a")(source)
    x = layers.MultiHeadAttention(2, 3, output_shape=4, name="b")(x, x)
    return randomize(keras.Model(source, x)), RNG.normal(size=(9, 3, 5)).astype("f")


IMPOSSIBLE = {
    "without_bias": (without_bias, "there is no bias"),
    "norm_behind_activation": (norm_behind_activation, "there is no bias"),
    "norm_and_another_reader": (norm_and_another_reader, "there is no bias"),
    "recurrent": (recurrent, "not linear in what is read"),
    "attention": (attention, "(several tensors|not linear)"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_plan_says_where_nothing_can_take_the_shift(name):
    make, why = IMPOSSIBLE[name]
    model, x = make()
    plain, folded, plan = fold(model, "a", [0, 2], x)
    lost = "'b' loses what its dropped inputs contributed on average: "
    assert any(re.search(f"{lost}.*{why}", note) for note in plan.notes)
    for old, new in zip(run(plain, x), run(folded, x), strict=True):
        np.testing.assert_array_equal(old, new)


def test_nothing_is_said_when_nothing_is_dropped():
    model, x = dense()
    plan = kn.plan(model, "a", 9, fold_constants=True, data=x)
    assert plan.exact and plan.notes == ()
    np.testing.assert_allclose(run(plan.apply(), x)[0], run(model, x)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        ({"fold_constants": 1, "data": np.ones((2, 5))}, "fold_constants=1"),
        ({"data": np.ones((2, 5))}, "no use for data without fold_constants"),
        ({"fold_constants": True, "data": np.ones((0, 5))}, "0.* samples"),
    ],
)
def test_folding_that_makes_no_sense_is_refused(keywords, match):
    model, _ = dense()
    with pytest.raises(kn.InvalidRequestError, match=match):
        kn.resize(model, "a", 3, **keywords)


def test_edits_of_layers_fold_nothing():
    model, x = dense()
    with untouched(model), pytest.raises(kn.InvalidRequestError, match="`resize` or"):
        kn.remove(model, "b", fold_constants=True, data=x)


def test_verify_says_why_the_function_differs():
    model, x = dense()
    _, _, plan = fold(model, "a", [0, 2], x)
    assert "contributed on average" in str(kn.verify(model, plan, x))


def test_data_of_another_shape_are_refused():
    model, _ = dense()
    with untouched(model), pytest.raises(kn.KerasNasError, match="do not fit the"):
        kn.resize(model, "a", 3, fold_constants=True, data=np.ones((4, 7)))
