"""Copies without the detour through the Keras file format."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np
from keras.src.utils import tracking

from keras_nas.graph.keras_private.values import snapshot, to_numpy


def shallow_copy(thing: Any) -> Any:
    """Returns ``copy.copy(thing)`` without the detour through the Keras file format."""
    new = object.__new__(type(thing))
    vars(new).update(vars(thing))
    return new


def copy_operation(operation: Any) -> Any:
    """Returns a copy of a raw operation that was never called."""
    new = object.__new__(type(operation))
    memo = {
        id(operation): new,
        id(operation._inbound_nodes): [],
        id(operation._outbound_nodes): [],
    }
    vars(new).update(
        {name: copy.deepcopy(value, memo) for name, value in vars(operation).items()}
    )
    return new


def copy_layer(layer: Any) -> Any:
    """Returns a deep copy of a layer that was never called, with its own variables.

    ``copy.deepcopy`` alone would go through the Keras file format, which needs a
    working ``get_config``. So all layers, variables and seed generators inside get an
    empty shell first, and then their attributes are deep-copied into the shells.
    """
    layers = list(layer._flatten_layers())
    seeds = [seed for inner in layers for seed in inner._seed_generators]
    memo: dict[int, Any] = {}
    for inner in layers:
        memo[id(inner)] = keras.Layer.__new__(type(inner))
        memo[id(inner._inbound_nodes)] = []
        memo[id(inner._outbound_nodes)] = []
    for seed in seeds:
        memo[id(seed)] = object.__new__(type(seed))
        memo[id(seed.backend)] = seed.backend
    for variable in layer.variables:
        new = memo[id(variable)] = _copy_variable(variable)
        memo[id(variable._value)] = new._value
    with tracking.DotNotTrackScope():  # What is tracked is copied with the rest.
        for owner in layers + seeds:
            for name, value in vars(owner).items():
                # Both wrap the methods of the original; the shell has its own.
                if name not in ("build", "quantize"):
                    vars(memo[id(owner)])[name] = copy.deepcopy(value, memo)
    for inner in layers:
        tracker = memo[id(inner)]._tracker
        for store, (_, values) in tracker.config.items():
            tracker.stored_ids[store] = {id(value) for value in values}
    return memo[id(layer)]


def _copy_variable(variable: Any) -> Any:
    """Returns a new variable with the same value, settings and path."""
    new = keras.Variable(
        np.array(to_numpy(snapshot(variable)(), variable.dtype)),
        dtype=variable.dtype,
        trainable=variable.trainable,
        autocast=variable._autocast,
        aggregation=variable.aggregation,
        name=variable.name,
    )
    new._path = variable._path
    new.regularizer = variable.regularizer
    new.constraint = variable.constraint
    return new
