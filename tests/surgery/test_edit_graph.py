"""Edits one after the other, in nested models, and what they leave as it was."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from contract import run
from editing import (
    close,
    connect,
    disconnect,
    insert,
    layer_at,
    names,
    refused,
    remove,
    same_function,
    sizes,
    through,
    untouched,
    value,
    works,
)
from keras import layers, ops
from models import random_inputs, randomize
from nets import chain, concatenated, nested, residual

import keras_nas as kn
from keras_nas.graph import TensorRef, TensorSpec, check_graph, keras_private


def dense(units: int, name: str, **settings) -> layers.Dense:
    settings = {"activation": "tanh", "kernel_initializer": "ones", **settings}
    return layers.Dense(units, name=name, **settings)


def conv(filters: int, name: str, kernel: int = 1, **settings) -> layers.Conv2D:
    settings = {"padding": "same", "kernel_initializer": "ones", **settings}
    return layers.Conv2D(filters, kernel, activation="tanh", name=name, **settings)


def mixed() -> keras.Model:
    """Residual, concatenated, depthwise and nested parts, and one Flatten."""
    inner = keras.Input((4, 4, 6), name="block_in")
    x = conv(6, "block_b")(conv(5, "block_a", 3)(inner))
    block = keras.Model(inner, x, name="block")
    source = keras.Input((4, 4, 2), name="in")
    x = conv(6, "stem")(source)
    x = layers.Add(name="add")([x, block(x)])
    y = layers.Concatenate(name="cat")([conv(3, "left")(x), conv(4, "right")(x)])
    y = layers.DepthwiseConv2D(3, padding="same", name="depth")(y)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Flatten(name="flat")(conv(3, "narrow")(y))
    return randomize(keras.Model(source, layers.Dense(2, name="head")(y)))


EDITS = [
    lambda g: g.insert(conv(6, "new"), "stem", to="add"),
    lambda g: g.insert([conv(8, "one"), layers.ReLU(name="two")], "block/block_a"),
    lambda g: g.remove("norm"),
    lambda g: g.resize("left", 5),
    lambda g: g.connect("stem", "cat", 1),
    lambda g: g.connect("add", "narrow", merge="concatenate"),
    lambda g: g.disconnect("right", "cat"),
    lambda g: g.remove("new"),
    lambda g: g.resize({"block/one": 3, "stem": kn.near(4)}),
    lambda g: g.remove("depth"),
    lambda g: g.insert(layers.MaxPooling2D(2, name="pool"), "narrow"),
]


def test_edits_on_a_graph_give_the_same_as_one_at_a_time_on_models():
    model = mixed()
    graph = kn.Graph.from_model(model)
    step = model
    with untouched(model):
        for edit in EDITS:
            graph = edit(graph)
            step = edit(kn.Graph.from_model(step)).build()
        whole = graph.build()
    assert [layer.name for layer in whole.layers] == [
        layer.name for layer in step.layers
    ]
    assert names(whole.get_layer("block")) == ["block_a", "one", "two", "block_b"]
    for left, right in zip(whole.weights, step.weights, strict=True):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (left, right)))
    same_function(whole, step)
    works(whole)


def test_edits_that_keep_the_function_keep_it_together():
    model = mixed()
    graph = kn.Graph.from_model(model)
    graph = graph.connect("stem", "cat", 0)
    graph = graph.connect("add", "narrow", merge="concatenate")
    graph = graph.resize("left", 6).connect("left", "cat")
    graph = graph.connect("block/block_a", "block/block_b", merge="concatenate")
    new = graph.build()
    same_function(model, new)
    works(new)


def test_every_edit_returns_a_new_graph_and_leaves_the_old_one():
    graph = kn.Graph.from_model(mixed())
    body, parts = graph.body, dict(graph.parts)
    for edit in EDITS[:4]:
        new = edit(graph)
        assert isinstance(new, kn.Graph) and new is not graph
        assert graph.body is body and graph.parts == parts


def test_weights_that_no_edit_touches_are_shared_and_not_copied():
    graph = kn.Graph.from_model(mixed())
    new = graph.insert(conv(6, "new"), "stem", to="add").connect("left", "cat")
    for key in ("stem", "left", "right", "block/block_a"):
        assert new.parts[key].weights == graph.parts[key].weights
        for left, right in zip(
            new.parts[key].weights, graph.parts[key].weights, strict=True
        ):
            assert left is right


def test_graph_is_as_it_was_after_edits_that_fail():
    model = residual()
    graph = kn.Graph.from_model(model)
    for edit in (
        lambda: graph.remove("add"),
        lambda: graph.connect("head", "stem"),
        lambda: graph.insert(dense(9, "x"), "stem", locked="branch"),
        lambda: graph.disconnect("in", "add"),
    ):
        with pytest.raises(kn.KerasNasError, match="Received: "):
            edit()
    same_function(model, graph.build())


def test_insert_and_remove_again_gives_the_model_back():
    model = mixed()
    graph = kn.Graph.from_model(model).insert(conv(6, "new"), "stem").remove("new")
    for old, new in zip(model.weights, graph.build().weights, strict=True):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (old, new)))


def test_new_layers_can_be_edited_and_pruned_at_once():
    graph = kn.Graph.from_model(chain(4, 2)).insert(
        [dense(6, "x"), dense(5, "y")], "d0"
    )
    new = graph.resize("x", 3).remove("y", align="shrink")
    new = new.insert(dense(7, "y"), "x").build()
    assert sizes(new) == {"d0": 4, "x": 3, "y": 7, "d1": 2}
    works(new)


def test_plan_of_an_edited_graph_knows_the_new_sizes():
    graph = kn.Graph.from_model(concatenated(3, 4)).connect("a", "cat")
    plan = graph.plan("a", 5)
    assert plan.sizes["cat"] == 14 and plan.keep["cat"].tolist() == [
        0, 1, 2, -1, -1, 3, 4, 5, 6, 0 + 7, 8, 9, -1, -1,
    ]  # fmt: skip


# --- what stays as it was --------------------------------------------------------------


def test_optimizer_loss_and_metrics_stay():
    model = chain(4, 4, 2)
    model.compile(
        keras.optimizers.AdamW(0.25, weight_decay=0.125),
        loss=keras.losses.Huber(delta=0.5),
        metrics=["mae"],
    )
    x = random_inputs(model)
    y = np.ones((3, 2), "float32")
    model.fit(x, y, verbose=0)
    steps = int(model.optimizer.iterations)
    new = remove(model, "d1")
    assert (
        isinstance(new.optimizer, keras.optimizers.AdamW) and new.loss is not model.loss
    )
    assert (
        new.optimizer.weight_decay == 0.125 and int(model.optimizer.iterations) == steps
    )
    found = new.evaluate(x, y, verbose=0, return_dict=True)
    error = np.abs(run(new, x)[0] - 1)
    huber = np.where(error < 0.5, error**2 / 2, 0.5 * error - 0.125)
    assert abs(found["mae"] - error.mean()) < 1e-5
    assert abs(found["loss"] - huber.mean()) < 1e-5
    new.fit(x, y, verbose=0)


def test_name_policies_and_flags_stay():
    source = keras.Input((3,), name="in")
    x = layers.Dense(4, dtype="mixed_bfloat16", name="a")(source)
    x = layers.Dense(4, dtype="float64", name="b", trainable=False)(x)
    model = keras.Model(source, layers.Dense(2, name="head")(x), name="net")
    graph = kn.Graph.from_model(model)
    layer = layers.Dense(5, dtype="mixed_float16", name="new", trainable=False)
    new = graph.insert(layer, "a").connect("a", "b", merge="concatenate").build()
    assert new.name == "net"
    found = {
        name: (new.get_layer(name).dtype_policy.name, new.get_layer(name).trainable)
        for name in ("a", "new", "b", "head")
    }
    assert found == {
        "a": ("mixed_bfloat16", True),
        "new": ("mixed_float16", False),
        "b": ("float64", False),
        "head": ("float32", True),
    }
    assert value(new, "b").dtype == np.float64
    works(new, trains=False)


def test_structure_of_inputs_and_outputs_stays():
    inputs = {"x": keras.Input((4,), name="x"), "y": keras.Input((3,), name="y")}
    a, b = dense(5, "a")(inputs["x"]), dense(5, "b")(inputs["y"])
    added = layers.Add(name="add")([a, b])
    outputs = {"both": [added, layers.Dense(2, name="p")(added)], "one": b}
    model = randomize(keras.Model(inputs, outputs))
    data = random_inputs(model)
    old = model(data)
    new = insert(model, dense(5, "new"), "add")
    found = new(data)
    assert list(found) == ["both", "one"] and isinstance(found["both"], list)
    expected = through(new, old["both"][0], "new")
    close(found["both"], [expected, through(new, expected, "p")])
    close(found["one"], old["one"])
    new = remove(model, "p")
    assert new(data)["both"][1].shape == (3, 5)
    close(new(data)["both"], [old["both"][0]] * 2)


def test_class_of_the_users_model_stays():
    class Mine(keras.Model):
        """A functional model with a method of its own."""

        def double(self, x):
            return 2 * self(x)

    source = keras.Input((3,), name="in")
    x = dense(4, "b")(dense(4, "a")(source))
    model = randomize(Mine(source, layers.Dense(2, name="head")(x)))
    new = remove(model, "b")
    assert type(new) is Mine
    x = random_inputs(model)
    close(new.double(x), 2 * through(model, x, "a", "head"))


if hasattr(layers, "ReversibleEmbedding"):  # Since Keras 3.12.

    def tied() -> keras.Model:
        """``head`` is computed by the transposed weights of ``embedding``."""
        source = keras.Input((5,), dtype="int32", name="in")
        embed = layers.ReversibleEmbedding(7, 4, name="embedding")
        x = dense(4, "mid")(embed(source))
        return randomize(keras.Model(source, embed(x, reverse=True)))

    def test_weights_of_a_layer_with_two_roles_stay_one():
        model = tied()
        new = insert(model, dense(6, "new"), "mid", strict=True)
        table = layer_at(new, "embedding").embeddings
        assert table.shape == (7, 6) and value(new, "mid").shape == (6, 4)
        np.testing.assert_array_equal(ops.convert_to_numpy(table)[:, :4], value(
            model, "embedding", "embeddings"
        ))  # fmt: skip
        data = random_inputs(model)
        x = through(new, new.get_layer("embedding")(data), "mid", "new")
        close(run(new, data), x @ ops.convert_to_numpy(table).T)


def test_variable_that_two_layers_share_stays_one():
    one, two = dense(4, "one", use_bias=False), dense(4, "two", use_bias=False)
    source = keras.Input((4,), name="in")
    x = two(dense(4, "mid")(one(source)))
    keras_private.share_variable(two, two.kernel, one.kernel)
    model = keras.Model(source, layers.Dense(2, name="head")(x))
    new = remove(randomize(model), "mid")
    assert new.get_layer("one").kernel is new.get_layer("two").kernel
    x = random_inputs(model)
    close(run(new, x), through(model, x, "one", "two", "head"))


def test_variable_that_an_operation_uses_follows_the_new_width():
    source = keras.Input((4,), name="in")
    first = dense(4, "first", use_bias=False)
    x = dense(4, "stem")(source)
    z = ops.matmul(dense(4, "mid")(first(x)), first.kernel)
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(z)))
    new = insert(model, dense(6, "new"), "mid")
    # The rows of the kernel are what `first` reads and what the product sums over.
    assert value(new, "first").shape == (6, 4) and sizes(new)["stem"] == 6
    x = random_inputs(model)
    y = through(new, x, "stem", "first", "mid", "new") @ value(new, "first")
    close(run(new, x), through(new, y, "head"))


# --- nested models ---------------------------------------------------------------------


def pair() -> keras.Model:
    """A ``block`` of two inputs and two outputs between four layers."""
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    outs = [
        dense(5, "l")(left),
        dense(2, "r")(layers.Concatenate(name="j")([left, right])),
    ]
    block = keras.Model([left, right], outs, name="block")
    source = keras.Input((3,), name="in")
    l, r = block([dense(4, "a")(source), dense(3, "b")(source)])
    ends = [layers.Dense(2, name="p")(l), layers.Dense(2, name="q")(r)]
    return randomize(keras.Model(source, ends))


def test_block_of_two_inputs_follows_what_feeds_one_of_them():
    model = pair()
    new = insert(model, dense(6, "new"), "b")
    rows = value(new, "block/r")
    assert rows.shape == (10, 2) and value(new, "block/l").shape == (4, 5)
    np.testing.assert_array_equal(rows[:7], value(model, "block/r"))
    assert not rows[7:].any()
    new = insert(model, dense(6, "new"), "a")
    rows = value(new, "block/r")
    np.testing.assert_array_equal(rows[[0, 1, 2, 3, 6, 7, 8]], value(model, "block/r"))
    assert not rows[4:6].any() and value(new, "block/l").shape == (6, 5)
    x = random_inputs(model)
    a, b = through(new, x, "a", "new"), through(new, x, "b")
    l, r = new.get_layer("block")([a, b])
    close(run(new, x), [through(new, l, "p"), through(new, r, "q")])
    works(new)


def test_second_output_of_a_block_changes_on_the_inside():
    model = pair()
    new = insert(model, dense(6, "new"), "block/r")
    rows = value(new, "q")
    np.testing.assert_array_equal(rows[:2], value(model, "q"))
    assert rows.shape == (6, 2) and not rows[2:].any()
    np.testing.assert_array_equal(value(new, "p"), value(model, "p"))
    gone = remove(model, "block/r", align="grow")
    np.testing.assert_array_equal(value(gone, "q")[:2], value(model, "q"))
    assert value(gone, "q").shape == (7, 2) and not value(gone, "q")[2:].any()
    x = random_inputs(model)
    cat = np.concatenate([through(model, x, "a"), through(model, x, "b")], 1)
    close(run(gone, x)[1], through(gone, cat, "q"))
    works(gone)


def test_block_of_two_inputs_takes_no_third():
    refused(connect, pair(), "in", "block", match="'block'")


def test_block_of_two_outputs_is_bypassed_by_position():
    model = pair()
    new = remove(model, "block", align="grow")
    np.testing.assert_array_equal(value(new, "p"), value(model, "p"))
    assert sizes(new)["a"] == 5 and value(new, "q").shape == (3, 2)
    works(new)


def test_block_with_dicts_follows_and_keeps_its_names():
    inputs = {"p": keras.Input((4,), name="p"), "q": keras.Input((3,), name="q")}
    y = dense(5, "y")(layers.Concatenate(name="j")([inputs["p"], inputs["q"]]))
    block = keras.Model(inputs, {"o": y}, name="block")
    source = keras.Input((3,), name="in")
    out = block({"q": dense(3, "b")(source), "p": dense(4, "a")(source)})
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(out["o"])))
    new = insert(model, dense(6, "new"), "a")
    rows = value(new, "block/y")
    np.testing.assert_array_equal(rows[[0, 1, 2, 3, 6, 7, 8]], value(model, "block/y"))
    assert not rows[4:6].any()
    x = random_inputs(model)
    read = {"p": through(new, x, "a", "new"), "q": through(new, x, "b")}
    close(run(new, x), through(new, new.get_layer("block")(read)["o"], "head"))
    works(new)


def siamese() -> keras.Model:
    """A ``block`` that is called on ``a`` and on ``b``."""
    inner = keras.Input((4,), name="inner")
    block = keras.Model(inner, dense(3, "y")(dense(5, "x")(inner)), name="block")
    source = keras.Input((3,), name="in")
    found = [block(dense(4, name)(source)) for name in "ab"]
    difference = layers.Subtract(name="minus")(found)
    return randomize(keras.Model(source, layers.Dense(2, name="head")(difference)))


def test_wider_layer_before_one_call_widens_what_feeds_the_other():
    model = siamese()
    new = insert(model, dense(6, "new"), "a")
    assert sizes(new)["new"] == sizes(new)["b"] == 6 and sizes(new)["a"] == 4
    rows = value(new, "block/x")
    np.testing.assert_array_equal(rows[:4], value(model, "block/x"))
    assert not rows[4:].any()
    x = random_inputs(model)
    left = through(new, x, "a", "new", "block")
    close(run(new, x), through(new, left - through(new, x, "b", "block"), "head"))
    works(new)


def test_width_of_the_output_of_a_block_changes_behind_both_calls():
    model = siamese()
    new = insert(model, dense(5, "new"), "block/y")
    assert value(new, "head").shape == (5, 2) and not value(new, "head")[3:].any()
    x = random_inputs(model)
    left, right = (through(new, x, name, "block") for name in "ab")
    close(run(new, x), through(new, left - right, "head"))
    new = remove(model, "block/y", align="shrink")
    assert sizes(new)["minus"] == 3
    works(new)


def test_insert_after_one_call_of_a_block():
    model = siamese()
    new = insert(model, dense(3, "new"), "block^1")
    x = random_inputs(model)
    right = through(new, x, "b", "block", "new")
    close(run(new, x), through(new, through(new, x, "a", "block") - right, "head"))


def test_other_grid_inside_of_a_block_that_is_called_on_two_grids():
    inner = keras.Input((None, None, 2), name="inner")
    block = keras.Model(inner, conv(3, "y")(conv(4, "x")(inner)), name="block")
    source = keras.Input((8, 8, 2), name="in")
    small = layers.MaxPooling2D(2, name="small")(source)
    pools = [layers.GlobalAveragePooling2D(name=n)(block(x)) for n, x in
             (("p", source), ("q", small))]  # fmt: skip
    model = randomize(keras.Model(source, layers.Add(name="add")(pools)))
    new = insert(model, layers.MaxPooling2D(2, name="pool"), "block/x")
    x = random_inputs(model)
    parts = ("block/x", "block/pool", "block/y")
    found = [through(new, x, *parts, "p"), through(new, x, "small", *parts, "q")]
    close(run(new, x), sum(found))
    works(new)


def test_block_that_is_inserted_can_be_edited_on_the_inside():
    inner = keras.Input((4,), name="inner")
    block = keras.Model(inner, dense(5, "y")(dense(6, "x")(inner)), name="block")
    graph = kn.Graph.from_model(chain(4, 3, 2)).insert(randomize(block), "d0")
    new = graph.remove("block/x").insert(dense(8, "z"), "block/y").build()
    assert names(new.get_layer("block")) == ["y", "z"]
    x = random_inputs(new)
    paths = ("d0", "block/y", "block/z", "d1", "d2")
    close(run(new, x), through(new, x, *paths))
    assert value(new, "d1").shape == (8, 3) and not value(new, "d1")[5:].any()
    works(new)


def test_block_for_images_of_any_size_is_inserted():
    inner = keras.Input((None, None, 3), name="inner")
    block = keras.Model(inner, conv(4, "x", 3)(inner), name="block")
    source = keras.Input((4, 4, 2), name="in")
    x = layers.Flatten(name="flat")(conv(3, "stem")(source))
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    new = insert(model, randomize(block), "stem")
    x = random_inputs(model)
    close(run(new, x), through(new, x, "stem", "block", "flat", "head"))
    assert value(new, "head").shape == (64, 2)
    works(new)


@pytest.mark.parametrize(
    "wrapper",
    [
        lambda: layers.TimeDistributed(layers.Dense(4), name="wrap"),
        lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), name="wrap"),
        lambda: layers.SimpleRNN(4, return_sequences=True, name="wrap"),
        lambda: layers.EinsumDense(
            "abc,cd->abd", (None, 4), bias_axes="d", name="wrap"
        ),
    ],
    ids=["TimeDistributed", "Bidirectional", "SimpleRNN", "EinsumDense"],
)
def test_readers_of_other_kinds_read_new_neurons_with_zeros(wrapper):
    source = keras.Input((5, 3), name="in")
    x = wrapper()(layers.Dense(4, name="stem")(source))
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    grown = connect(model, "in", "wrap", merge="concatenate")
    same_function(model, grown)
    new = insert(model, dense(3, "new"), "stem")
    x = random_inputs(model)
    close(run(new, x), through(new, x, "stem", "new", "wrap", "head"))
    gone = remove(model, "wrap", align="grow")
    close(run(gone, x), through(gone, x, "stem", "head"))
    works(new)


def test_deep_networks_are_edited_without_recursion():
    x = source = keras.Input((4,), name="in")
    for number in range(40):
        y = layers.ReLU(name=f"relu{number}")(x)
        x = layers.Add(name=f"add{number}")([x, y])
    model = keras.Model(source, layers.Dense(2, name="head")(x))
    block = [f"{kind}{n}" for n in range(40) for kind in ("relu", "add")]
    graph = kn.Graph.from_model(randomize(model)).remove(block)
    assert list(graph.body.vertices) == ["in", "head"]


# --- wrong keywords, and the check -----------------------------------------------------


VERBS = [
    (insert, (dense(4, "new"), "d0")),
    (remove, ("d1",)),
    (connect, ("d0", "d2")),
]


@pytest.mark.parametrize(("verb", "arguments"), VERBS)
def test_shared_keywords_are_checked_even_if_no_size_changes(verb, arguments):
    model = chain(4, 4, 4, 2)
    error = kn.UnknownLayerError
    refused(verb, model, *arguments, locked="d9", match="d9", error=error)
    refused(verb, model, *arguments, bounds={"d9": (1, 2)}, match="d9", error=error)
    refused(verb, model, *arguments, solver="mine", match="'mine'")
    refused(verb, model, *arguments, seed=1.5, match="seed")


@pytest.mark.parametrize(("verb", "arguments"), VERBS)
def test_bounds_hold_even_if_no_size_changes(verb, arguments):
    model = chain(4, 4, 4, 2)
    bounds = {"d0": (6, None)}
    if verb is insert:
        return
    new = verb(model, *arguments, bounds=bounds)
    assert sizes(new)["d0"] == 6
    error = kn.InfeasibleError
    refused(
        verb,
        model,
        *arguments,
        bounds=bounds,
        locked="d0",
        match="No sizes",
        error=error,
    )


def test_disconnect_takes_the_shared_keywords():
    model = concatenated(3, 4)
    refused(
        disconnect, model, "a", "cat", locked="nobody", match="nobody",
        error=kn.UnknownLayerError,
    )  # fmt: skip


def broken_graphs() -> dict[str, kn.Graph]:
    graph = kn.Graph.from_model(nested())
    vertices = graph.body.vertices
    head = vertices["head"]
    backwards = dict(reversed(vertices.items()))
    wider = replace(vertices["head"], outputs=(TensorSpec((None, 3), "float32"),))
    part = graph.parts["encoder/inner"]
    found = {
        "order": graph.replace_body("", replace(graph.body, vertices=backwards)),
        "unknown": graph.replace_vertices(
            "", {"head": replace(head, args=(TensorRef("nobody"),))}
        ),
        "index": graph.replace_vertices(
            "", {"head": replace(head, args=(TensorRef("encoder", 1),))}
        ),
        "rows": graph.replace_vertices(
            "", {"head": replace(head, args=(TensorRef("in"),))}
        ),
        "output": graph.replace_vertices("", {"head": wider}),
        "kernel": graph.replace_parts(
            {part.key: replace(part, weights=graph.parts["encoder/out"].weights)}
        ),
        "units": graph.replace_parts(
            {part.key: replace(part, config={**part.config, "units": 7})}
        ),
        "out": graph.replace_body("", replace(graph.body, outputs=TensorRef("nobody"))),
    }
    return found


@pytest.mark.parametrize("name", list(broken_graphs()))
def test_check_finds_a_graph_that_does_not_hold_together(name):
    with pytest.raises(kn.InternalError, match="report"):
        check_graph(broken_graphs()[name])


def test_check_runs_after_every_edit(monkeypatch):
    from keras_nas.surgery.edits import finishing

    seen = []
    monkeypatch.setattr(finishing, "check_graph", lambda *a: seen.append(a))
    graph = kn.Graph.from_model(concatenated(3, 4))
    graph.insert(dense(3, "x"), "a").remove("x").connect("in", "cat").disconnect(
        "in", "cat"
    )
    assert len(seen) == 4


def test_mistake_of_ours_is_named_as_such(monkeypatch):
    from keras_nas.surgery.edits import settling

    monkeypatch.setattr(settling, "_check_closed", lambda *a: None)
    monkeypatch.setattr(settling, "change_graph", lambda graph, *a: graph)
    with pytest.raises(kn.InternalError, match="(?s)An edit would break 'd1'.*report"):
        kn.Graph.from_model(chain(4, 3, 2)).insert(dense(6, "x"), "d0")


def test_grid_that_a_nested_model_does_not_tell_is_looked_at():
    inside = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inside)
    nested = keras.Model(inside, x, name="nested")
    inputs = keras.Input((8, 8, 3))
    x = layers.Flatten(name="flat")(nested(inputs))
    model = randomize(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    for after in ("nested/conv", "nested"):
        refused(insert, model, layers.MaxPooling2D(2), after, match="'head'.*grid")
    works(insert(model, layers.ReLU(), "nested/conv"))
