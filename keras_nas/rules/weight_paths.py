"""Weights of a layer by the path that its user would write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_nas.rules.call import RuleCall


def real_name(call: RuleCall, name: str) -> str:
    """Returns the name of a weight whose path may go through attributes."""
    if name in call.weights or call.layer is None:
        return name
    found: list[tuple[Any, str]] = [(call.layer, "")]
    for step in name.split("/"):
        found = [
            (inner, prefix)
            for value, start in found
            for labels, inner, prefix in _inside(value, start)
            if step in labels
        ]
    names = (f"{prefix}{value.name}" for value, prefix in found if _is_weight(value))
    return next((known for known in names if known in call.weights), name)


def _inside(value: Any, prefix: str) -> Iterator[tuple[tuple, Any, str]]:
    """Yields ``(labels, thing, path of names)`` of all that a thing holds."""
    if isinstance(value, keras.Layer):
        items = list(vars(value).items())
        if isinstance(value, keras.Model):
            items.append(("layers", value.layers))
    elif isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        return
    for key, inner in items:
        if isinstance(inner, keras.Layer):
            yield (str(key), inner.name), inner, f"{prefix}{inner.name}/"
        elif _is_weight(inner):
            yield (str(key), inner.name), inner, prefix
        elif isinstance(inner, (dict, list, tuple)):
            yield (str(key),), inner, prefix
            if isinstance(value, keras.Layer):
                yield from _inside(inner, prefix)


def _is_weight(value: Any) -> bool:
    return isinstance(value, keras.Variable)
