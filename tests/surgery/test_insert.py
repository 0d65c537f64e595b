"""New layers between others, compared with the same computed by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from contract import run
from editing import (
    close,
    dense,
    insert,
    layer_at,
    names,
    refused,
    sizes,
    untouched,
    value,
    works,
)
from keras import layers, ops
from models import random_inputs, randomize
from nets import chain, concatenated, image_net, nested, residual

import keras_nas as kn


def by_hand(layer: layers.Dense, x: np.ndarray) -> np.ndarray:
    """A dense layer without the help of Keras."""
    kernel, bias = map(ops.convert_to_numpy, (layer.kernel, layer.bias))
    z = x @ kernel + bias
    return np.tanh(z) if layer.activation is keras.activations.tanh else z


# --- where it stands and who reads it --------------------------------------------------


def test_chain_with_a_new_layer_computes_one_layer_more():
    model = chain(5, 4, 2)
    new = insert(model, dense(5, "new"), "d0")
    assert names(new) == ["d0", "new", "d1", "d2"]
    x = random_inputs(model)
    expected = x
    for name in ("d0", "new", "d1", "d2"):
        expected = by_hand(new.get_layer(name), expected)
    close(run(new, x), expected)
    for name in ("d0", "d1", "d2"):
        np.testing.assert_array_equal(value(new, name), value(model, name))
    works(new)


@pytest.mark.parametrize("width", [3, 9])
def test_reader_keeps_rows_by_position_when_the_new_layer_has_another_width(width):
    model = chain(5, 4, 2)
    new = insert(model, dense(width, "new"), "d0")
    assert sizes(new) == {"d0": 5, "new": width, "d1": 4, "d2": 2}
    kept = min(width, 5)
    rows = value(new, "d1")
    np.testing.assert_array_equal(rows[:kept], value(model, "d1")[:kept])
    assert not rows[kept:].any()
    works(new)


def test_list_of_layers_makes_a_chain_in_order():
    model = chain(5, 2)
    new = insert(
        model, [dense(7, "x"), layers.Dropout(0.5, name="y"), dense(5, "z")], "d0"
    )
    assert names(new) == ["d0", "x", "y", "z", "d1"]
    x = random_inputs(model)
    expected = x
    for name in ("d0", "x", "z", "d1"):
        expected = by_hand(new.get_layer(name), expected)
    close(run(new, x), expected)


def test_only_the_chosen_readers_change_over():
    source = keras.Input((3,), name="in")
    stem = dense(4, "stem")(source)
    tails = [dense(2, f"tail{n}")(stem) for n in range(3)]
    model = randomize(keras.Model(source, tails))
    new = insert(model, dense(4, "new"), "stem", to=["tail0", "tail2"])
    x = random_inputs(model)
    stem = by_hand(new.get_layer("stem"), x)
    other = by_hand(new.get_layer("new"), stem)
    expected = [
        by_hand(new.get_layer(f"tail{n}"), read)
        for n, read in enumerate((other, stem, other))
    ]
    close(run(new, x), expected)
    again = insert(model, dense(4, "new"), "stem", to="tail1")
    before, after = run(model, x), run(again, x)
    close([after[0], after[2]], [before[0], before[2]])
    assert np.abs(before[1] - after[1]).max() > 1e-3


@pytest.mark.parametrize("merge", [layers.Add, layers.Concatenate])
def test_every_parallel_edge_changes_over(merge):
    source = keras.Input((3,), name="in")
    a = dense(4, "a")(source)
    joined = merge(name="merge")([a, dense(4, "b")(source), a])
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(joined)))
    new = insert(model, dense(4, "new"), "a")
    x = random_inputs(model)
    n = by_hand(new.get_layer("new"), by_hand(new.get_layer("a"), x))
    b = by_hand(new.get_layer("b"), x)
    joined = n + b + n if merge is layers.Add else np.concatenate([n, b, n], 1)
    close(run(new, x), by_hand(new.get_layer("head"), joined))
    np.testing.assert_array_equal(value(new, "head"), value(model, "head"))


def test_parallel_edges_of_a_concatenation_get_zero_rows_at_both_places():
    source = keras.Input((3,), name="in")
    a = dense(2, "a")(source)
    joined = layers.Concatenate(name="cat")([a, dense(3, "b")(source), a])
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(joined)))
    new = insert(model, dense(4, "new"), "a")
    old, rows = value(model, "head"), value(new, "head")
    assert rows.shape == (11, 2)
    np.testing.assert_array_equal(rows[[0, 1, 4, 5, 6, 7, 8]], old)
    assert not rows[[2, 3, 9, 10]].any()


def test_arguments_keep_their_order_when_it_matters():
    source = keras.Input((3,), name="in")
    a, b = dense(4, "a")(source), dense(4, "b")(source)
    model = keras.Model(source, layers.Subtract(name="minus")([a, b]))
    new = insert(randomize(model), dense(4, "new"), "a")
    x = random_inputs(model)
    left = by_hand(new.get_layer("new"), by_hand(new.get_layer("a"), x))
    close(run(new, x), left - by_hand(new.get_layer("b"), x))
    again = insert(model, dense(4, "new"), "b")
    right = by_hand(again.get_layer("new"), by_hand(again.get_layer("b"), x))
    close(run(again, x), by_hand(again.get_layer("a"), x) - right)


def test_argument_of_a_dot_of_operations_keeps_its_order():
    source = keras.Input((3, 4), name="in")
    a, b = dense(4, "a")(source), dense(4, "b")(source)
    model = randomize(keras.Model(source, ops.matmul(a, ops.transpose(b, (0, 2, 1)))))
    new = insert(model, dense(4, "new"), "a")
    x = random_inputs(model)
    left = by_hand(new.get_layer("new"), by_hand(new.get_layer("a"), x))
    right = by_hand(new.get_layer("b"), x)
    close(run(new, x), left @ right.transpose(0, 2, 1))


def test_new_layer_behind_an_input_leaves_the_input_alone():
    model = chain(5, 2)
    new = insert(model, dense(3, "new"), "in")
    assert [layer.name for layer in new.layers] == ["in", "new", "d0", "d1"]
    assert new.input_shape == (None, 3)
    x = random_inputs(model)
    expected = x
    for name in ("new", "d0", "d1"):
        expected = by_hand(new.get_layer(name), expected)
    close(run(new, x), expected)


def test_width_of_a_residual_stream_follows_the_new_layer():
    model = residual(6)
    new = insert(model, dense(8, "new"), "stem")
    assert sizes(new) == {"stem": 6, "new": 8, "branch": 8, "add": 8, "head": 2}
    np.testing.assert_array_equal(value(new, "branch")[:6, :6], value(model, "branch"))
    assert not value(new, "branch")[6:].any() and not value(new, "head")[6:].any()
    smaller = insert(model, dense(4, "new"), "branch")
    assert sizes(smaller) == {"stem": 4, "branch": 6, "new": 4, "add": 4, "head": 2}


def test_one_reader_of_a_residual_stream_changes_over():
    model = residual(6)
    new = insert(model, dense(9, "new"), "stem", to="branch")
    assert sizes(new) == {"stem": 6, "new": 9, "branch": 6, "add": 6, "head": 2}
    x = random_inputs(model)
    stem = by_hand(new.get_layer("stem"), x)
    branch = by_hand(new.get_layer("branch"), by_hand(new.get_layer("new"), stem))
    close(run(new, x), by_hand(new.get_layer("head"), stem + branch))


# --- what is inserted ------------------------------------------------------------------


def test_functional_model_is_inserted_as_a_nested_model():
    inner = keras.Input((4,), name="inner_in")
    block = keras.Model(inner, dense(5, "y")(dense(6, "x")(inner)), name="block")
    randomize(block, seed=3)
    model = chain(4, 3, 2)
    with untouched(block):
        new = insert(model, block, "d0")
    assert names(new) == ["d0", "block", "d1", "d2"]
    x = random_inputs(model)
    middle = run(block, by_hand(model.get_layer("d0"), x))[0]
    rows = value(new, "d1")
    np.testing.assert_array_equal(rows[:4], value(model, "d1"))
    assert not rows[4:].any()
    close(value(new, "block/x"), value(block, "x"))
    expected = by_hand(new.get_layer("d2"), by_hand(new.get_layer("d1"), middle))
    close(run(new, x), expected)
    works(new)


def test_model_made_for_another_width_is_adapted():
    inner = keras.Input((6,), name="inner_in")
    block = keras.Model(inner, dense(4, "y")(inner), name="block")
    randomize(block, seed=3)
    new = insert(chain(4, 3, 2), block, "d0")
    assert sizes(new) == {"d0": 6, "block": 4, "d1": 3, "d2": 2} or (
        sizes(new)["d0"] == 4 and value(new, "block/y").shape == (4, 4)
    )
    works(new)


def test_sequential_model_is_inserted_too():
    block = keras.Sequential([keras.Input((4,)), dense(4, "x")], name="block")
    model = chain(4, 2)
    new = insert(model, block, "d0")
    assert isinstance(new.get_layer("block"), keras.Sequential)
    x = random_inputs(model)
    expected = by_hand(layer_at(new, "block/x"), by_hand(new.get_layer("d0"), x))
    close(run(new, x), by_hand(new.get_layer("d1"), expected))
    works(new)


def test_built_layer_brings_its_weights_and_an_unbuilt_one_stays_unbuilt():
    built = dense(5, "built")
    built.build((None, 5))
    fresh = dense(5, "fresh")
    model = chain(5, 2)
    with untouched(built):
        new = insert(model, [built, fresh], "d0")
    assert not fresh.built and not fresh.weights
    np.testing.assert_array_equal(
        value(new, "built"), ops.convert_to_numpy(built.kernel)
    )
    assert new.get_layer("built") is not built
    new.get_layer("built").kernel.assign(np.zeros((5, 5)))
    assert ops.convert_to_numpy(built.kernel).any()


def test_layer_of_another_model_is_copied_and_not_shared():
    other = chain(5, 5, 3)
    model = chain(5, 2)
    with untouched(other):
        new = insert(model, other.get_layer("d1"), "d0")
    assert names(new) == ["d0", "d1_1", "d1"]
    np.testing.assert_array_equal(value(new, "d1_1"), value(other, "d1"))
    other.get_layer("d1").kernel.assign(np.zeros((5, 5)))
    assert value(new, "d1_1").any()


def test_layer_of_the_model_itself_is_copied_with_its_weights():
    model = chain(4, 4, 2)
    new = insert(model, model.get_layer("d1"), "d1")
    assert names(new) == ["d0", "d1", "d1_1", "d2"]
    np.testing.assert_array_equal(value(new, "d1_1"), value(model, "d1"))
    assert new.get_layer("d1").kernel is not new.get_layer("d1_1").kernel


def test_built_layer_of_another_width_is_met_by_what_feeds_it():
    built = dense(5, "built")
    built.build((None, 8))
    randomize_layer(built)
    model = chain(5, 4, 2)
    new = insert(model, built, "d0")
    rows = value(new, "built")
    assert rows.shape == (5, 5) or value(new, "d0").shape == (3, 8)
    assert sizes(new)["built"] == 5
    works(new)


def randomize_layer(layer: keras.Layer, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))


def test_taken_name_gets_a_number_and_so_does_the_next():
    model = chain(4, 4, 2)
    new = insert(model, [dense(4, "d1"), dense(4, "d1")], "d0")
    assert names(new) == ["d0", "d1_1", "d1_2", "d1", "d2"]
    works(new)


def test_weights_of_an_unbuilt_layer_come_from_its_initializer():
    layer = layers.Dense(
        4, kernel_initializer="ones", bias_initializer="ones", name="n"
    )
    new = insert(chain(4, 2), layer, "d0")
    np.testing.assert_array_equal(value(new, "n"), np.ones((4, 4)))
    np.testing.assert_array_equal(value(new, "n", "bias"), np.ones(4))


def test_statistics_and_flags_of_a_built_layer_come_along():
    norm = layers.BatchNormalization(name="norm")
    norm.build((None, 4))
    norm.moving_mean.assign([1, 2, 3, 4])
    norm.moving_variance.assign([4, 3, 2, 1])
    norm.trainable = False
    model = chain(4, 2)
    new = insert(model, norm, "d0")
    assert not new.get_layer("norm").trainable
    x = random_inputs(model)
    middle = by_hand(model.get_layer("d0"), x)
    middle = (middle - [1, 2, 3, 4]) / np.sqrt(np.array([4, 3, 2, 1]) + 1e-3)
    close(run(new, x), by_hand(model.get_layer("d1"), middle))


# --- outputs ---------------------------------------------------------------------------


def test_new_layer_behind_the_output_becomes_the_output():
    model = chain(4, 2)
    new = insert(model, dense(3, "new"), "d1")
    assert new.output_shape == (None, 3)
    x = random_inputs(model)
    close(run(new, x), by_hand(new.get_layer("new"), run(model, x)[0]))


def test_output_that_is_also_read_changes_over_as_a_whole():
    source = keras.Input((3,), name="in")
    a = dense(4, "a")(source)
    b = dense(2, "b")(a)
    model = randomize(keras.Model(source, {"b": b, "a": a}))
    x = random_inputs(model)
    new = insert(model, dense(4, "new"), "a")
    middle = by_hand(new.get_layer("new"), by_hand(new.get_layer("a"), x))
    found = {k: ops.convert_to_numpy(v) for k, v in new(x).items()}
    close(found["a"], middle)
    close(found["b"], by_hand(new.get_layer("b"), middle))
    new = insert(model, dense(4, "new"), "a", to="b")
    found = {k: ops.convert_to_numpy(v) for k, v in new(x).items()}
    close(found["a"], by_hand(model.get_layer("a"), x))
    middle = by_hand(new.get_layer("new"), found["a"])
    close(found["b"], by_hand(new.get_layer("b"), middle))


def test_list_of_outputs_keeps_its_order_and_one_tensor_may_stand_twice():
    source = keras.Input((3,), name="in")
    a, b = dense(4, "a")(source), dense(2, "b")(source)
    model = randomize(keras.Model(source, [a, b, a]))
    new = insert(model, dense(4, "new"), "a")
    x = random_inputs(model)
    old = run(model, x)
    middle = by_hand(new.get_layer("new"), old[0])
    close(run(new, x), [middle, old[1], middle])


def test_compiled_model_with_losses_by_output_fits_after_an_edit_at_the_output():
    source = keras.Input((3,), name="in")
    stem = dense(4, "stem")(source)
    outputs = [
        layers.Dense(2, name="first")(stem),
        layers.Dense(1, name="second")(stem),
    ]
    model = randomize(keras.Model(source, outputs))
    model.compile(
        keras.optimizers.Adam(0.125),
        loss={"first": "mse", "second": "mae"},
        loss_weights={"first": 1.0, "second": 0.5},
    )
    new = insert(model, dense(2, "new"), "first")
    assert new.optimizer.learning_rate == 0.125
    x = random_inputs(model)
    y = [np.zeros((3, 2)), np.ones((3, 1))]
    loss = new.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    first, second = run(new, x)
    expected = np.square(first).mean() + 0.5 * np.abs(second - 1).mean()
    assert abs(loss - expected) < 1e-5
    new.fit(x, y, epochs=1, verbose=0)


def test_compiled_model_with_a_dict_of_outputs_keeps_its_keys():
    source = keras.Input((3,), name="in")
    stem = dense(4, "stem")(source)
    outputs = {
        "one": layers.Dense(2, name="first")(stem),
        "two": layers.Dense(1, name="second")(stem),
    }
    model = randomize(keras.Model(source, outputs))
    model.compile("sgd", loss={"one": "mse", "two": "mae"})
    new = insert(model, dense(2, "new"), "first")
    x = random_inputs(model)
    assert list(new(x)) == ["one", "two"]
    new.fit(x, {"one": np.zeros((3, 2)), "two": np.ones((3, 1))}, verbose=0)


# --- nested models ---------------------------------------------------------------------


def test_new_layer_stands_between_a_nested_model_and_its_reader():
    model = nested()
    new = insert(model, dense(7, "new"), "encoder")
    assert names(new) == ["encoder", "new", "head"]
    x = random_inputs(model)
    middle = by_hand(new.get_layer("new"), run(model.get_layer("encoder"), x)[0])
    close(run(new, x), by_hand(new.get_layer("head"), middle))
    rows = value(new, "head")
    np.testing.assert_array_equal(rows[:5], value(model, "head"))
    assert not rows[5:].any()
    works(new)


def twice() -> keras.Model:
    """A ``block`` of ``one`` and ``two`` that is called twice in a row."""
    inner = keras.Input((4,), name="block_in")
    block = keras.Model(inner, dense(4, "two")(dense(5, "one")(inner)), name="block")
    source = keras.Input((3,), name="in")
    x = block(block(dense(4, "stem")(source)))
    return randomize(keras.Model(source, layers.Dense(2, name="head")(x)))


@pytest.mark.parametrize("path", ["block/one", "block^1/one"])
def test_inside_of_a_nested_model_changes_once_for_both_calls(path):
    model = twice()
    new = insert(model, dense(7, "new"), path)
    block = new.get_layer("block")
    assert names(block) == ["one", "new", "two"] and names(new) == [
        "stem",
        "block",
        "head",
    ]
    assert value(new, "block/two").shape == (7, 4)
    x = by_hand(new.get_layer("stem"), random_inputs(model))
    for _ in range(2):
        for name in ("one", "new", "two"):
            x = by_hand(layer_at(new, f"block/{name}"), x)
    close(run(new, random_inputs(model)), by_hand(new.get_layer("head"), x))
    works(new)


def test_between_two_calls_of_a_nested_model():
    model = twice()
    new = insert(model, dense(4, "new"), "block")
    x = by_hand(new.get_layer("stem"), random_inputs(model))
    block = model.get_layer("block")
    x = run(block, by_hand(new.get_layer("new"), run(block, x)[0]))[0]
    close(run(new, random_inputs(model)), by_hand(new.get_layer("head"), x))


def test_nested_model_in_a_nested_model_is_edited_by_path():
    a = keras.Input((4,), name="a")
    inner = keras.Model(a, dense(4, "deep")(a), name="inner")
    b = keras.Input((4,), name="b")
    outer = keras.Model(b, dense(4, "mid")(inner(b)), name="outer")
    source = keras.Input((4,), name="in")
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(outer(source))))
    new = insert(model, dense(6, "new"), "outer/inner/deep")
    assert names(layer_at(new, "outer/inner")) == ["deep", "new"]
    assert value(new, "outer/mid").shape == (6, 4)
    x = random_inputs(model)
    expected = x
    for path in ("outer/inner/deep", "outer/inner/new", "outer/mid", "head"):
        expected = by_hand(layer_at(new, path), expected)
    close(run(new, x), expected)
    works(new)


def test_behind_the_output_of_a_nested_model_on_the_inside():
    model = nested()
    new = insert(model, dense(5, "new"), "encoder/out")
    encoder = new.get_layer("encoder")
    assert names(encoder) == ["inner", "out", "new"]
    x = random_inputs(model)
    middle = by_hand(
        layer_at(new, "encoder/new"), run(model.get_layer("encoder"), x)[0]
    )
    close(run(new, x), by_hand(new.get_layer("head"), middle))


def test_behind_the_input_of_a_nested_model_on_the_inside():
    model = nested()
    inner = model.get_layer("encoder").layers[0].name
    new = insert(model, dense(4, "new"), f"encoder/{inner}")
    assert names(new.get_layer("encoder")) == ["new", "inner", "out"]
    x = random_inputs(model)
    expected = x
    for path in ("encoder/new", "encoder/inner", "encoder/out", "head"):
        layer = layer_at(new, path)
        expected = by_hand(layer, expected)
    close(run(new, x), expected)


# --- kinds of networks -----------------------------------------------------------------


def test_sequential_model_stays_sequential():
    model = keras.Sequential(
        [keras.Input((3,)), dense(4, "a"), layers.Dense(2, name="head")], name="net"
    )
    new = insert(randomize(model), [dense(6, "b"), layers.ReLU(name="relu")], "a")
    assert type(new) is keras.Sequential and new.name == "net"
    assert names(new) == ["a", "b", "relu", "head"]
    works(new)
    assert type(insert(model, dense(2, "end"), "head")) is keras.Sequential


def test_behind_one_call_of_a_shared_layer():
    shared = dense(4, "shared")
    source = keras.Input((4,), name="in")
    x = shared(shared(source))
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    new = insert(model, dense(4, "new"), "shared")
    x = random_inputs(model)
    layer = new.get_layer("shared")
    expected = by_hand(layer, by_hand(new.get_layer("new"), by_hand(layer, x)))
    close(run(new, x), by_hand(new.get_layer("head"), expected))
    new = insert(model, dense(4, "new"), "shared^1")
    expected = by_hand(new.get_layer("new"), by_hand(layer, by_hand(layer, x)))
    close(run(new, x), by_hand(new.get_layer("head"), expected))


def test_first_output_of_a_layer_with_several_is_led_on():
    source = keras.Input((5, 3), name="in")
    whole, h, c = layers.LSTM(4, return_sequences=True, return_state=True, name="lstm")(
        source
    )
    out = [layers.Dense(2, name="p")(whole), layers.Dense(2, name="q")(h), c]
    model = randomize(keras.Model(source, out))
    new = insert(model, dense(6, "new"), "lstm")
    x = random_inputs(model)
    old = run(model, x)
    sequence = ops.convert_to_numpy(model.get_layer("lstm")(x)[0])
    expected = by_hand(new.get_layer("p"), by_hand(new.get_layer("new"), sequence))
    found = run(new, x)
    close(found[0], expected)
    close(found[1:], old[1:])


def test_operations_are_vertices_like_others():
    source = keras.Input((3,), name="in")
    a, b = dense(4, "a")(source), dense(4, "b")(source)
    model = keras.Model(source, layers.Dense(2, name="head")(ops.add(a, b)[:, 1:]))
    graph = kn.Graph.from_model(randomize(model))
    (operation,) = (name for name in graph.body.vertices if name.startswith("add"))
    x = random_inputs(model)
    new = insert(model, dense(4, "new"), operation)
    total = by_hand(new.get_layer("a"), x) + by_hand(new.get_layer("b"), x)
    middle = by_hand(new.get_layer("new"), total)[:, 1:]
    close(run(new, x), by_hand(new.get_layer("head"), middle))
    new = insert(model, dense(4, "new"), "a")
    middle = by_hand(new.get_layer("new"), by_hand(new.get_layer("a"), x))
    total = (middle + by_hand(new.get_layer("b"), x))[:, 1:]
    close(run(new, x), by_hand(new.get_layer("head"), total))
    works(new)


def test_convolution_between_images_follows_them():
    model = image_net(layers.Conv2D(5, 3, name="conv"))
    new = insert(model, layers.Conv2D(8, 3, padding="same", name="new"), "stem")
    kernel = value(new, "conv")
    assert kernel.shape == (3, 3, 8, 5)
    np.testing.assert_array_equal(kernel[:, :, :6], value(model, "conv"))
    assert not kernel[:, :, 6:].any()
    x = random_inputs(model)
    for layer in new.layers[1:]:
        x = layer(x)
    close(run(new, random_inputs(model)), x)
    works(new)


def test_smaller_grid_passes_through_convolutions_and_pooling():
    model = image_net(layers.Conv2D(5, 3, name="conv"))
    new = insert(model, layers.MaxPooling2D(2, name="new"), "stem")
    assert new.get_layer("conv").output.shape == (None, 1, 1, 5)
    np.testing.assert_array_equal(value(new, "conv"), value(model, "conv"))
    x = random_inputs(model)
    for layer in new.layers[1:]:
        x = layer(x)
    close(run(new, random_inputs(model)), x)


def test_smaller_grid_that_a_dense_layer_behind_flatten_was_not_made_for():
    source = keras.Input((4, 4, 2), name="in")
    x = layers.Conv2D(3, 1, name="conv")(source)
    x = layers.Flatten(name="flat")(x)
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    new = insert(model, layers.MaxPooling2D(2, name="pool"), "conv")
    assert value(new, "head").shape[1] == 2
    works(new)


def test_grids_that_would_no_longer_meet_are_refused():
    source = keras.Input((4, 4, 2), name="in")
    x = layers.Conv2D(3, 1, name="conv")(source)
    y = layers.Conv2D(3, 1, name="branch")(x)
    model = keras.Model(source, layers.Add(name="add")([x, y]))
    refused(insert, model, layers.MaxPooling2D(2), "branch", match="'add'.*grids")


def test_image_with_channels_first_keeps_its_channels():
    settings = {"data_format": "channels_first", "padding": "same"}
    source = keras.Input((2, 4, 4), name="in")
    x = layers.Conv2D(3, 3, name="a", **settings)(source)
    x = layers.Conv2D(4, 3, name="b", **settings)(x)
    model = randomize(keras.Model(source, x))
    new = insert(model, layers.Conv2D(5, 3, name="new", **settings), "a")
    assert new.get_layer("new").output.shape == (None, 5, 4, 4)
    kernel = value(new, "b")
    np.testing.assert_array_equal(kernel[:, :, :3], value(model, "b"))
    assert kernel.shape == (3, 3, 5, 4) and not kernel[:, :, 3:].any()


@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_of_other_ranks(rank):
    conv = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
    source = keras.Input((4,) * rank + (2,), name="in")
    x = conv(4, 3, padding="same", name="b")(conv(3, 1, name="a")(source))
    model = randomize(keras.Model(source, x))
    new = insert(model, conv(5, 1, name="new"), "a")
    kernel = value(new, "b")
    np.testing.assert_array_equal(kernel[..., :3, :], value(model, "b"))
    assert kernel.shape[-2:] == (5, 4) and not kernel[..., 3:, :].any()
    works(new)


def test_mask_of_an_embedding_reaches_the_recurrent_layer():
    source = keras.Input((5,), dtype="int32", name="in")
    x = layers.Embedding(7, 4, mask_zero=True, name="embedding")(source)
    x = layers.LSTM(3, name="lstm")(x)
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    new = insert(model, dense(4, "new"), "embedding")
    data = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]])
    embedded = new.get_layer("embedding")(data)
    expected = new.get_layer("lstm")(
        by_hand(new.get_layer("new"), ops.convert_to_numpy(embedded)), mask=data != 0
    )
    close(
        run(new, data), by_hand(new.get_layer("head"), ops.convert_to_numpy(expected))
    )
    works(new, data)


def transformer() -> keras.Model:
    """One block with attention, norms and a feed-forward part."""
    source = keras.Input((5, 8), name="in")
    x = layers.Dense(8, name="stem")(source)
    y = layers.LayerNormalization(name="norm1")(x)
    y = layers.MultiHeadAttention(2, 4, name="attention")(y, y)
    x = layers.Add(name="add1")([x, y])
    y = layers.LayerNormalization(name="norm2")(x)
    y = layers.Dense(8, name="down")(dense(12, "up")(y))
    x = layers.Add(name="add2")([x, y])
    return randomize(keras.Model(source, layers.Dense(3, name="head")(x)))


def test_dense_layer_inside_of_a_transformer_block():
    model = transformer()
    new = insert(model, dense(9, "new"), "up")
    assert value(new, "down").shape == (9, 8)
    x = random_inputs(model)
    get = new.get_layer
    stream = get("stem")(x)
    y = get("norm1")(stream)
    stream = stream + get("attention")(y, y)
    y = get("down")(get("new")(get("up")(get("norm2")(stream))))
    close(run(new, x), get("head")(stream + y))
    works(new)


def test_attention_reads_a_wider_layer_on_all_of_its_inputs():
    model = transformer()
    new = insert(model, dense(10, "new"), "norm1")
    attention = new.get_layer("attention")
    for part in ("query", "key", "value"):
        kernel = ops.convert_to_numpy(getattr(attention, f"{part}_dense").kernel)
        assert kernel.shape[0] == 10 and not kernel[8:].any()
    # It gives as many neurons as its query has.
    assert sizes(new)["attention"] == sizes(new)["stem"] == 10


def test_depthwise_and_grouped_convolutions_behind_a_wider_layer():
    model = image_net(
        layers.DepthwiseConv2D(3, padding="same", name="depth"),
        layers.Conv2D(6, 1, groups=2, name="grouped"),
    )
    new = insert(model, layers.Conv2D(8, 1, name="new"), "stem")
    assert value(new, "depth").shape == (3, 3, 8, 1)
    # Each of the two groups gets one neuron more, at its end.
    kept = [0, 1, 2, 4, 5, 6]
    np.testing.assert_array_equal(
        value(new, "depth")[:, :, kept], value(model, "depth")
    )
    grouped = value(new, "grouped")
    assert grouped.shape == (1, 1, 4, 6) and not grouped[:, :, 3].any()
    np.testing.assert_array_equal(grouped[:, :, :3], value(model, "grouped"))
    works(new)


def test_mixed_precision_stays_where_it_was():
    source = keras.Input((3,), name="in")
    x = layers.Dense(4, dtype="mixed_float16", name="a")(source)
    model = keras.Model(source, layers.Dense(2, dtype="float32", name="head")(x))
    layer = layers.Dense(4, dtype="mixed_bfloat16", name="new")
    new = insert(model, layer, "a")
    policies = [new.get_layer(name).dtype_policy.name for name in ("a", "new", "head")]
    assert policies == ["mixed_float16", "mixed_bfloat16", "float32"]
    x = random_inputs(model)
    expected = x
    for name in ("a", "new", "head"):
        expected = new.get_layer(name)(expected)
    close(run(new, x), expected)


def test_frozen_layers_stay_frozen():
    model = chain(4, 3, 2)
    model.get_layer("d0").trainable = False
    new = insert(model, dense(4, "new"), "d0")
    flags = [new.get_layer(name).trainable for name in ("d0", "new", "d1")]
    assert flags == [False, True, True]


# --- sizes that do not fit -------------------------------------------------------------


def concat_and_input() -> keras.Model:
    """``a`` is added to the input of width 4, and so cannot change."""
    source = keras.Input((4,), name="in")
    a = dense(4, "a")(source)
    added = layers.Add(name="add")([source, a])
    return randomize(keras.Model(source, layers.Dense(2, name="head")(added)))


def test_width_that_is_fixed_on_the_other_side_is_infeasible():
    model = concat_and_input()
    error = refused(
        insert,
        model,
        dense(6, "new"),
        "a",
        match="'add'.*'in'",
        error=kn.InfeasibleError,
    )
    assert "6" in str(error) and "4" in str(error)


def test_width_is_adapted_with_a_warning_if_not_strict():
    model = concat_and_input()
    with pytest.warns(UserWarning, match=r"'new'.*6.*4") as record:
        new = kn.insert(model, dense(6, "new"), "a", strict=False)
    assert record[0].filename == __file__
    assert sizes(new)["new"] == 4
    works(new)


def test_inserted_model_is_adapted_with_a_warning_if_not_strict():
    source = keras.Input((4,))
    part = keras.Model(source, dense(6, "wide")(dense(7, "inner")(source)), name="part")
    with pytest.warns(UserWarning, match=r"'part'.*6.*4"):
        new = kn.insert(concat_and_input(), part, "a", strict=False)
    assert layer_at(new, "part/wide").units == 4
    works(new)


@pytest.mark.parametrize("keywords", [{"locked": "head"}, {"bounds": {"add": (1, 6)}}])
def test_locked_and_bounded_sizes_are_respected(keywords):
    model = residual(6)
    if "locked" in keywords:
        keywords = {"locked": ("branch",)}
    refused(
        insert,
        model,
        dense(8, "new"),
        "stem",
        **keywords,
        match="",
        error=kn.InfeasibleError,
    )


def test_output_that_nothing_reads_is_no_place():
    source = keras.Input((6,), name="in")
    cut = layers.Lambda(lambda x: (x[:, :3], x[:, 3:]), name="cut")
    model = keras.Model(source, layers.Dense(2, name="head")(cut(source)[1]))
    refused(insert, model, dense(3, "new"), "cut", match="'cut'.*reach no output")


def test_split_that_cannot_divide_the_new_width_says_so():
    source = keras.Input((3,), name="in")
    left, right = ops.split(dense(6, "a")(source), 2, axis=-1)
    model = randomize(keras.Model(source, layers.Add(name="add")([left, right])))
    new = insert(model, dense(10, "new"), "a", free_outputs=True)
    assert sizes(new)["add"] == 5
    match = "'split.*6 neurons.*9 from 'new'.*divides"
    refused(
        insert, model, dense(9, "new"), "a", free_outputs=True, match=match,
        error=kn.InfeasibleError,
    )  # fmt: skip


@pytest.mark.parametrize("solver", ["highs", "glpk", "cbc"])
def test_every_solver_makes_the_sizes_fit(solver):
    new = insert(residual(6), dense(8, "new"), "stem", solver=solver)
    assert sizes(new) == {"stem": 6, "new": 8, "branch": 8, "add": 8, "head": 2}


def test_restrictions_may_name_far_away_and_new_layers():
    model = chain(4, 6, 5, 3, 2)
    new = insert(model, dense(9, "new"), "d0", bounds={"d3": (5, None)}, locked="new")
    assert sizes(new) == {"d0": 4, "new": 9, "d1": 6, "d2": 5, "d3": 5, "d4": 2}
    importance = {"d3": [1, 2, 3], "new": 2.0}
    assert sizes(insert(model, dense(9, "new"), "d0", importance=importance))["d3"] == 3
    match, error = r"bounds=\{'new': \(1, 5\)\} holds", kn.InfeasibleError
    bounds = {"new": (1, 5)}
    refused(
        insert, model, dense(9, "new"), "d0", bounds=bounds, match=match, error=error
    )


# --- wrong requests --------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers_", [5, None, "Dense", [], [dense(3, "x"), 7], object()]
)
def test_what_is_no_layer_is_refused(layers_):
    refused(insert, chain(4, 2), layers_, "d0", match="layer")


def test_class_instead_of_a_layer_is_refused():
    refused(insert, chain(4, 2), layers.Dense, "d0", match="The class Dense")


def test_subclassed_model_is_refused():
    class Mine(keras.Model):
        """What it computes is in its ``call``."""

        def __init__(self):
            super().__init__(name="mine")
            self.inside = layers.Dense(4)

        def call(self, x):
            return self.inside(x)

    refused(insert, chain(4, 2), Mine(), "d0", match="'mine'.*subclassed")


def test_layer_of_a_users_class_is_inserted_with_its_settings():
    class Scaled(keras.layers.Layer):
        """Multiplies by a constant."""

        def __init__(self, factor, **settings):
            super().__init__(**settings)
            self.factor = factor

        def get_config(self):
            return {**super().get_config(), "factor": self.factor}

        def call(self, x):
            return self.factor * x

    model = chain(4, 2)
    new = insert(model, Scaled(3.0, name="scaled"), "d0")
    x = random_inputs(model)
    middle = 3 * by_hand(model.get_layer("d0"), x)
    close(run(new, x), by_hand(model.get_layer("d1"), middle))


def test_input_layer_cannot_be_inserted():
    layer = layers.InputLayer(shape=(4,))
    refused(insert, chain(4, 2), layer, "d0", match="InputLayer")


def test_merge_without_partner_cannot_be_inserted():
    refused(insert, chain(4, 2), layers.Add(), "d0", match="Add")


def test_layer_that_does_not_take_the_tensor_is_refused():
    refused(insert, chain(4, 2), layers.Conv2D(3, 1), "d0", match="shape")
    refused(insert, chain(4, 2), layers.LSTM(3), "d0", match="shape")


def test_change_of_the_number_of_axes_is_refused():
    match = "axes"
    refused(insert, image_net(), layers.Flatten(), "stem", match=match)
    refused(insert, chain(4, 2), layers.Reshape((2, 1)), "d1", match=match)


def test_layer_with_several_outputs_is_refused():
    layer = layers.LSTM(3, return_sequences=True, return_state=True)
    source = keras.Input((5, 3), name="in")
    model = keras.Model(source, layers.LSTM(2, name="b")(dense(3, "a")(source)))
    refused(insert, model, layer, "a", match="3 tensors")


def test_model_with_two_inputs_is_refused():
    pair = [keras.Input((4,)), keras.Input((4,))]
    block = keras.Model(pair, layers.Add()(pair), name="block")
    refused(insert, chain(4, 2), block, "d0", match="2 inputs")


@pytest.mark.parametrize(
    ("after", "match"), [("d7", "No layer"), (None, "string"), (3, "string")]
)
def test_unknown_place_is_refused(after, match):
    error = kn.UnknownLayerError
    refused(insert, chain(4, 2), dense(3, "x"), after, match=match, error=error)


def test_readers_that_do_not_read_are_refused():
    model = concatenated(3, 4)
    layer = dense(3, "x")
    refused(insert, model, layer, "a", to="b", match="'b' does not read 'a'.*'cat'")
    refused(insert, model, layer, "a", to=[], match="No vertex")
    refused(insert, model, layer, "head", to="cat", match="does not read")
    error = kn.UnknownLayerError
    refused(insert, model, layer, "a", to="nobody", match="nobody", error=error)
    refused(insert, model, layer, "a", to=[3], match="string", error=error)
    refused(insert, model, layer, "a", to=3, match="No vertex")


def test_reader_in_another_model_is_refused():
    refused(insert, nested(), dense(3, "x"), "encoder/inner", to="head", match="nested")


def test_what_is_no_model_is_refused():
    with pytest.raises(kn.UnsupportedModelError, match="Received"):
        kn.insert("model", dense(3, "x"), "a")


def test_one_layer_given_twice_becomes_two_layers():
    layer = dense(4, "twin")
    new = insert(chain(4, 2), [layer, layer], "d0")
    assert names(new) == ["d0", "twin", "twin_1", "d1"]
    assert new.get_layer("twin").kernel is not new.get_layer("twin_1").kernel
