"""Weights as immutable values: a snapshot of a variable, or a recipe from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_nas.errors import InternalError
from keras_nas.graph import keras_private


@dataclass(frozen=True, eq=False)
class Weight:
    """The value of one variable at the moment it was wrapped.

    Two parts hold the *same* `Weight` object where their layers share one variable.
    The value costs nothing until it is asked for: a snapshot shares its memory with
    the variable until either is written, and a derived weight is computed anew on
    each call of `value`.

    Attributes:
        name: Plain name of the variable (``"kernel"``); for a variable of a
            sub-layer its path inside the layer (``"lstm_cell/kernel"``).
        shape: Shape of the value.
        dtype: Keras name of the dtype, ``"bfloat16"`` included.
        trainable: The flag of the variable itself.
        tensor: Returns something the running backend can make a variable from, of
            this shape and dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    tensor: Callable[[], Any] = field(repr=False)

    @classmethod
    def of_variable(cls, variable: Any, name: str) -> Weight:
        """Returns a snapshot that later training of the variable does not change."""
        return cls(
            name=name,
            shape=tuple(int(size) for size in variable.shape),
            dtype=variable.dtype,
            trainable=bool(variable.trainable),
            tensor=keras_private.snapshot(variable),
        )

    @classmethod
    def derived(
        cls,
        parents: Weight | Sequence[Weight],
        shape: tuple[int, ...],
        function: Callable[..., np.ndarray],
    ) -> Weight:
        """Returns a weight computed from others only when a model is built.

        Args:
            parents: One weight or several. Name, dtype and trainable flag are those
                of the first.
            shape: Shape of the result of ``function``.
            function: Called with the value of each parent as a read-only array;
                returns an array of shape ``shape``. It is cast to the dtype.
        """
        if isinstance(parents, Weight):
            parents = (parents,)
        parents, first = tuple(parents), parents[0]
        shape = tuple(int(size) for size in shape)

        def compute() -> np.ndarray:
            array = np.asarray(function(*(parent.value() for parent in parents)))
            if array.shape != shape:
                raise InternalError(
                    f"Weight '{first.name}' was derived with shape {array.shape}, but "
                    f"shape {shape} was announced.\n\nPlease report this. Received: "
                    f"shape={shape}"
                )
            return array.astype(keras_private.numpy_dtype(first.dtype), copy=False)

        return cls(first.name, shape, first.dtype, first.trainable, compute)

    @classmethod
    def of_array(
        cls, name: str, array: np.ndarray, *, trainable: bool = True
    ) -> Weight:
        """Returns a weight that holds a copy of an array."""
        copied = np.array(array)
        return cls(name, copied.shape, copied.dtype.name, trainable, lambda: copied)

    def value(self) -> np.ndarray:
        """Returns the value as a read-only array of shape `shape`."""
        array = keras_private.to_numpy(self.tensor(), self.dtype).view()
        array.flags.writeable = False
        return array
