"""Long rows of random mutations and crossovers: everything holds together all the way."""

from collections import Counter

import numpy as np
import pytest
from mutated_nets import NETS, SMALL, graph_of, inputs_of, outputs

from keras_nas.search.mutations import (
    AddEdge,
    ChangeActivation,
    CleanUp,
    DropoutRate,
    Insert,
    KernelSize,
    PoolingType,
    Remove,
    RemoveEdge,
    Width,
    crossover,
    default_mutation,
    num_params,
    num_vertices,
)

KINDS = {
    "width": Width(each=0.3),
    "insert": Insert(lean=0.5),
    "remove": Remove(lean=-0.5),
    "add edge": AddEdge(lean=0.5),
    "remove edge": RemoveEdge(),
    "kernel": KernelSize(),
    "activation": ChangeActivation(),
    "pooling": PoolingType(),
    "dropout": DropoutRate(),
    "clean up": CleanUp(),
    "all": default_mutation(),
}


def check(graph, inputs, shapes, label):
    found = outputs(graph, inputs)
    assert [array.shape for array in found] == shapes, label
    assert all(np.isfinite(array).all() for array in found), label


@pytest.mark.parametrize("name", NETS)
def test_a_network_survives_many_random_mutations(name):
    graph, rng = graph_of(NETS[name]), np.random.default_rng(0)
    inputs, done, since = inputs_of(graph), Counter(), []
    shapes = [array.shape for array in outputs(graph, inputs)]
    tries = 0
    while done.total() < 40:
        tries += 1
        assert tries < 160, f"nearly nothing can be done: {done}"
        kind = str(rng.choice(list(KINDS)))
        new = KINDS[kind](graph, rng, SMALL)
        if new is graph:
            continue
        graph = new
        done[kind] += 1
        since.append(kind)
        if done.total() % 10 == 0:
            check(graph, inputs, shapes, f"{name} after {since}")
            since = []
    assert num_params(graph) <= SMALL.max_params
    assert num_vertices(graph) <= SMALL.max_vertices
    assert len(done) >= 6


@pytest.mark.parametrize("name", ["sampled", "transformer", "transfer"])
def test_a_population_survives_generations_of_crossover_and_mutation(name):
    rng, mutate = np.random.default_rng(1), default_mutation(2.0)
    population = [graph_of(NETS[name], seed) for seed in range(3)]
    if name == "sampled":
        population[1] = graph_of(lambda: NETS[name](3))
        population[2] = graph_of(NETS["residual"])
    inputs = inputs_of(population[0])
    shapes = [array.shape for array in outputs(population[0], inputs)]
    exchanged = 0
    for generation in range(6):
        first, second = rng.choice(len(population), 2, replace=False)
        parents = population[first], population[second]
        children = crossover(*parents, rng, SMALL)
        exchanged += sum(a is not b for a, b in zip(children, parents, strict=True))
        children = [mutate(child, rng, SMALL) for child in children]
        population[first], population[second] = children
        if generation % 2:
            check(children[generation % 4 == 1], inputs, shapes, f"{generation}")
    assert exchanged >= 6
    names = [vertex for graph in population for vertex in graph.body.vertices]
    # Numbers behind names count up; they do not pile up.
    assert max(map(len, names)) < 70
