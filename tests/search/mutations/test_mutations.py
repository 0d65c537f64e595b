"""Each mutation by itself: what it changes, what it keeps, what it leaves alone."""

import random

import keras
import numpy as np
import pytest
from keras import layers
from mutated_nets import (
    NETS,
    SMALL,
    graph_of,
    residual_net,
    same_function,
    structure,
    transformer,
    values,
)

import keras_nas as kn
from keras_nas.search.mutations import (
    AddEdge,
    ChangeActivation,
    CleanUp,
    Context,
    DropoutRate,
    Insert,
    KernelSize,
    PoolingType,
    Remove,
    RemoveEdge,
    Width,
    crossover,
    num_params,
    num_vertices,
)
from keras_nas.search.spaces import LayerSpace, Series

ALL = {
    "width": Width(each=0.5),
    "insert": Insert(),
    "remove": Remove(),
    "add edge": AddEdge(),
    "remove edge": RemoveEdge(),
    "kernel": KernelSize(),
    "activation": ChangeActivation(),
    "pooling": PoolingType(),
    "dropout": DropoutRate(),
    "clean up": CleanUp(),
}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def config(graph: kn.Graph, name: str):
    return graph.parts[graph.body.vertices[name].part].config


def changes(mutation, graph, seeds=range(8), context=None) -> list[kn.Graph]:
    """The graphs that a mutation makes with several seeds; at least one is new."""
    context = Context() if context is None else context
    found = [mutation(graph, generator(seed), context) for seed in seeds]
    found = [new for new in found if new is not graph]
    assert found, "nothing was changed by any seed"
    return found


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(
    ("kind", "mutation"),
    [
        ("insert", Insert()),
        ("add edge", AddEdge()),
        ("growth", Width(0.1, 0.3, each=0.7)),
    ],
)
def test_the_function_stays_where_that_is_promised(name, kind, mutation):
    graph = graph_of(NETS[name])
    if kind == "growth" and name == "transformer":
        # A normalization over the tokens' channels sees more of them.
        graph = graph_of(lambda: keras.Sequential(
            [keras.Input((5,)), layers.Dense(6), layers.Dense(2)]
        ))
    for new in changes(mutation, graph, range(2)):
        assert structure(new) != structure(graph)
        same_function(graph, new, f"{kind} in {name}")


@pytest.mark.parametrize("kind", ALL)
def test_the_same_seed_gives_the_same_graph_whatever_keras_drew_before(kind):
    graph, made = graph_of(residual_net), []
    for before in (1, 2):
        random.seed(before)
        keras.utils.set_random_seed(before)
        new = ALL[kind](graph, generator(5), Context())
        made.append((structure(new), values(new)))
    assert made[0][0] == made[1][0]
    for left, right in zip(made[0][1], made[1][1], strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_state_of_the_random_module_stays():
    graph = graph_of(residual_net)
    random.seed(3)
    expected = random.random()
    random.seed(3)
    Insert()(graph, generator())
    assert random.random() == expected


@pytest.mark.parametrize("kind", ALL)
def test_where_nothing_can_be_done_the_very_graph_comes_back(kind):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="head")])
    graph = kn.Graph.from_model(model)
    context = Context(shields=("*",))
    assert ALL[kind](graph, generator(), context) is graph


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "clean up"])
def test_no_vertex_is_changed_with_probability_zero(kind):
    graph = graph_of(residual_net)
    never = type(ALL[kind])(each=0.0)
    assert never(graph, generator()) is graph


def test_width_changes_all_chosen_layers_in_one_solve_by_at_most_what_it_says():
    graph = graph_of(residual_net)
    new = Width(-0.2, 0.2, each=1.0)(graph, generator(1))
    sizes = {
        name: (config(graph, name).get("filters"), config(new, name).get("filters"))
        for name in ("stem", "conv_0", "last_0", "conv_1", "last_1")
    }
    # The stem is tied to the ends of both blocks by the additions.
    assert sizes["stem"] == sizes["last_0"] == sizes["last_1"]
    for old, now in sizes.values():
        assert 1 <= abs(now - old) <= 2
    assert config(new, "head")["units"] == 4


def test_width_of_one_neuron_never_falls_to_zero():
    model = keras.Sequential([
        keras.Input((3,)),
        layers.Dense(1, name="hidden"),
        layers.Dense(2, name="head"),
    ])
    graph = kn.Graph.from_model(model)
    assert Width(-1.0, -0.9)(graph, generator()) is graph


