"""Networks of any number of vertices, for tests and benchmarks of cost and depth."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import keras
from keras import layers

WIDTH = 4


def chain(num_vertices: int) -> keras.Model:
    """One layer after the other: Dense, ReLU, Dense, ReLU, ..."""
    x = inputs = keras.Input((WIDTH,))
    for number in range((num_vertices - 2) // 2):
        x = layers.ReLU()(layers.Dense(WIDTH, name=f"middle_{number}")(x))
    return _model(inputs, x)


def nested_residuals(num_vertices: int) -> keras.Model:
    """Residual connections around residual connections, as deep as they go."""
    x = inputs = keras.Input((WIDTH,))
    waiting = []
    for number in range((num_vertices - 2) // 2):
        x = layers.Dense(WIDTH, name=f"middle_{number}")(x)
        waiting.append(x)
    waiting.pop()
    while waiting:
        x = layers.Add()([x, waiting.pop()])
    return _model(inputs, x)


def residuals_of_concatenations(num_vertices: int) -> keras.Model:
    """A stack of residual blocks; the branch of each is a concatenation of two."""
    inputs = keras.Input((WIDTH,))
    x = layers.Dense(2 * WIDTH)(inputs)
    for number in range((num_vertices - 3) // 7):
        left = layers.Dense(WIDTH, name=f"middle_{number}")(x)
        left = layers.Add()([left, layers.Dense(WIDTH)(left)])
        right = layers.Dense(WIDTH)(x)
        branch = layers.Concatenate()([left, right])
        x = layers.Add()([x, branch])
    return _model(inputs, x)


MODELS = {
    "chain": chain,
    "nested residuals": nested_residuals,
    "residuals of concatenations": residuals_of_concatenations,
}


@contextlib.contextmanager
def deep_recursion() -> Iterator[None]:
    """Lets Keras make models this deep: its constructor recurses along each path."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _model(inputs: keras.KerasTensor, x: keras.KerasTensor) -> keras.Model:
    outputs = layers.Dense(2, name="head")(x)
    with deep_recursion():
        return keras.Model(inputs, outputs)
