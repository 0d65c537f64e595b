"""What the tests of structural edits share.

The verbs here are those of `keras_nas`, and make sure on the way that the model of the
user stays as it was, also when an edit fails.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from contract import run
from keras import layers, ops
from models import random_inputs

import keras_nas as kn


def insert(model: keras.Model, *args, **keywords) -> keras.Model:
    with untouched(model):
        return kn.insert(model, *args, **keywords)


def remove(model: keras.Model, *args, **keywords) -> keras.Model:
    with untouched(model):
        return kn.remove(model, *args, **keywords)


def connect(model: keras.Model, *args, **keywords) -> keras.Model:
    with untouched(model):
        return kn.connect(model, *args, **keywords)


def disconnect(model: keras.Model, *args, **keywords) -> keras.Model:
    with untouched(model):
        return kn.disconnect(model, *args, **keywords)


def replace(model: keras.Model, *args, **keywords) -> keras.Model:
    with untouched(model):
        return kn.replace(model, *args, **keywords)


@contextlib.contextmanager
def untouched(*models: keras.Layer) -> Iterator[None]:
    """Makes sure that models stay bit-identical, whatever happens inside."""
    before = [_state(model) for model in models]
    try:
        yield
    finally:
        assert [_state(model) for model in models] == before


def refused(
    verb,
    model: keras.Model,
    *args,
    match: str,
    error=kn.InvalidRequestError,
    **keywords,
) -> Any:
    """Makes sure that an edit fails as promised; returns the error."""
    with pytest.raises(error, match=f"(?s){match}.*Received: ") as info:
        verb(model, *args, **keywords)
    assert isinstance(info.value, kn.KerasNasError) and isinstance(
        info.value, ValueError
    )
    assert "\n\n" in str(info.value)
    return info.value


def layer_at(model: keras.Model, path: str) -> keras.Layer:
    """Returns a layer, ``"encoder/conv2"`` inside a nested model."""
    for name in path.split("/"):
        model = model.get_layer(name)
    return model


def value(model: keras.Model, path: str, weight: str = "kernel") -> np.ndarray:
    """Returns a weight as an array."""
    return keras.ops.convert_to_numpy(getattr(layer_at(model, path), weight))


def names(model: keras.Model) -> list[str]:
    """Returns the names of the layers, inputs left out."""
    return [
        layer.name for layer in model.layers if not isinstance(layer, layers.InputLayer)
    ]


def sizes(model: keras.Model) -> dict[str, int]:
    """Returns the width of the output of each layer, inputs left out."""
    return {name: layer_at(model, name).output.shape[-1] for name in names(model)}


def same_function(old: keras.Model, new: keras.Model, inputs: Any = None) -> None:
    """Makes sure that two models compute the same."""
    inputs = random_inputs(old) if inputs is None else inputs
    close(run(new, inputs), run(old, inputs))


def close(found: Any, expected: Any) -> None:
    """Compares one or several arrays."""
    found, expected = keras.tree.flatten(found), keras.tree.flatten(expected)
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        left, right = map(keras.ops.convert_to_numpy, (left, right))
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def works(model: keras.Model, inputs: Any = None, *, trains: bool = True) -> None:
    """Makes sure that plain Keras loads a model in the same numbers and trains it."""
    inputs = random_inputs(model) if inputs is None else inputs
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path, compile=False)
    for left, right in zip(run(model, inputs), run(loaded, inputs), strict=True):
        np.testing.assert_array_equal(left, right)
    if not trains:
        return
    loaded.compile("sgd", loss="mse", run_eagerly=True)
    targets = keras.tree.map_structure(
        lambda y: keras.ops.convert_to_numpy(y) + 1, loaded(inputs)
    )
    assert np.isfinite(loaded.train_on_batch(inputs, targets)).all()


def _state(model: keras.Layer) -> tuple:
    """All that an edit could have changed of a layer or model."""
    every = list(model._flatten_layers())
    return (
        [id(layer) for layer in every],
        [json.dumps(layer.get_config(), default=str) for layer in every],
        [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in every],
        [(layer.built, layer.trainable, layer.name) for layer in every],
        [keras.ops.convert_to_numpy(v).tobytes() for v in model.variables],
    )


def dense(units: int, name: str, **settings) -> layers.Dense:
    settings = {"activation": "tanh", **settings}
    return layers.Dense(units, name=name, **settings)


def conv(filters: int, name: str, kernel: int = 1, **settings) -> layers.Conv2D:
    settings = {"activation": "tanh", "padding": "same", **settings}
    return layers.Conv2D(filters, kernel, name=name, **settings)


def through(model: keras.Model, x, *paths: str) -> np.ndarray:
    """Calls layers of a model one after the other."""
    for path in paths:
        x = layer_at(model, path)(x)
    return ops.convert_to_numpy(x)


def end(x, name: str = "head") -> keras.KerasTensor:
    return layers.Dense(2, name=name)(x)
