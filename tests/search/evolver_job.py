"""A small evolution that a test runs in this process and in another one.

    python evolver_job.py DIRECTORY
"""

from __future__ import annotations

import sys

import keras
import numpy as np

import keras_nas as kn
from keras_nas.search.mutations import Chain, Insert, Width

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 5)).astype("float32")
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def network() -> keras.Model:
    """Two hidden layers, always with the same weights."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((5,), name="in"),
            keras.layers.Dense(6, activation="relu", name="first"),
            keras.layers.BatchNormalization(momentum=0.9, name="norm"),
            keras.layers.Dense(4, activation="relu", name="second"),
            keras.layers.Dense(2, name="head"),
        ]
    )


def evolver(directory, **settings) -> kn.KerasEvolver:
    """An evolution whose mutations always change something."""
    settings.setdefault("mutation", Chain(Width(), Insert()))
    settings.setdefault("population_size", 3)
    settings.setdefault("generations", 2)
    settings.setdefault("crossover_probability", 0.5)
    settings.setdefault("mutation_probability", 1.0)
    return kn.KerasEvolver(network(), directory=directory, verbose=0, **settings)


def fit(made: kn.KerasEvolver) -> kn.SearchResult:
    """Evolves with few and small batches."""
    return made.fit(X, Y, validation_split=0.4, batch_size=16, steps_per_generation=4)


if __name__ == "__main__":
    fit(evolver(sys.argv[1]))
