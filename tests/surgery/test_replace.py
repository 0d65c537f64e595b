"""A layer in the place of another one: what is carried over, and what follows."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from editing import (
    close,
    insert,
    names,
    refused,
    replace,
    same_function,
    untouched,
    value,
    works,
)
from keras import layers
from models import randomize

import keras_nas as kn


def convolutions(size: int = 3, grid: int = 8, **settings) -> keras.Model:
    """Two convolutions, the first as told, on a grid."""
    settings = {"padding": "same", "name": "first", **settings}
    inputs = keras.Input((grid, grid, 3))
    x = layers.Conv2D(4, size, **settings)(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(5, 3, padding="same", activation="tanh", name="second")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return randomize(keras.Model(inputs, layers.Dense(2, name="head")(x)))


@pytest.mark.parametrize(("old", "new"), [(1, 2), (1, 3), (2, 5), (3, 4), (3, 5)])
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("grid", [8, 9])
def test_larger_kernel_computes_the_same(old, new, strides, grid):
    model = convolutions(old, grid, strides=strides)
    layer = layers.Conv2D(4, new, strides=strides, padding="same")
    wider = replace(model, "first", layer)
    assert value(wider, "first").shape == (new, new, 3, 4)
    same_function(model, wider)


def test_smaller_kernel_keeps_the_centre():
    model = convolutions(5)
    smaller = replace(model, "first", layers.Conv2D(4, 3, padding="same"))
    np.testing.assert_array_equal(
        value(smaller, "first"), value(model, "first")[1:4, 1:4]
    )
    works(smaller)


def test_dilated_kernel_keeps_the_taps_that_read_the_same():
    model = convolutions(3)
    spread = replace(
        model, "first", layers.Conv2D(4, 3, dilation_rate=2, padding="same")
    )
    kernel, old = value(spread, "first"), value(model, "first")
    np.testing.assert_array_equal(kernel[1, 1], old[1, 1])
    assert np.count_nonzero(kernel) == np.count_nonzero(old[1, 1])


def test_dilated_kernel_becomes_a_dense_one_with_the_same_function():
    model = convolutions(2, dilation_rate=2)
    same_function(model, replace(model, "first", layers.Conv2D(4, 3, padding="same")))


def test_causal_kernel_grows_into_the_past():
    inputs = keras.Input((9, 3))
    x = layers.Conv1D(4, 2, padding="causal", name="conv")(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    longer = replace(model, "conv", layers.Conv1D(4, 4, padding="causal"))
    np.testing.assert_array_equal(value(longer, "conv")[2:], value(model, "conv"))
    same_function(model, longer)


@pytest.mark.parametrize(
    ("old", "new", "weight"),
    [
        (
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            layers.DepthwiseConv2D(5, padding="same", depth_multiplier=2),
            "kernel",
        ),
        (
            layers.SeparableConv2D(4, 3, padding="same"),
            layers.SeparableConv2D(4, 4, padding="same"),
            "depthwise_kernel",
        ),
        (
            layers.Conv2D(6, 3, padding="same", groups=3),
            layers.Conv2D(6, 5, padding="same", groups=3),
            "kernel",
        ),
    ],
    ids=["depthwise", "separable", "grouped"],
)
def test_every_kind_of_window_grows(old, new, weight):
    inputs = keras.Input((6, 6, 3))
    config = {**old.get_config(), "name": "conv"}
    x = type(old).from_config(config)(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    wider = replace(model, "conv", new)
    assert value(wider, "conv", weight).shape[:2] == new.kernel_size
    same_function(model, wider)


def test_window_on_a_grid_of_unknown_size_computes_the_same():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    model = randomize(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    layer = layers.Conv2D(4, 5, strides=2, padding="same")
    data = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    same_function(model, replace(model, "conv", layer), data)


def test_new_neurons_are_read_by_zeros():
    model = convolutions()
    wider = replace(model, "first", layers.Conv2D(7, 3, padding="same"))
    np.testing.assert_array_equal(value(wider, "first")[..., :4], value(model, "first"))
    assert value(wider, "first")[..., 4:].any()
    np.testing.assert_array_equal(value(wider, "second")[:, :, 4:], 0)
    same_function(model, wider)


def test_fewer_neurons_are_the_first_ones():
    model = convolutions()
    narrower = replace(model, "first", layers.Conv2D(2, 3, padding="same"))
    np.testing.assert_array_equal(
        value(narrower, "second"), value(model, "second")[:, :, :2]
    )
    works(narrower)


def test_activation_changes_and_weights_stay():
    model = convolutions()
    layer = layers.Conv2D(4, 3, padding="same", activation="relu")
    new = replace(model, "first", layer)
    assert new.get_layer("first").activation is keras.activations.relu
    np.testing.assert_array_equal(value(new, "first"), value(model, "first"))


def test_strides_change_where_the_grid_may():
    model = convolutions()
    new = replace(model, "first", layers.Conv2D(4, 3, strides=2, padding="same"))
    assert new.get_layer("second").output.shape == (None, 4, 4, 5)
    works(new)


def test_strides_that_make_grids_differ_are_refused():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3, padding="same", name="conv")(inputs)
    model = keras.Model(inputs, layers.Add(name="sum")([x, inputs]))
    layer = layers.Conv2D(3, 3, strides=2, padding="same")
    refused(replace, model, "conv", layer, match="'sum'.*grids")


def test_new_layer_takes_over_the_name_unless_it_has_one():
    model = convolutions()
    assert names(replace(model, "first", layers.Conv2D(4, 1)))[0] == "first"
    named = replace(model, "first", layers.Conv2D(4, 1, name="pointwise"))
    assert names(named)[0] == "pointwise"


def test_name_that_is_taken_gets_a_number():
    named = replace(convolutions(), "first", layers.Conv2D(4, 1, name="second"))
    assert names(named)[:3] == ["second_1", "norm", "second"]


def test_built_layer_brings_its_weights():
    model, layer = convolutions(), layers.Conv2D(4, 1)
    layer(keras.Input((8, 8, 3)))
    new = replace(model, "first", layer)
    np.testing.assert_array_equal(value(new, "first"), layer.kernel)


def test_built_layer_for_another_width_makes_the_network_fit():
    model, layer = convolutions(), layers.Conv2D(5, 1, activation="tanh")
    layer(keras.Input((8, 8, 6)))
    new = replace(model, "second", layer)
    width = new.get_layer("first").filters
    np.testing.assert_array_equal(
        value(new, "second")[:, :, :4], keras.ops.convert_to_numpy(layer.kernel)[:, :, :4]
    )
    assert value(new, "second").shape == (1, 1, width, 5)
    works(new)


def test_every_call_of_a_shared_layer_changes():
    inputs = keras.Input((6,))
    shared = layers.Dense(6, activation="tanh", name="shared")
    model = randomize(keras.Model(inputs, shared(shared(inputs))))
    with untouched(model):
        new = kn.replace(model, "shared^1", layers.Dense(6, activation="relu"))
    kernel, bias = (value(model, "shared", w) for w in ("kernel", "bias"))
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    once = np.maximum(x @ kernel + bias, 0)
    close(new(x), np.maximum(once @ kernel + bias, 0))


def test_layer_inside_a_nested_model_that_is_used_twice():
    inside = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, padding="same", name="conv")(inside)
    nested = keras.Model(inside, x, name="nested")
    inputs = keras.Input((6, 6, 3))
    model = randomize(keras.Model(inputs, nested(nested(inputs))))
    new = replace(model, "nested/conv", layers.Conv2D(3, 5, padding="same"))
    assert new.get_layer("nested").get_layer("conv").kernel_size == (5, 5)
    same_function(model, new)


@pytest.mark.parametrize("is_sequential", [False, True])
def test_model_in_place_of_a_layer_brings_its_weights(is_sequential):
    inside = keras.Input((8, 8, 3))
    parts = [
        layers.Conv2D(6, 3, padding="same", name="one"),
        layers.Conv2D(4, 1, name="two"),
    ]
    if is_sequential:
        block = keras.Sequential([inside, *parts], name="block")
    else:
        block = keras.Model(inside, parts[1](parts[0](inside)), name="block")
    model, block = convolutions(), randomize(block)
    with untouched(block):
        new = replace(model, "first", block)
    assert names(new)[0] == "block"
    for path in ("one", "two"):
        np.testing.assert_array_equal(value(new, f"block/{path}"), value(block, path))
    works(new)


def test_layer_in_place_of_a_nested_model():
    inside = keras.Input((6,))
    x = layers.Dense(5, activation="tanh", name="one")(inside)
    nested = keras.Model(inside, layers.Dense(4, name="two")(x), name="nested")
    inputs = keras.Input((6,))
    head = layers.Dense(2, name="head")
    model = randomize(keras.Model(inputs, head(nested(inputs))))
    new = replace(model, "nested", layers.Dense(4, name="flat"))
    assert names(new) == ["flat", "head"]
    np.testing.assert_array_equal(value(new, "head"), value(model, "head"))
    works(new)


def merged(merge, *, size: int = 4) -> keras.Model:
    """Two branches and a merge that is read by a Dense layer and by a normalization."""
    inputs = keras.Input((5,))
    left = layers.Dense(4, activation="tanh", name="left")(inputs)
    right = layers.Dense(size, activation="tanh", name="right")(inputs)
    x = merge(name="merge")([left, right])
    return randomize(keras.Model(inputs, layers.Dense(2, name="head")(x)))


def test_concatenation_in_place_of_an_addition_computes_the_same():
    model = merged(layers.Add)
    new = replace(model, "merge", layers.Concatenate())
    kernel = value(model, "head")
    np.testing.assert_array_equal(value(new, "head"), np.concatenate([kernel, kernel]))
    same_function(model, new)


def test_addition_in_place_of_a_concatenation_keeps_the_first_rows():
    model = merged(layers.Concatenate)
    new = replace(model, "merge", layers.Add())
    np.testing.assert_array_equal(value(new, "head"), value(model, "head")[:4])
    works(new)


def test_addition_in_place_of_an_uneven_concatenation_makes_widths_equal():
    new = replace(merged(layers.Concatenate, size=6), "merge", layers.Add())
    widths = {new.get_layer(name).units for name in ("left", "right")}
    assert len(widths) == 1
    works(new)


def test_inputs_cannot_be_replaced():
    model = convolutions()
    name = model.layers[0].name
    refused(replace, model, name, layers.Dense(2), match="is an input")


def test_what_is_no_layer_is_refused():
    refused(replace, convolutions(), "first", "relu", match="str cannot be put")


def test_layer_with_several_inputs_needs_a_layer_that_takes_them():
    inputs = keras.Input((4, 6))
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))
    refused(replace, model, "attention", layers.Dense(6), match="called on 2 tensors")


# --- insert(identity=True), as a user sees it ----------------------------------------


@pytest.mark.parametrize("after", ["first", "norm", "second"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_inserted_convolution_starts_as_the_identity(after, size):
    model = convolutions()
    width = model.get_layer(after).output.shape[-1]
    layer = layers.Conv2D(width, size, padding="same", name="new")
    new = insert(model, layer, after, identity=True)
    same_function(model, new)
    works(new)


def test_inserted_part_may_be_wider_than_what_it_reads():
    model = convolutions()
    part = [layers.Conv2D(9, 3, padding="same"), layers.BatchNormalization()]
    new = insert(model, part, "first", identity=True)
    np.testing.assert_array_equal(value(new, "second")[:, :, 4:], 0)
    same_function(model, new)


def test_inserted_residual_block_starts_as_the_identity():
    inside = keras.Input((8, 8, 4))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="one")(inside)
    x = layers.Conv2D(4, 3, padding="same", name="two")(x)
    block = keras.Model(inside, layers.Add(name="sum")([inside, x]), name="block")
    model = convolutions()
    new = insert(model, block, "first", identity=True)
    assert np.abs(value(new, "block/one")).max() > 0
    same_function(model, new)
    works(new)


def test_relu_is_the_identity_behind_a_relu_only():
    inputs = keras.Input((5,))
    x = layers.Dense(4, activation="relu", name="positive")(inputs)
    x = layers.Dense(4, name="signed")(x)
    model = randomize(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    new = insert(model, layers.ReLU(), "positive", identity=True)
    same_function(model, new)
    refused(insert, model, layers.ReLU(), "signed", identity=True, match="identity")


def test_what_cannot_be_the_identity_says_where():
    model = convolutions()
    part = [layers.Conv2D(2, 1, name="narrow"), layers.Conv2D(4, 1, name="back")]
    refused(insert, model, part, "first", identity=True, match="'narrow' has 2")
    refused(
        insert,
        model,
        layers.LayerNormalization(name="centred"),
        "first",
        identity=True,
        match="'centred'",
    )
