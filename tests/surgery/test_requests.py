"""What can be asked for, and which of many answers is taken."""

from __future__ import annotations

import inspect
import itertools

import keras
import numpy as np
import pytest
from contract import check_plan, run
from keras import layers
from models import random_inputs, randomize
from nets import chain, concat_plus_dense, concatenated, image_net, nested, residual

import keras_nas as kn

SOLVERS = ("highs", "glpk", "cbc")


def kept(plan: kn.Plan, name: str) -> list[int]:
    return plan.keep[name].tolist()


class Offset(keras.initializers.Initializer):
    """An initializer that is registered nowhere."""

    def __call__(self, shape, dtype=None):
        return offset(shape, dtype)


def offset(shape, dtype=None):
    return keras.ops.full(shape, 0.5, dtype)


def kernel(model: keras.Model, name: str) -> np.ndarray:
    return keras.ops.convert_to_numpy(model.get_layer(name).kernel)


# --- one, several, exact, near ------------------------------------------------


def test_all_ways_to_ask_for_one_size_give_the_same_model():
    model = residual()
    expected = kn.resize(model, "branch", 3)
    graph = kn.Graph.from_model(model)
    for other in (
        kn.resize(model, {"branch": 3}),
        kn.resize(model, "branch", kn.near(3)),
        kn.plan(model, "branch", 3).apply(),
        kn.plan(graph, {"branch": 3}).apply(),
        graph.resize("branch", 3).build(),
        kn.resize_inputs(model, "add", [None, 3]),
        kn.resize(model, "branch", 3, axis="units"),
        kn.resize(model, {("branch", "units"): 3}),
    ):
        for new, old in zip(other.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (new, old)))


def test_several_layers_change_in_one_solve():
    plan = kn.plan(chain(4, 6, 8, 2), {"d0": 2, "d1": 9, "d2": kn.near(5)})
    assert [plan.sizes[f"d{n}"] for n in range(4)] == [2, 9, 5, 2]


def test_nothing_moves_that_the_request_does_not_need():
    model = chain(4, 6, 8, 2)
    plan = kn.plan(model, "d1", 3)
    assert dict(plan.sizes) == {**dict(plan.old_sizes), "d1": 3}
    new, keep = plan.apply(), plan.keep["d1"]
    for name, index in (
        ("d0", np.s_[:]),
        ("d1", np.s_[:, keep]),
        ("d2", np.s_[keep]),
        ("d3", np.s_[:]),
    ):
        np.testing.assert_array_equal(kernel(new, name), kernel(model, name)[index])


def test_near_takes_the_closest_size_that_works():
    model = image_net(layers.Conv2D(6, 1, groups=3, name="grouped"))
    for wanted, size in ((1, 3), (4, 3), (5, 6), (7, 6), (8, 9), (20, 21)):
        plan = kn.plan(model, "grouped", kn.near(wanted))
        assert plan.sizes["grouped"] == size, wanted


def test_near_tie_is_won_by_the_direction_of_the_request():
    model = image_net(layers.Conv2D(8, 1, groups=2, name="grouped"))
    assert kn.plan(model, "grouped", kn.near(5)).sizes["grouped"] == 4
    assert kn.plan(model, "grouped", kn.near(11)).sizes["grouped"] == 12


def test_present_size_is_a_legal_answer_to_near():
    source = keras.Input((4,), name="in")
    a = layers.Dense(4, name="a")(source)
    model = keras.Model(source, layers.Dense(2)(layers.Add(name="add")([a, source])))
    plan = kn.plan(model, "a", kn.near(3))
    assert plan.is_empty and plan.sizes["a"] == 4 and plan.exact


def test_near_requests_share_the_miss_by_relative_distance():
    """add = cat(a, b), and 4 + 4 is not 6: missing by 2 of 6 costs least."""
    model = concat_plus_dense(4, 4)
    requests = {"a": kn.near(4), "b": kn.near(4), "whole": kn.near(6)}
    plan = kn.plan(model, requests)
    assert [plan.sizes[name] for name in ("a", "b", "whole")] == [4, 4, 8]


def test_exact_request_comes_before_near_ones():
    plan = kn.plan(
        concat_plus_dense(4, 8), {"whole": 9, "a": kn.near(4), "b": kn.near(8)}
    )
    assert [plan.sizes[name] for name in ("whole", "a", "b")] == [9, 4, 5]


