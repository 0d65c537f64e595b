"""Small trained networks on handwritten digits, that the tests of this folder share."""

from __future__ import annotations

import functools

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits


@functools.cache
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and digits to train on, and others to look at."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32").reshape(-1, 8, 8, 1)
    y = y.astype("int32")
    return x[:1000], y[:1000], x[1000:], y[1000:]


@functools.cache
def network() -> keras.Model:
    """A trained network with every kind of layer that takes a shift. Do not change."""
    keras.utils.set_random_seed(0)
    source = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="first")(source)
    x = layers.Conv2D(16, 3, use_bias=False, name="second")(x)
    x = layers.BatchNormalization(momentum=0.8, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(32, activation="relu", name="dense")(x)
    x = layers.Dense(10, activation="softmax", name="head")(x)
    model = keras.Model(source, x)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y, _, _ = data()
    model.fit(x, y, epochs=8, batch_size=64, verbose=0)
    return model


def loss(model: keras.Model) -> float:
    """On the images that were not trained on."""
    _, _, x, y = data()
    return model.evaluate(x, y, batch_size=800, verbose=0)[0]
