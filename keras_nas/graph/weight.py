"""Weights as immutable values: a snapshot of a variable, or a recipe from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_nas.errors import InternalError
from keras_nas.graph import keras_private


class Gather:
    """Takes positions of an array along each axis.

    Args:
        indices: Int array of positions for each axis; None takes all.
    """

    def __init__(self, indices: Sequence[np.ndarray | None]):
        self._indices = tuple(indices)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        changed = [n for n, index in enumerate(self._indices) if index is not None]
        # Axes that shrink most come first, so that the copies in between are small.
        for number in sorted(
            changed, key=lambda n: len(self._indices[n]) / max(array.shape[n], 1)
        ):
            array = np.take(array, self._indices[number], axis=number)
        return array

    def after(self, first: Gather) -> Gather:
        """Returns the one step that does what ``first`` and then this one do."""
        return Gather(
            mine if other is None else other if mine is None else other[mine]
            for mine, other in zip(self._indices, first._indices, strict=True)
        )


class _Step(NamedTuple):
    function: Callable[..., np.ndarray]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Recipe:
    """Steps from the values of some weights to that of another.

    They run in a row and not inside each other, so that a weight can go through any
    number of edits; selections that follow each other are one step.
    """

    sources: tuple[Weight, ...]
    steps: tuple[_Step, ...]

    def then(self, step: _Step) -> _Recipe:
        *earlier, last = self.steps
        if isinstance(step.function, Gather) and isinstance(last.function, Gather):
            step = _Step(step.function.after(last.function), step.shape)
            return _Recipe(self.sources, (*earlier, step))
        return _Recipe(self.sources, (*self.steps, step))

    def compute(self, name: str, dtype: np.dtype) -> np.ndarray:
        values = [source.value() for source in self.sources]
        for function, shape in self.steps:
            array = np.asarray(function(*values))
            if array.shape != shape:
                raise InternalError(
                    f"Weight '{name}' was derived with shape {array.shape}, but shape "
                    f"{shape} was announced.\n\nPlease report this. "
                    f"Received: shape={shape}"
                )
            values = [array.astype(dtype, copy=False)]
        return values[0]


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
    _recipe: _Recipe | None = field(default=None, repr=False)

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
        step = _Step(function, shape)
        if len(parents) == 1 and first._recipe is not None:
            recipe = first._recipe.then(step)
        else:
            recipe = _Recipe(parents, (step,))
        dtype = keras_private.numpy_dtype(first.dtype)
        compute = partial(recipe.compute, first.name, dtype)
        return cls(first.name, shape, first.dtype, first.trainable, compute, recipe)

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