def test_shrink_makes_another_layer_grow_when_the_sum_is_held():
    model = concat_plus_dense(3, 5)
    plan = kn.plan(model, {"a": 1}, bounds={"whole": (8, 8)})
    assert [plan.sizes[name] for name in ("a", "b", "whole")] == [1, 7, 8]
    assert kept(plan, "b") == [0, 1, 2, 3, 4, -1, -1]
    check_plan(plan, model, random_inputs(model))
    plan = kn.plan(model, {"a": 1, "whole": 10})
    assert plan.sizes["b"] == 9


def test_merge_can_be_asked_for_by_its_name():
    assert kn.plan(residual(), "add", 4).sizes["stem"] == 4
    plan = kn.plan(concatenated(4, 6), "cat", 7)
    assert plan.sizes["a"] + plan.sizes["b"] == 7


# --- multiples, bounds, locks -------------------------------------------------


def test_multiple_of_concerns_only_layers_that_change():
    model = concatenated(5, 7, 16)
    plan = kn.plan(model, "a", kn.near(7), multiple_of=4)
    assert [plan.sizes[name] for name in "abc"] == [8, 7, 16]
    plan = kn.plan(model, "cat", kn.near(21), multiple_of=4)
    assert plan.sizes["cat"] == 21
    assert all(
        plan.sizes[n] % 4 == 0 or plan.sizes[n] == plan.old_sizes[n] for n in "abc"
    )


def test_multiple_of_by_layer_reaches_through_a_concatenation():
    plan = kn.plan(concat_plus_dense(3, 5), "a", 2, multiple_of={"whole": 4})
    assert plan.sizes["whole"] % 4 == 0 and plan.sizes["a"] == 2
    with pytest.raises(kn.InfeasibleError, match="multiples of 4") as info:
        kn.plan(residual(), "branch", 5, multiple_of=4)
    assert info.value.nearest == {"branch": (4, 6)}


def test_steps_of_tied_layers_hold_together():
    plan = kn.plan(
        residual(10), "branch", kn.near(8), multiple_of={"stem": 2, "branch": 3}
    )
    assert plan.sizes["add"] == 6


def test_bounds_hold_for_merges_and_open_ends():
    model = concatenated(4, 6)
    plan = kn.plan(model, "a", 1, bounds={"cat": (9, None)})
    assert plan.sizes["cat"] >= 9 and plan.sizes["a"] == 1
    plan = kn.plan(model, "cat", 4, bounds={"a": (3, None), "b": (None, 3)})
    assert (plan.sizes["a"], plan.sizes["b"]) == (3, 1)


def test_locked_layer_keeps_all_its_neurons():
    model = concatenated(4, 6)
    plan = kn.plan(model, "cat", 7, locked=("a",), importance={"a": 0, "b": 9})
    assert kept(plan, "a") == [0, 1, 2, 3] and plan.sizes["b"] == 3
    assert kn.plan(model, "cat", 7, locked="a").sizes["b"] == 3
    with pytest.raises(kn.InfeasibleError, match="'stem' is locked"):
        kn.plan(residual(), "branch", 3, locked=["stem"])
    with pytest.raises(kn.InfeasibleError, match="'cat' is locked"):
        kn.plan(model, "a", 3, locked=["cat"])


# --- importance ---------------------------------------------------------------


def test_importance_decides_which_neurons_stay():
    model = residual()
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.0]
    for importance in (
        {"branch": values, "stem": 1},
        lambda name: values if name == "branch" else None,
        {"add": values, "stem": 0, "branch": 0},
        {"stem": np.divide(values, 2), "branch": np.divide(values, 2)},
    ):
        plan = kn.plan(model, "branch", 3, importance=importance)
        assert kept(plan, "stem") == [0, 2, 4]


def test_importance_of_tied_layers_adds_up():
    plan = kn.plan(
        residual(4),
        "branch",
        2,
        importance={"stem": [5, 0, 3, 3], "branch": [0, 5, 3, 3]},
    )
    assert kept(plan, "add") == [2, 3]


def test_importance_adds_up_over_the_other_factors_of_a_product():
    source = keras.Input((1, 2, 2))
    x = layers.Conv2D(3, 1, name="a")(source)
    x = layers.Flatten(name="flat")(x)
    model = keras.Model(source, layers.Dense(2)(x))
    importance = {"flat": [5, 3, 0, 0, 3, 4], "a": 0}
    plan = kn.plan(model, "a", 1, importance=importance)
    assert kept(plan, "a") == [1]


