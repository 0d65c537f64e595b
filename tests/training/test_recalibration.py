"""BatchNormalization gets the statistics of the data."""

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
X = RNG.normal(3.0, 2.0, size=(50, 5)).astype("float32")


def normed(*axes, shape=(5,)):
    """Dense layers with a normalization behind each."""
    x = source = keras.Input(shape, name="in")
    for number, axis in enumerate(axes):
        x = layers.Dense(4, activation="tanh", name=f"d{number}")(x)
        x = layers.BatchNormalization(axis=axis, name=f"n{number}")(x)
    return randomize(keras.Model(source, x))


def read_by(model, name, x):
    """What a layer of a flat model reads, as an array."""
    inputs = keras.Model(model.input, model.get_layer(name).input)
    return run(inputs, x)[0].astype("float64")


def assert_exact(model, name, x, axis=-1):
    """The statistics of a layer are those of what it reads in this very model."""
    values = np.moveaxis(read_by(model, name, x), axis, -1)
    values = values.reshape(-1, values.shape[-1])
    layer = model.get_layer(name)
    mean, variance = (
        keras.ops.convert_to_numpy(v)
        for v in (layer.moving_mean, layer.moving_variance)
    )
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, values.var(axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_statistics_are_those_of_all_data_when_layers_follow_each_other(batch_size):
    model = normed(-1, -1, -1)
    before = model.get_weights()
    new = kn.recalibrate(model, X, batch_size=batch_size)
    for name in ("n0", "n1", "n2"):
        assert_exact(new, name, X)
        assert not np.allclose(new.get_layer(name).moving_mean.numpy(), 0.5, atol=0.4)
    for old, same in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, same)
    for old, same in zip(
        model.trainable_variables, new.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(old), keras.ops.convert_to_numpy(same)
        )


def test_statistics_are_taken_along_the_axis_of_the_layer():
    x = RNG.normal(2.0, size=(20, 3, 5)).astype("float32")
    new = kn.recalibrate(normed(1, 2, shape=(3, 5)), x, batch_size=6)
    assert_exact(new, "n0", x, axis=1)
    assert_exact(new, "n1", x, axis=2)


def test_one_pass_normalises_each_batch_by_itself():
    model = normed(-1, -1)
    new = kn.recalibrate(model, X, batch_size=25, mode="batches")
    assert_exact(new, "n0", X)
    # What the second one reads: its batches are normalised apart from each other.
    found = []
    for part in (X[:25], X[25:]):
        values = read_by(model, "n0", part)
        norm = model.get_layer("n0")
        gamma, beta = map(keras.ops.convert_to_numpy, (norm.gamma, norm.beta))
        spread = np.sqrt(values.var(axis=0) + norm.epsilon)
        values = (values - values.mean(axis=0)) / spread * gamma + beta
        kernel, bias = map(
            keras.ops.convert_to_numpy, model.get_layer("d1").weights
        )
        found.append(np.tanh(values @ kernel + bias))
    found = np.concatenate(found)
    norm = new.get_layer("n1")
    mean, variance = map(
        keras.ops.convert_to_numpy, (norm.moving_mean, norm.moving_variance)
    )
    np.testing.assert_allclose(mean, found.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, found.var(axis=0), rtol=1e-4, atol=1e-5)


def test_statistics_are_exact_inside_nested_models():
    inside = keras.Input((4,), name="inside")
    x = layers.BatchNormalization(name="inner_norm")(inside)
    inner = keras.Model(inside, layers.Dense(4, name="inner")(x), name="encoder")
    source = keras.Input((5,), name="in")
    x = layers.BatchNormalization(name="first")(layers.Dense(4, name="d")(source))
    outer = keras.Model(source, layers.BatchNormalization(name="last")(inner(x)))
    new = kn.recalibrate(randomize(outer), X, batch_size=9)
    assert_exact(new, "last", X)
    values = run(keras.Model(new.input, new.get_layer("first").output), X)[0]
    norm = new.get_layer("encoder").get_layer("inner_norm")
    mean = keras.ops.convert_to_numpy(norm.moving_mean)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_all_calls_count_when_a_layer_is_shared():
    norm = layers.BatchNormalization(name="norm")
    one, two = keras.Input((2,), name="one"), keras.Input((2,), name="two")
    model = keras.Model([one, two], layers.Add()([norm(one), norm(two)]))
    x = [np.zeros((3, 2), "f"), np.full((3, 2), 4.0, "f")]
    new = kn.recalibrate(model, x)
    mean, variance = new.get_layer("norm").non_trainable_variables
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mean), [2.0, 2.0])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variance), [4.0, 4.0])


