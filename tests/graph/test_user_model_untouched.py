"""The model of the user is the same before and after, and shares nothing."""

import keras
import numpy as np
import pytest
from zoo import ZOO, random_inputs, randomize, results

from keras_nas import Graph


def operations(model):
    found = [model]
    for operation in found:
        for inner in getattr(operation, "operations", getattr(operation, "layers", [])):
            if not any(inner is known for known in found):
                found.append(inner)
        for inner in getattr(operation, "_layers", []):
            if not any(inner is known for known in found):
                found.append(inner)
    return found


def state(model):
    """Everything about a model that an edit could leave traces in."""
    return [
        (
            id(operation),
            len(operation._inbound_nodes),
            len(operation._outbound_nodes),
            sorted(vars(operation)),
            getattr(operation, "trainable", None),
            [id(variable) for variable in getattr(operation, "variables", [])],
        )
        for operation in operations(model)
    ]


@pytest.mark.parametrize("name", sorted(ZOO))
def test_model_is_unchanged_when_wrapped_and_built(name):
    model = randomize(ZOO[name]())
    before, weights = state(model), model.get_weights()
    Graph.from_model(model).build()
    assert state(model) == before
    for one, other in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_nothing_is_shared_when_a_model_is_built(name):
    model = ZOO[name]()
    new = Graph.from_model(model).build()
    old_objects = {id(operation) for operation in operations(model)}
    assert not old_objects & {id(operation) for operation in operations(new)}
    old_variables = {id(variable) for variable in model.variables}
    assert not old_variables & {id(variable) for variable in new.variables}
    old_values = {id(variable.value) for variable in model.variables}
    assert not old_values & {id(variable.value) for variable in new.variables}


def test_neither_model_nor_graph_change_when_the_new_model_is_trained():
    model = randomize(ZOO["residual_cnn"]())
    graph = Graph.from_model(model)
    weights, inputs = model.get_weights(), random_inputs(model)
    expected = results(model, inputs)
    new = graph.build()
    new.compile("adam", "mse")
    new.fit(inputs, np.ones((3, 2)), epochs=2, verbose=0)
    assert not np.array_equal(results(new, inputs)[0], expected[0])
    for one, other in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(results(graph.build(), inputs)[0], expected[0])


def test_graph_does_not_change_when_the_model_is_trained():
    model = randomize(ZOO["residual_cnn"]())
    graph = Graph.from_model(model)
    inputs = random_inputs(model)
    expected = results(model, inputs)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.fit(inputs, np.ones((3, 2)), epochs=2, verbose=0)
    model.layers[1].trainable = False
    new = graph.build()
    np.testing.assert_array_equal(results(new, inputs)[0], expected[0])
    assert new.layers[1].trainable


def test_two_built_models_are_independent_when_from_one_graph():
    model = randomize(ZOO["seeds"]())
    graph = Graph.from_model(model)
    one, two = graph.build(), graph.build()
    inputs = random_inputs(model)
    first = results(one, inputs, training=True)
    results(one, inputs, training=True)
    np.testing.assert_array_equal(first[0], results(two, inputs, training=True)[0])