def test_layer_that_is_not_named_counts_one_per_neuron():
    model = concatenated(4, 4)
    plan = kn.plan(model, "cat", 5, importance={"a": [2, 0.5, 0.9, 1.1]})
    assert kept(plan, "a")[0] == 0 and 3 in kept(plan, "a")
    assert kept(plan, "b") == [0, 1, 2] or len(kept(plan, "b")) == 3
    plan = kn.plan(model, "cat", 4, importance={"a": 0.1})
    assert (plan.sizes["a"], plan.sizes["b"]) == (1, 3)
    plan = kn.plan(model, "cat", 4, importance={"a": 10})
    assert (plan.sizes["a"], plan.sizes["b"]) == (3, 1)


def test_any_call_of_a_shared_layer_names_it_in_importance():
    shared = layers.Dense(2, name="shared")
    a, b = keras.Input((3,)), keras.Input((3,))
    parts = [shared(a), shared(b), layers.Dense(4, name="other")(a)]
    joined = layers.Concatenate(name="cat")(parts)
    model = keras.Model([a, b], layers.Dense(2)(joined))
    importance = {"shared^1": [0.25, 0.25], "other": 0.45}
    plan = kn.plan(model, "cat", 6, importance=importance)
    assert (plan.sizes["shared"], plan.sizes["other"]) == (1, 4)


def test_importance_none_counts_every_neuron_one_and_keeps_the_first():
    plan = kn.plan(chain(5, 2), "d0", 3, importance=None)
    assert kept(plan, "d0") == [0, 1, 2]


def test_default_importance_is_the_magnitude_of_the_weights():
    model = chain(5, 2)
    layer = model.get_layer("d0")
    layer.set_weights(
        [np.ones((3, 5)) * [1, -5, 2, -4, 3], np.array([0.0, 0, 9, 0, 0])]
    )
    assert kept(kn.plan(model, "d0", 3), "d0") == [1, 2, 3]
    by_name = kn.plan(model, "d0", 3, importance="l2")
    assert kept(by_name, "d0") == [1, 2, 3]


def test_importance_function_is_told_about_the_layer():
    seen = {}

    def importance(layer):
        seen[layer] = (layer.size, layer.config["units"], sorted(layer.weights))
        return np.abs(layer.weights["kernel"]).sum(axis=0)

    kn.plan(residual(), "branch", 3, importance=importance)
    assert seen == {
        "stem": (6, 6, ["bias", "kernel"]),
        "branch": (6, 6, ["bias", "kernel"]),
    }


def test_infinite_importance_is_worst():
    importance = {"d0": [1.0, float("inf"), 2.0, -float("inf"), 3.0]}
    assert kept(kn.plan(chain(5, 2), "d0", 3, importance=importance), "d0") == [0, 2, 4]


@pytest.mark.parametrize("seed", range(4))
def test_kept_importance_is_the_optimum_of_brute_force(seed):
    """All selections of neurons that keep a and b whole pieces of the sum."""
    rng = np.random.default_rng(seed)
    model = concat_plus_dense(3, 4)
    values = {n: rng.uniform(0.1, 1, s) for n, s in (("a", 3), ("b", 4), ("whole", 7))}
    joint = np.concatenate([values["a"], values["b"]]) + values["whole"]
    size = int(rng.integers(2, 7))
    plan = kn.plan(model, "add", size, importance=values)
    best = max(
        (
            chosen
            for chosen in itertools.combinations(range(7), size)
            if chosen[0] < 3 <= chosen[-1]
        ),
        key=lambda chosen: joint[list(chosen)].sum(),
    )
    assert kept(plan, "add") == list(best)


def test_optimum_is_exact_when_steps_force_a_trade():
    """Brute force over sizes: a and b may change by steps of 2 only."""
    model = concatenated(6, 6, 5)
    rng = np.random.default_rng(7)
    values = {name: rng.uniform(0, 1, n) for name, n in (("a", 6), ("b", 6), ("c", 5))}
    plan = kn.plan(
        model, "cat", 11, importance=values, multiple_of={"a": 2, "b": 2, "c": 1}
    )

    def worth(sizes):
        ordered = (np.sort(values[name])[::-1] for name in "abc")
        return sum(v[:n].sum() for v, n in zip(ordered, sizes, strict=True))

    choices = itertools.product((2, 4, 6), (2, 4, 6), range(1, 6))
    best = max((c for c in choices if sum(c) == 11), key=worth)
    assert tuple(plan.sizes[name] for name in "abc") == best


