"""Constants that a layer once computed from its variables, and computes with.

`keras.layers.Normalization` takes its mean and variance from its variables when it is
adapted or loaded, not when it is called. Where the variables were set since, by
``set_weights`` say, the layer still computes with the old ones. A copy of the model
has to compute the same as the model does, so it gets the same constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_nas.graph.weight import Weight

_NAMES = ("mean", "variance")


def read_constants(layer: Any, weights: tuple[Weight, ...]) -> Mapping[str, Weight]:
    """Returns the constants that differ from the weights of the same name."""
    if not isinstance(layer, keras.layers.Normalization):
        return {}
    found = {}
    for weight in weights:
        constant = getattr(layer, weight.name, None) if weight.name in _NAMES else None
        if constant is None:
            continue
        value = keras.ops.convert_to_numpy(constant).reshape(weight.shape)
        if not np.array_equal(value, weight.value().astype(value.dtype)):
            found[weight.name] = Weight.of_array(weight.name, value)
    return found


def restore_constants(layer: Any, constants: Mapping[str, Weight]) -> None:
    """Makes a new layer compute with its variables, or with these constants."""
    if not isinstance(layer, keras.layers.Normalization):
        return
    layer.finalize_state()
    for name, weight in constants.items():
        present = getattr(layer, name)
        value = weight.value().reshape(present.shape)
        setattr(layer, name, keras.ops.convert_to_tensor(value, present.dtype))
