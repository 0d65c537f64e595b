"""A plan as a value: its table, its mappings, what it promises."""

from __future__ import annotations

import contextlib
import dataclasses
import re

import keras
import numpy as np
import pytest
from contract import check_plan, run
from keras import layers, ops
from models import random_inputs, randomize
from nets import chain, concat_plus_dense, image_net, nested, residual

import keras_nas as kn


def rows(plan: kn.Plan) -> dict[str, list[str]]:
    """The rows of the printed table: layer -> all columns but the last, then it."""
    header, rule, *lines = str(plan).split("\n")
    assert " ".join(header.split()) == "layer old new kept dropped added why"
    assert set(rule) == {"-", " "}
    matches = [
        re.match(r"(\S+( \(\w+\))?)" + r" +(\d+)" * 5 + " +(.*)", n) for n in lines
    ]
    return {
        match[1]: [*map(int, match.groups()[2:7]), match[8]]
        for match in matches
        if match is not None
    }


def test_table_lists_what_moves_and_why():
    plan = kn.plan(concat_plus_dense(3, 5), {"a": 5, "b": 2})
    table = rows(plan)
    assert table["a"] == [3, 5, 3, 0, 2, "asked for"]
    assert table["b"] == [5, 2, 2, 3, 0, "asked for"]
    assert table["whole"] == [8, 7, 5, 3, 2, "shares neurons with 'a'"]
    assert set(table) == {"a", "b", "whole"}
    assert "2 further vertices follow" in str(plan)
    assert "Exact: the same function on the neurons that are kept." in str(plan)
    assert repr(plan) == str(plan)


def test_table_names_the_layer_with_the_same_neurons():
    plan = kn.plan(residual(), "add", 4)
    assert rows(plan)["stem"][-1] == "same neurons as 'add'"
    assert rows(plan)["add"] == [6, 4, 4, 2, 0, "asked for"]


def test_table_says_which_layer_had_to_make_room():
    plan = kn.plan(concat_plus_dense(3, 5), {"a": 1}, bounds={"whole": (8, 8)})
    assert rows(plan)["b"] == [5, 7, 5, 0, 2, "makes the sizes fit"]


def test_table_says_when_nothing_changes():
    assert str(kn.plan(residual(), "add", 6)) == "Nothing changes."


def test_table_gives_the_reason_when_a_plan_is_not_exact():
    model = image_net(layers.LayerNormalization(name="norm"))
    text = str(kn.plan(model, "stem", 3))
    assert "Not exact:" in text and "- 'norm'" in text


def test_mappings_have_every_vertex_and_find_short_names():
    plan = kn.plan(nested(), "inner", 4)
    assert list(plan.sizes) == list(plan.keep) == list(plan.old_sizes)
    assert set(plan.sizes) >= {"in", "encoder/inner", "encoder/out", "head", "encoder"}
    assert plan.sizes["inner"] == plan.sizes["encoder/inner"] == 4
    assert plan.old_sizes["inner"] == 6 and len(plan.keep["inner"]) == 4
    assert len(plan.sizes) == len(dict(plan.sizes))
    assert "encoder/inner" in plan.sizes and "inner" in plan.sizes
    assert "nobody" not in plan.sizes and 3 not in plan.sizes
    with pytest.raises(kn.UnknownLayerError, match="named 'nobody'"):
        plan.sizes["nobody"]


def test_mappings_have_further_widths_by_name_and_axis():
    model = image_net(layers.DepthwiseConv2D(2, depth_multiplier=2, name="dw"))
    plan = kn.plan(model, "dw", 3, axis="depth_multiplier")
    key = ("dw", "depth_multiplier")
    assert key in plan.sizes and plan.sizes[key] == 3 and plan.old_sizes[key] == 2
    assert plan.keep[key].tolist() == [0, 1, -1]
    assert plan.keep["dw"].tolist()[:6] == [0, 1, -1, 2, 3, -1]
    with pytest.raises(KeyError, match="units"):
        plan.sizes["dw", "units"]


def test_mappings_cannot_be_written():
    plan = kn.plan(residual(), "add", 4)
    for mapping in (plan.sizes, plan.keep, plan.input_sizes, plan.old_sizes):
        with pytest.raises(TypeError, match="assignment"):
            mapping["add"] = 3
    with pytest.raises(dataclasses.FrozenInstanceError, match="requests"):
        plan.requests = ()


def test_keep_arrays_that_a_user_changes_do_not_change_the_plan():
    plan = kn.plan(residual(), "add", 4)
    before = plan.keep["add"].tolist()
    for name in ("add", "head"):
        with contextlib.suppress(ValueError):
            plan.keep[name][:] = 0
    assert plan.keep["add"].tolist() == before


def test_kept_neurons_stand_in_their_old_order_and_new_ones_at_the_end():
    plan = kn.plan(chain(6, 2), "d0", 4, importance={"d0": [1, 6, 2, 5, 3, 4]})
    assert plan.keep["d0"].tolist() == [1, 3, 4, 5]
    assert plan.keep["d0"].dtype.kind == "i"
    grown = kn.plan(chain(3, 2), "d0", 5)
    assert grown.keep["d0"].tolist() == [0, 1, 2, -1, -1]


