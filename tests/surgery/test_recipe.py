"""Recipes: the same cut on another copy, and refusals of everything else."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers
from models import random_inputs
from nets import chain, concat_plus_dense, nested, residual

import keras_nas as kn


def shared() -> keras.Model:
    """A layer that is called twice, between others."""
    source = keras.Input((4,), name="in")
    twice = layers.Dense(6, activation="tanh", name="twice")
    first = layers.Dense(6, name="first")(source)
    x = layers.Concatenate(name="cat")([twice(first), twice(twice(first))])
    return keras.Model(source, layers.Dense(2, name="head")(x))


PLANS = {
    "pruned": (residual, lambda m: kn.plan_prune(m, params=0.5)),
    "grown": (residual, lambda m: kn.plan(m, "add", 9)),
    "near": (lambda: chain(8, 6, 2), lambda m: kn.plan(m, {"d0": kn.near(5)})),
    "several": (
        concat_plus_dense,
        lambda m: kn.plan(m, {"a": 2, "cat": 9, "whole": kn.near(9)}),
    ),
    "nested": (nested, lambda m: kn.plan_prune(m, params=0.6)),
    "nested grown": (nested, lambda m: kn.plan(m, "inner", 9)),
    "shared": (shared, lambda m: kn.plan_prune(m, params=0.5)),
    "shared grown": (shared, lambda m: kn.plan(m, "twice", 7)),
    "nothing": (residual, lambda m: kn.plan_prune(m, params=1.0)),
}


def copy_of(model: keras.Model, factor: float) -> keras.Model:
    """The same architecture with other weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights([factor * w for w in model.get_weights()])
    return copy


@pytest.mark.parametrize("name", PLANS)
def test_a_recipe_does_the_same_to_a_copy_with_other_weights(name):
    make, decide = PLANS[name]
    model = make()
    plan = decide(model)
    recipe = kn.Recipe.from_json(kn.recipe(plan).to_json())
    copy = copy_of(model, -2.0)
    again = recipe.plan(copy)
    assert dict(again.sizes) == dict(plan.sizes)
    for key in plan.keep:
        np.testing.assert_array_equal(again.keep[key], plan.keep[key])
    assert again.exact == plan.exact
    # The kept weights are those of the copy, the new ones those of the plan.
    for ours, theirs in zip(
        kn.replay(copy, recipe).get_weights(), plan.apply().get_weights(), strict=True
    ):
        both = np.isclose(ours, -2.0 * theirs) | (ours == theirs)
        assert ours.shape == theirs.shape and both.all()
    assert kn.verify(copy, again, random_inputs(copy))


def test_the_model_itself_gives_the_same_weights_to_the_bit():
    model = residual()
    plan = kn.plan(model, "stem", 9, seed=3, initializer="he_normal")
    new, old = kn.replay(model, kn.recipe(plan)), plan.apply()
    for ours, theirs in zip(new.get_weights(), old.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_model_is_not_changed():
    model = residual()
    before = model.get_weights()
    kn.replay(model, kn.recipe(kn.plan(model, "stem", 3)))
    assert model.get_layer("stem").units == 6
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


def test_made_up_names_may_differ():
    def net():
        inputs = keras.Input((4,))
        x = layers.Dense(6)(inputs)
        return keras.Model(inputs, layers.Dense(2)(x))

    first, second = net(), net()
    assert first.layers[1].name != second.layers[1].name
    recipe = kn.recipe(kn.plan(first, first.layers[1].name, 3))
    assert kn.replay(second, recipe).layers[1].units == 3


def test_a_plan_of_a_recipe_prints_why():
    model = residual()
    recipe = kn.recipe(kn.plan(model, "stem", 9))
    assert "as in the recipe" in str(recipe.plan(model))
    assert repr(recipe) == "Recipe(5 vertices, 1 of 2 atoms change)"


def test_a_recipe_is_saved_and_loaded(tmp_path):
    model = residual()
    recipe = kn.recipe(kn.plan(model, "stem", 3))
    recipe.save(tmp_path / "cut.json")
    assert kn.Recipe.load(tmp_path / "cut.json") == recipe
    assert kn.replay(model, (tmp_path / "cut.json").read_text()).get_layer("stem")


def test_a_graph_can_be_given():
    graph = kn.Graph.from_model(residual())
    recipe = kn.recipe(graph.plan("stem", 3))
    assert recipe.plan(graph).apply_to_graph().parts["stem"].config["units"] == 3


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: residual(7), r"'stem' \(Dense\) that gives \('batch', 6\), that of"),
        (lambda: chain(6, 2), "recipe has 5 vertices, not 3"),
        (lambda: chain(6, 6, 6, 2, inputs=4), r"vertex 3 of the recipe is 'add' \(Add"),
    ],
)
def test_another_architecture_is_refused_and_the_difference_told(other, text):
    recipe = kn.recipe(kn.plan(residual(), "stem", 3))
    with pytest.raises(kn.InvalidRequestError, match=text):
        kn.replay(other(), recipe)


