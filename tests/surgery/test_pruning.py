"""Pruning to budgets, on models: exact costs, the same function, clear refusals."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from models import random_inputs, randomize
from models_attention import vit
from nets import chain, concat_plus_dense, concatenated, nested, residual

import keras_nas as kn
from keras_nas.graph import analyze
from keras_nas.importance import atom_utilities, check_importance
from keras_nas.surgery.counting import count_analysis


def convolutional() -> keras.Model:
    """Residual, grouped, depthwise and concatenated convolutions, and a gate."""
    x = inputs = keras.Input((12, 12, 3), name="in")
    x = layers.Conv2D(24, 3, padding="same", name="stem")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    y = layers.Conv2D(32, 1, name="expand")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    gate = layers.Conv2D(8, 1, activation="relu", name="reduce")(gate)
    gate = layers.Conv2D(32, 1, activation="sigmoid", name="gate")(gate)
    y = layers.Multiply(name="gated")([y, gate])
    y = layers.Conv2D(24, 1, name="project")(y)
    x = layers.Add(name="add")([x, y])
    z = layers.Conv2D(32, 3, groups=4, padding="same", name="grouped")(x)
    z = layers.Conv2D(16, 1, name="after")(z)
    x = layers.Concatenate(name="cat")([x, z])
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(20, 3, name="last")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(30, activation="relu", name="hidden")(x)
    return randomize(keras.Model(inputs, layers.Dense(5, name="head")(x)))


def recurrent() -> keras.Model:
    x = inputs = keras.Input((6, 10), name="in")
    x = layers.Bidirectional(layers.LSTM(20, return_sequences=True), name="both")(x)
    x = layers.GRU(24, name="gru")(x)
    return randomize(keras.Model(inputs, layers.Dense(3, name="head")(x)))


NETS = {
    "convolutional": convolutional,
    "recurrent": recurrent,
    "vit": lambda: randomize(vit(24, 2)),
    "chain": lambda: chain(40, 50, 30, 4, inputs=12),
    # So many neurons that one is less than 1 % of the cost.
    "residual": lambda: residual(400),
    "concatenated": lambda: concatenated(100, 150, 120),
    "concat plus dense": lambda: concat_plus_dense(150, 250),
}
BUDGETS = [
    {"params": 0.5},
    {"flops": 0.5},
    {"memory": 0.7},
    {"params": 0.6, "flops": 0.4},
]


def check(model: keras.Model, plan: kn.PrunePlan, *, used: float = 0.99) -> None:
    """The new model costs what the plan says, and computes what is left of the old."""
    new = plan.apply()
    counts = kn.count(new)
    assert counts.params == new.count_params() == plan.counts.params
    assert (counts.macs, counts.memory) == (plan.counts.macs, plan.counts.memory)
    loads = [
        getattr(counts, name) / most
        for name, most in plan.targets.items()
        if name != "neurons"
    ]
    assert max(loads, default=1.0) <= 1
    assert max(loads, default=1.0) >= used
    assert new.output_shape == model.output_shape
    assert new.input_shape == model.input_shape
    assert all(plan.sizes[key] <= plan.old_sizes[key] for key in plan.sizes)
    assert all((plan.keep[key] >= 0).all() for key in plan.keep)
    assert str(kn.verify(model, plan, random_inputs(model)))


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("name", NETS)
def test_budgets_are_kept_and_used_up(name, budget):
    model = NETS[name]()
    check(model, kn.plan_prune(model, **budget))


@pytest.mark.parametrize("scope", ["global", "local", "isomorphic"])
@pytest.mark.parametrize("name", NETS)
def test_scopes_keep_budgets(name, scope):
    model = NETS[name]()
    # A fraction for all layers leaves gaps of one neuron in each.
    used = 0.99 if scope == "global" else 0.9
    check(model, kn.plan_prune(model, params=0.5, scope=scope), used=used)


def test_local_keeps_the_same_fraction_in_each_layer():
    plan = kn.plan_prune(chain(40, 60, 20, 4), sparsity=0.5, scope="local")
    assert [plan.sizes[f"d{n}"] for n in range(4)] == [20, 30, 10, 4]


def test_isomorphic_compares_layers_of_one_structure():
    importance = {"a": 1.0, "b": 5.0, "whole": 3.0}
    plan = kn.plan_prune(
        three_kinds(), sparsity=0.5, scope="isomorphic", importance=importance
    )
    # `a` and `b` are alike, and compete; the convolution is of another kind.
    assert plan.sizes["a"] < plan.sizes["b"]
    assert plan.sizes["a"] + plan.sizes["b"] == 20
    assert plan.sizes["whole"] == 10


def three_kinds() -> keras.Model:
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(20, 3, name="whole")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(4, name="narrow", trainable=False)(x)
    a = layers.Dense(20, name="a")(x)
    b = layers.Dense(20, name="b")(x)
    outs = [layers.Dense(2, name=f"head_{n}")(y) for n, y in zip("ab", (a, b))]
    model = randomize(keras.Model(inputs, outs))
    return model


def test_absolute_budgets_are_absolute():
    model = chain(40, 50, 30, 4)
    plan = kn.plan_prune(model, params=2000, flops=np.int64(3900))
    assert plan.targets == {"params": 2000, "flops": 3900}
    check(model, plan)


def test_sparsity_drops_that_fraction_of_all_neurons():
    model = convolutional()
    plan = kn.plan_prune(model, sparsity=0.4)
    assert plan.sparsity == pytest.approx(0.4, abs=0.01)
    check(model, plan, used=0)


def test_sparsity_drops_the_least_important_of_all():
    importance = {"d0": np.arange(10), "d1": np.arange(10) + 0.5}
    plan = kn.plan_prune(chain(10, 10, 2), sparsity=0.5, importance=importance)
    assert plan.keep["d0"].tolist() == [5, 6, 7, 8, 9]
    assert plan.keep["d1"].tolist() == [5, 6, 7, 8, 9]


def test_nothing_to_do_changes_nothing():
    model = chain(10, 10, 2)
    for budget in ({"params": 1.0}, {"sparsity": 0.0}, {"params": 10**9}):
        plan = kn.plan_prune(model, **budget)
        assert plan.is_empty and plan.kept_importance == 1.0


def test_models_without_removable_neurons_stay_or_say_so():
    inputs = keras.Input((3,))
    plain = keras.Model(inputs, layers.ReLU()(inputs))
    for targets in ({"flops": 0.5}, {"sparsity": 0.5}, {"threshold": 1.0}):
        assert kn.plan_prune(plain, **targets).is_empty
    with pytest.raises(kn.InfeasibleError, match="the least possible is 8"):
        kn.plan_prune(chain(2, inputs=3), params=0.5)


def test_threshold_drops_what_is_below_and_never_the_last():
    importance = {"d0": [0.1, 0.5, 0.3], "d1": [0.0, 0.0, 0.1], "d2": 1.0}
    plan = kn.plan_prune(chain(3, 3, 2), threshold=0.3, importance=importance)
    assert plan.keep["d0"].tolist() == [1, 2]
    assert plan.keep["d1"].tolist() == [2]
    assert plan.keep["d2"].tolist() == [0, 1]


def test_negative_importance_goes_at_threshold_zero():
    importance = {"d0": [-1, 2, -3, 4]}
    plan = kn.plan_prune(chain(4, 3, 2), threshold=0.0, importance=importance)
    assert plan.keep["d0"].tolist() == [1, 3]
    assert plan.sizes["d1"] == 3


def test_threshold_and_budget_hold_together():
    model = chain(40, 50, 30, 4)
    importance = {"d0": np.linspace(0, 1, 40)}
    plan = kn.plan_prune(model, threshold=0.5, params=0.3, importance=importance)
    assert plan.keep["d0"].min() >= 20
    check(model, plan)


def test_threshold_keeps_grouped_sizes_equal():
    model = convolutional()
    importance = {"grouped": np.r_[np.ones(10), np.zeros(22)]}
    plan = kn.plan_prune(model, threshold=0.5, importance=importance)
    # The first group keeps all of its 8, so every group does.
    assert plan.sizes["grouped"] == 32


def test_dead_neurons_go_first_and_the_function_stays():
    model = chain(20, 30, 3, inputs=5)
    dead = np.arange(0, 20, 2)
    kernel, bias = model.get_layer("d0").get_weights()
    reader = model.get_layer("d1").get_weights()
    kernel[:, dead], bias[dead], reader[0][dead] = 0, 0, 0
    model.get_layer("d0").set_weights([kernel, bias])
    model.get_layer("d1").set_weights(reader)
    data = random_inputs(model)
    new = kn.prune(model, threshold=1e-9)
    assert new.get_layer("d0").units == 10
    np.testing.assert_allclose(new(data), model(data), atol=1e-6)


def test_ignored_layers_keep_all_neurons():
    plan = kn.plan_prune(chain(40, 50, 30, 4), params=0.5, ignore=("d1",))
    assert plan.sizes["d1"] == 50
    with pytest.raises(kn.InfeasibleError, match="release what holds .* `ignore`"):
        kn.plan_prune(residual(60), flops=0.5, ignore="branch")


def test_min_fraction_is_kept_everywhere_or_by_name():
    model = chain(40, 50, 30, 4)
    plan = kn.plan_prune(model, params=0.5, min_fraction=0.5)
    assert all(plan.sizes[f"d{n}"] >= size for n, size in enumerate((20, 25, 15)))
    check(model, plan)
    plan = kn.plan_prune(model, params=0.3, min_fraction={"d2": 0.9})
    assert plan.sizes["d2"] >= 27
    check(model, plan)


@pytest.mark.parametrize("budget", [{"params": 0.5}, {"flops": 0.5}], ids=str)
def test_multiple_of_holds_for_all_layers_that_change(budget):
    model = convolutional()
    plan = kn.plan_prune(model, multiple_of=4, **budget)
    for name in ("stem", "expand", "reduce", "grouped", "after", "last", "hidden"):
        size = plan.sizes[name]
        assert size % 4 == 0 or size == plan.old_sizes[name], (name, size)
    check(model, plan, used=0.95)


def test_bounds_and_locks_hold_as_in_resize():
    model = chain(40, 50, 30, 4)
    plan = kn.plan_prune(
        model, params=0.6, locked="d2", bounds={"d0": (None, 10), "d1": (45, None)}
    )
    assert plan.sizes["d2"] == 30
    assert plan.sizes["d0"] <= 10 and plan.sizes["d1"] >= 45


def test_outputs_stay_unless_they_are_free():
    model = chain(20, 20, 10)
    assert kn.plan_prune(model, params=0.5).sizes["d2"] == 10
    plan = kn.plan_prune(model, params=0.5, free_outputs=True, importance={"d2": 0.0})
    assert plan.sizes["d2"] < 10


@pytest.mark.parametrize("budget", BUDGETS[:2], ids=str)
@pytest.mark.parametrize(
    # Sizes that must be equal are beyond greedy ranking.
    "name",
    [name for name in NETS if name not in ("convolutional", "recurrent")],
)
def test_more_importance_is_kept_than_by_greedy_ranking(name, budget):
    graph = kn.Graph.from_model(NETS[name]())
    plan = graph.plan_prune(**budget)
    assert plan.kept_importance >= greedy(graph, plan) - 1e-9


def greedy(graph: kn.Graph, plan: kn.PrunePlan) -> float:
    """Importance kept by dropping the least important neuron of all, one by one."""
    analysis = analyze(graph)
    ((name, most),) = plan.targets.items()
    outputs = {
        atom
        for ref in analysis.flat.outputs
        for axis in analysis.axes_of(ref)
        for atom in axis.atoms
    }
    atoms = frozenset().union(*(axis.atoms for axis in analysis.all_axes())) - outputs
    atoms = sorted(atoms, key=lambda atom: atom.serial)
    importance = check_importance("l2", None)
    utilities = atom_utilities(graph, analysis, importance, set(atoms))
    sizes = {atom: atom.size for atom in atoms}
    ranked = sorted(
        (float(value), number)
        for number, atom in enumerate(atoms)
        for value in utilities[atom]
    )
    total = kept = sum(value for value, _ in ranked)
    for value, number in ranked:
        if getattr(count_analysis(analysis, sizes), name) <= most:
            break
        if sizes[atoms[number]] > 1:
            sizes[atoms[number]] -= 1
            kept -= value
    return kept / total


def test_the_users_model_is_untouched():
    model = convolutional()
    before = [np.array(w) for w in model.get_weights()]
    config = model.get_config()
    kn.prune(model, params=0.3)
    assert model.get_config() == config
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


def test_asking_twice_gives_the_same_plan():
    model = convolutional()
    first, second = (kn.plan_prune(model, flops=0.5) for _ in range(2))
    assert dict(first.sizes) == dict(second.sizes)
    for key in first.keep:
        np.testing.assert_array_equal(first.keep[key], second.keep[key])


def test_nested_models_and_graphs_are_pruned():
    model = nested()
    check(model, kn.plan_prune(model, params=0.6), used=0.9)
    graph = kn.Graph.from_model(model).prune(params=0.6)
    assert graph.build().count_params() <= 0.6 * model.count_params()


def test_a_plan_prints_costs_before_and_after():
    text = str(kn.plan_prune(chain(40, 50, 4, inputs=12), params=0.5))
    assert "less important" in text
    assert "params: 2,774 -> 1,3" in text and "asked for at most 1,387" in text
    assert "importance: " in text and "% kept" in text


def test_a_budget_out_of_reach_names_the_least_possible():
    model = chain(40, 50, 4, inputs=12)
    least = 12 + 1 + 1 + 1 + 4 + 4
    with pytest.raises(
        kn.InfeasibleError,
        match=rf"get down to 10 params: the least possible is {least}",
    ) as caught:
        kn.prune(model, params=10)
    assert caught.value.nearest == {"params": least}
    assert kn.prune(model, params=least).count_params() == least
    with pytest.raises(kn.InfeasibleError, match="Received: params=0.2, min_fraction"):
        kn.prune(model, params=0.2, min_fraction=0.9)


def test_several_budgets_out_of_reach_are_all_named():
    model = chain(40, 50, 4, inputs=12)
    with pytest.raises(kn.InfeasibleError, match=r"10 params: .*\n.*4 flops: ") as caught:
        kn.prune(model, params=10, flops=4)
    assert caught.value.nearest == {"params": 23, "flops": 2 * (12 + 1 + 4)}


def test_a_sparsity_beside_a_budget_that_it_cannot_be_with():
    model = chain(40, 50, 4, inputs=12)
    with pytest.raises(
        kn.InfeasibleError, match=r"sparsity of 0.99 .* at least 45 of the 90 .* of 0.5\."
    ) as caught:
        kn.prune(model, params=0.9, sparsity=0.99, min_fraction=0.5)
    assert caught.value.nearest == {"sparsity": 0.5}
    plan = kn.plan_prune(model, params=0.9, sparsity=0.5, min_fraction=0.5)
    assert plan.sizes["d0"] + plan.sizes["d1"] == 45
    # Whichever is tighter decides.
    plan = kn.plan_prune(model, params=0.2, sparsity=0.1)
    assert plan.sparsity > 0.1 and plan.counts.params <= plan.targets["params"]


@pytest.mark.parametrize(
    ("samples", "features", "targets", "text"),
    [
        (8, 5, 4, r"(?s)data do not fit the model.*\(1, 5\)"),
        (8, 12, 3, r"(?s)data do not fit the model.*\(1, 3\)"),
    ],
)
def test_data_whose_shapes_do_not_fit_are_told(samples, features, targets, text):
    x, y = np.ones((samples, features)), np.ones((samples, targets))
    taylor = kn.importance.Taylor(x, y, loss="mse")
    with pytest.raises(kn.InvalidRequestError, match=text):
        kn.prune(chain(40, 50, 4, inputs=12), params=0.5, importance=taylor)


def test_a_budget_out_of_reach_gives_the_smallest_model_if_not_strict():
    with pytest.warns(UserWarning, match="The smallest sizes are taken"):
        new = kn.prune(chain(40, 4, inputs=12), params=10, strict=False)
    assert new.get_layer("d0").units == 1


def test_contradicting_keywords_are_told():
    with pytest.raises(kn.InfeasibleError, match="No sizes satisfy all"):
        kn.prune(chain(40, 4), params=0.9, bounds={"d0": (41, None)})


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({}, "Nothing says how much to prune"),
        ({"params": 0}, "A budget of 0 params leaves no model"),
        ({"params": -3}, "A budget of -3 params leaves no model"),
        ({"params": 0.0}, "params=0.0 is no fraction"),
        ({"flops": 1.5}, "flops=1.5 is no fraction"),
        ({"flops": float("nan")}, "'flops' is not a number"),
        ({"memory": "half"}, "'memory' is not a number"),
        ({"memory": True}, "'memory' is not a number"),
        ({"sparsity": 1.2}, "'sparsity' is no fraction of the neurons to drop"),
        ({"sparsity": 1.0}, "would leave no neuron"),
        ({"sparsity": -0.1}, "'sparsity' is no fraction"),
        ({"threshold": "low"}, "'threshold' is not a number"),
        ({"params": 0.5, "scope": "layer"}, "no scope named 'layer'"),
        ({"params": 0.5, "min_fraction": 2}, "'min_fraction' is no fraction"),
        ({"params": 0.5, "min_fraction": {"d0": -1}}, "'min_fraction' is no fraction"),
        ({"params": 0.5, "multiple_of": 0}, "multiples of a whole number"),
        ({"params": 0.5, "importance": {"d0": [np.nan, 1, 1]}}, "is NaN at"),
        ({"params": 0.5, "importance": {"d0": [1, 1]}}, "has shape"),
        ({"params": 0.5, "importance": lambda name: float("nan")}, "'d0' is NaN at"),
        ({"params": float("inf")}, "params=inf is no fraction"),
        ({"params": [0.5]}, "'params' is not a number"),
        ({"params": 0.5, "ignore": 3}, "to ignore are given by name, not by a int"),
        ({"params": 0.5, "min_fraction": "half"}, "'min_fraction' is not a number"),
        ({"threshold": float("nan")}, "'threshold' is not a number"),
    ],
)
def test_wrong_targets_are_refused(keywords, text):
    with pytest.raises(kn.KerasNasError, match=text) as caught:
        kn.prune(chain(3, 2), **keywords)
    assert isinstance(caught.value, ValueError)
    assert "Received" in str(caught.value)


def test_unknown_names_are_refused():
    for keywords in ({"ignore": "no"}, {"min_fraction": {"no": 0.5}}):
        with pytest.raises(kn.UnknownLayerError, match="no"):
            kn.prune(chain(3, 2), params=0.5, **keywords)


@pytest.mark.parametrize(
    ("targets", "name"),
    [
        ({"flops": 0.5}, "group_lamp"),
        ({"params": 0.5, "sparsity": 0.2}, "group_lamp"),
        ({"sparsity": 0.3}, "l2"),
        ({"threshold": 0.9}, "l2"),
        ({"threshold": 0.1, "params": 0.5}, "l2"),
    ],
)
def test_importance_by_default_is_comparable_where_costs_are(targets, name):
    model = chain(20, 12, 2, inputs=7)
    plan, named = (
        kn.plan_prune(model, **targets, **importance)
        for importance in ({}, {"importance": name})
    )
    other = "l2" if name == "group_lamp" else "group_lamp"
    odd = kn.plan_prune(model, **targets, importance=other)
    assert plan.kept_importance == named.kept_importance != odd.kept_importance
    for vertex, index in named.keep.items():
        np.testing.assert_array_equal(plan.keep[vertex], index)
