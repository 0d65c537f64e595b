"""Weights as immutable values: a snapshot of a variable, or a recipe from others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from keras_nas.errors import InternalError
from keras_nas.graph import keras_private


class Gather:
    """Takes positions of an array along each axis.

    Args:
        indices: Int array of positions for each axis; None takes all.
    """

    def __init__(self, indices: Iterable[np.ndarray | None]):
        self._indices = tuple(indices)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        changed = [(n, i) for n, i in enumerate(self._indices) if i is not None]
        # Axes that shrink most come first, so that the copies in between are small.
        changed.sort(key=lambda pair: len(pair[1]) / max(array.shape[pair[0]], 1))
        for number, index in changed:
            array = np.take(array, index, axis=number)
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
    origins: Callable[..., np.ndarray] | None = None


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
            both = step.function.after(last.function)
            step = _Step(both, step.shape, both)
            return _Recipe(self.sources, (*earlier, step))
        return _Recipe(self.sources, (*self.steps, step))

    def origins(self) -> np.ndarray:
        """Returns where the value at each position is from. See `Weight.origins`."""
        values, start = [], 1
        for source in self.sources:
            values.append(np.arange(start, start + prod(source.shape)))
            values[-1] = values[-1].reshape(source.shape)
            start += prod(source.shape)
        for _, shape, origins in self.steps:
            if origins is None:
                return np.zeros(self.steps[-1].shape, np.int64)
            values = [origins(*values).reshape(shape)]
        return values[0]

    def compute(self, name: str, dtype: np.dtype) -> np.ndarray:
        values = [source.value() for source in self.sources]
        for function, shape, _ in self.steps:
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
        slots: Where an optimizer keeps it -> what the optimizer remembers of the
            variable: its momentum, for one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    tensor: Callable[[], Any] = field(repr=False)
    _recipe: _Recipe | None = field(default=None, repr=False)
    slots: Mapping[Hashable, Weight] = field(default_factory=dict, repr=False)

    @classmethod
    def of_variable(
        cls,
        variable: Any,
        name: str,
        slots: Mapping[Hashable, Weight] = MappingProxyType({}),
    ) -> Weight:
        """Returns a snapshot that later training of the variable does not change."""
        return cls(
            name=name,
            shape=tuple(int(size) for size in variable.shape),
            dtype=variable.dtype,
            trainable=bool(variable.trainable),
            tensor=keras_private.snapshot(variable),
            slots=slots,
        )

    @classmethod
    def derived(
        cls,
        parents: Weight | Sequence[Weight],
        shape: tuple[int, ...],
        function: Callable[..., np.ndarray],
        origins: Callable[..., np.ndarray] | None = None,
    ) -> Weight:
        """Returns a weight computed from others only when a model is built.

        Args:
            parents: One weight or several. Name, dtype and trainable flag are those
                of the first.
            shape: Shape of the result of ``function``.
            function: Called with the value of each parent as a read-only array;
                returns an array of shape ``shape``. It is cast to the dtype.
            origins: Moves whole numbers as ``function`` moves values, and gives 0 for
                what is no value of a parent. A `Gather` does that by itself; None
                where values are computed.
        """
        if isinstance(parents, Weight):
            parents = (parents,)
        parents, first = tuple(parents), parents[0]
        shape = tuple(int(size) for size in shape)
        if isinstance(function, Gather):
            origins = function
        step = _Step(function, shape, origins)
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

    @property
    def sources(self) -> tuple[Weight, ...]:
        """The weights that it is computed from; none for a snapshot."""
        return () if self._recipe is None else self._recipe.sources

    @property
    def selection(self) -> Gather | None:
        """What takes the values from the one source, if nothing else is done."""
        steps = () if self._recipe is None else self._recipe.steps
        is_one = len(steps) == 1 and len(self.sources) == 1
        function = steps[0].function if is_one else None
        return function if isinstance(function, Gather) else None

    def origins(self) -> np.ndarray:
        """Returns for each position which position of `sources` it comes from.

        An int array of shape `shape`: positions of all sources are counted through in
        row-major order, from 1; 0 stands for a new value.
        """
        if self._recipe is None:
            return np.arange(1, prod(self.shape) + 1).reshape(self.shape)
        return self._recipe.origins()

    def value(self) -> np.ndarray:
        """Returns the value as a read-only array of shape `shape`."""
        array = keras_private.to_numpy(self.tensor(), self.dtype).view()
        array.flags.writeable = False
        return array