class Batches(keras.utils.PyDataset):
    """Batches of different sizes."""

    def __len__(self):
        return 3

    def __getitem__(self, number):
        return X[[slice(0, 20), slice(20, 45), slice(45, 50)][number]], np.zeros(1)


@pytest.mark.parametrize("make", [Batches, lambda: [(X[:30],), (X[30:],)]])
def test_data_may_come_in_batches(make):
    new = kn.recalibrate(normed(-1, -1), make())
    assert_exact(new, "n0", X)
    assert_exact(new, "n1", X)


def test_masked_steps_do_not_count():
    source = keras.Input((3, 1), name="in")
    x = layers.Masking(name="mask")(source)
    model = keras.Model(source, layers.BatchNormalization(name="norm")(x))
    x = np.array([[[2.0], [4.0], [0.0]], [[6.0], [0.0], [0.0]]], "float32")
    new = kn.recalibrate(model, x)
    mean, variance = new.get_layer("norm").non_trainable_variables
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mean), [4.0])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variance), [8 / 3], rtol=1e-6)


def test_optimizer_goes_on_when_asked_to():
    model = normed(-1)
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(X, np.zeros((50, 4), "f"))
    assert int(kn.recalibrate(model, X, carry_optimizer=True).optimizer.iterations) == 1
    assert int(kn.recalibrate(model, X).optimizer.iterations) == 0


def test_loss_falls_on_digits_when_a_cut_model_is_recalibrated():
    small = kn.prune(network(), sparsity=0.2)
    new = kn.recalibrate(small, data()[0], batch_size=500)
    assert loss(new) < 0.9 * loss(small)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (X[:0], "0.* samples"),
        ([], "There are no data"),
        (iter([X]), "(?s)There are no data.*generator can be used"),
        (X[:, :3], "do not fit the model"),
        ("x", "cannot be a str|do not fit"),
    ],
)
def test_data_that_do_not_fit_are_refused(x, match):
    model = normed(-1, -1)
    before = model.get_weights()
    with pytest.raises(kn.InvalidRequestError, match=match):
        kn.recalibrate(model, x)
    for old, same in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, same)


def test_data_that_are_not_finite_are_refused():
    with pytest.raises(kn.InvalidRequestError, match="'n0' reads is not finite"):
        kn.recalibrate(normed(-1), np.full((4, 5), np.nan, "f"))


def test_model_without_normalization_is_refused():
    with pytest.raises(kn.InvalidRequestError, match="has no BatchNormalization"):
        kn.recalibrate(normed(), X)


def test_mode_that_does_not_exist_is_refused():
    with pytest.raises(kn.InvalidRequestError, match="no mode named 'once'"):
        kn.recalibrate(normed(-1), X, mode="once")


def test_loop_that_is_compiled_is_refused():
    source = keras.Input((3, 5), name="in")
    x = layers.TimeDistributed(layers.BatchNormalization(), name="each")(source)
    model = keras.Model(source, x)
    x = RNG.normal(size=(4, 3, 5)).astype("f")
    try:
        new = kn.recalibrate(model, x)
    except kn.InvalidRequestError as error:
        assert "in a loop that the backend compiles" in str(error)
    else:
        mean = new.get_layer("each").layer.moving_mean
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(mean), x.mean(axis=(0, 1)), rtol=1e-4, atol=1e-6
        )