# --- what cannot be had -------------------------------------------------------


def test_nearest_sizes_are_named_on_both_sides():
    model = image_net(layers.Conv2D(6, 1, groups=3, name="grouped"))
    with pytest.raises(kn.InfeasibleError, match="3 or 6 for 'grouped'") as info:
        kn.resize(model, "grouped", 4)
    assert info.value.nearest == {"grouped": (3, 6)}
    with pytest.raises(kn.InfeasibleError, match="needs 3 parts of one size") as info:
        kn.resize(model, "grouped", 2)
    assert info.value.nearest == {"grouped": 3}


def test_not_strict_takes_the_nearest_size_and_warns():
    model = image_net(layers.Conv2D(6, 1, groups=3, name="grouped"))
    with pytest.warns(UserWarning, match="'grouped' cannot have 4.*gets 3"):
        new = kn.resize(model, "grouped", 4, strict=False)
    assert new.get_layer("grouped").filters == 3
    with pytest.warns(UserWarning, match="'in' cannot have 5.*gets 3") as caught:
        plan = kn.plan(model, {"in": 5, "stem": 3}, strict=False)
    assert plan.sizes["in"] == 3 and plan.sizes["stem"] == 3
    assert caught[0].filename == __file__


def test_not_strict_is_silent_when_the_size_works(recwarn):
    plan = kn.plan(residual(), "branch", 4, strict=False)
    assert plan.sizes["stem"] == 4
    assert not [w for w in recwarn if w.category is UserWarning]


def test_keywords_that_leave_nothing_are_infeasible_even_if_not_strict():
    bounds = {"stem": (1, 3), "branch": (4, 8)}
    with pytest.raises(kn.InfeasibleError, match="'stem' is bound to"):
        kn.plan(residual(), "head", 3, bounds=bounds, strict=False)


# --- outputs, inputs, further widths ------------------------------------------


def test_head_is_resized_by_its_own_name_only():
    model = chain(4, 2)
    new = kn.resize(model, "d1", 10)
    assert new.output_shape == (None, 10)
    np.testing.assert_array_equal(kernel(new, "d1")[:, :2], kernel(model, "d1"))
    assert kernel(new, "d1")[:, 2:].all()
    assert kn.resize(model, "d1", kn.near(1)).output_shape == (None, 1)


def test_outputs_move_only_when_they_are_released():
    model = residual()
    headless = keras.Model(model.input, model.get_layer("add").output)
    with pytest.raises(kn.InfeasibleError, match="'add' is an output"):
        kn.resize(headless, "stem", 3)
    assert kn.resize(headless, "add", 3).output_shape == (None, 3)
    released = kn.resize(headless, "stem", 3, free_outputs=True)
    assert released.output_shape == (None, 3)


def test_inputs_of_a_layer_are_resized_in_order():
    model = concatenated(4, 6, 8)
    graph = kn.Graph.from_model(model)
    new = kn.resize_inputs(model, "cat", [None, 7, kn.near(5)])
    units = [new.get_layer(name).units for name in "abc"]
    assert units == [4, 7, 5]
    other = graph.resize_inputs("cat", (2, None, None)).build()
    assert [other.get_layer(name).units for name in "abc"] == [2, 6, 8]
    plan = kn.plan(model, "b", 7)
    assert plan.input_sizes["cat"] == [4, 7, 8] and plan.input_sizes["head"] == [19]


def test_size_of_a_depthwise_layer_moves_its_input_first():
    model = image_net(layers.DepthwiseConv2D(2, depth_multiplier=2, name="dw"))
    plan = kn.plan(model, "dw", 8)
    assert plan.sizes["stem"] == 4 and plan.sizes["dw", "depth_multiplier"] == 2
    check_plan(plan, model, random_inputs(model))
    with pytest.raises(kn.InfeasibleError, match="'dw'") as info:
        kn.plan(model, "dw", 7)
    assert info.value.nearest == {"dw": (6, 8)}


