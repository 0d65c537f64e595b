"""Pushing neurons toward zero: exact factors, which weights, and what a cut costs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from models import random_inputs, randomize

import keras_nas as kn
from keras_nas.training import GroupSparsity


def fit(model, callback, *, rate=0.0, epochs=2, batch_size=4, samples=12, **more):
    """Trains on noise; with rate 0 nothing but the callback changes weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, *model.input_shape[1:]))
    y = rng.normal(size=(samples, *model.output_shape[1:]))
    model.compile(keras.optimizers.SGD(rate), "mse", **more)
    model.fit(
        x, y, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=[callback]
    )
    return callback


def weights(model, name) -> list[np.ndarray]:
    return [np.array(w) for w in model.get_layer(name).get_weights()]


def outputs(model, data) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(data))


def dense() -> keras.Model:
    source = keras.Input((3,), name="in")
    x = layers.Dense(6, activation="relu", name="a")(source)
    x = layers.Dense(5, activation="relu", name="b")(x)
    return randomize(keras.Model(source, layers.Dense(2, name="head")(x)))


def residual() -> keras.Model:
    source = keras.Input((4, 4, 2), name="in")
    x = layers.Conv2D(6, 3, padding="same", name="stem")(source)
    y = layers.Conv2D(6, 3, padding="same", name="branch")(x)
    y = layers.BatchNormalization(name="norm")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.Conv2D(8, 1, groups=2, name="grouped")(x)
    x = layers.Flatten(name="flat")(x)
    return randomize(keras.Model(source, layers.Dense(2, name="head")(x)))


def joined() -> keras.Model:
    """A nested model and a shared layer, one after the other."""
    source = keras.Input((4,), name="in")
    inner = keras.Input((4,), name="inner_in")
    h = layers.Dense(6, activation="tanh", name="hidden")(inner)
    block = keras.Model(inner, layers.Dense(5, name="out")(h), name="block")
    twice = layers.Dense(6, activation="tanh", name="twice")
    parts = [twice(source), twice(layers.Dense(4, name="other")(source))]
    x = layers.Concatenate(name="cat")([block(source), *parts])
    return randomize(keras.Model(source, layers.Dense(2, name="head")(x)))


def sequence() -> keras.Model:
    source = keras.Input((5, 4), name="in")
    x = layers.MultiHeadAttention(4, 6, name="attention")(source, source)
    x = layers.LSTM(6, name="memory")(x)
    return randomize(keras.Model(source, layers.Dense(2, name="head")(x)))


NETS = {net.__name__: net for net in (dense, residual, joined, sequence)}