def test_applying_twice_gives_equal_models_that_share_nothing():
    model = residual()
    plan = kn.plan(model, "branch", 9)
    first, second = plan.apply(), plan.apply()
    data = random_inputs(model)
    np.testing.assert_array_equal(run(first, data)[0], run(second, data)[0])
    for a, b in zip(first.weights, second.weights, strict=True):
        assert a is not b
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (a, b)))
    first.get_layer("stem").kernel.assign(first.get_layer("stem").kernel * 0)
    assert keras.ops.convert_to_numpy(second.get_layer("stem").kernel).all()


def test_plan_is_for_the_weights_at_the_time_it_was_made():
    model = chain(4, 2)
    old = keras.ops.convert_to_numpy(model.get_layer("d0").kernel)
    plan = kn.plan(model, "d0", 3)
    model.get_layer("d0").kernel.assign(model.get_layer("d0").kernel * 0)
    new = keras.ops.convert_to_numpy(plan.apply().get_layer("d0").kernel)
    np.testing.assert_array_equal(new, old[:, plan.keep["d0"]])


def test_empty_plan_builds_an_equal_model():
    model = residual()
    plan = kn.plan(model, "branch", 6)
    assert plan.is_empty and plan.exact and plan.notes == ()
    data = random_inputs(model)
    np.testing.assert_array_equal(run(plan.apply(), data)[0], run(model, data)[0])


MIXING = [
    (layers.LayerNormalization(name="norm"), "statistics"),
    (layers.UnitNormalization(name="norm"), "statistics"),
    (layers.GroupNormalization(2, name="norm"), "statistics"),
    (layers.Softmax(name="norm"), "softmax"),
    (layers.Activation("softmax", name="norm"), "softmax"),
    (layers.Conv2D(6, 1, activation="log_softmax", name="norm"), "log_softmax"),
]
if hasattr(layers, "RMSNormalization"):  # Since Keras 3.9.
    MIXING.append((layers.RMSNormalization(name="norm"), "statistics"))


@pytest.mark.parametrize(("layer", "word"), MIXING)
@pytest.mark.parametrize("size", [4, 8])
def test_plan_is_not_exact_when_a_layer_mixes_the_neurons_that_change(
    layer, word, size
):
    model = image_net(layer.__class__.from_config(layer.get_config()))
    plan = kn.plan(model, "norm", size)
    assert not plan.exact
    assert len(plan.notes) == 1 and "'norm'" in plan.notes[0] and word in plan.notes[0]
    check_plan(plan, model, random_inputs(model))


@pytest.mark.parametrize(
    "layer",
    [
        layers.LayerNormalization(axis=1, name="norm"),
        layers.Softmax(axis=2, name="norm"),
        layers.GroupNormalization(6, name="norm"),
        layers.BatchNormalization(name="norm"),
    ],
)
@pytest.mark.parametrize("size", [4, 8])
def test_plan_is_exact_when_a_layer_works_along_other_axes(layer, size):
    model = image_net(layer.__class__.from_config(layer.get_config()))
    plan = kn.plan(model, "stem", size)
    assert plan.exact
    check_plan(plan, model, random_inputs(model))


def test_plan_is_exact_when_the_mixed_neurons_do_not_change():
    source = keras.Input((4,))
    x = layers.Dense(5, name="a")(source)
    x = layers.LayerNormalization()(layers.Dense(6, name="b")(x))
    model = randomize(keras.Model(source, layers.Dense(2)(x)))
    assert kn.plan(model, "a", 3).exact and not kn.plan(model, "b", 3).exact


def test_attention_by_hand_says_that_its_sums_have_no_weights():
    source = keras.Input((5, 4))
    q, k, v = (layers.Dense(6, name=name)(source) for name in "qkv")
    scores = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))))
    model = randomize(keras.Model(source, layers.Dense(2)(ops.matmul(scores, v))))
    plan = kn.plan(model, "q", 4)
    assert plan.sizes["k"] == 4 and plan.sizes["v"] == 6
    assert not plan.exact and "'matmul" in plan.notes[0]
    assert kn.plan(model, "v", 4).exact


def test_growth_warns_of_functions_that_are_undefined_somewhere():
    source = keras.Input((4,))
    x = ops.log(layers.Dense(5, activation="sigmoid", name="a")(source))
    model = randomize(keras.Model(source, layers.Dense(2)(x)))
    grown = kn.plan(model, "a", 7)
    assert not grown.exact and "may be undefined on new neurons" in grown.notes[0]
    assert kn.plan(model, "a", 3).exact


def test_input_sizes_list_the_inputs_of_each_vertex():
    plan = kn.plan(concat_plus_dense(3, 5), "a", 1)
    assert plan.input_sizes["cat"] == [1, 5]
    assert plan.input_sizes["add"] == [6, 6]
    assert plan.input_sizes["in"] == [] and plan.input_sizes["a"] == [4]
