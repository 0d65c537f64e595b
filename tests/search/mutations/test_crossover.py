"""Children of two networks: segments are exchanged with all their weights."""

import keras
import numpy as np
import pytest
from keras import layers
from mutated_nets import (
    graph_of,
    inputs_of,
    outputs,
    residual_net,
    same_function,
    sampled_net,
    structure,
    transfer_net,
    transformer,
    two_ended_net,
    values,
)

import keras_nas as kn
from keras_nas.search.mutations import Context, crossover, num_params
from keras_nas.search.mutations.segments import segments


def chain(*units: int, seed: int = 0) -> kn.Graph:
    """A chain of dense layers d0, d1, ..."""
    made = [layers.Dense(n, name=f"d{i}") for i, n in enumerate(units)]
    model = keras.Sequential([keras.Input((3,), name="x"), *made])
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    return kn.Graph.from_model(model)


def has_inside(weights: list[np.ndarray], part: np.ndarray) -> bool:
    """Whether an array is the first corner of one of some weights."""
    return any(
        weight.ndim == part.ndim
        and all(n >= m for n, m in zip(weight.shape, part.shape, strict=True))
        and np.array_equal(weight[tuple(map(slice, part.shape))], part)
        for weight in weights
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (residual_net, sampled_net),
        (sampled_net, lambda: sampled_net(5)),
        (transformer, transformer),
        (transfer_net, transfer_net),
    ],
)
def test_children_run_and_hold_weights_of_both_parents(one, other):
    first, second = graph_of(one), graph_of(other, 1)
    ours, theirs = values(first), values(second)
    inputs = inputs_of(first)
    for seed in range(2):
        children = crossover(first, second, np.random.default_rng(seed))
        for child, own, foreign in zip(
            children, (ours, theirs), (theirs, ours), strict=True
        ):
            (found,) = outputs(child, inputs)
            assert np.isfinite(found).all()
            assert any(has_inside(values(child), w) for w in own if w.size > 4)
            assert any(has_inside(values(child), w) for w in foreign if w.size > 4)


def test_a_child_computes_with_the_partner_s_layers():
    first, second = chain(4, 5, 6, 2, seed=1), chain(4, 7, 6, 2, seed=2)
    child = first.graft(second, ("d0", "d2"), ("d0", "d2")).build()
    x = np.random.default_rng(0).normal(size=(3, 3)).astype("float32")
    mother, father = first.build(), second.build()
    x_in = mother.get_layer("d0")(x)
    middle = father.get_layer("d2")(father.get_layer("d1")(x_in))
    expected = mother.get_layer("d3")(middle)
    np.testing.assert_allclose(child(x), expected, rtol=1e-5)


def test_a_copied_operation_has_a_name_of_its_own():
    x = keras.Input((5,), name="x")
    y = keras.ops.relu(layers.Dense(4, name="wide")(x))
    graph = kn.Graph.from_model(keras.Model(x, layers.Dense(2, name="head")(y)))
    [exit_] = [name for name in graph.body_of("").vertices if "relu" in name]
    model = graph.graft(graph, ("x", exit_), (exit_, exit_)).build()
    names = [operation.name for operation in model.operations]
    copied = names.pop(4)
    assert names == ["x", "wide", exit_, "wide_1", "head"]
    assert "relu" in copied and copied != exit_


def test_widths_grow_at_both_ends_so_that_no_weight_is_lost():
    first, second = chain(4, 5, 6, 2, seed=1), chain(9, 7, 3, 2, seed=2)
    child = first.graft(second, ("d0", "d2"), ("d0", "d2")).build()
    units = [layer.units for layer in child.layers]
    assert units == [9, 7, 6, 2]
    father = dict(zip(("d1", "d2"), second.build().layers[1:], strict=False))
    for new, name in zip(child.layers[1:3], ("d1", "d2"), strict=True):
        kernel = keras.ops.convert_to_numpy(new.kernel)
        old = keras.ops.convert_to_numpy(father[name].kernel)
        np.testing.assert_array_equal(kernel[: len(old), : old.shape[1]], old)


def test_a_segment_in_place_of_itself_changes_nothing():
    graph = graph_of(residual_net)
    for segment in segments(graph, Context())[::6]:
        ends = (segment.entry, segment.exit)
        same_function(graph, graph.graft(graph, ends, ends), str(ends))


def test_a_copied_segment_trains_apart_from_the_original():
    graph = chain(4, 4, 4, 2)
    model = graph.graft(graph, ("d0", "d1"), ("d1", "d1")).build()
    assert [layer.name for layer in model.layers] == ["d0", "d1", "d1_1", "d2", "d3"]
    twin = model.get_layer("d1_1")
    np.testing.assert_array_equal(model.get_layer("d1").kernel, twin.kernel)
    twin.kernel.assign(keras.ops.zeros((4, 4)))
    assert keras.ops.convert_to_numpy(model.get_layer("d1").kernel).any()


def test_a_segment_runs_on_another_grid():
    def net(size):
        image = keras.Input((size, size, 1), name="image")
        x = layers.Conv2D(3, 3, padding="same", name="a")(image)
        x = layers.Conv2D(4, 3, strides=2, padding="same", name="b")(x)
        x = layers.GlobalMaxPooling2D(name="pool")(x)
        return keras.Model(image, layers.Dense(2, name="head")(x))

    small, large = graph_of(lambda: net(8)), graph_of(lambda: net(16), 1)
    child = small.graft(large, ("a", "b"), ("a", "b"))
    assert child.body.vertices["b_1"].outputs[0].shape == (None, 4, 4, 4)
    assert child.build().output_shape == (None, 2)


