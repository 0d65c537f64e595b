"""Equal networks have equal keys, others have others."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from keras_nas.search.identity import describe_graph, graph_key
from keras_nas.surgery import Graph


def key(make, prefix="a", **settings):
    inputs = keras.Input((8, 8, 2), name=f"{prefix}_in")
    model = keras.Model(inputs, make(inputs, prefix, **settings))
    return graph_key(Graph.from_model(model))


def fork(x, prefix, order=(1, 3), merge=layers.Add, swap=False):
    branches = {
        size: layers.Conv2D(4, size, padding="same", name=f"{prefix}_{size}")(x)
        for size in order
    }
    parts = [branches[1], branches[3]]
    return merge(name=f"{prefix}_merge")(parts[::-1] if swap else parts)


def twins(x, prefix, shared=False):
    first = layers.Conv2D(4, 1, name=f"{prefix}_1")
    second = first if shared else layers.Conv2D(4, 1, name=f"{prefix}_2")
    return layers.Add(name=f"{prefix}_add")([first(x), second(layers.ReLU()(x))])


def nested(x, prefix, inside=True):
    chain = [layers.Conv2D(4, 3, name=f"{prefix}_c"), layers.ReLU(name=f"{prefix}_r")]
    if inside:
        shape = keras.Input((8, 8, 2), name=f"{prefix}_inner")
        return keras.Sequential([shape, *chain], name=f"{prefix}_box")(x)
    for layer in chain:
        x = layer(x)
    return x


def test_names_and_the_order_of_branches_do_not_matter():
    assert key(fork) == key(fork, "other") == key(fork, order=(3, 1))


def test_order_of_a_sum_does_not_matter_but_that_of_a_concatenation_does():
    assert key(fork) == key(fork, swap=True)
    joined = key(fork, merge=layers.Concatenate)
    assert joined != key(fork, merge=layers.Concatenate, swap=True)
    assert joined != key(fork)


def test_shared_layers_are_other_networks_than_twins():
    assert key(twins) == key(twins, "b")
    assert key(twins) != key(twins, shared=True)


@pytest.mark.parametrize(
    "change",
    [{"filters": 5}, {"kernel_size": 1}, {"activation": "elu"}, {"strides": 2}],
)
def test_settings_matter(change):
    def conv(x, prefix, **settings):
        return layers.Conv2D(
            **{"filters": 4, "kernel_size": 3, "name": prefix, **settings}
        )(x)

    assert key(conv) != key(conv, **change)


def test_initializers_and_weights_do_not_matter():
    def dense(x, prefix, start="zeros"):
        return layers.Dense(3, kernel_initializer=start, name=prefix)(x)

    assert key(dense) == key(dense, start="he_normal")


def test_number_of_equal_branches_matters():
    def branches(x, prefix, number=2):
        made = [layers.Conv2D(4, 1, name=f"{prefix}{n}")(x) for n in range(number)]
        return layers.Maximum(name=f"{prefix}_max")(made)

    assert key(branches) != key(branches, number=3)


def test_nested_network_has_a_key_of_its_own():
    assert key(nested) == key(nested, "b")
    assert key(nested) != key(fork)


def test_description_lists_layers_with_their_sizes():
    inputs = keras.Input((8, 8, 2), name="in")
    outputs = layers.Dense(3, name="head")(layers.Flatten(name="f")(fork(inputs, "x")))
    graph = Graph.from_model(keras.Model(inputs, outputs))
    assert describe_graph(graph) == "Conv2D 4 4, Dense 3, 1 Add"
