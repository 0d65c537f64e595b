"""What is shielded stays bit for bit as it is, with all that it reads."""

import numpy as np
import pytest
from mutated_nets import graph_of, residual_net, transfer_net

import keras_nas as kn
from keras_nas.graph import flatten
from keras_nas.search.mutations import (
    Context,
    check_shields,
    crossover,
    default_mutation,
)
from keras_nas.search.mutations.places import all_places


def shielded_parts(graph: kn.Graph, context: Context) -> dict:
    """Weights, settings and sources of everything under a shield."""
    return {
        path: (
            str(dict(place.part.config)),
            [weight.value().tobytes() for weight in place.part.weights],
            [(ref.vertex, ref.index) for ref in place.vertex.reads],
        )
        for path, place in all_places(graph).items()
        if context.is_shielded(path)
    }


@pytest.mark.parametrize(
    ("make", "shields"),
    [
        (transfer_net, ("base",)),
        (transfer_net, ("first", "head")),
        (residual_net, ("*_0", "stem")),
        (residual_net, ("conv_1",)),
        (residual_net, ("add_1", "hidden")),
    ],
)
def test_shields_hold_through_mutations_and_crossovers(make, shields):
    context = Context(shields=shields, max_params=60_000, max_vertices=60)
    graph, other = graph_of(make), graph_of(make, 1)
    rng, mutate = np.random.default_rng(0), default_mutation(2.0)
    expected = shielded_parts(graph, context)
    assert expected
    changed = 0
    for step in range(20):
        new = mutate(graph, rng, context)
        if step % 5 == 0:
            new, _ = crossover(new, other, rng, context)
        changed += new is not graph
        graph = new
        assert shielded_parts(graph, context) == expected, f"step {step}"
    assert changed > 10


def test_a_shielded_backbone_computes_the_same_after_evolution():
    context = Context(shields=("base",), max_params=60_000, max_vertices=60)
    graph = graph_of(transfer_net)
    old = graph.build().get_layer("base")
    rng = np.random.default_rng(3)
    for _ in range(15):
        graph = default_mutation(3.0)(graph, rng, context)
    new = graph.build().get_layer("base")
    inputs = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(new(inputs), old(inputs))
    assert len(flatten(graph).calls) > len(flatten(graph_of(transfer_net)).calls)


def test_shields_are_names_paths_and_patterns():
    context = Context(shields=("base/first", "top", "h*d"))
    paths = ["base", "base/first", "base/second", "top", "head", "hidden", "other/top"]
    found = [path for path in paths if context.is_shielded(path)]
    assert found == ["base/first", "top", "head", "other/top"]
    assert Context(shields="base").is_shielded("base/second")
    assert Context(shields=("base",)).is_shielded("base^1/second")
    assert not Context(shields=("bas",)).is_shielded("base")


def test_a_shield_of_nothing_is_a_mistake():
    graph = graph_of(transfer_net)
    check_shields(graph, Context(shields=("base", "head")))
    with pytest.raises(kn.InvalidRequestError, match="'hat' matches no vertex"):
        check_shields(graph, Context(shields=("base", "hat")))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"shields": (3,)}, "Shields are names"),
        ({"max_params": 0}, "'max_params' has to be a whole number"),
        ({"max_vertices": 2.5}, "'max_vertices' has to be a whole number"),
        ({"space": "Conv2D"}, "sampled from a block, not from a str"),
    ],
)
def test_wrong_contexts_are_refused(settings, match):
    with pytest.raises(kn.InvalidRequestError, match=f"(?s){match}.*Received: "):
        Context(**settings)
