"""Activation statistics collected during training equal those of the same data after."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from measured import data, dense_net, flattened, joined, randomized, residual, values

import keras_nas as kn
from keras_nas import importance as ki

KINDS = ("mean", "variance", "apoz")


def fit(model, statistics, *, rate=0.0, epochs=1, batch_size=6, **more):
    """Trains; with rate 0 the weights stay as they are."""
    x, y = data(model)
    model.compile(keras.optimizers.SGD(rate), "mse", **more)
    model.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[statistics],
    )
    return x


def attention() -> keras.Model:
    source = keras.Input((5, 4), name="in")
    x = layers.MultiHeadAttention(2, 3, name="attention")(source, source)
    x = layers.LSTM(4, name="memory")(x)
    return randomized(keras.Model(source, layers.Dense(2, name="out")(x)))


def twice_nested() -> keras.Model:
    source = keras.Input((4,), name="in")
    inner = keras.Input((4,), name="inner_in")
    h = layers.Dense(5, activation="relu", name="hidden")(inner)
    block = keras.Model(inner, layers.Dense(4, name="back")(h), name="block")
    return randomized(keras.Model(source, layers.Dense(2, name="out")(block(source))))


@pytest.mark.parametrize(
    ("net", "kind"),
    [
        *((dense_net, kind) for kind in KINDS),
        (joined, "mean"),
        (flattened, "variance"),
        (attention, "variance"),
        (twice_nested, "apoz"),
    ],
)
def test_callback_equals_the_function_on_the_same_batches(net, kind):
    model = net()
    statistics = ki.ActivationStatistics(kind)
    x = fit(model, statistics)
    function = ki.Activation(x, kind)
    for call in kn.Graph.from_model(model).plan_prune(sparsity=0.0).sizes:
        name, axis = call if isinstance(call, tuple) else (call, None)
        np.testing.assert_allclose(
            values(model, statistics, name, axis),
            values(model, function, name, axis),
            rtol=1e-3,
            atol=1e-5,
        )


def test_average_forgets_and_has_no_bias_toward_zero():
    source = keras.Input((1,), name="in")
    x = layers.Dense(2, use_bias=False, name="a")(source)
    model = randomized(keras.Model(source, layers.Dense(1, name="out")(x)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.array([[1.0], [5.0]], "float32")
    found = {}
    for decay in (None, 0.5):
        statistics = ki.ActivationStatistics(decay=decay, normalization="none")
        model.fit(
            x, x, batch_size=1, shuffle=False, verbose=0, callbacks=[statistics]
        )
        found[decay] = values(model, statistics, "a")
    kernel = np.abs(np.array(model.get_layer("a").get_weights()[0]))[0]
    np.testing.assert_allclose(found[None], kernel * 3, rtol=1e-5)
    # (0.25 * 1 + 0.5 * 5) / 0.75
    np.testing.assert_allclose(found[0.5], kernel * 2.75 / 0.75, rtol=1e-5)


def test_collecting_does_not_change_the_training_or_the_model():
    first, second = residual(), residual()
    number = len(first.variables)
    keys = set(vars(first))
    for model, callbacks in ((first, [ki.ActivationStatistics()]), (second, [])):
        x, y = data(model)
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(x, y, shuffle=False, epochs=2, verbose=0, callbacks=callbacks)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert len(first.variables) == number and "call" not in set(vars(first)) - keys


def test_several_callbacks_listen_to_one_training():
    model = dense_net()
    x, y = data(model)
    # They begin and end in this order, so what was put around last goes last.
    pairs = [
        (ki.ActivationStatistics("mean", decay=None), ki.Activation(x)),
        (ki.ActivationStatistics("apoz", decay=None), ki.Activation(x, "apoz")),
        (ki.Contribution(decay=None), ki.Taylor(x, y, loss="mse", batch_size=3)),
        (
            ki.Contribution("fisher", decay=None),
            ki.Fisher(x, y, loss="mse", batch_size=3),
        ),
    ]
    model.compile(keras.optimizers.SGD(0.0), "mse")
    callbacks = [callback for callback, _ in pairs]
    model.fit(x, y, batch_size=3, epochs=2, verbose=0, callbacks=callbacks, shuffle=False)
    for callback, function in pairs:
        for name in ("a", "b"):
            found = values(model, callback, name)
            np.testing.assert_allclose(found, values(model, function, name), rtol=1e-4)
    assert all("call" not in vars(thing) for thing in (model, *model.layers))
    assert "apply" not in vars(model.optimizer)


def test_validation_does_not_count_and_epochs_can_be_used_between():
    model = dense_net()
    x, y = data(model)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(values(self.model, statistics, "a"))

    statistics = ki.ActivationStatistics(normalization="none")
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(
        x,
        y,
        epochs=2,
        verbose=0,
        validation_data=(100 * x, y),
        callbacks=[statistics, Look()],
    )
    expected = values(model, ki.Activation(x, normalization="none"), "a")
    for found in seen:
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_mixed_precision_is_collected_in_full():
    policy = keras.DTypePolicy("mixed_bfloat16")
    source = keras.Input((4,), name="in")
    x = layers.Dense(5, activation="relu", name="a", dtype=policy)(source)
    x = layers.Dense(2, name="out", dtype=policy)(x)
    model = randomized(keras.Model(source, x))
    statistics = ki.ActivationStatistics()
    x = fit(model, statistics)
    np.testing.assert_allclose(
        values(model, statistics, "a"), values(model, ki.Activation(x), "a"), rtol=0.02
    )


def test_before_training_it_says_so_and_settings_are_checked():
    with pytest.raises(kn.InvalidRequestError, match="seen no batch yet"):
        kn.resize(dense_net(), "a", 3, importance=ki.ActivationStatistics())
    with pytest.raises(kn.InvalidRequestError, match="'kind' cannot be 'max'"):
        ki.ActivationStatistics("max")
    with pytest.raises(kn.InvalidRequestError, match="decay must be a number"):
        ki.ActivationStatistics(decay=1.0)
    assert repr(ki.ActivationStatistics()) == (
        "ActivationStatistics(kind='mean', decay=0.95)"
    )
