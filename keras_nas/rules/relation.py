"""What a rule says about one call: the axes of its outputs, weights and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from keras_nas.axes import Expression, MaybeNone

INITIALIZER = "initializer"

# Classes, since asking for the abstract `Mapping` of every leaf would take most of the
# time of an analysis.
_MAPPINGS = (dict, MappingProxyType)

# ``(axis, sentence)``: why the function changes when this axis changes.
Mixed = tuple[tuple[Expression, str], ...]

# Axes that a sum of products goes over, for each such sum.
Macs = tuple[tuple[Expression, ...], ...]


class Undescribed(Exception):
    """Raised by a rule that cannot describe a call; its text says why.

    The axes that the call touches are then frozen.
    """


@dataclass(frozen=True, eq=False)
class AxisTensor:
    """A tensor of the graph: one expression for each axis.

    Attributes:
        axes: Expressions, batch axis included.
        channel: Index of the axis whose size is the size of the vertex.
        is_variable: Whether it is a variable of some layer, used directly.
    """

    axes: tuple[Expression, ...]
    channel: int = -1
    is_variable: bool = False

    @property
    def rank(self) -> int:
        return len(self.axes)

    @property
    def shape(self) -> tuple[int | MaybeNone, ...]:
        return tuple(axis.size for axis in self.axes)


@dataclass(frozen=True, eq=False)
class SizeOf:
    """Stands in a setting or argument for the size of an axis."""

    axis: Expression


@dataclass(frozen=True, eq=False)
class Sliced:
    """Stands in a setting or argument for an array that follows axes.

    Attributes:
        value: Array-like with one axis for each of ``axes``.
        axes: Expressions of the array's axes. New positions repeat the nearest old
            value, which is always in the domain of the operation.
    """

    value: Any
    axes: tuple[Expression, ...]


@dataclass(frozen=True, eq=False)
class Computed:
    """Stands in a setting for a value computed from the sizes of axes.

    Attributes:
        axes: Expressions whose sizes ``function`` gets, in this order.
        function: ``(*sizes) -> value``.
    """

    axes: tuple[Expression, ...]
    function: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class WeightAxes:
    """The axes of one weight.

    Attributes:
        blocks: One tuple of expressions for each block of the weight. Most weights
            are one block; the kernel of a grouped convolution has one for each group,
            since each group of outputs reads its own inputs.
        joined: Axis along which the blocks stand one after the other.
        reads: Axes along which the weight reads neurons of its input. New positions
            there are zero, so that growth keeps the function.
        new: Value of all other new positions: a number, or `INITIALIZER` for the
            layer's own initializer of this weight.
        initializer: The initializer, as settings hold it or as an object, where it is
            not the setting ``<last part of the weight's name>_initializer``.
        rescale: ``(axis, power)``: the values are multiplied by ``(new size / old
            size) ** power``, where a layer divides by a power of a size by itself.
    """

    blocks: tuple[tuple[Expression, ...], ...]
    joined: int = -1
    reads: frozenset[int] = frozenset()
    new: float | str = INITIALIZER
    initializer: Any = None
    rescale: tuple[tuple[Expression, float], ...] = ()

    @property
    def shape(self) -> tuple[int | MaybeNone, ...]:
        shape = [axis.size for axis in self.blocks[0]]
        if len(self.blocks) > 1:
            shape[self.joined] = sum(block[self.joined].size for block in self.blocks)
        return tuple(shape)

    @property
    def all_axes(self) -> tuple[Expression, ...]:
        return tuple(axis for block in self.blocks for axis in block)

    def window(self, number: int) -> tuple[slice, ...]:
        """Returns where a block stands in the weight, as a slice for each axis."""
        window = [slice(None)] * len(self.blocks[0])
        if len(self.blocks) > 1:
            sizes = [block[self.joined].size for block in self.blocks]
            start = sum(sizes[:number])
            window[self.joined] = slice(start, start + sizes[number])
        return tuple(window)


def blocks_of(axes: WeightAxes, array: np.ndarray) -> list[np.ndarray]:
    """Cuts a weight into its blocks, which are views of it."""
    if len(axes.blocks) == 1:
        return [array]
    ends = np.cumsum([block[axes.joined].size for block in axes.blocks])[:-1]
    return np.split(array, ends, axis=axes.joined)


@dataclass(frozen=True, eq=False)
class Relation:
    """How the axes of one call hang together.

    Attributes:
        outputs: One `AxisTensor` for each output, in flat order.
        weights: Weight name -> `WeightAxes`. Weights that are absent (no bias) may be
            named; weights that are present must be.
        config: Setting -> its new value, with `SizeOf`, `Sliced` or `Computed` leaves.
        arguments: Call argument -> its new value, with the same leaves.
        widths: Name of a further width (``"depth_multiplier"``) -> its axis.
        equal: Groups of axes that must have one size without being aligned.
        mixes: ``(axis, sentence)``: the function changes when this axis changes,
            however neurons are chosen (an average over it, say).
        partial: ``(axis, sentence)``: the function is undefined on some values, which
            neurons that are new on this axis may take.
        reads: Axes of variables used directly, along which they read neurons.
        macs: What the call multiplies and adds: one tuple of axes for each sum of
            products, which takes as many multiply-accumulates as its axes have
            combinations. A dense layer has ``(..., i, o)``. What is done to each
            number by itself (adding, scaling, activations, pooling) is left out.
    """

    outputs: tuple[AxisTensor, ...]
    weights: Mapping[str, WeightAxes] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    widths: Mapping[str, Expression] = field(default_factory=dict)
    equal: tuple[tuple[Expression, ...], ...] = ()
    mixes: Mixed = ()
    partial: Mixed = ()
    reads: tuple[Expression, ...] = ()
    macs: Macs = ()


def with_initializer(
    axes: WeightAxes, name: str, config: Mapping[str, Any]
) -> WeightAxes:
    """Says where new values of a weight of an inner layer come from.

    Args:
        axes: Of the weight.
        name: Of the weight.
        config: Settings of the inner layer; those of the outer one do not know it.
    """
    if axes.new != INITIALIZER or axes.initializer is not None:
        return axes
    setting = f"{name.rsplit('/', 1)[-1]}_initializer"
    return replace(axes, initializer=config.get(setting))


def leaves(value: Any) -> list[Any]:
    """Returns the leaves of nested lists, tuples and dicts, in order."""
    found: list[Any] = []
    _collect(value, found)
    return found


def _collect(value: Any, found: list[Any]) -> None:
    if isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, found)
    elif isinstance(value, _MAPPINGS):
        for item in value.values():
            _collect(item, found)
    elif isinstance(value, slice):
        _collect((value.start, value.stop, value.step), found)
    else:
        found.append(value)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Replaces every leaf of nested lists, tuples, dicts and slices."""
    if isinstance(value, (list, tuple)):
        items = [map_leaves(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, _MAPPINGS):
        return {key: map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(map_leaves(function, b) for b in _bounds(value)))
    return function(value)


def _bounds(value: slice) -> tuple[Any, Any, Any]:
    return value.start, value.stop, value.step