def test_multiplier_of_a_depthwise_layer_moves_when_its_input_cannot():
    source = keras.Input((6, 6, 3), name="in")
    x = layers.DepthwiseConv2D(2, depth_multiplier=2, name="dw")(source)
    model = randomize(keras.Model(source, layers.Conv2D(2, 1, name="head")(x)))
    plan = kn.plan(model, "dw", 9)
    assert plan.sizes["dw", "depth_multiplier"] == 3
    check_plan(plan, model, random_inputs(model))
    locked = image_net(layers.DepthwiseConv2D(2, depth_multiplier=2, name="dw"))
    plan = kn.plan(locked, "dw", 18, locked=["stem"])
    assert plan.sizes["dw", "depth_multiplier"] == 3


def test_multiplier_is_asked_for_by_its_axis():
    model = image_net(layers.DepthwiseConv2D(2, depth_multiplier=2, name="dw"))
    for new in (
        kn.resize(model, "dw", 3, axis="depth_multiplier"),
        kn.resize(model, {("dw", "depth_multiplier"): 3}),
    ):
        assert new.get_layer("dw").depth_multiplier == 3
        assert new.get_layer("stem").filters == 6
    plan = kn.plan(model, {("dw", "depth_multiplier"): 1, "stem": 4})
    assert plan.sizes["dw"] == 4
    check_plan(plan, model, random_inputs(model))
    plan = kn.plan(model, {("dw", "depth_multiplier"): 3, "dw": 9})
    assert plan.sizes["stem"] == 3


def test_inner_width_of_a_separable_layer_moves_alone():
    model = image_net(layers.SeparableConv2D(4, 2, depth_multiplier=3, name="sep"))
    plan = kn.plan(model, "sep", 2, axis="depth_multiplier")
    assert plan.sizes["sep"] == 4 and plan.sizes["stem"] == 6
    check_plan(plan, model, random_inputs(model))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_groups_follow_the_width_where_each_channel_is_a_group(multiplier):
    layer = layers.Conv2D(6 * multiplier, 3, groups=6, padding="same", name="dw")
    model = image_net(layer)
    plan = kn.plan(model, "dw", 4 * multiplier)
    new = plan.apply()
    assert (new.get_layer("dw").groups, new.get_layer("stem").filters) == (4, 4)
    assert kept(plan, "dw")[::multiplier] == [
        multiplier * n for n in kept(plan, "stem")
    ]
    check_plan(plan, model, random_inputs(model))
    grown = kn.plan(model, "stem", 9)
    assert grown.sizes["dw"] == 9 * multiplier
    check_plan(grown, model, random_inputs(model))


def test_groups_lose_the_same_count_but_other_neurons():
    model = image_net(layers.Conv2D(4, 1, groups=2, name="grouped"))
    importance = {"stem": [9, 1, 9, 1, 9, 9]}
    plan = kn.plan(model, "stem", 4, importance=importance)
    assert kept(plan, "stem") == [0, 2, 4, 5]
    check_plan(plan, model, random_inputs(model))
    plan = kn.plan(model, "grouped", 2, importance={"grouped": [1, 2, 4, 3]})
    assert kept(plan, "grouped") == [1, 2]
    check_plan(plan, model, random_inputs(model))


# --- small print --------------------------------------------------------------


def test_further_calls_of_a_shared_layer_are_vertices_of_their_own():
    shared = layers.Dense(4, name="shared")
    a, b, c = (keras.Input((3,)) for _ in range(3))
    joined = layers.Concatenate(name="cat")([shared(a), shared(b), shared(c)])
    model = keras.Model([a, b, c], layers.Dense(2)(joined))
    for name in ("shared", "shared^1", "shared^2"):
        plan = kn.plan(model, name, 3)
        assert plan.sizes["cat"] == 9 and plan.sizes["shared^2"] == 3
        assert plan.apply().get_layer("shared").units == 3
    assert kn.plan(model, {"shared": 3, "shared^2": 3}).sizes["cat"] == 9
    with pytest.raises(kn.InfeasibleError, match="'shared'"):
        kn.plan(model, {"shared": 3, "shared^1": 2})


def test_layer_of_a_nested_model_is_named_by_path_or_alone_if_unique():
    model = nested()
    for name in ("encoder/inner", "inner"):
        new = kn.resize(model, name, 4)
        assert new.get_layer("encoder").get_layer("inner").units == 4
    assert kn.plan(model, "encoder", 3).sizes["encoder/out"] == 3