def test_other_edges_and_weights_of_equal_outputs_are_differences():
    def net(reads_first: bool, size: int = 3):
        source = keras.Input((8, 8, 2), name="in")
        a = layers.Conv2D(4, size, padding="same", name="a")(source)
        b = layers.Conv2D(4, 1, name="b")(source)
        x = layers.Conv2D(2, 1, name="head")(a if reads_first else b)
        return keras.Model(source, layers.Concatenate(name="cat")([a, b, x]))

    recipe = kn.recipe(kn.plan_prune(net(True), params=1.0))
    with pytest.raises(kn.InvalidRequestError, match=r"\(3, 3, 2, 4\).*not \[\(5, 5"):
        kn.replay(net(True, 5), recipe)
    with pytest.raises(kn.InvalidRequestError, match="it reads other vertices"):
        kn.replay(net(False), recipe)


def test_exchanged_names_are_a_difference():
    def net(*names):
        source = keras.Input((4,), name="in")
        parts = [layers.Dense(3, name=name)(source) for name in names]
        return keras.Model(source, layers.Add(name="add")(parts))

    recipe = kn.recipe(kn.plan(net("a", "b"), "add", 2))
    with pytest.raises(kn.InvalidRequestError, match="is 'a' .* that of the model 'b'"):
        kn.replay(net("b", "a"), recipe)


def text_of_a_recipe() -> str:
    return kn.recipe(kn.plan(residual(), "stem", 3)).to_json()


def changed(**fields) -> str:
    return json.dumps({**json.loads(text_of_a_recipe()), **fields})


@pytest.mark.parametrize(
    ("mangle", "text"),
    [
        (lambda: text_of_a_recipe()[:-20], "it is no JSON"),
        (lambda: "", "it is no JSON"),
        (lambda: "[1, 2]", "it is no JSON object"),
        (lambda: "{}", "it has no field 'kind'"),
        (lambda: 7, "it is no JSON object"),
        (lambda: changed(kind="soup"), "says that it is a 'soup'"),
        (lambda: changed(version=9), "has version 9, only 1 is known"),
        (lambda: changed(content=[]), "'content' in it is no JSON object"),
        (lambda: text_of_a_recipe().replace("stem", "stew"), "its digest is another"),
    ],
)
def test_a_damaged_recipe_is_refused(mangle, text):
    with pytest.raises(kn.InvalidRequestError, match=text) as caught:
        kn.replay(residual(), mangle())
    assert "Received" in str(caught.value)


@pytest.mark.parametrize("keep", [[0, 0], [6], [-2], [0.0], ["0"], "0", [True]])
def test_neurons_that_do_not_exist_are_refused(keep):
    from keras_nas.surgery.recipe import _digest

    record = json.loads(text_of_a_recipe())
    pieces = record["content"]["pieces"]
    next(piece for piece in pieces if piece["keep"])["keep"] = keep
    record["digest"] = _digest(record["content"])
    with pytest.raises(kn.InvalidRequestError, match=r"pieces\[\d\].* in it (keeps|is)"):
        kn.Recipe.from_json(record)


def test_recipes_hold_no_code():
    class Mine(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return keras.ops.ones(shape, dtype)

    plan = kn.plan(residual(), "stem", 9, initializer=Mine())
    with pytest.raises(kn.InvalidRequestError, match="it holds no code"):
        kn.recipe(plan)
    own = keras.initializers.Constant(0.5)
    text = kn.recipe(kn.plan(residual(), "stem", 9, initializer=own)).to_json()
    new = kn.replay(residual(), text).get_layer("stem").get_weights()
    np.testing.assert_array_equal(new[0][:, 6:], 0.5)
    record = json.loads(text)
    record["content"]["initializer"] = {"class_name": "os", "config": {}}
    from keras_nas.surgery.recipe import _digest

    record["digest"] = _digest(record["content"])
    with pytest.raises(kn.InvalidRequestError, match="Keras does not have: 'os'"):
        kn.Recipe.from_json(record)


def test_what_is_no_plan_is_refused():
    with pytest.raises(kn.InvalidRequestError, match="cannot be made of a str"):
        kn.recipe("plan")
