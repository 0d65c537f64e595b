"""Kept neurons stay wired to the same partners, whatever the network looks like.

The oracle is `contract.check_plan`: the new model computes what the old one does with
every weight that reads a dropped neuron set to zero.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import random_nets
from contract import check_plan, check_request, run
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops
from models import random_inputs, randomize
from nets import concat_plus_dense, image_net, nested, residual

import keras_nas as kn


def resized(model: keras.Model, requests, **keywords) -> kn.Plan:
    """Plans and checks the outputs of the new model against the oracle."""
    plan = kn.plan(model, requests, **keywords)
    check_plan(plan, model, random_inputs(model))
    return plan


def kept(plan: kn.Plan, name: str) -> list[int]:
    return plan.keep[name].tolist()


def conv(width: int, name: str) -> layers.Layer:
    return layers.Conv2D(width, 1, activation="tanh", name=name)


def dense(width: int, name: str) -> layers.Layer:
    return layers.Dense(width, activation="tanh", name=name)


def test_branch_and_stem_keep_the_same_neurons_when_they_are_added():
    plan = resized(residual(), {"branch": 3}, importance={"stem": [1, 9, 2, 8, 3, 7]})
    assert kept(plan, "stem") == kept(plan, "branch") == kept(plan, "add") == [1, 3, 5]


def test_concatenation_keeps_the_pieces_that_its_partner_keeps():
    model = concat_plus_dense(3, 5)
    importance = {"whole": [1, 9, 9, 1, 9, 1, 9, 9], "a": 0, "b": 0}
    plan = resized(model, {"add": 5}, importance=importance)
    assert kept(plan, "whole") == kept(plan, "cat") == [1, 2, 4, 6, 7]
    assert kept(plan, "a") == [1, 2] and kept(plan, "b") == [1, 3, 4]


def test_new_neurons_of_a_piece_stand_at_its_end_everywhere():
    plan = resized(concat_plus_dense(3, 5), {"a": 5})
    assert kept(plan, "a") == [0, 1, 2, -1, -1]
    assert kept(plan, "whole") == [0, 1, 2, -1, -1, 3, 4, 5, 6, 7]
    plan = resized(concat_plus_dense(3, 5), {"a": 2, "b": 6})
    assert len(kept(plan, "whole")) == 8 and kept(plan, "whole")[-1] == -1


def test_sums_of_concatenations_with_other_boundaries_share_pieces():
    source = keras.Input((4,))
    a, b = dense(3, "a")(source), dense(5, "b")(source)
    c, d = dense(6, "c")(source), dense(2, "d")(source)
    left, right = layers.Concatenate()([a, b]), layers.Concatenate()([c, d])
    added = layers.Add(name="add")([left, right])
    model = randomize(keras.Model(source, layers.Dense(2)(added)))
    values = [5, 1, 5, 5, 1, 5, 1, 5]
    plan = resized(
        model, {"add": 5}, importance={"add": values, **dict.fromkeys("abcd", 0)}
    )
    assert kept(plan, "add") == [0, 2, 3, 5, 7]
    assert kept(plan, "a") == [0, 2] and kept(plan, "b") == [0, 2, 4]
    assert kept(plan, "c") == [0, 2, 3, 5] and kept(plan, "d") == [1]


@pytest.mark.parametrize("widths", [(4, 4), (3, 5), (2, 4), (4, 2)])
def test_sum_of_concatenations_in_swapped_order_stays_aligned(widths):
    source = keras.Input((4,))
    a, b = dense(widths[0], "a")(source), dense(widths[1], "b")(source)
    left, right = layers.Concatenate()([a, b]), layers.Concatenate()([b, a])
    added = layers.Add(name="add")([left, right])
    model = randomize(keras.Model(source, layers.Dense(2)(added)))
    graph = kn.Graph.from_model(model)
    for name in ("a", "b", "add"):
        for size in (1, 2, 6, 12):
            plan = check_request(graph, name, size)
            if plan is not None:
                check_plan(plan, model, random_inputs(model))


def test_tensor_that_is_concatenated_twice_keeps_the_same_neurons_twice():
    source = keras.Input((4,))
    a = dense(4, "a")(source)
    joined = layers.Concatenate(name="cat")([a, dense(3, "b")(source), a])
    model = randomize(keras.Model(source, layers.Dense(2)(joined)))
    plan = resized(model, {"a": 2}, importance={"a": [1, 3, 2, 4]})
    assert kept(plan, "cat") == [1, 3, 4, 5, 6, 8, 10]
    plan = resized(model, {"cat": 13})
    assert plan.sizes["cat"] == 13 and 2 * plan.sizes["a"] + plan.sizes["b"] == 13


def test_residual_of_a_concatenation_of_residuals_stays_aligned():
    source = keras.Input((3, 3, 2))
    stem = conv(8, "stem")(source)
    left = conv(3, "left")(stem)
    left = layers.Add(name="left_add")([left, conv(3, "left_branch")(left)])
    right = conv(5, "right")(stem)
    right = layers.Add(name="right_add")([right, conv(5, "right_branch")(right)])
    joined = layers.Concatenate(name="cat")([left, right])
    added = layers.Add(name="add")([stem, joined])
    inner = layers.Concatenate(name="outer_cat")([added, conv(2, "extra")(added)])
    again = layers.Add(name="outer_add")([inner, conv(10, "outer_branch")(inner)])
    pooled = layers.GlobalAveragePooling2D()(again)
    model = randomize(keras.Model(source, layers.Dense(2)(pooled)))
    plan = resized(model, {"outer_branch": 5})
    assert sum(plan.sizes[name] for name in ("left", "right", "extra")) == 5
    assert kept(plan, "left") == kept(plan, "left_branch")
    cat = kept(plan, "cat")
    assert kept(plan, "stem") == cat == kept(plan, "outer_branch")[: len(cat)]
    assert [n - 3 for n in cat if n >= 3] == kept(plan, "right")
    resized(model, {"left": 5, "extra": 1})
    resized(model, {"stem": 12})


def test_input_that_is_added_freezes_its_partner_with_a_clear_error():
    source = keras.Input((5,), name="data")
    a = dense(5, "a")(source)
    added = layers.Add(name="add")([a, source])
    model = randomize(keras.Model(source, layers.Dense(2)(added)))
    with pytest.raises(
        kn.InfeasibleError, match="'a' cannot.*model input 'data'"
    ) as info:
        kn.resize(model, "a", 3)
    assert info.value.nearest == {"a": 5}


def test_input_beside_neurons_freezes_only_what_it_is_added_to():
    source = keras.Input((3,), name="data")
    a, b = dense(4, "a")(source), dense(7, "b")(source)
    joined = layers.Concatenate(name="cat")([source, a])
    model = keras.Model(source, layers.Dense(2)(layers.Add(name="add")([joined, b])))
    plan = resized(randomize(model), {"b": 5}, importance={"b": range(7), "a": 0})
    assert kept(plan, "b") == [0, 1, 2, 5, 6] and kept(plan, "a") == [2, 3]
    with pytest.raises(
        kn.InfeasibleError, match="3 of its neurons are fixed by model input 'data'"
    ) as info:
        kn.resize(model, "b", 3)
    assert info.value.nearest == {"b": 4}


def test_gate_follows_the_channels_that_it_gates():
    source = keras.Input((3, 3, 2))
    x = conv(6, "before")(source)
    gate = layers.GlobalAveragePooling2D(name="pool")(x)
    gate = dense(3, "squeeze")(gate)
    gate = layers.Dense(6, activation="sigmoid", name="excite")(gate)
    gate = layers.Reshape((1, 1, 6), name="spread")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    model = randomize(keras.Model(source, conv(2, "after")(x)))
    plan = resized(model, {"before": 4})
    assert kept(plan, "excite") == kept(plan, "before") == kept(plan, "gated")
    assert plan.sizes["squeeze"] == 3
    new = plan.apply()
    assert new.get_layer("spread").target_shape == (1, 1, 4)
    assert resized(model, {"squeeze": 1}).sizes["before"] == 6


def test_channel_shuffle_permutes_the_kept_neurons():
    shuffle = (
        layers.Reshape((6, 6, 2, 3), name="cut"),
        layers.Permute((1, 2, 4, 3)),
        layers.Reshape((6, 6, 6), name="join"),
        conv(4, "after"),
    )
    model = image_net(*shuffle)
    plan = resized(model, {"stem": 4}, importance={"stem": [1, 5, 5, 1, 5, 5]})
    assert kept(plan, "stem") == [1, 2, 4, 5]
    assert kept(plan, "join") == [2, 3, 4, 5]
    new = plan.apply()
    assert new.get_layer("cut").target_shape == (6, 6, 2, 2)


def test_siamese_layer_is_resized_once_for_both_calls():
    shared = dense(6, "shared")
    left, right = keras.Input((4,)), keras.Input((4,))
    difference = layers.Subtract(name="difference")([shared(left), shared(right)])
    model = randomize(keras.Model([left, right], layers.Dense(2)(difference)))
    plan = resized(model, {"shared": 3})
    assert plan.sizes["shared^1"] == plan.sizes["difference"] == 3
    by_second_call = resized(model, {"shared^1": 3})
    assert kept(by_second_call, "shared") == kept(plan, "shared")
    new = plan.apply()
    assert len([w for w in new.weights if "shared" in w.path]) == 2


def test_layer_that_is_called_on_its_own_output_keeps_square_weights():
    loop = dense(6, "loop")
    source = keras.Input((4,))
    x = loop(loop(dense(6, "first")(source)))
    model = randomize(keras.Model(source, layers.Dense(2)(x)))
    plan = resized(model, {"loop": 4})
    assert kept(plan, "first") == kept(plan, "loop") == kept(plan, "loop^1")
    assert plan.apply().get_layer("loop").kernel.shape == (4, 4)
    assert resized(model, {"first": 9}).apply().get_layer("loop").kernel.shape == (9, 9)


def test_nested_model_that_is_called_twice_changes_in_both_places():
    inner = keras.Input((6,))
    block = keras.Model(inner, dense(6, "out")(dense(5, "mid")(inner)), name="block")
    source = keras.Input((4,))
    x = block(block(dense(6, "first")(source)))
    model = randomize(keras.Model(source, layers.Dense(2)(x)))
    plan = resized(model, {"block/mid": 3})
    assert plan.sizes["block^1/mid"] == 3 and plan.sizes["first"] == 6
    plan = resized(model, {"block": 4})
    assert kept(plan, "first") == kept(plan, "block/out") == kept(plan, "block^1/out")
    new = plan.apply()
    assert new.get_layer("block").get_layer("out").units == 4
    assert [layer.name for layer in new.layers] == [
        layer.name for layer in model.layers
    ]


def test_flatten_keeps_whole_channels_at_every_pixel():
    source = keras.Input((2, 3, 2))
    x = layers.Flatten(name="flat")(conv(4, "before")(source))
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    plan = resized(model, {"before": 2}, importance={"before": [1, 3, 2, 4]})
    expected = [4 * pixel + channel for pixel in range(6) for channel in (1, 3)]
    assert kept(plan, "flat") == expected
    plan = resized(model, {"flat": 18})
    assert plan.sizes["before"] == 3
    with pytest.raises(kn.InfeasibleError, match="'flat'") as info:
        kn.resize(model, "flat", 20)
    assert info.value.nearest == {"flat": (18, 24)}


def test_several_inputs_and_outputs_keep_their_structure():
    inputs = {"x": keras.Input((4,), name="x"), "y": keras.Input((3,), name="y")}
    x, y = dense(5, "a")(inputs["x"]), dense(5, "b")(inputs["y"])
    added = layers.Add(name="add")([x, y])
    outputs = {"first": layers.Dense(2, name="p")(added), "second": added}
    model = randomize(keras.Model(inputs, outputs))
    with pytest.raises(kn.InfeasibleError, match="'add' is an output of the model"):
        kn.resize(model, "a", 3)
    plan = resized(model, {"a": 3}, free_outputs=True)
    new = plan.apply()
    data = random_inputs(model)
    assert {k: v.shape[-1] for k, v in new(data).items()} == {"first": 2, "second": 3}
    assert resized(model, {"add": 4}).sizes["b"] == 4


def test_growth_leaves_the_outputs_equal_and_new_readers_zero():
    model = nested()
    data = random_inputs(model)
    new = kn.resize(model, {"inner": 9, "encoder/out": 8})
    np.testing.assert_allclose(run(new, data)[0], run(model, data)[0], rtol=1e-5)
    kernel = keras.ops.convert_to_numpy(new.get_layer("head").kernel)
    assert not kernel[5:].any() and kernel[:5].all()
    kernel = keras.ops.convert_to_numpy(
        new.get_layer("encoder").get_layer("out").kernel
    )
    assert not kernel[6:].any() and kernel[:6, 5:].all()


def test_operations_between_layers_follow_the_neurons():
    source = keras.Input((4,))
    x = dense(6, "a")(source)
    first, second = ops.split(x, [2], axis=-1)
    x = layers.Concatenate(name="cat")([ops.relu(second), first, x[:, 1:4]])
    model = randomize(keras.Model(source, layers.Dense(2, name="head")(x)))
    plan = resized(model, {"a": 4}, importance={"a": [1, 5, 5, 1, 5, 5]})
    assert kept(plan, "cat") == [0, 2, 3, 5, 6, 7]
    assert plan.apply().get_layer("head").kernel.shape == (6, 2)


def test_slice_that_names_fewer_axes_than_there_are_follows_its_neurons():
    source = keras.Input((4,))
    x = ops.reshape(dense(12, "a")(source), (-1, 4, 3))
    model = randomize(keras.Model(source, layers.Dense(2)(layers.Flatten()(x[:, 1:3]))))
    plan = kn.plan(model, "a", 9, importance={"a": np.repeat([2, 1, 2, 2], 3)})
    check_plan(plan, model, random_inputs(model))
    assert kept(plan, "a") == [0, 1, 2, 6, 7, 8, 9, 10, 11]


@settings(max_examples=25)
@given(random_nets.recipes(), st.data())
def test_random_networks_compute_the_same_without_the_dropped_neurons(recipe, data):
    model = random_nets.build(recipe)
    graph = kn.Graph.from_model(model)
    sizes = graph.plan({"stem": kn.near(recipe[0])}).sizes
    name = data.draw(st.sampled_from([n for n in sizes if n not in ("in", "head")]))
    wanted = data.draw(st.integers(1, 2 * sizes[name]))
    try:
        plan = graph.plan(name, wanted)
    except kn.InfeasibleError as error:
        size = np.ravel(error.nearest[name])[-1]
        plan = graph.plan(name, int(size))
        assert plan.sizes[name] == size != wanted
    assert plan.exact
    check_plan(plan, model, random_inputs(model, batch=2))
