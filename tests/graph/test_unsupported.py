import keras
import numpy as np
import pytest
from keras import layers
from zoo import results

from keras_nas import Graph
from keras_nas.errors import UnsupportedModelError


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


class OwnCall(keras.Model):
    def call(self, x):
        return super().call(x) + 1.0


class Hopeless(layers.Layer):
    """Neither its config nor a deep copy works."""

    def __init__(self, stream, **kwargs):
        super().__init__(**kwargs)
        self.stream = stream

    def call(self, x):
        return x


@pytest.mark.parametrize("thing", [None, 3, "model", layers.Dense(2)])
def test_unsupported_when_not_a_model(thing):
    with pytest.raises(UnsupportedModelError, match="is not a Keras model"):
        Graph.from_model(thing)


def test_unsupported_when_subclassed():
    model = Subclassed()
    model(np.zeros((1, 3)))
    with pytest.raises(UnsupportedModelError, match="(?s)Subclassed.*functional API"):
        Graph.from_model(model)


def test_unsupported_when_a_functional_model_overrides_call():
    inputs = keras.Input((3,))
    model = OwnCall(inputs, layers.Dense(2)(inputs))
    with pytest.raises(UnsupportedModelError, match="(?s)OwnCall.*`call` method"):
        Graph.from_model(model)


def test_unsupported_when_sequential_is_not_built():
    model = keras.Sequential([layers.Dense(2)])
    with pytest.raises(UnsupportedModelError, match="(?s)is not built.*call it on"):
        Graph.from_model(model)
    with pytest.raises(UnsupportedModelError, match="is not built"):
        Graph.from_model(keras.Sequential())


def test_unsupported_names_the_layer_when_it_cannot_be_copied():
    inputs = keras.Input((3,))
    hopeless = Hopeless((value for value in range(3)), name="culprit")
    graph = Graph.from_model(keras.Model(inputs, hopeless(inputs)))
    with pytest.raises(UnsupportedModelError, match="'culprit' of class Hopeless"):
        graph.build()


def test_a_subclassed_model_is_an_ordinary_layer_when_nested():
    inner = Subclassed()
    inputs = keras.Input((3,))
    model = keras.Model(inputs, inner(inputs))
    graph = Graph.from_model(model)
    assert graph.parts[inner.name].body is None
    data = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(
        results(model, data)[0], results(graph.build(), data)[0]
    )