def test_width_keeps_the_important_neurons():
    model = keras.Sequential([
        keras.Input((2,)),
        layers.Dense(10, name="hidden"),
        layers.Dense(2, name="head"),
    ])
    graph = kn.Graph.from_model(model)
    keep = {"hidden": np.arange(10)}
    new = Width(-0.5, -0.5)(graph, generator(), Context(importance=keep))
    kernel = dict(new.parts["hidden"].named_weights)["kernel"].value()
    old = dict(graph.parts["hidden"].named_weights)["kernel"].value()
    np.testing.assert_array_equal(kernel, old[:, 5:])


def test_importance_that_was_measured_for_another_graph_is_left_out():
    graph = graph_of(residual_net)
    context = Context(importance={"gone": np.arange(3)})
    assert Width()(graph, generator(), context) is not graph
    assert Remove(lean=-1.0)(graph, generator(3), context) is not graph


def test_an_inserted_block_comes_from_the_space():
    space = Series(
        LayerSpace("Conv2D", "mine", filters=40, kernel_size=1, activation="gelu"),
        LayerSpace("Conv2D", "mine", filters=40, kernel_size=3, padding="same"),
    )
    graph = graph_of(residual_net)
    context = Context(space=space)
    for new in changes(Insert(tries=8), graph, range(12), context):
        more = [name for name in new.body.vertices if name not in graph.body.vertices]
        assert len(more) == 2 and all("mine" in name for name in more)
        assert {config(new, name)["kernel_size"] for name in more} == {(1, 1), (3, 3)}


def test_new_layers_compute_in_the_dtypes_of_those_around_them():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        graph = graph_of(residual_net)
    finally:
        keras.config.set_dtype_policy(before)
    for mutation in (Insert(), AddEdge(merges="add")):
        for new in changes(mutation, graph, range(2)):
            fresh = new.body.vertices.keys() - graph.body.vertices.keys()
            policies = {new.build().get_layer(n).dtype_policy.name for n in fresh}
            assert policies == {"mixed_float16"}
    assert keras.config.dtype_policy() is before


def test_networks_with_channels_first_only_change_in_other_ways():
    image = keras.Input((3, 8, 8), name="image")
    first = {"data_format": "channels_first", "padding": "same"}
    x = layers.Conv2D(6, 3, name="a", **first)(image)
    x = layers.Conv2D(6, 3, name="b", **first)(x)
    x = layers.GlobalMaxPooling2D(data_format="channels_first", name="pool")(x)
    model = keras.Model(image, layers.Dense(2, name="head")(x))
    graph = kn.Graph.from_model(model)
    assert Insert()(graph, generator()) is graph
    assert AddEdge()(graph, generator()) is graph
    wider = Width(0.5, 0.6, each=1.0)(graph, generator())
    assert {config(wider, name)["filters"] for name in "ab"} <= {9, 10}
    assert wider.body.vertices["a"].outputs[0].shape[2:] == (8, 8)


def test_a_space_that_cannot_be_the_identity_changes_nothing():
    context = Context(space=LayerSpace("GaussianNoise", stddev=0.1))
    graph = graph_of(residual_net)
    new = Insert()(graph, generator(), context)
    assert new is graph or num_vertices(new) == num_vertices(graph) + 1
    pooling = Context(space=LayerSpace("MaxPooling2D", pool_size=2))
    assert Insert()(graph, generator(), pooling) is graph


def test_removal_spares_what_changes_the_grid_and_both_ends():
    graph = graph_of(residual_net)
    spared = {"image", "pool", "global", "head"}
    assert spared.isdisjoint(Remove().candidates(graph, Context()))
    gone = set()
    for new in changes(Remove(), graph, range(12)):
        gone |= graph.body.vertices.keys() - new.body.vertices.keys()
    assert gone and gone.isdisjoint(spared)


def test_a_small_graph_loses_nothing():
    graph = graph_of(residual_net)
    assert Remove(least=num_vertices(graph))(graph, generator()) is graph


def test_an_added_edge_leads_to_a_later_vertex_with_the_same_grid():
    graph = graph_of(residual_net)
    places = list(graph.body.vertices)
    for new in changes(AddEdge(), graph):
        merges = [name for name in new.body.vertices if name not in places]
        readers = {
            name: [ref.vertex for ref in vertex.reads]
            for name, vertex in new.body.vertices.items()
        }
        for name in merges:
            if new.parts[new.body.vertices[name].part].cls is layers.Add:
                shapes = {
                    new.body.vertices[read].outputs[0].shape for read in readers[name]
                }
                assert len(shapes) == 1


