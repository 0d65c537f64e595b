"""Small networks of different kinds, and what the tests of mutations share."""

from __future__ import annotations

import keras
import numpy as np
from contract import run
from keras import layers
from models import random_inputs

import keras_nas as kn
from keras_nas.search.mutations import Context
from keras_nas.search.spaces import image_space


def residual_net() -> keras.Model:
    """Residual blocks with normalization, dropout and pooling."""
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(image)
    for block in range(2):
        y = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"conv_{block}")(x)
        y = layers.BatchNormalization(momentum=0.9, name=f"norm_{block}")(y)
        y = layers.Activation("relu", name=f"act_{block}")(y)
        y = layers.Conv2D(8, 3, padding="same", name=f"last_{block}")(y)
        y = layers.Dropout(0.2, name=f"drop_{block}")(y)
        x = layers.Add(name=f"add_{block}")([x, y])
        x = layers.ReLU(name=f"relu_{block}")(x)
        if block == 0:
            x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="global")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(4, activation="softmax", name="head")(x))


def mobile_net() -> keras.Model:
    """Inverted bottlenecks with depthwise convolutions and squeeze and excite."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(
        image
    )
    x = layers.BatchNormalization(name="stem_norm")(x)
    for block, (stride, width) in enumerate([(1, 8), (2, 12)]):
        y = layers.Conv2D(16, 1, use_bias=False, name=f"expand_{block}")(x)
        y = layers.BatchNormalization(name=f"expand_norm_{block}")(y)
        y = layers.ReLU(6.0, name=f"expand_relu_{block}")(y)
        y = layers.DepthwiseConv2D(
            3, strides=stride, padding="same", use_bias=False, name=f"depth_{block}"
        )(y)
        y = layers.BatchNormalization(name=f"depth_norm_{block}")(y)
        y = layers.ReLU(6.0, name=f"depth_relu_{block}")(y)
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"squeeze_{block}")(y)
        gate = layers.Conv2D(4, 1, activation="relu", name=f"reduce_{block}")(gate)
        gate = layers.Conv2D(16, 1, activation="sigmoid", name=f"gate_{block}")(gate)
        y = layers.Multiply(name=f"excite_{block}")([y, gate])
        y = layers.Conv2D(width, 1, use_bias=False, name=f"project_{block}")(y)
        same = stride == 1 and x.shape[-1] == width
        x = layers.Add(name=f"add_{block}")([x, y]) if same else y
    x = layers.GlobalAveragePooling2D(name="global")(x)
    return keras.Model(image, layers.Dense(4, activation="softmax", name="head")(x))


def transformer() -> keras.Model:
    """Two blocks of attention over tokens."""
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 12, name="embed")(tokens)
    for block in range(2):
        y = layers.LayerNormalization(name=f"norm_a_{block}")(x)
        y = layers.MultiHeadAttention(2, 6, name=f"attention_{block}")(y, y)
        x = layers.Add(name=f"add_a_{block}")([x, y])
        y = layers.LayerNormalization(name=f"norm_b_{block}")(x)
        y = layers.Dense(24, activation="gelu", name=f"up_{block}")(y)
        y = layers.Dense(12, name=f"down_{block}")(y)
        x = layers.Add(name=f"add_b_{block}")([x, y])
    x = layers.GlobalAveragePooling1D(name="global")(x)
    return keras.Model(tokens, layers.Dense(3, activation="softmax", name="head")(x))


def transfer_net() -> keras.Model:
    """A nested backbone with a new head on top."""
    inside = keras.Input((8, 8, 3), name="inside")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(inside)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(x)
    x = layers.Add(name="sum")([x, y])
    backbone = keras.Model(inside, layers.MaxPooling2D(2, name="half")(x), name="base")
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(10, 3, padding="same", activation="relu", name="top")(
        backbone(image)
    )
    x = layers.GlobalAveragePooling2D(name="global")(x)
    x = layers.Dense(8, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(3, activation="softmax", name="head")(x))


def two_ended_net() -> keras.Model:
    """Two inputs, two outputs, and a layer that is called twice."""
    a, b = keras.Input((5,), name="a"), keras.Input((4,), name="b")
    shared = layers.Dense(6, activation="tanh", name="shared")
    fitted = layers.Dense(5, name="fit")(b)
    x = layers.Concatenate(name="joined")([shared(a), shared(fitted)])
    x = layers.Dense(8, activation="relu", name="middle")(x)
    heads = [layers.Dense(2, name="one")(x), layers.Dense(3, name="other")(x)]
    return keras.Model([a, b], heads)


def sampled_net(seed: int = 0) -> keras.Model:
    """A network of the default space for images."""
    space = image_space((8, 8, 1), 4)
    return space.build(space.sample(np.random.default_rng(seed)))


NETS = {
    "residual": residual_net,
    "mobile": mobile_net,
    "transformer": transformer,
    "transfer": transfer_net,
    "two ended": two_ended_net,
    "sampled": sampled_net,
}
SMALL = Context(max_params=60_000, max_vertices=60)


def vivid(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives all weights values of which each matters, but none drowns the others."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "float" not in variable.dtype:
            continue
        values = rng.normal(0, 0.3, variable.shape)
        if "variance" in variable.path or "gamma" in variable.path:
            values = 1 + np.abs(values)
        variable.assign(values)
    return model


def graph_of(make, seed: int = 0) -> kn.Graph:
    return kn.Graph.from_model(vivid(make(), seed))


def inputs_of(graph: kn.Graph):
    return random_inputs(graph.build())


def outputs(graph: kn.Graph, inputs) -> list[np.ndarray]:
    return run(graph.build(), inputs)


def same_function(old: kn.Graph, new: kn.Graph, label: str = "") -> None:
    """Makes sure that two graphs compute the same, and something."""
    inputs = inputs_of(old)
    for before, after in zip(outputs(old, inputs), outputs(new, inputs), strict=True):
        assert np.ptp(before, axis=0).max() > 1e-4, "all samples look the same"
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=2e-5, err_msg=label)


def structure(graph: kn.Graph) -> list:
    """All of a graph but the values of its weights, comparable."""
    return [
        (
            owner,
            name,
            [(ref.vertex, ref.index) for ref in vertex.reads],
            graph.parts[vertex.part].cls.__name__,
            str(dict(graph.parts[vertex.part].config)),
            [weight.shape for weight in graph.parts[vertex.part].weights],
        )
        for owner, body in graph.bodies()
        for name, vertex in body.vertices.items()
    ]


def values(graph: kn.Graph) -> list[np.ndarray]:
    return [w.value() for part in graph.parts.values() for w in part.weights]