def test_nothing_compatible_gives_the_parents_back():
    first, second = chain(4, 2), graph_of(transformer)
    rng = np.random.default_rng(0)
    assert crossover(first, second, rng) == (first, second)
    twin = graph_of(residual_net)
    assert crossover(twin, twin, rng, Context(shields=("*",))) == (twin, twin)


def test_siblings_without_a_difference_exchange_nothing():
    graph = chain(4, 4, 2)
    children = crossover(graph, graph, np.random.default_rng(0), deviation=0.0)
    assert children == (graph, graph)


def test_the_same_seed_gives_the_same_children():
    first, second = graph_of(residual_net), graph_of(sampled_net)
    made = [crossover(first, second, np.random.default_rng(4)) for _ in range(2)]
    for one, other in zip(*made, strict=True):
        assert structure(one) == structure(other)
        for left, right in zip(values(one), values(other), strict=True):
            np.testing.assert_array_equal(left, right)


def test_children_keep_the_limits():
    first, second = graph_of(residual_net), graph_of(sampled_net)
    context = Context(max_params=max(num_params(first), num_params(second)))
    for seed in range(6):
        for child in crossover(first, second, np.random.default_rng(seed), context):
            assert num_params(child) <= context.max_params


def test_segments_inside_nested_models_are_exchanged_too():
    first, second = graph_of(transfer_net), graph_of(transfer_net, 1)
    ends = [(s.entry, s.exit) for s in segments(first, Context())]
    assert ("base/first", "base/sum") in ends
    child = first.graft(
        second, ("base/first", "base/sum"), ("base/first", "base/sum")
    ).build()
    inputs = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    mother, father = (g.build().get_layer("base") for g in (first, second))
    x = mother.get_layer("first")(inputs)
    expected = mother.get_layer("half")(x + father.get_layer("second")(x))
    np.testing.assert_allclose(child.get_layer("base")(inputs), expected, rtol=1e-5)


def test_segments_are_all_that_brute_force_finds():
    for make in (residual_net, transfer_net, two_ended_net, transformer):
        graph = graph_of(make)
        found = {
            (segment.entry, segment.exit): set(segment.names)
            for segment in segments(graph, Context())
            if "/" not in segment.exit
        }
        assert found == brute_force(graph)


def brute_force(graph: kn.Graph) -> dict:
    """All sets of vertices with one tensor in and one out, by their definition."""
    vertices = graph.body.vertices
    reads = {name: {ref.vertex for ref in v.reads} for name, v in vertices.items()}
    readers = {n: {m for m in vertices if n in reads[m]} for n in vertices}
    inputs = {n for n in vertices if not reads[n]}
    last = {n for n in vertices if not readers[n]}
    # The last layer with weights, and what is behind it.
    ends = {"head"} if "head" in vertices else {"one", "other"}

    def upstream(name, stop):
        seen, pending = set(), [name]
        while pending:
            one = pending.pop()
            if one != stop and one not in seen:
                seen.add(one)
                pending.extend(reads[one])
        return seen

    found = {}
    for entry in vertices:
        if "float" not in vertices[entry].outputs[0].dtype:
            continue
        for exit in vertices:
            inside = upstream(exit, entry)
            if exit == entry or inside & (inputs | last | ends):
                continue
            reads_outside = set().union(*(reads[n] for n in inside)) - inside
            read_outside = {n for n in inside if readers[n] - inside}
            has_weights = any(
                graph.parts[vertices[n].part].weights
                or graph.parts[vertices[n].part].body
                for n in inside
            )
            if reads_outside == {entry} and read_outside == {exit} and has_weights:
                found[entry, exit] = inside
    return found


@pytest.mark.parametrize(
    ("segment", "place", "match"),
    [
        (("stem", "act_0"), ("stem", "nowhere"), "No layer of the model is named"),
        (("stem", "last_0"), ("conv_0", "add_0"), "is no segment"),
        (("conv_0", "stem"), ("stem", "add_0"), "is no segment"),
        ("stem", ("stem", "add_0"), "told by two vertices"),
        (("global", "hidden"), ("stem", "add_0"), "reads 2 axes"),
    ],
)
def test_what_is_no_segment_is_refused(segment, place, match):
    graph = graph_of(residual_net)
    with pytest.raises(kn.KerasNasError, match=f"(?s){match}.*Received: "):
        graph.graft(graph, segment, place)


def test_an_edge_may_lead_through_layers():
    graph = graph_of(residual_net)
    pool = layers.MaxPooling2D(2, name="shrink")
    new = graph.connect("stem", "conv_1", merge="concatenate", via=pool)
    same_function(graph, new)
    model = new.build()
    assert model.get_layer("conv_1_concatenate").output.shape[1:] == (4, 4, 16)
    with pytest.raises(kn.InvalidRequestError, match="the grids differ"):
        graph.connect("stem", "conv_1", merge="concatenate")
    with pytest.raises(kn.InvalidRequestError, match="A str cannot be put"):
        graph.connect("stem", "conv_1", via="pool")
