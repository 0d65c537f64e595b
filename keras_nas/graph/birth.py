"""Lets the variables of a layer be born with their final values.

Building a layer runs its random initializers, which takes longer than everything
else and whose values would be thrown away.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_nas.graph import keras_private
from keras_nas.graph.weight import Weight

_POSITIONAL = ("shape", "initializer", "dtype")


@contextlib.contextmanager
def born_with(
    layer: Any, weights: Sequence[tuple[str, Weight]], born: dict[int, Weight]
) -> Iterator[None]:
    """Within this scope, building ``layer`` gives variables their values by name.

    Only `add_weight` of this object and its present sub-layers is wrapped: settings
    such as ``kernel_initializer`` are left alone. A variable that is not met here, or
    has another shape, is born as usual; the caller assigns it later.

    Args:
        layer: Not built yet.
        weights: Each with its name inside the layer, in any order.
        born: Filled with ``id(variable)`` -> the weight it was born with.
    """
    waiting: dict[str, deque] = defaultdict(deque)
    for name, weight in weights:
        waiting[name].append(weight)
    owners = []
    if waiting:
        owners = [
            (owner, prefix)
            for owner, prefix in keras_private.owners(layer)
            if type(owner).add_weight is keras.Layer.add_weight
        ]
    for owner, prefix in owners:
        vars(owner)["add_weight"] = _AddWeight(owner, prefix, waiting, born)
    try:
        yield
    finally:
        for owner, _ in owners:
            vars(owner).pop("add_weight", None)


class _AddWeight:
    """Stands in for the method ``add_weight`` of one layer."""

    def __init__(self, owner: Any, prefix: str, waiting: Any, born: dict[int, Weight]):
        self._owner, self._prefix = owner, prefix
        self._waiting, self._born = waiting, born

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kwargs = {**dict(zip(_POSITIONAL, args)), **kwargs}
        weight = self._take(kwargs)
        if weight is not None:
            kwargs["initializer"] = lambda shape, dtype=None: keras_private.own_memory(
                weight.tensor()
            )
        variable = keras.Layer.add_weight(self._owner, **kwargs)
        if weight is not None:
            self._born[id(variable)] = weight
        return variable

    def _take(self, kwargs: dict[str, Any]) -> Weight | None:
        """Returns the weight that waits under this name, if it fits."""
        queue = self._waiting.get(f"{self._prefix}{kwargs.get('name')}")
        if not queue:
            return None
        dtype = kwargs.get("dtype") or self._owner.variable_dtype
        if keras.backend.standardize_dtype(dtype) != queue[0].dtype:
            return None
        if tuple(kwargs.get("shape") or ()) != queue[0].shape:
            return None
        return queue.popleft()
