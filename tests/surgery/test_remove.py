"""Vertices that are taken out, compared with the rest computed by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from contract import run
from editing import (
    close,
    conv,
    dense,
    end,
    names,
    refused,
    remove,
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


# --- widths ----------------------------------------------------------------------------


def test_layer_of_the_same_width_just_goes():
    model = chain(4, 4, 2)
    new = remove(model, "d1")
    assert names(new) == ["d0", "d2"]
    for name in ("d0", "d2"):
        np.testing.assert_array_equal(value(new, name), value(model, name))
    x = random_inputs(model)
    close(run(new, x), through(model, x, "d0", "d2"))
    works(new)


def test_first_layer_goes_and_the_input_stays_as_it_is():
    model = chain(5, 4, 2)
    new = remove(model, "d0")
    assert new.input_shape == (None, 3) and names(new) == ["d1", "d2"]
    np.testing.assert_array_equal(value(new, "d1"), value(model, "d1")[:3])
    close(
        run(new, random_inputs(model)), through(new, random_inputs(model), "d1", "d2")
    )


def test_first_layer_narrower_than_the_input_leaves_zero_rows():
    model = chain(2, 4, 2)
    new = remove(model, "d0")
    np.testing.assert_array_equal(value(new, "d1")[:2], value(model, "d1"))
    assert value(new, "d1").shape == (3, 4) and not value(new, "d1")[2:].any()


def test_growing_source_keeps_its_neurons_and_the_reader_its_rows():
    model = chain(4, 6, 2)
    new = remove(model, "d1", align="grow")
    assert sizes(new) == {"d0": 6, "d2": 2}
    np.testing.assert_array_equal(value(new, "d0")[:, :4], value(model, "d0"))
    np.testing.assert_array_equal(value(new, "d2"), value(model, "d2"))


def test_growing_reader_keeps_its_rows_and_reads_the_rest_with_zeros():
    model = chain(6, 4, 2)
    new = remove(model, "d1", align="grow")
    assert sizes(new) == {"d0": 6, "d2": 2}
    np.testing.assert_array_equal(value(new, "d0"), value(model, "d0"))
    np.testing.assert_array_equal(value(new, "d2")[:4], value(model, "d2"))
    assert not value(new, "d2")[4:].any()


def test_shrinking_reader_keeps_its_rows_by_position():
    model = chain(4, 6, 2)
    new = remove(model, "d1", align="shrink")
    assert sizes(new) == {"d0": 4, "d2": 2}
    np.testing.assert_array_equal(value(new, "d2"), value(model, "d2")[:4])


def test_shrinking_source_keeps_its_most_important_neurons():
    model = chain(6, 4, 2)
    importance = {"d0": [1, 9, 9, 1, 9, 9]}
    new = remove(model, "d1", align="shrink", importance=importance)
    np.testing.assert_array_equal(value(new, "d0"), value(model, "d0")[:, [1, 2, 4, 5]])
    np.testing.assert_array_equal(value(new, "d2"), value(model, "d2"))


def test_first_feasible_way_to_align_wins():
    model = chain(4, 6, 2)
    assert sizes(remove(model, "d1", align=("shrink", "grow")))["d0"] == 4
    assert sizes(remove(model, "d1", align=("grow", "shrink")))["d0"] == 6
    new = remove(model, "d1", align=("grow", "shrink"), locked="d0")
    assert sizes(new)["d0"] == 4
    new = remove(model, "d1", bounds={"d0": (None, 5)})
    assert sizes(new)["d0"] == 4
    new = remove(model, "d1", align="both", bounds={"d0": (5, 5)})
    assert sizes(new)["d0"] == 5 and value(new, "d2").shape == (5, 2)


def test_align_that_is_impossible_alone_is_infeasible():
    model = chain(4, 6, 2)
    refused(
        remove, model, "d1", align="grow", locked="d0", match="'d0' is locked",
        error=INFEASIBLE,
    )  # fmt: skip
    refused(
        remove, model, "d1", align="shrink", bounds={"d0": (5, 5)}, match="bounds",
        error=INFEASIBLE,
    )  # fmt: skip


def stream() -> keras.Model:
    """A residual stream of 6 with a ``narrow`` layer of 4 before its second branch."""
    source = keras.Input((6, 6, 3), name="in")
    x = conv(6, "stem")(source)
    y = conv(6, "b")(conv(4, "a")(x))
    x = layers.Add(name="add1")([x, y])
    y = conv(6, "d")(conv(4, "c")(x))
    x = layers.Add(name="add2")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return randomize(keras.Model(source, end(x)))


def test_last_layer_of_a_branch_goes_and_the_stream_aligns():
    model = stream()
    new = remove(model, "d", align="grow")
    assert sizes(new)["c"] == 6 and sizes(new)["add2"] == 6
    new = remove(model, "d", align="shrink")
    assert {sizes(new)[name] for name in ("stem", "b", "c", "add2")} == {4}
    new = remove(model, "d", locked="c")
    assert {sizes(new)[name] for name in ("stem", "b", "c", "add2")} == {4}
    new = remove(model, "d", align="both", locked=(), bounds={"c": (5, 5)})
    assert {sizes(new)[name] for name in ("stem", "b", "c", "add2")} == {5}
    error = refused(
        remove, model, "d", locked=("stem", "c"), match="", error=INFEASIBLE
    )
    assert "'c' is locked" in str(error) and "'stem' is locked" in str(error)
    works(new)


def test_whole_branch_goes_by_a_list():
    model = stream()
    new = remove(model, ["c", "d", "add2"])
    assert names(new) == ["stem", "a", "b", "add1", "pool", "head"]
    x = random_inputs(model)
    stem = through(model, x, "stem")
    added = stem + through(model, stem, "a", "b")
    close(run(new, x), through(model, added, "pool", "head"))
    works(new)


def test_branch_without_its_merge_adds_the_stream_to_itself():
    model = stream()
    new = remove(model, ["c", "d"])
    x = random_inputs(model)
    stem = through(model, x, "stem")
    added = stem + through(model, stem, "a", "b")
    close(run(new, x), through(model, 2 * added, "pool", "head"))


def test_block_in_a_chain_goes_by_a_list():
    model = chain(4, 5, 6, 7, 4, 2)
    new = remove(model, ["d3", "d1", "d2"])
    assert names(new) == ["d0", "d4", "d5"]
    # Grown to what d4 was made for.
    assert sizes(new)["d0"] == 7
    np.testing.assert_array_equal(value(new, "d4"), value(model, "d4"))
    works(new)


# --- merges ----------------------------------------------------------------------------


def test_member_of_a_merge_is_replaced_in_its_place():
    source = keras.Input((4,), name="in")
    a, b = dense(4, "a")(source), dense(4, "b")(source)
    c = dense(4, "c")(b)
    model = randomize(keras.Model(source, layers.Subtract(name="minus")([a, c])))
    x = random_inputs(model)
    new = remove(model, "c")
    close(run(new, x), through(model, x, "a") - through(model, x, "b"))
    new = remove(model, "a")
    close(run(new, x), x - through(model, x, "b", "c"))


def test_parallel_edges_are_all_bypassed():
    source = keras.Input((4,), name="in")
    a = dense(3, "a")(source)
    b = dense(3, "b")(a)
    joined = layers.Concatenate(name="cat")([b, a, b])
    model = randomize(keras.Model(source, end(joined)))
    new = remove(model, "b")
    x = random_inputs(model)
    a = through(model, x, "a")
    close(run(new, x), through(model, np.concatenate([a, a, a], 1), "head"))


def test_removed_sum_passes_its_first_wins_to_nobody_that_takes_one():
    model = residual()
    error = refused(
        remove, model, "add", match="'head' takes one tensor.*'stem'.*'branch'"
    )
    assert "'stem' and 'branch'" in str(error)


def test_removed_merge_gives_all_its_inputs_to_a_merge():
    source = keras.Input((4,), name="in")
    a, b, c = (dense(3, name)(source) for name in "abc")
    inner = layers.Add(name="inner")([a, b])
    outer = layers.Add(name="outer")([inner, c])
    model = randomize(keras.Model(source, end(outer)))
    same_function(model, remove(model, "inner"))
    source = keras.Input((4,), name="in")
    a, b, c = (dense(n, name)(source) for n, name in zip((2, 3, 4), "abc", strict=True))
    inner = layers.Concatenate(name="inner")([a, b])
    outer = layers.Concatenate(name="outer")([inner, c])
    model = randomize(keras.Model(source, end(outer)))
    same_function(model, remove(model, "inner"))


def test_removed_concatenation_of_one_tensor_twice_gives_both_edges():
    for kind in (layers.Concatenate, layers.Add):
        source = keras.Input((4,), name="in")
        a, b = dense(3, "a")(source), dense(3, "b")(source)
        outer = kind(name="outer")([b, kind(name="inner")([a, a])])
        model = randomize(keras.Model(source, end(outer)))
        same_function(model, remove(model, "inner"))


def test_removed_sum_inside_a_concatenation_leaves_its_place_to_the_first():
    source = keras.Input((4,), name="in")
    a, b, c = (dense(3, name)(source) for name in "abc")
    outer = layers.Concatenate(name="cat")([layers.Add(name="inner")([a, b]), c])
    model = randomize(keras.Model(source, end(outer)))
    new = remove(model, "inner")
    rows, old = value(new, "head"), value(model, "head")
    np.testing.assert_array_equal(rows[[0, 1, 2, 6, 7, 8]], old)
    assert not rows[3:6].any()


def test_removed_concatenation_before_a_sum_is_aligned():
    source = keras.Input((4,), name="in")
    a, b = dense(2, "a")(source), dense(3, "b")(source)
    joined = layers.Concatenate(name="cat")([a, b])
    added = layers.Add(name="add")([joined, dense(5, "c")(source)])
    model = randomize(keras.Model(source, end(added)))
    new = remove(model, "cat")
    assert len({sizes(new)[name] for name in "abc"}) == 1
    x = random_inputs(model)
    total = through(new, x, "a") + through(new, x, "b") + through(new, x, "c")
    close(run(new, x), through(new, total, "head"))


def test_merge_just_loses_an_input_with_connect_false():
    model = concatenated(3, 4, 2)
    new = remove(model, "b", connect=False)
    assert names(new) == ["a", "c", "cat", "head"]
    rows = value(model, "head")[[0, 1, 2, 7, 8]]
    np.testing.assert_array_equal(value(new, "head"), rows)
    x = random_inputs(model)
    joined = np.concatenate([through(model, x, "a"), through(model, x, "c")], 1)
    close(run(new, x), joined @ rows + value(model, "head", "bias"))
    works(new)


def test_sum_just_loses_an_input_with_connect_false():
    model = residual()
    new = remove(model, "branch", connect=False)
    assert names(new) == ["stem", "add", "head"]
    close(
        run(new, random_inputs(model)),
        through(model, random_inputs(model), "stem", "head"),
    )


def test_connect_false_needs_something_that_is_left():
    refused(remove, chain(4, 3, 2), "d1", connect=False, match="'d2'.*without inputs")
    refused(remove, chain(4, 2), "d1", connect=False, match="'d1' is an output")
    model = concatenated(3, 4)
    refused(remove, model, ["a", "b"], connect=False, match="'cat'.*without inputs")


def test_member_of_a_concatenation_with_a_wider_source():
    source = keras.Input((4,), name="in")
    wide = dense(6, "wide")(source)
    a, b = dense(3, "a")(wide), dense(2, "b")(source)
    model = randomize(keras.Model(source, end(layers.Concatenate(name="cat")([a, b]))))
    new = remove(model, "a", align="grow")
    rows, old = value(new, "head"), value(model, "head")
    np.testing.assert_array_equal(rows[[0, 1, 2, 6, 7]], old)
    assert not rows[3:6].any()
    new = remove(model, "a", align="shrink", importance={"wide": [1, 1, 2, 3, 4, 1]})
    assert sizes(new)["wide"] == 3
    np.testing.assert_array_equal(value(new, "wide"), value(model, "wide")[:, 2:5])
    np.testing.assert_array_equal(value(new, "head"), old)


def test_what_only_fed_the_removed_vertex_goes_too():
    source = keras.Input((4,), name="in")
    x = dense(4, "x")(source)
    y = dense(4, "y")(dense(5, "only")(source))
    model = randomize(keras.Model(source, end(layers.Add(name="add")([x, y]))))
    new = remove(model, "y", connect=False)
    assert names(new) == ["x", "add", "head"]
    works(new)


# --- cycles of sizes -------------------------------------------------------------------


def doubled() -> keras.Model:
    """A ``join`` of ``a`` with ``b`` that is projected back by ``back`` and added."""
    source = keras.Input((4,), name="in")
    a = dense(4, "a")(source)
    b = dense(2, "b")(a)
    joined = layers.Concatenate(name="join")([a, b])
    back = dense(4, "back")(joined)
    model = keras.Model(source, end(layers.Add(name="add")([a, back])))
    return randomize(model)


def test_size_that_would_have_to_be_larger_than_itself_is_infeasible():
    error = refused(remove, doubled(), "back", match="n plus", error=INFEASIBLE)
    text = str(error)
    assert "'add'" in text and "'join'" in text


def test_cycle_without_room_for_the_other_is_infeasible_for_every_align():
    for align in ("grow", "shrink", "both"):
        refused(
            remove,
            doubled(),
            "back",
            align=align,
            match="n plus some",
            error=INFEASIBLE,
        )


def test_removal_that_looks_like_a_cycle_but_has_a_solution_succeeds():
    # cat([a, b]) + cat([b, a]): the two sides share every atom, in another order.
    source = keras.Input((4,), name="in")
    a, b = dense(3, "a")(source), dense(5, "b")(source)
    left = layers.Concatenate(name="left")([a, b])
    right = layers.Concatenate(name="right")([b, a])
    mid = dense(8, "mid")(right)
    model = keras.Model(source, end(layers.Add(name="add")([left, mid])))
    new = remove(randomize(model), "mid")
    assert sizes(new)["a"] == 3 and sizes(new)["b"] == 5
    x = random_inputs(model)
    a, b = through(model, x, "a"), through(model, x, "b")
    total = np.concatenate([a, b], 1) + np.concatenate([b, a], 1)
    close(run(new, x), through(model, total, "head"))


def test_concatenation_seen_on_the_way_to_a_sum_is_no_obstacle():
    # A walk meets a concatenation between the removed layer and the sum, and both
    # sides come from one vertex; the sizes have a solution all the same.
    source = keras.Input((4,), name="in")
    root = dense(6, "root")(source)
    a, b = dense(3, "a")(root), dense(3, "b")(root)
    joined = layers.Concatenate(name="join")([a, b])
    mid = dense(6, "mid")(joined)
    model = keras.Model(source, end(layers.Add(name="add")([root, mid])))
    new = remove(randomize(model), "mid")
    x = random_inputs(model)
    root = through(model, x, "root")
    joined = np.concatenate(
        [through(model, root, "a"), through(model, root, "b")], axis=1
    )
    close(run(new, x), through(model, root + joined, "head"))
    other = remove(model, "mid", bounds={"a": (5, 5)}, align="both")
    assert sizes(other)["root"] == 5 + sizes(other)["b"]


def test_shared_concatenation_on_both_sides_is_no_obstacle():
    source = keras.Input((4,), name="in")
    a, b = dense(2, "a")(source), dense(3, "b")(source)
    joined = layers.Concatenate(name="join")([a, b])
    mid = dense(7, "mid")(joined)
    last = dense(5, "last")(mid)
    model = keras.Model(source, end(layers.Add(name="add")([joined, last])))
    new = remove(randomize(model), "last")
    assert sizes(new)["mid"] == sizes(new)["join"]
    new = remove(model, ["mid", "last"])
    x = random_inputs(model)
    total = 2 * np.concatenate([through(model, x, "a"), through(model, x, "b")], 1)
    close(run(new, x), through(model, total, "head"))


# --- layers of other kinds -------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization(name="gone"),
        layers.LayerNormalization(name="gone"),
        layers.ReLU(name="gone"),
        layers.Dropout(0.3, name="gone"),
    ],
    ids=["BatchNormalization", "LayerNormalization", "ReLU", "Dropout"],
)
def test_layer_that_keeps_shapes_goes(layer):
    model = image_net(layer, conv(4, "after"))
    new = remove(model, "gone")
    assert names(new) == ["stem", "after", "pool", "head"]
    x = random_inputs(model)
    close(run(new, x), through(model, x, "stem", "after", "pool", "head"))


def test_pooling_before_global_pooling_goes_without_new_sizes():
    model = image_net(layers.MaxPooling2D(2, name="gone"), conv(4, "after", 3))
    new = remove(model, "gone")
    assert new.get_layer("after").output.shape == (None, 6, 6, 4)
    x = random_inputs(model)
    close(run(new, x), through(model, x, "stem", "after", "pool", "head"))
    works(new)


def test_convolution_with_strides_goes_and_the_grid_grows():
    model = image_net(conv(8, "gone", 3, strides=2), conv(4, "after", 3))
    new = remove(model, "gone", align="shrink")
    assert new.get_layer("after").output.shape == (None, 6, 6, 4)
    np.testing.assert_array_equal(value(new, "after"), value(model, "after")[:, :, :6])
    x = random_inputs(model)
    close(run(new, x), through(new, x, "stem", "after", "pool", "head"))


def flat(pool: layers.Layer | None = None) -> keras.Model:
    source = keras.Input((4, 4, 2), name="in")
    x = conv(3, "conv")(source)
    x = pool(x) if pool is not None else x
    x = layers.Flatten(name="flat")(x)
    return randomize(keras.Model(source, end(x)))


def test_pooling_before_flatten_gives_the_dense_layer_more_rows():
    model = flat(layers.MaxPooling2D(2, name="gone"))
    new = remove(model, "gone")
    x = random_inputs(model)
    rows = value(new, "head")
    assert rows.shape[0] == 16 * sizes(new)["conv"]
    close(run(new, x), through(new, x, "conv", "flat", "head"))
    works(new)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (flat(), "flat"),
        (image_net(), "pool"),
    ],
    ids=["flatten", "global pooling"],
)
def test_layer_that_changes_the_number_of_axes_cannot_go(model, name):
    refused(remove, model, name, match=r"'head'.*2 axes.*4")


def test_reshape_that_changes_the_number_of_axes_cannot_go():
    source = keras.Input((6,), name="in")
    x = layers.Reshape((3, 2), name="reshape")(dense(6, "a")(source))
    model = keras.Model(source, layers.Conv1D(2, 1, name="conv")(x))
    refused(remove, model, "reshape", match="'conv' reads a tensor of 3 axes.*one of 2")


def test_flatten_goes_together_with_what_needs_it():
    source = keras.Input((4, 3), name="in")
    x = layers.Flatten(name="flat")(dense(5, "a")(source))
    x = layers.Reshape((4, 5), name="back")(x)
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    same_function(model, remove(model, ["flat", "back"]))


@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_of_other_ranks(rank):
    kind = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
    source = keras.Input((4,) * rank + (2,), name="in")
    x = kind(3, 1, name="a")(source)
    x = kind(5, 3, padding="same", name="b")(x)
    model = randomize(keras.Model(source, kind(4, 3, padding="same", name="c")(x)))
    new = remove(model, "b", align="shrink")
    np.testing.assert_array_equal(value(new, "c"), value(model, "c")[..., :3, :])
    close(run(new, random_inputs(model)), through(new, random_inputs(model), "a", "c"))


def test_image_with_channels_first():
    settings = {"data_format": "channels_first"}
    source = keras.Input((2, 4, 4), name="in")
    x = conv(3, "a", **settings)(source)
    x = conv(5, "b", strides=2, **settings)(x)
    model = randomize(keras.Model(source, conv(4, "c", 3, **settings)(x)))
    new = remove(model, "b", align="shrink")
    assert new.output_shape == (None, 4, 4, 4)
    np.testing.assert_array_equal(value(new, "c"), value(model, "c")[:, :, :3])
    grown = remove(model, "b", align="grow")
    assert grown.get_layer("a").output.shape == (None, 5, 4, 4)


def test_depthwise_and_grouped_convolutions_read_the_rest():
    model = image_net(
        conv(4, "gone"),
        layers.DepthwiseConv2D(3, padding="same", name="depth"),
        conv(6, "grouped", groups=2),
    )
    new = remove(model, "gone", align="grow")
    assert value(new, "depth").shape == (3, 3, 6, 1)
    assert value(new, "grouped").shape == (1, 1, 3, 6)
    x = random_inputs(model)
    close(run(new, x), through(new, x, "stem", "depth", "grouped", "pool", "head"))
    new = remove(model, "depth")
    close(run(new, x), through(model, x, "stem", "gone", "grouped", "pool", "head"))
    new = remove(model, "gone", align="shrink")
    np.testing.assert_array_equal(value(new, "grouped"), value(model, "grouped"))


def transformer() -> keras.Model:
    """Two blocks with attention, norms and a feed-forward part."""
    source = keras.Input((5, 8), name="in")
    x = layers.Dense(8, name="stem")(source)
    for n in range(2):
        y = layers.LayerNormalization(name=f"norm{n}")(x)
        y = layers.MultiHeadAttention(2, 4, name=f"attention{n}")(y, y)
        x = layers.Add(name=f"add{n}")([x, y])
        y = layers.LayerNormalization(name=f"next_norm{n}")(x)
        y = layers.Dense(8, name=f"down{n}")(dense(12, f"up{n}")(y))
        x = layers.Add(name=f"next_add{n}")([x, y])
    return randomize(keras.Model(source, layers.Dense(3, name="head")(x)))


BLOCK = ["norm0", "attention0", "add0", "next_norm0", "up0", "down0", "next_add0"]


def one_block(model: keras.Model, x, n: int):
    get = model.get_layer
    y = get(f"norm{n}")(x)
    x = x + get(f"attention{n}")(y, y)
    return x + get(f"down{n}")(get(f"up{n}")(get(f"next_norm{n}")(x)))


def test_whole_transformer_block_goes_by_a_list():
    model = transformer()
    new = remove(model, BLOCK)
    assert len(names(new)) == len(names(model)) - 7
    x = random_inputs(model)
    stem = through(model, x, "stem")
    close(run(new, x), model.get_layer("head")(one_block(model, stem, 1)))
    works(new)


def test_norm_inside_of_a_transformer_block_goes():
    model = transformer()
    new = remove(model, "norm0")
    x = random_inputs(model)
    stem = model.get_layer("stem")(x)
    get = model.get_layer
    x = stem + get("attention0")(stem, stem)
    x = x + get("down0")(get("up0")(get("next_norm0")(x)))
    close(run(new, random_inputs(model)), get("head")(one_block(model, x, 1)))


def test_attention_goes_with_one_query_that_is_left():
    model = transformer()
    new = remove(model, "attention0")
    get = model.get_layer
    stem = get("stem")(random_inputs(model))
    x = stem + get("norm0")(stem)
    x = x + get("down0")(get("up0")(get("next_norm0")(x)))
    close(run(new, random_inputs(model)), get("head")(one_block(model, x, 1)))


def test_attention_with_two_sources_is_not_bypassed():
    source = keras.Input((5, 8), name="in")
    a, b = dense(8, "a")(source), dense(8, "b")(source)
    x = layers.MultiHeadAttention(2, 4, name="attention")(a, b)
    model = randomize(keras.Model(source, layers.Dense(3, name="head")(x)))
    refused(remove, model, "attention", match="'head' takes one tensor.*'a' and 'b'")


def test_recurrent_layer_of_a_stack_goes():
    source = keras.Input((5, 3), name="in")
    x = layers.LSTM(4, return_sequences=True, name="a")(source)
    x = layers.GRU(6, return_sequences=True, name="b")(x)
    x = layers.LSTM(5, name="c")(x)
    model = randomize(keras.Model(source, end(x)))
    new = remove(model, "b", align="shrink")
    before, after = (
        ops.convert_to_numpy(each.get_layer("c").cell.kernel) for each in (model, new)
    )
    np.testing.assert_array_equal(after, before[:4])
    close(
        run(new, random_inputs(model)),
        through(new, random_inputs(model), "a", "c", "head"),
    )
    works(new)


def test_recurrent_layer_that_drops_the_time_axis_cannot_go():
    source = keras.Input((5, 3), name="in")
    x = layers.LSTM(4, name="gone")(dense(4, "a")(source))
    refused(remove, keras.Model(source, end(x)), "gone", match="'in'|2 axes|3 axes")


def test_layer_with_states_goes_where_only_its_sequence_is_read():
    source = keras.Input((5, 3), name="in")
    a = dense(4, "a")(source)
    whole, _, _ = layers.LSTM(4, return_sequences=True, return_state=True, name="gone")(
        a
    )
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(whole)))
    new = remove(model, "gone")
    close(
        run(new, random_inputs(model)),
        through(model, random_inputs(model), "a", "head"),
    )
    whole, h, _ = layers.LSTM(4, return_sequences=True, return_state=True, name="gone")(
        a
    )
    model = keras.Model(source, [layers.Dense(2, name="head")(whole), h])
    refused(remove, model, "gone", match="3 outputs and 1 input")


def test_layer_between_an_embedding_with_mask_and_its_reader():
    source = keras.Input((5,), dtype="int32", name="in")
    x = layers.Embedding(7, 4, mask_zero=True, name="embedding")(source)
    x = layers.LSTM(3, name="lstm")(dense(4, "gone")(x))
    model = randomize(keras.Model(source, end(x)))
    new = remove(model, "gone")
    data = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]])
    x = model.get_layer("embedding")(data)
    x = model.get_layer("lstm")(x, mask=data != 0)
    close(run(new, data), model.get_layer("head")(x))
    works(new, data)


def test_masks_are_not_mistaken_for_inputs():
    source = keras.Input((5,), dtype="int32", name="in")
    x = layers.Embedding(7, 4, mask_zero=True, name="embedding")(source)
    y = layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    y = layers.LSTM(4, return_sequences=True, name="gone")(
        layers.Add(name="add")([x, y])
    )
    model = randomize(keras.Model(source, end(layers.LSTM(3, name="lstm")(y))))
    data = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]])
    new = remove(model, ["attention", "add", "gone"])
    assert names(new) == ["embedding", "lstm", "head"]
    x = model.get_layer("embedding")(data)
    close(
        run(new, data),
        model.get_layer("head")(model.get_layer("lstm")(x, mask=data != 0)),
    )
    works(new, data)


def test_embedding_cannot_go_where_its_reader_needs_another_axis():
    source = keras.Input((5,), dtype="int32", name="in")
    x = layers.Embedding(7, 4, name="gone")(source)
    model = keras.Model(source, layers.LSTM(3, name="lstm")(x))
    refused(remove, model, "gone", match="'lstm'.*3 axes.*2")


# --- operations ------------------------------------------------------------------------


def vertex(model: keras.Model, start: str) -> str:
    """Returns the name of the operation whose name starts like this."""
    graph = kn.Graph.from_model(model)
    (name,) = (n for n in graph.body.vertices if n.startswith(start))
    return name


def test_operations_are_removed_like_layers():
    source = keras.Input((3,), name="in")
    a = dense(4, "a")(source)
    model = randomize(keras.Model(source, end(ops.sigmoid(a))))
    new = remove(model, vertex(model, "sigmoid"))
    x = random_inputs(model)
    close(run(new, x), through(model, x, "a", "head"))


def test_sum_of_two_operands_is_bypassed_only_with_one_source():
    source = keras.Input((3,), name="in")
    a, b = dense(4, "a")(source), dense(4, "b")(source)
    model = randomize(keras.Model(source, end(ops.add(a, b))))
    refused(remove, model, vertex(model, "add"), match="takes one tensor")
    model = randomize(keras.Model(source, end(ops.add(a, 2.0))))
    new = remove(model, vertex(model, "add"))
    close(
        run(new, random_inputs(model)),
        through(model, random_inputs(model), "a", "head"),
    )


def test_slice_of_channels_goes_and_widths_are_aligned():
    source = keras.Input((3,), name="in")
    model = randomize(keras.Model(source, end(dense(6, "a")(source)[:, 2:5])))
    new = remove(model, vertex(model, "get_item"), align="grow")
    rows = value(new, "head")
    np.testing.assert_array_equal(rows[:3], value(model, "head"))
    assert rows.shape == (6, 2) and not rows[3:].any()


def test_split_cannot_go_while_several_of_its_parts_are_read():
    source = keras.Input((3,), name="in")
    left, right = ops.split(dense(6, "a")(source), 2, axis=-1)
    model = randomize(keras.Model(source, [end(left), end(right, "other")]))
    refused(remove, model, vertex(model, "split"), match="2 outputs and 1 input")


def test_concatenation_by_an_operation_loses_a_removed_input():
    source = keras.Input((3,), name="in")
    a, b = dense(4, "a")(source), dense(2, "b")(source)
    model = randomize(keras.Model(source, end(ops.concatenate([a, b], axis=-1))))
    new = remove(model, "a", connect=False)
    np.testing.assert_array_equal(value(new, "head"), value(model, "head")[4:])


def test_operand_of_a_product_of_matrices():
    source = keras.Input((3, 4), name="in")
    a, b = dense(4, "a")(source), dense(4, "b")(source)
    model = randomize(keras.Model(source, ops.matmul(a, ops.transpose(b, (0, 2, 1)))))
    new = remove(model, "b")
    x = random_inputs(model)
    close(run(new, x), through(model, x, "a") @ x.transpose(0, 2, 1))


def test_variable_that_an_operation_uses_outlives_its_layer():
    source = keras.Input((4,), name="in")
    first = layers.Dense(4, use_bias=False, name="first")
    x = dense(4, "stem")(source)
    y = first(x)
    z = ops.matmul(dense(4, "mid")(y), first.kernel)
    model = randomize(keras.Model(source, end(z)))
    new = remove(model, "first")
    x = random_inputs(model)
    mid = through(model, x, "stem", "mid") @ value(model, "first")
    close(run(new, x), through(model, mid, "head"))


# --- outputs, nested models, shared layers ---------------------------------------------


def test_output_moves_to_what_the_last_layer_read():
    model = chain(4, 3, 2)
    new = remove(model, "d2")
    assert new.output_shape[-1] == 3 and names(new) == ["d0", "d1"]
    x = random_inputs(model)
    close(run(new, x), through(model, x, "d0", "d1"))


def test_outputs_keep_their_structure_and_losses_follow():
    source = keras.Input((3,), name="in")
    stem = dense(4, "stem")(source)
    a = dense(2, "a_end")(dense(2, "a")(stem))
    b = dense(1, "b")(stem)
    model = randomize(keras.Model(source, [a, b]))
    model.compile("adam", loss={"a_end": "mse", "b": "mae"})
    new = remove(model, "a_end")
    x = random_inputs(model)
    close(run(new, x), [through(model, x, "stem", "a"), through(model, x, "stem", "b")])
    new.fit(x, [np.zeros((3, 2)), np.zeros((3, 1))], verbose=0)
    model = randomize(keras.Model(source, {"p": a, "q": b}))
    found = remove(model, "a_end")(x)
    assert list(found) == ["p", "q"]
    close(found["p"], through(model, x, "stem", "a"))


def test_output_of_another_number_of_axes_is_refused():
    source = keras.Input((4, 3), name="in")
    x = layers.Flatten(name="flat")(dense(2, "a")(source))
    refused(remove, keras.Model(source, x), "flat", match="output.*2 axes.*3")


def test_output_that_would_be_the_input_itself():
    model = chain(3)
    new = remove(model, "d0")
    x = random_inputs(model)
    close(run(new, x), x)


def test_layer_inside_of_a_nested_model_goes_for_both_calls():
    inner = keras.Input((4,), name="block_in")
    x = dense(4, "three")(dense(5, "two")(dense(6, "one")(inner)))
    block = keras.Model(inner, x, name="block")
    source = keras.Input((3,), name="in")
    x = block(block(dense(4, "stem")(source)))
    model = randomize(keras.Model(source, end(x)))
    for path in ("block/two", "block^1/two"):
        new = remove(model, path, align="shrink")
        assert names(new.get_layer("block")) == ["one", "three"]
        x = random_inputs(model)
        twice = ("block/one", "block/three") * 2
        close(run(new, x), through(new, x, "stem", *twice, "head"))
        assert value(new, "block/three").shape == (5, 4)
    works(new)


def test_last_layer_of_a_nested_model_goes_on_the_inside():
    model = nested()
    new = remove(model, "encoder/out", align="grow")
    x = random_inputs(model)
    close(run(new, x), through(new, x, "encoder/inner", "head"))
    np.testing.assert_array_equal(value(new, "head")[:5], value(model, "head"))
    assert value(new, "head").shape == (6, 2) and not value(new, "head")[5:].any()
    shrunk = remove(model, "encoder/out", align="shrink")
    assert value(shrunk, "encoder/inner").shape == (4, 5)
    works(new)


def test_nested_model_goes_as_a_whole():
    model = nested()
    new = remove(model, "encoder")
    assert names(new) == ["head"]
    np.testing.assert_array_equal(value(new, "head"), value(model, "head")[:4])


def test_one_call_of_a_nested_model_goes():
    inner = keras.Input((4,), name="block_in")
    block = keras.Model(inner, dense(4, "one")(inner), name="block")
    source = keras.Input((3,), name="in")
    x = block(block(dense(4, "stem")(source)))
    model = randomize(keras.Model(source, end(x)))
    for path in ("block", "block^1"):
        new = remove(model, path)
        x = random_inputs(model)
        close(run(new, x), through(model, x, "stem", "block", "head"))
    works(new)


def test_deeply_nested_layer_goes():
    a = keras.Input((4,), name="a")
    deep = dense(6, "deep")(dense(4, "first")(a))
    inner = keras.Model(a, deep, name="inner")
    b = keras.Input((4,), name="b")
    outer = keras.Model(b, dense(4, "mid")(inner(b)), name="outer")
    source = keras.Input((4,), name="in")
    model = randomize(keras.Model(source, end(outer(source))))
    new = remove(model, "outer/inner/deep", align="shrink")
    np.testing.assert_array_equal(
        value(new, "outer/mid"), value(model, "outer/mid")[:4]
    )
    x = random_inputs(model)
    close(run(new, x), through(new, x, "outer/inner/first", "outer/mid", "head"))


def test_one_call_of_a_shared_layer_goes():
    shared = dense(4, "shared")
    source = keras.Input((4,), name="in")
    a = shared(dense(4, "mid")(shared(source)))
    model = randomize(keras.Model(source, end(a)))
    x = random_inputs(model)
    new = remove(model, "shared^1")
    close(run(new, x), through(model, x, "shared", "mid", "head"))
    new = remove(model, "shared")
    close(run(new, x), through(model, x, "mid", "shared", "head"))
    new = remove(model, ["shared", "shared^1"])
    close(run(new, x), through(model, x, "mid", "head"))


def test_sequential_model_stays_sequential():
    model = keras.Sequential(
        [keras.Input((3,)), dense(4, "a"), dense(5, "b"), layers.Dense(2, name="head")]
    )
    new = remove(randomize(model), "b")
    assert type(new) is keras.Sequential and names(new) == ["a", "head"]
    works(new)


def test_flags_and_policies_stay():
    source = keras.Input((3,), name="in")
    x = layers.Dense(4, dtype="mixed_float16", name="a")(source)
    x = layers.Dense(4, dtype="float32", name="gone")(x)
    model = keras.Model(source, layers.Dense(2, dtype="float32", name="head")(x))
    model.get_layer("a").trainable = False
    new = remove(model, "gone")
    assert new.get_layer("a").dtype_policy.name == "mixed_float16"
    assert not new.get_layer("a").trainable and new.get_layer("head").trainable
    x = random_inputs(model)
    close(run(new, x), model.get_layer("head")(model.get_layer("a")(x)))


# --- wrong requests --------------------------------------------------------------------


def test_input_cannot_be_removed():
    refused(remove, chain(4, 2), "in", match="'in' is an input")
    refused(remove, chain(4, 2), ["d0", "in"], match="'in' is an input")


def test_input_that_would_reach_no_output_is_infeasible():
    source, other = keras.Input((3,), name="in"), keras.Input((3,), name="other")
    added = layers.Add(name="add")([dense(4, "a")(source), dense(4, "b")(other)])
    model = keras.Model([source, other], end(added))
    refused(
        remove, model, "b", connect=False, match="'other'.*output", error=INFEASIBLE
    )


@pytest.mark.parametrize("align", ["up", (), None, ("grow", "down"), 3])
def test_unknown_align_is_refused(align):
    refused(
        remove, chain(4, 3, 2), "d1", align=align, match="'grow', 'shrink' or 'both'"
    )


@pytest.mark.parametrize("wrong", [[], None, 3, ()])
def test_nothing_named_is_refused(wrong):
    refused(remove, chain(4, 3, 2), wrong, match="Nothing is named")


@pytest.mark.parametrize("wrong", ["d9", ["d0", "d9"], ["d0", 3], "d1^1"])
def test_unknown_names_are_refused(wrong):
    error = kn.UnknownLayerError
    refused(remove, chain(4, 3, 2), wrong, match="[Nn]o layer|string", error=error)


def test_vertices_in_different_models_are_refused():
    refused(
        remove, nested(), ["encoder/inner", "head"], match="different nested models"
    )
