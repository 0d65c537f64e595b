"""Small networks that the tests of surgery share."""

from __future__ import annotations

import keras
from keras import layers
from models import randomize


def chain(*units: int, inputs: int = 3) -> keras.Model:
    """Dense layers ``d0``, ``d1``, ... one after the other."""
    x = source = keras.Input((inputs,), name="in")
    for number, size in enumerate(units):
        x = layers.Dense(size, activation="tanh", name=f"d{number}")(x)
    return randomize(keras.Model(source, x))


def residual(width: int = 6) -> keras.Model:
    """``stem`` plus ``branch`` (which reads it) in ``add``, and a ``head``."""
    source = keras.Input((4,), name="in")
    stem = layers.Dense(width, activation="tanh", name="stem")(source)
    branch = layers.Dense(width, activation="tanh", name="branch")(stem)
    added = layers.Add(name="add")([stem, branch])
    return randomize(keras.Model(source, layers.Dense(2, name="head")(added)))


def concatenated(*widths: int) -> keras.Model:
    """Dense layers ``a``, ``b``, ... side by side in ``cat``, and a ``head``."""
    source = keras.Input((4,), name="in")
    parts = [
        layers.Dense(width, activation="tanh", name=name)(source)
        for name, width in zip("abcdef", widths, strict=False)
    ]
    joined = layers.Concatenate(name="cat")(parts)
    return randomize(keras.Model(source, layers.Dense(2, name="head")(joined)))


def concat_plus_dense(left: int = 3, right: int = 5) -> keras.Model:
    """``a`` and ``b`` side by side in ``cat``, plus ``whole`` in ``add``."""
    source = keras.Input((4,), name="in")
    a = layers.Dense(left, activation="tanh", name="a")(source)
    b = layers.Dense(right, activation="tanh", name="b")(source)
    joined = layers.Concatenate(name="cat")([a, b])
    whole = layers.Dense(left + right, activation="tanh", name="whole")(source)
    added = layers.Add(name="add")([joined, whole])
    return randomize(keras.Model(source, layers.Dense(2, name="head")(added)))


def image_net(*middle, channels: int = 6) -> keras.Model:
    """``stem``, then the layers given, then a ``head`` over the pooled channels."""
    x = source = keras.Input((6, 6, 3), name="in")
    x = layers.Conv2D(channels, 1, activation="tanh", name="stem")(x)
    for layer in middle:
        x = layer(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return randomize(keras.Model(source, layers.Dense(2, name="head")(x)))


def nested() -> keras.Model:
    """An ``encoder`` of ``inner`` and ``out`` inside a model with a ``head``."""
    source = keras.Input((4,))
    x = layers.Dense(6, activation="tanh", name="inner")(source)
    encoder = keras.Model(source, layers.Dense(5, name="out")(x), name="encoder")
    outer = keras.Input((4,), name="in")
    return randomize(keras.Model(outer, layers.Dense(2, name="head")(encoder(outer))))