def test_the_first_step_of_training_wakes_an_added_edge():
    graph = graph_of(residual_net)
    new = AddEdge(merges="add")(graph, generator(2))
    skips = [name for name in new.body.vertices if name.endswith("_skip")]
    assert len(skips) == 1
    model = new.build()
    kernel = model.get_layer(skips[0]).kernel
    assert not keras.ops.convert_to_numpy(kernel).any()
    model.compile("sgd", loss="sparse_categorical_crossentropy", run_eagerly=True)
    inputs = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
    model.train_on_batch(inputs, np.arange(8) % 4)
    assert keras.ops.convert_to_numpy(kernel).any()


def test_a_removed_edge_takes_its_merge_along():
    graph = graph_of(residual_net)
    for new in changes(RemoveEdge(), graph):
        merges = {"add_0", "add_1"}
        assert len(merges & new.body.vertices.keys()) == 1


def test_removing_edges_can_spare_paths():
    model = graph_of(residual_net)
    for new in changes(RemoveEdge(drop_paths=False), model):
        # What comes from the stem or the pool is read elsewhere, too.
        assert {"last_0", "last_1"} <= new.body.vertices.keys()


def test_kernels_stay_odd_and_within_the_grid():
    graph = graph_of(residual_net)
    mutation = KernelSize(each=1.0)
    sizes = set()
    for seed in range(6):
        new = mutation(graph, generator(seed))
        for name in ("stem", "conv_1", "last_1"):
            taps = config(new, name)["kernel_size"]
            assert taps[0] == taps[1] and taps[0] % 2
            sizes.add((name, taps[0]))
    assert {("stem", 1), ("stem", 5)} <= sizes
    assert max(size for name, size in sizes if name != "stem") == 5


def test_a_larger_kernel_keeps_the_function():
    graph = graph_of(residual_net)
    larger = [
        new
        for new in changes(KernelSize(), graph, range(5))
        if num_params(new) > num_params(graph)
    ]
    assert larger
    for new in larger:
        same_function(graph, new)


def test_gates_probabilities_and_ends_keep_their_activation():
    graph = graph_of(NETS["mobile"])
    found = set(ChangeActivation().candidates(graph, Context()))
    assert "reduce_0" in found
    assert found.isdisjoint({"gate_0", "gate_1", "head", "expand_0"})


def test_activations_change_as_setting_and_as_layer():
    graph = graph_of(residual_net)
    new = ChangeActivation(("elu",), each=1.0)(graph, generator())
    assert config(new, "hidden")["activation"] == "elu"
    assert config(new, "act_0")["activation"] == "elu"
    assert config(new, "relu_0")["activation"] == "elu"
    assert new.build().get_layer("relu_0").activation is keras.activations.elu
    assert config(new, "head")["activation"] == "softmax"


def test_poolings_change_their_kind_and_nothing_else():
    graph = graph_of(residual_net)
    model = PoolingType(each=1.0)(graph, generator()).build()
    assert type(model.get_layer("pool")) is layers.AveragePooling2D
    assert type(model.get_layer("global")) is layers.GlobalMaxPooling2D
    assert model.get_layer("pool").pool_size == (2, 2)
    tokens = PoolingType()(graph_of(transformer), generator()).build()
    assert type(tokens.get_layer("global")) is layers.GlobalMaxPooling1D


def test_dropout_rates_move_a_little_and_stay_rates():
    graph, rates = graph_of(residual_net), []
    for seed in range(20):
        new = DropoutRate(each=1.0)(graph, generator(seed))
        rates += [config(new, name)["rate"] for name in ("drop_0", "drop_1")]
    assert min(rates) < 0.15 and max(rates) > 0.25
    assert all(0.1 <= rate <= 0.3 for rate in rates)
    highest = DropoutRate(1.0, 0.4, each=1.0)
    for seed in range(5):
        assert 0 <= config(highest(graph, generator(seed)), "drop_0")["rate"] <= 0.4


def test_cleaning_takes_out_what_does_nothing():
    image = keras.Input((4, 4, 3), name="image")
    x = layers.Conv2D(5, 1, activation="relu", name="conv")(image)
    x = layers.ReLU(name="again")(x)
    x = layers.Activation("linear", name="straight")(x)
    x = layers.Dropout(0.0, name="never")(x)
    x = layers.Add(name="lonely")([x])
    x = layers.MaxPooling2D(1, name="tiny")(x)
    x = layers.ReLU(negative_slope=0.1, name="leaky")(x)
    x = layers.GlobalMaxPooling2D(name="global")(x)
    x = layers.Dense(2, name="head")(x)
    model = keras.Model(image, layers.Activation("linear", name="out")(x))
    graph = kn.Graph.from_model(vivid_like(model))
    new = CleanUp()(graph, generator())
    kept = ["image", "conv", "leaky", "global", "head", "out"]
    assert list(new.body.vertices) == kept
    same_function(graph, new)
    assert CleanUp()(new, generator()) is new


