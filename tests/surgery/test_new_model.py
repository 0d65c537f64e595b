"""The new model is an ordinary one: what the old one was told, it knows."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from contract import check_plan, check_saving
from keras import layers, ops
from models import STEPS, channels_first, random_inputs, randomize, through
from nets import chain, nested, residual

import keras_nas as kn


def test_names_classes_and_order_of_layers_stay():
    model = nested()
    new = kn.resize(model, "inner", 4)
    assert [(type(n), n.name) for n in new.layers] == [
        (type(n), n.name) for n in model.layers
    ]
    assert new.name == model.name and type(new) is type(model)
    paths = [weight.path for weight in model.weights]
    assert [weight.path for weight in new.weights] == paths


def test_sequential_model_stays_sequential():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(6, name="a"), layers.Dense(2)], name="row"
    )
    new = kn.resize(model, "a", 4)
    assert type(new) is keras.Sequential and new.name == "row"
    assert new.get_layer("a").units == 4 and new.output_shape == (None, 2)
    check_saving(new, np.ones((2, 3), "float32"))


def test_trainable_flags_and_settings_stay():
    model = residual()
    model.get_layer("stem").trainable = False
    model.get_layer("branch").kernel_regularizer = keras.regularizers.L2(0.1)
    new = kn.resize(model, "branch", 9)
    assert not new.get_layer("stem").trainable
    assert len(new.trainable_weights) == len(model.trainable_weights) == 4
    assert new.get_layer("branch").kernel_regularizer.l2 == pytest.approx(0.1)
    assert len(new.losses) == 1


@pytest.mark.parametrize("size", [3, 9])
def test_compiled_model_is_compiled_alike_and_trains(size):
    model = residual()
    model.compile(keras.optimizers.Adam(0.25), loss="mae", metrics=["mse"])
    new = kn.resize(model, "branch", size)
    assert type(new.optimizer) is keras.optimizers.Adam and new.loss == "mae"
    assert float(new.optimizer.learning_rate) == 0.25
    assert new.optimizer is not model.optimizer
    history = new.fit(np.ones((8, 4)), np.ones((8, 2)), epochs=2, verbose=0).history
    assert set(history) == {"loss", "mse"} and np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtype_policies_stay(policy):
    x = source = keras.Input((4,))
    for name in ("a", "b"):
        x = layers.Dense(6, activation="tanh", dtype=policy, name=name)(x)
    model = randomize(keras.Model(source, layers.Dense(2, dtype="float32")(x)))
    plan = kn.plan(model, "a", 8)
    new = plan.apply()
    assert new.get_layer("a").dtype_policy.name == policy
    assert new.get_layer("a").kernel.dtype == model.get_layer("a").kernel.dtype
    old_output, new_output = (
        ops.convert_to_numpy(m(random_inputs(model))) for m in (model, new)
    )
    np.testing.assert_allclose(new_output, old_output, rtol=2e-2, atol=2e-2)


def test_user_model_and_new_model_share_no_variable():
    model = chain(4, 2)
    new = kn.resize(model, "d0", 6)
    olds = {id(weight) for weight in model.weights}
    assert not olds & {id(weight) for weight in new.weights}
    before = ops.convert_to_numpy(new.get_layer("d1").bias)
    model.get_layer("d1").bias.assign([7.0, 7.0])
    np.testing.assert_array_equal(
        ops.convert_to_numpy(new.get_layer("d1").bias), before
    )


def test_running_statistics_of_new_neurons_keep_the_function():
    model = through((4,), layers.BatchNormalization(name="norm"))
    randomize(model)
    plan = kn.plan(model, "before", 8)
    norm = plan.apply().get_layer("norm")
    for name, value in (
        ("gamma", 1),
        ("beta", 0),
        ("moving_mean", 0),
        ("moving_variance", 1),
    ):
        new = ops.convert_to_numpy(getattr(norm, name))
        old = ops.convert_to_numpy(getattr(model.get_layer("norm"), name))
        np.testing.assert_array_equal(new[:6], old)
        np.testing.assert_array_equal(new[6:], value)


def test_embedding_that_is_its_own_output_head_stays_one_variable():
    tokens = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(7, 6, name="embedding")
    x = layers.GlobalAveragePooling1D()(embedding(tokens))
    x = layers.Dense(6, activation="tanh", name="mid")(x)
    logits = ops.einsum("bi,vi->bv", x, embedding.embeddings)
    model = randomize(keras.Model(tokens, logits))
    plan = kn.plan(model, "mid", 4)
    assert plan.sizes["embedding"] == 4 and plan.exact
    assert plan.keep["mid"].tolist() == plan.keep["embedding"].tolist()
    check_plan(plan, model, random_inputs(model))
    assert len(plan.apply().weights) == len(model.weights)


@pytest.mark.parametrize("size", [2, 7])
def test_channels_first_slices_the_same_weights_as_channels_last(size):
    """Convolutions with the channels first cannot run on every CPU."""

    def middle(data_format):
        return (
            layers.Conv1D(4, 2, data_format=data_format, name="conv"),
            layers.SeparableConv1D(
                5, 2, depth_multiplier=2, data_format=data_format, name="sep"
            ),
            layers.Conv1DTranspose(4, 2, data_format=data_format, name="up"),
            layers.DepthwiseConv1D(
                2, depth_multiplier=2, data_format=data_format, name="dw"
            ),
        )

    first = randomize(channels_first(STEPS, *middle("channels_first")))
    last = randomize(through(STEPS, *middle("channels_last")))
    requests = {"before": size, "conv": size, "sep": size, "up": size}
    news = [kn.resize(model, requests) for model in (first, last)]
    for left, right in zip(*(new.weights for new in news), strict=True):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (left, right)))
    assert news[0].get_layer("dw").output.shape[1] == 2 * size
