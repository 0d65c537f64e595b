"""Draws the picture at the top of the README.

python -m benchmarks.picture
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

import keras_nas as kn

PATH = Path(__file__).parents[1] / "notebooks" / "images" / "plan.svg"


def network() -> keras.Model:
    """A stage with a residual, a concatenation, and squeeze and excite."""
    inputs = keras.Input((32, 32, 3), name="image")
    x = stem = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.Conv2D(16, 3, padding="same", name="branch")(x)
    x = layers.BatchNormalization(name="norm")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(4, 1, activation="relu", name="reduce")(gate)
    gate = layers.Conv2D(16, 1, activation="sigmoid", name="expand")(gate)
    x = layers.Multiply(name="excite")([x, gate])
    x = layers.Add(name="add")([stem, x])
    side = layers.Conv2D(6, 1, name="side")(x)
    x = layers.Concatenate(name="cat")([x, side])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="classes")(x))


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    plan = kn.plan(network(), "stem", 10)
    PATH.parent.mkdir(exist_ok=True)
    kn.plot(plan, str(PATH))
