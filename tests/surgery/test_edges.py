"""Edges that come and go, compared with the same computed by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from contract import run
from editing import (
    close,
    connect,
    conv,
    dense,
    disconnect,
    end,
    names,
    refused,
    same_function,
    sizes,
    through,
    value,
    works,
)
from keras import layers, ops
from models import random_inputs, randomize
from nets import chain, concatenated, image_net, nested, residual

import keras_nas as kn

INFEASIBLE = kn.InfeasibleError


def joined(*widths: int, tail=()) -> keras.Model:
    """``a``, ``b``, ... in ``cat``, ``extra`` of width 5 aside, and a ``head``."""
    source = keras.Input((4, 4, 2), name="in")
    parts = [conv(width, name) for name, width in zip("abcd", widths, strict=False)]
    extra = conv(5, "extra")(source)
    x = layers.Concatenate(name="cat")([part(source) for part in parts])
    for layer in tail:
        x = layer(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    y = layers.GlobalAveragePooling2D(name="extra_pool")(extra)
    return randomize(keras.Model(source, [end(x), end(y, "side")]))


# --- connect to a concatenation --------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 2, 3, None])
def test_concatenation_gets_zero_rows_exactly_where_the_new_input_stands(position):
    model = joined(2, 3, 4)
    new = connect(model, "extra", "cat", position)
    start = [0, 2, 5, 9, 9][3 if position is None else position]
    rows, old = value(new, "head"), value(model, "head")
    np.testing.assert_array_equal(np.delete(rows, range(start, start + 5), 0), old)
    assert rows.shape == (14, 2) and not rows[start : start + 5].any()
    same_function(model, new)


def test_edges_of_the_concatenation_stand_in_the_order_asked_for():
    new = connect(joined(2, 3, 4), "extra", "cat", 1)
    kernel = np.arange(28, dtype="float32").reshape(14, 2)
    new.get_layer("head").kernel.assign(kernel)
    x = random_inputs(new)
    parts = [through(new, x, name) for name in ("a", "extra", "b", "c")]
    pooled = np.concatenate(parts, -1).mean((1, 2))
    close(run(new, x)[0], pooled @ kernel + value(new, "head", "bias"))
    works(new)


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization(name="between"),
        layers.DepthwiseConv2D(3, padding="same", name="between"),
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="between"),
        layers.Activation("tanh", name="between"),
        layers.PReLU(shared_axes=[1, 2], name="between"),
    ],
    ids=["norm", "depthwise", "multiplied depthwise", "activation", "prelu"],
)
def test_new_input_reaches_the_readers_of_readers(layer):
    model = joined(2, 3, tail=[layer, conv(4, "after", 3)])
    new = connect(model, "extra", "cat", 1)
    kernel, old = value(new, "after"), value(model, "after")
    factor = old.shape[2] // 5
    gone = range(2 * factor, 7 * factor)
    np.testing.assert_array_equal(np.delete(kernel, gone, 2), old)
    assert not kernel[:, :, gone].any()
    same_function(model, new)
    works(new)


def test_grouped_convolution_behind_a_concatenation_keeps_its_function():
    model = joined(2, 4, tail=[conv(6, "grouped", groups=2)])
    try:
        new = connect(model, "extra", "cat", bounds={"extra": (6, 6)})
    except kn.InfeasibleError as error:
        assert "grouped" in str(error) or "cat" in str(error)
    else:
        assert value(new, "grouped").shape == (1, 1, 6, 6)


def test_flatten_behind_a_concatenation_gets_zero_rows_at_every_pixel():
    source = keras.Input((2, 3, 2), name="in")
    a, b = conv(2, "a")(source), conv(3, "b")(source)
    x = layers.Flatten(name="flat")(layers.Concatenate(name="cat")([a, b]))
    model = randomize(keras.Model(source, [end(x), conv(4, "extra")(source)]))
    new = connect(model, "extra", "cat", 1)
    rows = value(new, "head").reshape(6, 9, 2)
    old = value(model, "head").reshape(6, 5, 2)
    np.testing.assert_array_equal(rows[:, [0, 1, 6, 7, 8]], old)
    assert not rows[:, 2:6].any()
    same_function(model, new)


def test_every_reader_of_a_concatenation_gets_zero_rows():
    source = keras.Input((4,), name="in")
    a, b = dense(2, "a")(source), dense(3, "b")(source)
    x = layers.Concatenate(name="cat")([a, b])
    y = layers.Concatenate(name="outer")([x, dense(3, "c")(x)])
    model = randomize(keras.Model(source, [end(x, "one"), end(y, "two")]))
    new = connect(model, "in", "cat", 0)
    assert value(new, "c").shape == (9, 3) and not value(new, "c")[:4].any()
    for name in ("one", "two"):
        assert not value(new, name)[:4].any()
        np.testing.assert_array_equal(value(new, name)[4:], value(model, name))
    same_function(model, new)


def test_same_source_may_be_connected_twice():
    model = concatenated(3, 4)
    new = connect(model, "a", "cat", 1)
    rows, old = value(new, "head"), value(model, "head")
    np.testing.assert_array_equal(rows[[0, 1, 2, 6, 7, 8, 9]], old)
    assert not rows[3:6].any()
    same_function(model, new)


def test_input_of_the_model_is_connected():
    model = concatenated(3, 4)
    same_function(model, connect(model, "in", "cat", 0))


def test_concatenation_in_a_residual_stream_makes_the_stream_follow():
    source = keras.Input((4,), name="in")
    a, b = dense(2, "a")(source), dense(3, "b")(source)
    x = layers.Concatenate(name="cat")([a, b])
    x = layers.Add(name="add")([x, dense(5, "c")(x)])
    model = randomize(keras.Model(source, end(x)))
    new = connect(model, "in", "cat", 1)
    assert sizes(new)["c"] == 9 and sizes(new)["add"] == 9
    same_function(model, new)
    rows = value(new, "head")
    np.testing.assert_array_equal(rows[[0, 1, 6, 7, 8]], value(model, "head"))
    assert not rows[2:6].any()
    works(new)


def test_concatenation_that_is_an_output_cannot_grow():
    source = keras.Input((4,), name="in")
    x = layers.Concatenate(name="cat")([dense(2, "a")(source), dense(3, "b")(source)])
    model = randomize(keras.Model(source, [x, end(x)]))
    new = connect(model, "in", "cat")
    old, found = run(model, random_inputs(model)), run(new, random_inputs(model))
    close(found[0][:, :5], old[0])
    close(found[1], old[1])


# --- connect to a sum ------------------------------------------------------------------


def sides(*widths: int) -> keras.Model:
    """``a``, ``b`` (of equal width) in ``add``, ``c`` of another width aside."""
    source = keras.Input((4,), name="in")
    a, b, c = (
        dense(width, name)(source) for name, width in zip("abc", widths, strict=True)
    )
    added = layers.Add(name="add")([a, b])
    return randomize(keras.Model(source, [end(added), end(c, "side")]))


def test_sum_of_equal_widths_just_adds():
    model = sides(3, 3, 3)
    new = connect(model, "c", "add")
    x = random_inputs(model)
    total = sum(through(model, x, name) for name in "abc")
    close(run(new, x), [through(model, total, "head"), run(model, x)[1]])
    works(new)


@pytest.mark.parametrize(
    ("widths", "align", "expected"),
    [
        ((3, 3, 5), "grow", 5),
        ((3, 3, 5), "shrink", 3),
        ((5, 5, 3), "grow", 5),
        ((5, 5, 3), "shrink", 3),
        ((3, 3, 5), "both", 5),
    ],
)
def test_unequal_widths_of_a_sum_are_aligned(widths, align, expected):
    model = sides(*widths)
    new = connect(model, "c", "add", align=align)
    assert {sizes(new)[name] for name in "abc"} == {expected}
    x = random_inputs(model)
    total = sum(through(new, x, name) for name in "abc")
    close(run(new, x)[0], through(new, total, "head"))
    if expected > widths[0]:
        np.testing.assert_array_equal(
            value(new, "a")[:, : widths[0]], value(model, "a")
        )
        assert not value(new, "head")[widths[0] :].any()
    works(new)


def test_sum_aligned_on_a_size_between():
    new = connect(sides(3, 3, 7), "c", "add", bounds={"add": (5, 5)})
    assert {sizes(new)[name] for name in "abc"} == {5}


def test_sum_with_an_input_of_another_width_takes_its_width():
    model = sides(3, 3, 5)
    new = connect(model, "in", "add")
    assert sizes(new)["a"] == sizes(new)["b"] == 4 and sizes(new)["c"] == 5
    refused(
        connect, model, "in", "add", locked="a", match="'a' is locked", error=INFEASIBLE
    )


def test_argument_order_of_other_merges():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(3, "b")(source)
    top = layers.Maximum(name="top")([a, b])
    model = randomize(keras.Model(source, [end(top), dense(3, "c")(source)]))
    new = connect(model, "c", "top", 0)
    x = random_inputs(model)
    highest = np.maximum.reduce([through(model, x, name) for name in "abc"])
    close(run(new, x)[0], through(model, highest, "head"))


def test_merge_of_two_inputs_only_takes_no_third():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(3, "b")(source)
    minus = layers.Subtract(name="minus")([a, b])
    model = randomize(keras.Model(source, [end(minus), dense(3, "c")(source)]))
    refused(connect, model, "c", "minus", match="'minus'.*3 tensors")


def test_product_of_gates_takes_one_more():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(3, "b")(source)
    x = layers.Multiply(name="gate")([a, b])
    model = randomize(keras.Model(source, [end(x), dense(3, "c")(source)]))
    new = connect(model, "c", "gate", 1)
    x = random_inputs(model)
    product = through(model, x, "a") * through(model, x, "b") * through(model, x, "c")
    close(run(new, x)[0], through(model, product, "head"))


def test_concatenation_by_an_operation_takes_one_more():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(2, "b")(source)
    x = ops.concatenate([a, b], axis=-1)
    model = randomize(keras.Model(source, end(x)))
    (name,) = [n for n in kn.Graph.from_model(model).body.vertices if "concat" in n]
    new = connect(model, "in", name, 1)
    np.testing.assert_array_equal(
        value(new, "head")[[0, 1, 2, 7, 8]], value(model, "head")
    )
    same_function(model, new)
    works(new)


def test_output_that_is_a_sum_keeps_its_width_unless_it_is_free():
    source = keras.Input((4,), name="in")
    a, b = dense(4, "a")(source), dense(6, "b")(source)
    added = layers.Add(name="add")([a, a])
    model = randomize(keras.Model(source, [added, end(b)]))
    match, error = "'add' is an output of the model", INFEASIBLE
    refused(connect, model, "b", "add", align="grow", match=match, error=error)
    assert sizes(connect(model, "b", "add"))["b"] == 4
    new = connect(model, "b", "add", align="grow", free_outputs=True)
    assert sizes(new)["a"] == sizes(new)["add"] == 6


# --- connect to what takes one input ---------------------------------------------------


def test_sum_is_put_in_front_of_a_layer_that_takes_one_input():
    model = chain(4, 5, 4, 4, 2)
    new = connect(model, "d0", "d3")
    assert names(new) == ["d0", "d1", "d2", "d3_add", "d3", "d4"]
    x = random_inputs(model)
    d0 = through(model, x, "d0")
    total = d0 + through(model, d0, "d1", "d2")
    close(run(new, x), through(model, total, "d3", "d4"))
    works(new)


@pytest.mark.parametrize(("align", "width"), [("grow", 6), ("shrink", 4)])
def test_sum_of_unequal_widths_is_put_in_front(align, width):
    model = chain(6, 5, 4, 3)
    new = connect(model, "d0", "d3", align=align)
    assert sizes(new)["d0"] == sizes(new)["d2"] == width
    x = random_inputs(model)
    d0 = through(new, x, "d0")
    total = d0 + through(new, d0, "d1", "d2")
    close(run(new, x), through(new, total, "d3"))


@pytest.mark.parametrize("position", [None, 0, 1])
def test_concatenation_is_put_in_front_without_changing_the_function(position):
    model = chain(6, 5, 4, 3)
    new = connect(model, "d0", "d3", position, merge="concatenate")
    assert names(new) == ["d0", "d1", "d2", "d3_concatenate", "d3"]
    rows, old = value(new, "d3"), value(model, "d3")
    zeros = rows[:6] if position == 0 else rows[4:]
    assert rows.shape == (10, 3) and not zeros.any()
    np.testing.assert_array_equal(rows[6:] if position == 0 else rows[:4], old)
    same_function(model, new)
    works(new)


def test_concatenation_of_images_with_channels_first_is_along_the_channels():
    settings = {"data_format": "channels_first"}
    source = keras.Input((2, 4, 4), name="in")
    a = conv(3, "a", **settings)(source)
    b = conv(5, "b", 3, **settings)(a)
    model = randomize(keras.Model(source, conv(4, "c", 3, **settings)(b)))
    new = connect(model, "a", "c", merge="concatenate")
    assert new.get_layer("c_concatenate").axis == 1
    kernel = value(new, "c")
    np.testing.assert_array_equal(kernel[:, :, :5], value(model, "c"))
    assert kernel.shape == (3, 3, 8, 4) and not kernel[:, :, 5:].any()
    added = connect(model, "a", "c", merge="add", align="shrink")
    assert added.get_layer("b").output.shape == (None, 3, 4, 4)


def test_edge_to_a_layer_without_weights():
    model = image_net(layers.ReLU(name="relu"), conv(6, "after"))
    new = connect(model, "stem", "after")
    x = random_inputs(model)
    stem = through(model, x, "stem")
    total = stem + np.maximum(stem, 0)
    close(run(new, x), through(model, total, "after", "pool", "head"))


def test_taken_name_of_the_new_merge_gets_a_number():
    model = chain(4, 4, 4, 4)
    new = connect(connect(model, "d0", "d3"), "d1", "d3")
    assert "d3_add_1" in names(new) and "d3_add" in names(new)
    x = random_inputs(model)
    d0 = through(model, x, "d0")
    d1 = through(model, d0, "d1")
    close(run(new, x), through(model, through(model, d1, "d2") + d0 + d1, "d3"))


def test_sequential_model_becomes_functional():
    model = keras.Sequential(
        [keras.Input((3,)), dense(4, "a"), dense(4, "b"), layers.Dense(2, name="head")]
    )
    new = connect(randomize(model), "a", "head")
    assert not isinstance(new, keras.Sequential)
    x = random_inputs(model)
    a = through(model, x, "a")
    close(run(new, x), through(model, a + through(model, a, "b"), "head"))
    works(new)


def test_one_call_of_a_shared_layer_reads_more():
    shared = dense(4, "shared")
    source = keras.Input((4,), name="in")
    x = shared(dense(4, "mid")(shared(source)))
    model = randomize(keras.Model(source, end(x)))
    new = connect(model, "in", "shared^1")
    x = random_inputs(model)
    total = x + through(model, x, "shared", "mid")
    close(run(new, x), through(model, total, "shared", "head"))


def test_weight_of_a_shared_layer_serves_both_calls_after_a_concatenation():
    shared = dense(4, "shared")
    source = keras.Input((4,), name="in")
    stem = dense(4, "stem")(source)
    x = shared(dense(4, "mid")(shared(stem)))
    model = randomize(keras.Model(source, end(x)))
    try:
        new = connect(model, "in", "shared^1", merge="concatenate")
    except kn.KerasNasError as error:
        assert "shared" in str(error) or "stem" in str(error)
    else:
        assert value(new, "shared").shape == (8, 4)
        same_function(model, new)


def test_nested_model_reads_more():
    model = nested()
    graph = kn.Graph.from_model(model)
    grown = graph.insert(dense(4, "stem"), "in").build()
    new = connect(grown, "in", "encoder")
    x = random_inputs(model)
    total = x + through(grown, x, "stem")
    close(run(new, x), through(grown, total, "encoder", "head"))
    widened = connect(grown, "in", "encoder", merge="concatenate")
    assert value(widened, "encoder/inner").shape == (8, 6)
    same_function(grown, widened)
    works(widened)


def test_edge_inside_of_a_nested_model_is_there_in_both_calls():
    inner = keras.Input((4,), name="block_in")
    x = dense(4, "three")(dense(4, "two")(dense(4, "one")(inner)))
    block = keras.Model(inner, x, name="block")
    source = keras.Input((3,), name="in")
    model = keras.Model(source, end(block(block(dense(4, "stem")(source)))))
    new = connect(randomize(model), "block/one", "block/three")
    x = random_inputs(model)
    x = through(model, x, "stem")
    for _ in range(2):
        one = through(model, x, "block/one")
        x = through(model, one + through(model, one, "block/two"), "block/three")
    close(run(new, random_inputs(model)), through(model, x, "head"))
    works(new)


def test_mask_is_no_obstacle():
    source = keras.Input((5,), dtype="int32", name="in")
    x = layers.Embedding(7, 4, mask_zero=True, name="embedding")(source)
    x = layers.LSTM(3, name="lstm")(dense(4, "mid")(x))
    model = randomize(keras.Model(source, end(x)))
    new = connect(model, "embedding", "lstm")
    data = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]])
    x = model.get_layer("embedding")(data)
    x = model.get_layer("lstm")(x + model.get_layer("mid")(x), mask=data != 0)
    close(run(new, data), model.get_layer("head")(x))
    works(new, data)


# --- connections that cannot be --------------------------------------------------------


def test_circle_is_refused_with_its_path():
    error = refused(connect, chain(4, 4, 4, 2), "d2", "d0", match="circle")
    assert "'d0' -> 'd1' -> 'd2' -> 'd0'" in str(error)


def test_vertex_does_not_read_itself():
    error = refused(connect, chain(4, 4, 2), "d1", "d1", match="circle")
    assert "'d1' -> 'd1'" in str(error)


def test_grids_have_to_agree():
    source = keras.Input((4, 4, 2), name="in")
    small = layers.MaxPooling2D(2, name="small")(source)
    a, b = conv(3, "a")(source), conv(3, "b")(source)
    added = layers.Add(name="add")([a, b])
    cat = layers.Concatenate(name="cat")([a, b])
    model = keras.Model(source, [added, cat, conv(3, "c")(small)])
    refused(connect, model, "c", "add", match=r"'add'.*\(None, 2, 2, 3\)")
    refused(connect, model, "c", "cat", match=r"'cat'.*\(None, 2, 2, 3\)")
    for merge in ("add", "concatenate"):
        model = keras.Model(source, [conv(3, "d")(a), conv(3, "e")(small)])
        refused(connect, model, "e", "d", merge=merge, match="grids differ")


def test_numbers_of_axes_have_to_agree():
    source = keras.Input((4, 4, 2), name="in")
    a, b = conv(3, "a")(source), conv(3, "b")(source)
    added = layers.Add(name="add")([a, b])
    pooled = layers.GlobalAveragePooling2D(name="pool")(a)
    model = keras.Model(source, [conv(3, "d")(added), pooled])
    refused(connect, model, "pool", "add", match="4 axes.*2")
    refused(connect, model, "pool", "d", match="4 axes.*2")


@pytest.mark.parametrize("position", [-1, 3, 1.5, True, "first"])
def test_impossible_positions_are_refused(position):
    refused(connect, concatenated(3, 4), "in", "cat", position, match="position")


@pytest.mark.parametrize("merge", ["sum", None, layers.Add, 3, []])
def test_unknown_merge_is_refused(merge):
    refused(connect, chain(4, 4, 4), "d0", "d2", merge=merge, match="'add' or 'concat")


@pytest.mark.parametrize(
    ("source", "target"), [("d9", "d1"), ("d0", "d9"), (3, "d1"), ("d0", None)]
)
def test_unknown_ends_are_refused(source, target):
    model, error = chain(4, 4, 2), kn.UnknownLayerError
    for verb in (connect, disconnect):
        refused(verb, model, source, target, match="No layer|string", error=error)


def test_ends_in_different_models_are_refused():
    refused(connect, nested(), "in", "encoder/out", match="different nested models")
    refused(disconnect, nested(), "in", "encoder/out", match="different nested models")


def test_input_as_a_target_is_refused():
    source, other = keras.Input((4,), name="in"), keras.Input((4,), name="other")
    added = layers.Add(name="add")([dense(4, "a")(source), other])
    model = keras.Model([source, other], end(added))
    refused(connect, model, "a", "other", match="'other'")
    refused(disconnect, model, "a", "other", match="'other'")


def test_layer_of_several_inputs_that_are_no_list_is_refused():
    source = keras.Input((5, 8), name="in")
    a, b = dense(8, "a")(source), dense(8, "b")(source)
    x = layers.MultiHeadAttention(2, 4, name="attention")(a, b)
    model = keras.Model(source, [x, dense(8, "c")(source)])
    refused(connect, model, "c", "attention", match="'attention' takes 2 tensors")


def test_size_that_is_larger_than_itself_is_infeasible():
    source = keras.Input((4,), name="in")
    a = dense(3, "a")(source)
    both = layers.Concatenate(name="cat")([a, dense(2, "b")(source)])
    added = layers.Add(name="add")([a, dense(3, "c")(source)])
    model = randomize(keras.Model(source, [end(both), end(added, "other")]))
    refused(connect, model, "cat", "add", match="'add'.*n plus", error=INFEASIBLE)


# --- disconnect ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start", "stop"), [("a", 0, 2), ("b", 2, 5), ("c", 5, 9)]
)
def test_readers_keep_exactly_the_rows_of_what_stays(name, start, stop):
    model = joined(2, 3, 4)
    new = disconnect(model, name, "cat")
    rows = np.delete(value(model, "head"), range(start, stop), 0)
    np.testing.assert_array_equal(value(new, "head"), rows)
    assert name not in names(new)
    x = random_inputs(model)
    stay = [through(model, x, other) for other in "abc" if other != name]
    pooled = np.concatenate(stay, -1).mean((1, 2))
    close(run(new, x)[0], pooled @ rows + value(model, "head", "bias"))
    works(new)


def zeroed(model: keras.Model, name: str) -> keras.Model:
    """The model, but a layer gives zeros and nothing else."""
    copy = kn.Graph.from_model(model).build()
    layer = copy.get_layer(name)
    for variable in layer.weights:
        variable.assign(np.zeros(variable.shape))
    return copy


@pytest.mark.parametrize(
    "tail",
    [
        [layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="between")],
        [
            layers.DepthwiseConv2D(
                3, padding="same", depth_multiplier=2, use_bias=False, name="between"
            )
        ],
        [layers.ReLU(name="relu"), layers.MaxPooling2D(2, name="between")],
    ],
    ids=["depthwise", "multiplied depthwise", "pooling"],
)
def test_model_computes_as_if_the_lost_neurons_were_zero(tail):
    model = joined(2, 3, 4, tail=[*tail, conv(4, "after", 3)])
    new = disconnect(model, "b", "cat")
    same_function(zeroed(model, "b"), new)
    works(new)


def test_norm_loses_the_statistics_of_what_left():
    model = joined(2, 3, 4, tail=[layers.BatchNormalization(name="norm"), conv(4, "z")])
    new = disconnect(model, "b", "cat")
    keep = [0, 1, 5, 6, 7, 8]
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        old = value(model, "norm", name)
        np.testing.assert_array_equal(value(new, "norm", name), old[keep])
    np.testing.assert_array_equal(value(new, "z"), value(model, "z")[:, :, keep])


def test_flatten_loses_rows_at_every_pixel():
    source = keras.Input((2, 3, 2), name="in")
    parts = [conv(n, name)(source) for n, name in ((2, "a"), (3, "b"), (1, "c"))]
    x = layers.Flatten(name="flat")(layers.Concatenate(name="cat")(parts))
    model = randomize(keras.Model(source, end(x)))
    new = disconnect(model, "b", "cat")
    old = value(model, "head").reshape(6, 6, 2)
    np.testing.assert_array_equal(
        value(new, "head").reshape(6, 3, 2), old[:, [0, 1, 5]]
    )
    same_function(zeroed(model, "b"), new)


def test_all_readers_lose_the_same_rows():
    source = keras.Input((4,), name="in")
    parts = [dense(n, name)(source) for n, name in ((2, "a"), (3, "b"), (4, "c"))]
    x = layers.Concatenate(name="cat")(parts)
    y = layers.Concatenate(name="outer")([dense(3, "d")(x), x])
    model = randomize(keras.Model(source, [end(x, "one"), end(y, "two")]))
    new = disconnect(model, "b", "cat")
    keep = [0, 1, 5, 6, 7, 8]
    np.testing.assert_array_equal(value(new, "one"), value(model, "one")[keep])
    np.testing.assert_array_equal(value(new, "d"), value(model, "d")[keep])
    rows = [0, 1, 2, *(3 + n for n in keep)]
    np.testing.assert_array_equal(value(new, "two"), value(model, "two")[rows])
    same_function(zeroed(model, "b"), new)


def test_grouped_convolution_whose_groups_no_longer_fit_is_aligned():
    model = joined(2, 2, 2, tail=[conv(6, "grouped", groups=3)])
    new = disconnect(model, "b", "cat")
    assert value(new, "grouped").shape[2] * 3 == sizes(new)["cat"]
    works(new)


def test_residual_stream_of_a_concatenation_follows():
    source = keras.Input((4,), name="in")
    parts = [dense(n, name)(source) for n, name in ((2, "a"), (3, "b"), (1, "c"))]
    x = layers.Concatenate(name="cat")(parts)
    x = layers.Add(name="add")([x, dense(6, "d")(source)])
    model = randomize(keras.Model(source, end(x)))
    new = disconnect(model, "b", "cat")
    np.testing.assert_array_equal(value(new, "d"), value(model, "d")[:, [0, 1, 5]])
    np.testing.assert_array_equal(value(new, "head"), value(model, "head")[[0, 1, 5]])
    x = random_inputs(model)
    cat = np.concatenate([through(model, x, "a"), through(model, x, "c")], 1)
    close(run(new, x), through(new, cat + through(new, x, "d"), "head"))


def test_occurrence_says_which_of_several_edges():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(2, "b")(source)
    x = layers.Concatenate(name="cat")([a, b, a])
    model = randomize(keras.Model(source, end(x)))
    old = value(model, "head")
    new = disconnect(model, "a", "cat")
    np.testing.assert_array_equal(value(new, "head"), old[3:])
    new = disconnect(model, "a", "cat", 1)
    np.testing.assert_array_equal(value(new, "head"), old[:5])
    x = random_inputs(model)
    cat = np.concatenate([through(model, x, "a"), through(model, x, "b")], 1)
    close(run(new, x), cat @ old[:5] + value(model, "head", "bias"))


def test_sum_loses_an_input_in_either_occurrence():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(3, "b")(source)
    model = keras.Model(source, end(layers.Add(name="add")([a, b, a])))
    randomize(model)
    x = random_inputs(model)
    a, b = through(model, x, "a"), through(model, x, "b")
    close(run(disconnect(model, "a", "add", 1), x), through(model, a + b, "head"))
    close(run(disconnect(model, "b", "add"), x), through(model, 2 * a, "head"))


def test_merge_with_one_input_stays_or_is_tidied():
    model = residual()
    x = random_inputs(model)
    for source, left in (("stem", ("stem", "branch")), ("branch", ("stem",))):
        new = disconnect(model, source, "add")
        assert "add" in names(new)
        close(run(new, x), through(model, x, *left, "head"))
        tidy = disconnect(model, source, "add", tidy=True)
        assert "add" not in names(tidy)
        close(run(tidy, x), through(model, x, *left, "head"))
    works(new)


def test_concatenation_with_one_input_stays_or_is_tidied():
    model = concatenated(3, 4)
    x = random_inputs(model)
    for tidy in (False, True):
        new = disconnect(model, "a", "cat", tidy=tidy)
        assert ("cat" in names(new)) != tidy
        np.testing.assert_array_equal(value(new, "head"), value(model, "head")[3:])
        rows = value(model, "head")[3:]
        expected = through(model, x, "b") @ rows + value(model, "head", "bias")
        close(run(new, x), expected)
        works(new)


def test_merge_of_two_inputs_only_is_tidied():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(3, "b")(source)
    minus = layers.Subtract(name="minus")([a, b])
    model = randomize(keras.Model(source, end(minus)))
    refused(disconnect, model, "b", "minus", match="'minus'")
    new = disconnect(model, "b", "minus", tidy=True)
    close(
        run(new, random_inputs(model)),
        through(model, random_inputs(model), "a", "head"),
    )


def test_operation_with_two_operands_is_tidied():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(3, "b")(source)
    model = randomize(keras.Model(source, end(ops.add(a, b))))
    (name,) = [n for n in kn.Graph.from_model(model).body.vertices if "add" in n]
    refused(disconnect, model, "b", name, match="tidy=True")
    new = disconnect(model, "b", name, tidy=True)
    close(
        run(new, random_inputs(model)),
        through(model, random_inputs(model), "a", "head"),
    )


def test_merge_that_is_an_output_is_tidied():
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(3, "b")(source)
    model = keras.Model(source, {"sum": layers.Add(name="add")([a, b])})
    randomize(model)
    model.compile("sgd", loss={"sum": "mse"})
    new = disconnect(model, "a", "add", tidy=True)
    x = random_inputs(model)
    close(new(x)["sum"], through(model, x, "b"))
    new.fit(x, {"sum": np.zeros((3, 3))}, verbose=0)


def nested_cat() -> keras.Model:
    """``a`` and ``b`` in ``cat``, which an ``encoder`` gives to a ``head``."""
    inner = keras.Input((4,), name="inner")
    parts = [dense(n, name)(inner) for n, name in ((2, "a"), (3, "b"), (1, "c"))]
    cat = layers.Concatenate(name="cat")(parts)
    encoder = keras.Model(inner, cat, name="encoder")
    source = keras.Input((4,), name="in")
    return randomize(keras.Model(source, end(encoder(source))))


def test_reader_outside_of_a_nested_model_keeps_the_right_rows():
    model = nested_cat()
    new = disconnect(model, "encoder/b", "encoder/cat")
    rows = value(model, "head")[[0, 1, 5]]
    np.testing.assert_array_equal(value(new, "head"), rows)
    new = kn.Graph.from_model(model).disconnect("encoder/a", "encoder/cat")
    new = new.disconnect("encoder/b", "encoder/cat", tidy=True).build()
    np.testing.assert_array_equal(value(new, "head"), value(model, "head")[5:])
    x = random_inputs(model)
    expected = through(model, x, "encoder/c") @ value(model, "head")[5:]
    close(run(new, x), expected + value(model, "head", "bias"))
    new = connect(model, "encoder/inner", "encoder/cat", 1)
    rows = value(new, "head")
    np.testing.assert_array_equal(rows[[0, 1, 6, 7, 8, 9]], value(model, "head"))
    same_function(model, new)


def test_what_only_fed_the_edge_goes_too():
    source = keras.Input((4,), name="in")
    a = dense(3, "a")(source)
    b = dense(2, "b")(dense(5, "only")(source))
    model = randomize(keras.Model(source, end(layers.Concatenate(name="cat")([a, b]))))
    assert names(disconnect(model, "b", "cat")) == ["a", "cat", "head"]


def test_input_that_would_be_lost_is_infeasible():
    source, other = keras.Input((4,), name="in"), keras.Input((3,), name="other")
    cat = layers.Concatenate(name="cat")([dense(3, "a")(source), dense(2, "b")(other)])
    model = keras.Model([source, other], end(cat))
    refused(disconnect, model, "b", "cat", match="'other'.*output", error=INFEASIBLE)
    refused(disconnect, chain(4, 2), "d0", "d1", match="'d1'.*without inputs")


def test_output_that_is_a_concatenation_keeps_what_stays():
    source = keras.Input((4,), name="in")
    cat = layers.Concatenate(name="cat")([dense(3, "a")(source), dense(2, "b")(source)])
    model = randomize(keras.Model(source, cat))
    new = disconnect(model, "a", "cat")
    close(run(new, random_inputs(model)), run(model, random_inputs(model))[0][:, 3:])


@pytest.mark.parametrize("occurrence", [1, -1, 0.0, True, None, "0"])
def test_occurrences_that_are_not_there_are_refused(occurrence):
    match = "reads 'a' once"
    refused(disconnect, concatenated(3, 4), "a", "cat", occurrence, match=match)


def test_edge_that_is_not_there_is_refused():
    refused(
        disconnect, concatenated(3, 4), "in", "cat", match="'cat' does not read 'in'"
    )
    refused(disconnect, concatenated(3, 4), "cat", "a", match="'a' does not read 'cat'")
    refused(disconnect, chain(4, 4), "d1", "d1", match="'d1' does not read 'd1'")


def test_attention_needs_all_of_its_inputs():
    source = keras.Input((5, 8), name="in")
    a, b = dense(8, "a")(source), dense(8, "b")(source)
    x = layers.MultiHeadAttention(2, 4, name="attention")(a, b)
    model = randomize(keras.Model(source, end(x)))
    refused(disconnect, model, "b", "attention", match="'attention' needs all of its 2")
    new = disconnect(model, "b", "attention", tidy=True)
    close(
        run(new, random_inputs(model)),
        through(model, random_inputs(model), "a", "head"),
    )


def test_connecting_and_disconnecting_again_gives_the_model_back():
    model = joined(2, 3, 4)
    new = disconnect(connect(model, "extra", "cat", 1), "extra", "cat")
    for old, now in zip(model.weights, new.weights, strict=True):
        assert old.path.split("/")[-2:] == now.path.split("/")[-2:]
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (old, now)))
    same_function(model, new)
