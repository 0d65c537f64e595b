"""Networks far deeper than Python's recursion limit, in time that grows with depth."""

import sys
import time

import keras
import numpy as np
import pytest
from deep_models import MODELS, WIDTH

import keras_nas as kn

# More than a chain of 1,000 vertices may cost, less than a quadratic one would.
MOST_TIMES = 40


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_resize_keeps_outputs_when_the_network_is_deep(kind):
    limit = sys.getrecursionlimit()
    assert limit <= 1_000
    model = MODELS[kind](1_200)
    graph = kn.Graph.from_model(model)
    name = _middle(graph)
    plan = kn.plan(graph, name, WIDTH + 2)
    grown = plan.apply()
    assert sys.getrecursionlimit() == limit
    assert grown.get_layer(name).units == plan.sizes[name] == WIDTH + 2
    inputs = np.random.default_rng(0).normal(size=(2, WIDTH)).astype("float32")
    old = keras.ops.convert_to_numpy(model(inputs))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(grown(inputs)), old, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_cost_grows_no_worse_than_depth_when_wrapped_and_planned(kind):
    small, large = (_seconds(MODELS[kind](count)) for count in (100, 1_000))
    assert large < MOST_TIMES * small


def _seconds(model):
    """Processor seconds of wrap and plan, the best of three."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        graph = kn.Graph.from_model(model)
        kn.plan(graph, _middle(graph), WIDTH - 1)
        spent.append(time.process_time() - start)
    return min(spent)


def _middle(graph):
    names = [name for name in graph.body.vertices if name.startswith("middle_")]
    return names[len(names) // 2]
