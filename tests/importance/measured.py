"""What the tests of importance share: small nets, and values along an axis."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

import keras_nas as kn
from keras_nas.graph import analyze
from keras_nas.importance import atom_utilities, check_importance
from keras_nas.importance.along import positions
from keras_nas.surgery.names import Names


def values(
    model: keras.Model, importance: Any, name: str, axis: str | None = None
) -> np.ndarray:
    """Importance of each position along a width of a layer."""
    graph = kn.Graph.from_model(model)
    analysis = analyze(graph)
    width = Names(analysis).width(name, axis)
    read = check_importance(importance, lambda key: (key, Names(analysis).width(key)))
    found = atom_utilities(graph, analysis, read, width.atoms)
    along = np.full(width.size, np.nan)
    for atom, where in positions(width).items():
        along[where] = found[atom][:, None]
    return along


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with random weights; variances positive."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "float" in variable.dtype:
            value = rng.normal(0, 0.5, variable.shape)
            is_variance = variable.path.endswith("variance")
            variable.assign(np.abs(value) + 0.5 if is_variance else value)
    return model


def weight(model: keras.Model, path: str) -> np.ndarray:
    """A weight by ``layer/name``."""
    (found,) = [v for v in model.weights if v.path.endswith(path)]
    return keras.ops.convert_to_numpy(found).astype("float64")


def dense_net() -> keras.Model:
    source = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="a")(source)
    x = layers.Dense(3, activation="tanh", name="b")(x)
    return randomized(keras.Model(source, layers.Dense(2, name="out")(x)))


def residual() -> keras.Model:
    """Two convolutions are added after a normalisation; a third reads the sum."""
    source = keras.Input((4, 4, 2))
    x = layers.Conv2D(5, 3, padding="same", activation="tanh", name="stem")(source)
    y = layers.Conv2D(5, 3, padding="same", name="branch")(x)
    y = layers.BatchNormalization(name="norm")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.Conv2D(3, 2, name="last")(x)
    return randomized(keras.Model(source, layers.Flatten()(x)))


def joined() -> keras.Model:
    """Two layers stand one after the other."""
    source = keras.Input((4,))
    a = layers.Dense(3, activation="tanh", name="a")(source)
    b = layers.Dense(2, activation="tanh", name="b")(source)
    x = layers.Concatenate(name="cat")([a, b])
    return randomized(keras.Model(source, layers.Dense(2, name="out")(x)))


def shared() -> keras.Model:
    """One layer is called twice."""
    left, right = keras.Input((4,)), keras.Input((4,))
    twice = layers.Dense(3, activation="tanh", name="twice")
    x = layers.Add()([twice(left), twice(right)])
    return randomized(keras.Model([left, right], layers.Dense(2, name="out")(x)))


def flattened() -> keras.Model:
    """A depthwise and a grouped convolution, then a dense layer on the pixels."""
    source = keras.Input((3, 3, 2))
    x = layers.Conv2D(4, 2, activation="tanh", name="stem")(source)
    x = layers.DepthwiseConv2D(1, depth_multiplier=2, name="depth")(x)
    x = layers.Conv2D(6, 1, groups=2, activation="tanh", name="grouped")(x)
    x = layers.Flatten()(x)
    return randomized(keras.Model(source, layers.Dense(2, name="out")(x)))


def sequence() -> keras.Model:
    """Embedding, attention with two heads, LSTM."""
    source = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 6, name="words")(source)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.LSTM(4, name="memory")(x)
    return randomized(keras.Model(source, layers.Dense(2, name="out")(x)))


NETS = {
    net.__name__: net
    for net in (dense_net, residual, joined, shared, flattened, sequence)
}


def data(model: keras.Model, samples: int = 6, seed: int = 1) -> tuple[Any, np.ndarray]:
    """Inputs as the model takes them, and targets of a regression."""
    rng = np.random.default_rng(seed)
    inputs = [
        rng.integers(0, 7, (samples, *x.shape[1:])).astype("int32")
        if "int" in x.dtype
        else rng.normal(size=(samples, *x.shape[1:])).astype("float32")
        for x in model.inputs
    ]
    targets = rng.normal(size=(samples, model.output_shape[-1])).astype("float32")
    return (inputs if len(inputs) > 1 else inputs[0]), targets