def test_initializer_makes_the_new_neurons_but_not_what_reads_them():
    model = chain(4, 3, 2)
    new = kn.resize(model, "d1", 5, initializer=keras.initializers.Constant(0.25))
    np.testing.assert_array_equal(kernel(new, "d1")[:, 3:], 0.25)
    np.testing.assert_array_equal(kernel(new, "d2")[3:], 0)
    bias = keras.ops.convert_to_numpy(new.get_layer("d1").bias)
    np.testing.assert_array_equal(bias[3:], 0.25)
    by_name = kn.resize(model, "d1", 5, initializer="ones")
    np.testing.assert_array_equal(kernel(by_name, "d1")[:, 3:], 1)


def test_new_neurons_come_from_the_own_initializer_of_each_weight():
    layer = layers.DepthwiseConv2D(
        2, depthwise_initializer="ones", bias_initializer=Offset(), name="dw"
    )
    model = image_net(
        layer,
        layers.SeparableConv2D(4, 1, pointwise_initializer=offset, name="sep"),
    )
    new = kn.resize(model, {"stem": 8, "sep": 6})
    for name, weight, value in (
        ("dw", "kernel", 1.0),
        ("dw", "bias", 0.5),
    ):
        array = keras.ops.convert_to_numpy(getattr(new.get_layer(name), weight))
        np.testing.assert_array_equal(array.reshape(-1, 8)[:, 6:], value)
    pointwise = keras.ops.convert_to_numpy(new.get_layer("sep").pointwise_kernel)
    np.testing.assert_array_equal(pointwise[..., :6, 4:], 0.5)
    np.testing.assert_array_equal(pointwise[..., 6:, :], 0.0)


def test_seed_decides_the_new_weights_and_nothing_else():
    model = chain(4, 3, 2)
    same = [kn.resize(model, "d1", 5, seed=3) for _ in range(2)]
    np.testing.assert_array_equal(*(kernel(new, "d1") for new in same))
    other = kn.resize(model, "d1", 5, seed=4)
    assert (kernel(other, "d1") != kernel(same[0], "d1"))[:, 3:].all()
    data = random_inputs(model)
    np.testing.assert_array_equal(run(other, data)[0], run(same[0], data)[0])


def test_new_weights_do_not_touch_the_global_random_state():
    model = chain(4, 3, 2)

    def draws(middle):
        # Keras 3.8 keeps its generator in spite of a new seed.
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        keras.random.normal((2,))
        middle()
        return np.random.random(), keras.ops.convert_to_numpy(keras.random.normal((2,)))

    resized = draws(lambda: kn.resize(model, "d1", 5))
    untouched = draws(lambda: None)
    assert resized[0] == untouched[0]
    np.testing.assert_array_equal(resized[1], untouched[1])


def test_every_verb_takes_the_same_keywords():
    def keywords(verb):
        parameters = inspect.signature(verb).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    shared = keywords(kn.resize_inputs)
    assert keywords(kn.resize) == {"axis": None, **shared}
    plan = kn.plan(residual(), "branch", 6, **shared)
    assert plan.is_empty
    new = kn.resize_inputs(
        concatenated(4, 6), "cat", [kn.near(1), None], bounds={"a": (3, None)}
    )
    assert new.get_layer("a").units == 3


@pytest.mark.parametrize(
    "requests",
    [
        {"add": 5},
        {"whole": kn.near(11), "a": 4},
        {"a": kn.near(1), "b": kn.near(9), "whole": kn.near(7)},
    ],
)
def test_all_solvers_give_the_same_plan(requests):
    model = concat_plus_dense(3, 5)
    plans = [kn.plan(model, requests, solver=solver) for solver in SOLVERS]
    for plan in plans[1:]:
        assert dict(plan.sizes) == dict(plans[0].sizes)
        for name in plan.keep:
            np.testing.assert_array_equal(plan.keep[name], plans[0].keep[name])


def test_incumbent_is_taken_only_when_asked_for():
    model = concatenated(7, 9, 11, 13)
    plan = kn.plan(model, "cat", 21, accept_incumbent=True)
    assert plan.sizes["cat"] == 21


def test_edits_of_a_graph_compose_as_those_of_models_do():
    model = concat_plus_dense(3, 5)
    graph = kn.Graph.from_model(model).resize("a", 2).resize("whole", 9)
    steps = kn.resize(kn.resize(model, "a", 2), "whole", 9)
    for new, old in zip(graph.build().weights, steps.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (new, old)))
