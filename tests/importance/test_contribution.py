"""Importance collected during training equals that of the same data afterwards."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from measured import (
    data,
    dense_net,
    joined,
    randomized,
    sequence,
    shared,
    values,
    weight,
)

import keras_nas as kn
from keras_nas import importance as ki

KINDS = {"taylor": ki.Taylor, "fisher": ki.Fisher, "hessian": ki.Hessian}


def fit(model, contribution, *, rate=0.0, loss="mse", epochs=1, batch_size=3, **more):
    """Trains; with rate 0 the weights stay as they are."""
    x, y = data(model)
    model.compile(keras.optimizers.SGD(rate), loss, **more)
    model.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[contribution],
    )
    return x, y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("net", [dense_net, joined, shared, sequence])
def test_callback_equals_the_function_on_the_same_batches(net, kind):
    model = net()
    contribution = ki.Contribution(kind, decay=None)
    x, y = fit(model, contribution)
    function = KINDS[kind](x, y, loss="mse", batch_size=3)
    for layer in model.layers:
        if layer.weights:
            np.testing.assert_allclose(
                values(model, contribution, layer.name),
                values(model, function, layer.name),
                rtol=1e-4,
                atol=1e-8,
            )


def test_average_forgets_and_has_no_bias_toward_zero():
    model = dense_net()
    contribution = ki.Contribution(decay=0.6)
    x, y = fit(model, contribution, batch_size=2)
    each = [
        values(
            model, ki.Taylor(x[n : n + 2], y[n : n + 2], loss="mse", batch_size=2), "a"
        )
        for n in (0, 2, 4)
    ]
    expected = (0.36 * each[0] + 0.6 * each[1] + each[2]) / 1.96
    np.testing.assert_allclose(values(model, contribution, "a"), expected, 1e-4)


def test_collecting_does_not_change_the_training():
    results = []
    for callback in (keras.callbacks.Callback(), ki.Contribution()):
        model = dense_net()
        fit(model, callback, rate=0.1, epochs=3)
        results.append([keras.ops.convert_to_numpy(v) for v in model.weights])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_optimizer_is_left_as_it_was(optimizer, tmp_path):
    model = dense_net()
    x, y = data(model)
    model.compile(optimizer, "mse")
    model.fit(x, y, verbose=0)
    before = [variable.path for variable in model.optimizer.variables]
    contribution = ki.Contribution()
    model.fit(x, y, verbose=0, callbacks=[contribution])
    assert [variable.path for variable in model.optimizer.variables] == before
    assert "apply" not in vars(model.optimizer)
    first = values(model, contribution, "a")
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(values(model, contribution, "a"), first)
    model.save(tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras").fit(x, y, verbose=0)


def test_callback_follows_the_model_that_is_trained_last():
    contribution = ki.Contribution(decay=None)
    fit(dense_net(), contribution)
    model = joined()
    x, y = fit(model, contribution)
    function = ki.Taylor(x, y, loss="mse", batch_size=3)
    np.testing.assert_allclose(
        values(model, contribution, "cat"), values(model, function, "cat"), 1e-4
    )


def test_several_steps_per_execution_are_all_seen():
    model = dense_net()
    contribution = ki.Contribution(decay=None)
    steps = 1 if keras.backend.backend() == "torch" else 3  # It takes no other number.
    x, y = fit(model, contribution, batch_size=1, steps_per_execution=steps)
    function = ki.Taylor(x, y, loss="mse", batch_size=1)
    np.testing.assert_allclose(
        values(model, contribution, "a"), values(model, function, "a"), 1e-4
    )


def test_neurons_that_only_frozen_weights_touch_count_zero():
    model = dense_net()
    for name in ("b", "out"):
        model.get_layer(name).trainable = False
    contribution = ki.Contribution(decay=None)
    fit(model, contribution)
    assert (values(model, contribution, "b") == 0).all()
    # Those of the trained layer are gated where they are made.
    assert values(model, contribution, "a").max() > 0


def test_callback_works_with_validation_and_can_be_used_between_epochs():
    model = dense_net()
    contribution = ki.Contribution()
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(values(model, contribution, "a"))
    )
    x, y = data(model)
    model.compile("sgd", "mse")
    model.fit(
        x,
        y,
        epochs=2,
        validation_data=(x, y),
        verbose=0,
        callbacks=[contribution, look],
    )
    assert len(seen) == 2 and (seen[0] != seen[1]).any()


def test_mixed_precision_is_unscaled():
    policy = keras.mixed_precision.DTypePolicy("mixed_float16")
    source = keras.Input((4,))
    hidden = layers.Dense(5, activation="tanh", name="a", dtype=policy)(source)
    out = layers.Dense(2, name="out", dtype=policy)(hidden)
    model = randomized(keras.Model(source, out))
    x, y = data(model)
    model.compile(
        keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.0), initial_scale=64.0
        ),
        "mse",
    )
    contribution = ki.Contribution(decay=None)
    model.fit(x, y, batch_size=6, shuffle=False, verbose=0, callbacks=[contribution])
    a = np.tanh(x @ weight(model, "a/kernel") + weight(model, "a/bias"))
    end = a @ weight(model, "out/kernel") + weight(model, "out/bias") - y
    expected = np.abs((a * (end @ weight(model, "out/kernel").T)).mean(axis=0))
    found = values(model, contribution, "a")
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.005)


def test_before_training_it_says_so():
    with pytest.raises(kn.InvalidRequestError, match="seen no batch yet"):
        kn.resize(dense_net(), "a", 3, importance=ki.Contribution())


def test_another_model_is_refused():
    model = dense_net()
    contribution = ki.Contribution()
    fit(model, contribution)
    smaller = kn.resize(model, "a", 3)
    with pytest.raises(kn.InvalidRequestError, match=r"'a' had a weight .*\(4, 5\)"):
        kn.resize(smaller, "a", 2, importance=contribution)