def vivid_like(model):
    for variable in model.weights:
        size = int(np.prod(variable.shape))
        variable.assign(np.linspace(-1, 1.5, size).reshape(variable.shape))
    return model


def test_nothing_grows_above_the_limits():
    graph = graph_of(residual_net)
    most = Context(max_params=num_params(graph))
    for mutation in (Width(0.1, 0.2), Insert(), AddEdge(merges="add")):
        assert mutation(graph, generator(), most) is graph
    assert Width(-0.3, -0.2)(graph, generator(), most) is not graph
    full = Context(max_vertices=num_vertices(graph))
    assert Insert()(graph, generator(), full) is graph
    assert Remove()(graph, generator(3), full) is not graph


def test_a_graph_above_the_limits_may_still_shrink():
    graph = graph_of(residual_net)
    low = Context(max_params=10, max_vertices=3)
    new = Width(-0.5, -0.4, each=1.0)(graph, generator(), low)
    assert 10 < num_params(new) < num_params(graph)


def test_leaning_prefers_the_important_and_keeps_the_average():
    from keras_nas.search.mutations.weighting import likelihoods

    graph = graph_of(residual_net)
    paths = ["conv_0", "conv_1", "hidden", "stem"]
    scale = {"conv_0": 1.0, "conv_1": 5.0, "hidden": 3.0, "stem": 2.0}
    context = Context(importance=lambda info: scale.get(info, 1.0))
    found = likelihoods(graph, paths, 1.0, context)
    assert found.mean() == pytest.approx(1.0)
    # The stem's neurons are those of the ends of both blocks: theirs add up to 4.
    assert [paths[n] for n in np.argsort(found)] == ["conv_0", "hidden", "stem", "conv_1"]
    np.testing.assert_allclose(likelihoods(graph, paths, -1.0, context), 2 - found)
    np.testing.assert_array_equal(likelihoods(graph, paths, 0.0, context), 1.0)


def test_edges_on_grids_of_any_size_join_what_fits_on_all_of_them():
    image = keras.Input((None, None, 1), name="image")
    x = layers.Conv2D(4, 3, name="valid")(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="halved")(x)
    x = layers.Conv2D(4, 3, padding="same", name="same")(x)
    x = layers.GlobalMaxPooling2D(name="global")(x)
    graph = kn.Graph.from_model(keras.Model(image, layers.Dense(3, name="head")(x)))
    found = [AddEdge()(graph, generator(seed)) for seed in range(6)]
    changed = [new for new in found if new is not graph]
    assert 0 < len(changed)
    for new in changed:
        assert new.build()(np.zeros((1, 12, 12, 1), "float32")).shape == (1, 3)


def test_the_user_s_model_and_the_graph_stay_as_they_are():
    model = residual_net()
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
    graph = kn.Graph.from_model(model)
    old = structure(graph)
    for seed, mutation in enumerate(ALL.values()):
        mutation(graph, generator(seed), SMALL)
    assert structure(graph) == old
    for left, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(left, keras.ops.convert_to_numpy(variable))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Width(-2.0), "'low' has to be a number from -1"),
        (lambda: Width(0.2, 0.1), "'high' has to be a number from 0.2"),
        (lambda: Width(each=1.5), "'each' has to be a number from 0 to 1"),
        (lambda: Insert(lean=2), "'lean' has to be a number from -1 to 1"),
        (lambda: Remove(each="x"), "'each' has to be a number from 0 to 1.*or None"),
        (lambda: AddEdge(merges="multiply"), "Edges are merged by 'concatenate'"),
        (lambda: AddEdge(merges=()), "Edges are merged by 'concatenate'"),
        (lambda: AddEdge(near=-1), "'near' has to be"),
        (lambda: KernelSize(step=0), "'step' has to be a whole number"),
        (lambda: DropoutRate(highest=1.0), "'highest' has to be"),
        (lambda: Width()(residual_net(), generator()), "A Functional is no Graph"),
        (lambda: Insert()(graph_of(residual_net), 5), "A int is no Generator"),
        (lambda: Remove()(graph_of(residual_net), generator(), {}), "is no Context"),
        (lambda: crossover(residual_net(), None, generator()), "is no Graph"),
    ],
)
def test_wrong_settings_are_refused(make, match):
    with pytest.raises(kn.InvalidRequestError, match=f"(?s){match}.*Received: "):
        make()
