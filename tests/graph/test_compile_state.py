import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_nas import Graph


class LocalMetric(keras.metrics.MeanAbsoluteError):
    pass


class LocalSchedule(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.25

    def get_config(self):
        return {}


class Broken(keras.metrics.Mean):
    def __init__(self, needed, **kwargs):
        super().__init__(**kwargs)

    def get_config(self):
        return {}


def my_loss(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def network(**kwargs):
    inputs = keras.Input((4,))
    one, two = layers.Dense(1, name="one")(inputs), layers.Dense(1, name="two")(inputs)
    return keras.Model(inputs, {"one": one, "two": two}, **kwargs)


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(16, 4)).astype("float32")
    return x, {"one": x[:, :1], "two": x[:, 1:2]}


def test_model_is_not_compiled_when_the_original_is_not():
    new = Graph.from_model(network()).build()
    assert not new.compiled


def test_training_is_the_same_when_compiled_the_same():
    model = network()
    model.compile(
        optimizer=keras.optimizers.Adam(0.01, beta_1=0.8, clipnorm=1.0),
        loss={"one": my_loss, "two": keras.losses.Huber(delta=0.5)},
        loss_weights={"one": 0.5, "two": 2.0},
        metrics={"one": ["mae", LocalMetric(name="local")], "two": "mse"},
        weighted_metrics={"two": [keras.metrics.MeanSquaredError(name="weighted")]},
    )
    new = Graph.from_model(model).build()
    assert new.compiled
    x, y = data()
    first = model.fit(x, y, epochs=2, shuffle=False, verbose=0).history
    second = new.fit(x, y, epochs=2, shuffle=False, verbose=0).history
    assert first == second
    assert {"loss", "one_mae", "one_local", "two_mse", "two_weighted"} <= set(first)


def test_optimizer_and_metrics_are_fresh_when_the_original_was_trained():
    model = network()
    metric = keras.metrics.MeanSquaredError()
    loss = keras.losses.MeanSquaredError()
    model.compile("adam", loss, metrics={"one": [metric]})
    x, y = data()
    model.fit(x, y, epochs=3, verbose=0)
    new = Graph.from_model(model).build()
    assert new.optimizer is not model.optimizer
    assert type(new.optimizer) is type(model.optimizer)
    assert int(new.optimizer.iterations) == 0
    assert int(model.optimizer.iterations) == 3
    new.evaluate(x, y, verbose=0)
    old_metrics = {id(metric) for metric in model.metrics}
    assert not old_metrics & {id(metric) for metric in new.metrics}


def test_learning_rate_is_the_present_one_when_it_was_changed():
    model = network()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.optimizer.learning_rate = 0.02
    new = Graph.from_model(model).build()
    assert float(new.optimizer.learning_rate) == pytest.approx(0.02)


def test_schedule_is_kept_when_its_class_is_unregistered():
    model = network()
    model.compile(keras.optimizers.SGD(LocalSchedule()), "mse")
    new = Graph.from_model(model).build()
    assert float(new.optimizer.learning_rate) == 0.25


def test_flags_are_kept_when_compiled_with_them():
    model = network()
    model.compile("sgd", "mse", run_eagerly=True, steps_per_execution=1)
    new = Graph.from_model(model).build()
    assert new.run_eagerly is True
    assert new.jit_compile is False
    model.compile("sgd", "mse", jit_compile=True)
    assert Graph.from_model(model).build().jit_compile is True


@pytest.mark.parametrize("auto_scale_loss", [True, False])
def test_loss_scaling_is_kept_when_mixed_float16(auto_scale_loss):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network()
        model.compile("sgd", "mse", auto_scale_loss=auto_scale_loss)
    finally:
        keras.config.set_dtype_policy(before)
    new = Graph.from_model(model).build()
    assert type(new.optimizer) is type(model.optimizer)


def test_custom_loss_is_the_same_function_when_rebuilt():
    model = network()
    model.compile("sgd", my_loss)
    assert Graph.from_model(model).build().loss is my_loss


def test_nested_models_are_compiled_when_they_were():
    inner = network(name="inner")
    inner.compile("adam", "mse")
    inputs = keras.Input((4,))
    new = Graph.from_model(keras.Model(inputs, inner(inputs))).build()
    assert not new.compiled
    assert isinstance(new.get_layer("inner").optimizer, keras.optimizers.Adam)


def test_model_is_left_uncompiled_with_a_warning_when_a_metric_cannot_be_copied():
    model = network()
    model.compile("sgd", "mse", metrics={"one": [Broken(1, name="broken")]})
    with pytest.warns(UserWarning, match="'broken' cannot be made again"):
        graph = Graph.from_model(model)
    assert graph.compile_state is None
    assert not graph.build().compiled