def test_decay_alone_leaves_what_remains_of_the_chosen_neurons():
    model = dense()
    before = {name: weights(model, name) for name in ("a", "b", "head")}
    callback = fit(model, GroupSparsity(sparsity=0.5, remaining=0.04))
    a, b = (np.full(n, 0.04) for n in (6, 5))
    a[callback.plan.keep["a"]] = 1
    b[callback.plan.keep["b"]] = 1
    assert 0 < (a < 1).sum() + (b < 1).sum() < 11
    factors = {
        "a": (a[None, :], a),
        "b": (a[:, None] * b[None, :], b),
        "head": (b[:, None], 1.0),
    }
    for name, own in factors.items():
        for old, new, factor in zip(
            before[name], weights(model, name), own, strict=True
        ):
            np.testing.assert_allclose(new, old * factor, rtol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_what_is_pushed_to_nothing_can_be_cut_for_nothing(name):
    model = NETS[name]()
    data = random_inputs(model)
    before = outputs(model, data)
    callback = fit(model, GroupSparsity(sparsity=0.4, remaining=1e-9))
    cut = kn.replay(model, kn.recipe(callback.plan))
    assert cut.count_params() < model.count_params()
    after = outputs(model, data)
    np.testing.assert_allclose(outputs(cut, data), after, atol=1e-5)
    assert np.abs(before - after).max() > 1e-2
    # And `prune` finds the same neurons by itself.
    again = kn.plan_prune(model, sparsity=0.4, importance="group_l2")
    for key in again.keep:
        np.testing.assert_array_equal(again.keep[key], callback.plan.keep[key])


def test_decay_grows():
    model, seen = dense(), []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(weights(self.model, "a")[0])

    callback = GroupSparsity(sparsity=0.5, remaining=0.01)
    before = weights(model, "a")[0]
    x, y = np.zeros((12, 3)), np.zeros((12, 2))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[callback, Watch()])
    pushed = np.setdiff1d(np.arange(6), callback.plan.keep["a"])
    left = [(now / before)[:, pushed] for now in seen]
    expected = [0.01 ** ((n / 6) ** 2) for n in range(1, 7)]
    for found, wanted in zip(left, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_lasso_takes_a_fixed_length_from_each_norm():
    model = dense()
    start = GroupSparsity("lasso", strength=1e-9)
    before = fit(model, start, epochs=1).norms()
    callback = fit(model, GroupSparsity("lasso", strength=0.2), epochs=1)
    for atom, norms in zip(before, callback.norms().values(), strict=True):
        old = before[atom]
        share = (old - old.min()) / (old.max() - old.min())
        pull = 0.2 * old.mean() * 2.0 ** (-4 * share)
        # Neighbours take a part of the same weights, so at least that much goes.
        assert (norms <= old - 0.99 * pull).all()
        assert (norms > 0).all()


def test_lasso_alone_in_a_width_is_exact():
    source = keras.Input((3,), name="in")
    x = layers.Dense(6, name="a")(source)
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    before = np.sqrt(
        sum((w**2).sum(axis=0) for w in (weights(model, "a")[0], np.zeros((1, 6))))
        + weights(model, "a")[1] ** 2
        + (weights(model, "head")[0] ** 2).sum(axis=1)
    )
    (after,) = fit(model, GroupSparsity("lasso", strength=3.0), epochs=1).norms().values()
    share = (before - before.min()) / (before.max() - before.min())
    pull = 3.0 * before.mean() * 2.0 ** (-4 * share)
    np.testing.assert_allclose(after, np.maximum(before - pull, 0), atol=1e-5)
    assert (after == 0).any() and (after > 0).any()


def test_frozen_weights_and_statistics_stay():
    model = residual()
    model.get_layer("branch").trainable = False
    before, norm = weights(model, "branch"), weights(model, "norm")
    fit(model, GroupSparsity(sparsity=0.5))
    for old, new in zip(before, weights(model, "branch"), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (np.abs(weights(model, "norm")[0]) < np.abs(norm[0])).any()
    assert (weights(model, "norm")[3] > 0.01).all()


def batches():
    while True:
        yield np.zeros((4, 3), "float32"), np.zeros((4, 2), "float32")


def factors_of_a(callback) -> np.ndarray:
    factor = np.full(6, 0.04)
    factor[callback.plan.keep["a"]] = 1
    return factor


@pytest.mark.parametrize("first", [0, 3])
def test_all_epochs_together_are_one_training(first):
    model = dense()
    before = weights(model, "a")[0]
    callback = GroupSparsity(sparsity=0.5, remaining=0.04)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(
        batches(),
        steps_per_epoch=3,
        initial_epoch=first,
        epochs=first + 2,
        shuffle=False,
        verbose=0,
        callbacks=[callback],
    )
    expected = before * factors_of_a(callback)
    np.testing.assert_allclose(weights(model, "a")[0], expected, rtol=1e-5)


def test_data_of_unknown_length_are_pushed_with_at_the_end_of_epochs():
    params = {"steps": None, "epochs": 2}
    model = dense()
    before = weights(model, "a")[0]
    callback = GroupSparsity(sparsity=0.5, remaining=0.04)
    callback.set_model(model)
    callback.set_params(params)
    callback.on_train_begin()
    for epoch, factor in enumerate((0.04**0.25, 0.04)):
        callback.on_epoch_begin(epoch)
        start = weights(model, "a")[0]
        for batch in range(3):
            callback.on_train_batch_end(batch)
        np.testing.assert_array_equal(weights(model, "a")[0], start)
        callback.on_epoch_end(epoch)
        expected = np.where(factors_of_a(callback) < 1, factor, 1.0) * before
        np.testing.assert_allclose(weights(model, "a")[0], expected, rtol=1e-5)
    callback.set_params({"steps": None, "epochs": 1})
    callback.on_train_begin()
    with pytest.raises(kn.InvalidRequestError, match="do not say how many batches"):
        callback.on_epoch_begin(0)


def test_several_steps_per_execution_all_count():
    first, second = dense(), dense()
    for model, steps in ((first, 1), (second, 3)):
        fit(model, GroupSparsity(sparsity=0.5), steps_per_execution=steps)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_mixed_precision_pushes_the_full_weights():
    source = keras.Input((3,), name="in")
    policy = keras.DTypePolicy("mixed_float16")
    x = layers.Dense(6, name="a", dtype=policy)(source)
    x = layers.Dense(2, name="head", dtype=policy)(x)
    model = randomize(keras.Model(source, x))
    before = weights(model, "a")[0]
    x, y = np.ones((12, 3)), np.zeros((12, 2))
    inner = keras.optimizers.SGD(0.0)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    callback = GroupSparsity(sparsity=0.5, remaining=0.04)
    model.fit(x, y, epochs=2, batch_size=4, verbose=0, callbacks=[callback])
    factor = np.full(6, 0.04)
    factor[callback.plan.keep["a"]] = 1
    np.testing.assert_allclose(weights(model, "a")[0], before * factor, rtol=1e-5)


def digits_net() -> keras.Model:
    x = source = keras.Input((8, 8, 1), name="in")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    y = layers.ReLU(name="relu")(x)
    y = layers.Conv2D(8, 3, padding="same", name="branch")(y)
    x = layers.ReLU(name="after")(layers.Add(name="add")([x, y]))
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(24, activation="relu", name="hidden")(x)
    x = layers.Dense(10, activation="softmax", name="head")(x)
    return keras.Model(source, x)


def trained_and_cut(callbacks: list) -> tuple[float, float]:
    """Loss on held out digits before and after a cut to half of the FLOPs."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (digits.images[..., None] / 16).astype("float32"), digits.target
    keras.utils.set_random_seed(0)
    model = digits_net()
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(
        x[:900], y[:900], epochs=6, batch_size=50, verbose=0, callbacks=callbacks
    )
    cut = kn.prune(model, flops=0.5, importance="group_l2")
    return tuple(m.evaluate(x[1200:], y[1200:], verbose=0) for m in (model, cut))


def test_a_cut_of_half_the_flops_costs_less_on_digits():
    _, plain = trained_and_cut([])
    callback = GroupSparsity(flops=0.5)
    before, pushed = trained_and_cut([callback])
    assert pushed < 0.8 * plain
    assert pushed < 1.05 * before
    for atom, norms in callback.norms().items():
        keep = callback.plan.atom_keep.get(atom, np.arange(atom.size))
        dropped = np.setdiff1d(np.arange(atom.size), keep)
        if len(dropped) and len(keep):
            assert norms[dropped].max() < 0.3 * norms[keep].mean()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "Nothing says how many neurons to push"),
        ({"method": "push"}, "no method named 'push'"),
        ({"sparsity": 0.5, "remaining": 1.0}, "'remaining' must be a number above 0 an"),
        ({"sparsity": 0.5, "remaining": 0}, "'remaining' must be"),
        ({"sparsity": 0.5, "steps": 0}, "'steps' must be a whole number"),
        ({"method": "lasso", "strength": -1}, "'strength' must be a number above 0"),
        ({"method": "lasso", "flops": 0.5}, "pushes all neurons, whatever 'flops' is"),
    ],
)
def test_wrong_settings_are_refused(settings, text):
    with pytest.raises(kn.InvalidRequestError, match=text):
        GroupSparsity(**settings)


def test_wrong_targets_are_refused_when_training_begins():
    with pytest.raises(kn.InvalidRequestError, match="'sparsity' is no fraction"):
        fit(dense(), GroupSparsity(sparsity=2.0))
    with pytest.raises(kn.InvalidRequestError, match="knows no model yet"):
        GroupSparsity(sparsity=0.5).norms()
