"""What a rule sees of one call, and the words it describes it with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np

from keras_nas.axes import Atom, Expression, Fixed, MaybeNone, Unifier
from keras_nas.rules.relation import (
    AxisTensor,
    Mixed,
    Relation,
    Sliced,
    Undescribed,
    leaves,
)

LearnActivation = Callable[["RuleCall", str, AxisTensor], Mixed]
LearnInner = Callable[["RuleCall"], Relation]


class RuleCall:
    """One call of a layer or operation, with the axes of its inputs.

    Attributes:
        cls: Class of the layer or operation.
        name: Name for labels and reasons: the path of the vertex.
        config: Its settings, as ``get_config`` gives them.
        weights: Weight name -> shape.
        args: Positional call arguments, with `AxisTensor` leaves for tensors.
        kwargs: Keyword call arguments, likewise.
        output_shapes: Shape of each output, in flat order.
        tensors: All tensors among the arguments, in flat order, but for masks.
        masks: The tensors that Keras passes as masks.
        layer: A layer with these weights, where something outside Keras takes part;
            else None. Its settings may be older. Never to be called.
        learn_activation: ``(call, setting, output)`` -> what the function in a setting
            mixes, found by running it, where that can be done. Raises `Undescribed`
            for a function that does not pass neurons one by one.
        learn_inner: Describes a call of a layer inside this one that no rule
            describes, found by running it, where that can be done.
    """

    def __init__(
        self,
        unifier: Unifier,
        cls: type,
        name: str,
        config: Mapping[str, Any],
        weights: Mapping[str, tuple[int, ...]],
        args: tuple,
        kwargs: Mapping[str, Any],
        output_shapes: Sequence[tuple[int | MaybeNone, ...]],
        layer: Any = None,
        learn_activation: LearnActivation | None = None,
        learn_inner: LearnInner | None = None,
    ):
        self.unifier = unifier
        self.cls = cls
        self.name = name
        self.config = config
        self.weights = weights
        self.args = args
        self.kwargs = kwargs
        self.output_shapes = tuple(output_shapes)
        self.layer = layer
        self.learn_activation = learn_activation
        self.learn_inner = learn_inner
        data, masks = split_masks(cls, args, kwargs)
        self.tensors = _tensors_in(data)
        self.masks = _tensors_in(masks)

    @property
    def x(self) -> AxisTensor:
        """The first tensor argument."""
        return self.tensors[0]

    def argument(self, name: str, default: Any = None) -> Any:
        """Returns a call argument by its name in the signature of ``call``."""
        names = positional_names(self.cls)
        if name in names and names.index(name) < len(self.args):
            return self.args[names.index(name)]
        return self.kwargs.get(name, default)

    def setting(self, name: str) -> Any:
        """Returns a setting; a rule that needs one that is missing cannot go on."""
        if name not in self.config:
            raise Undescribed(f"its setting '{name}' cannot be read")
        return self.config[name]

    # --- axes -----------------------------------------------------------------

    def atom(self, size: int, width: str = "", *, is_filler: bool = False) -> Atom:
        """Returns new neurons, labelled ``layer.width``."""
        label = f"{self.name}.{width}" if width else self.name
        return self.unifier.atom(size, label, is_filler=is_filler)

    def fixed(self, size: int | None, reason: str = "") -> Fixed:
        return Fixed(size, reason or f"'{self.name}'")

    def unify(self, left: Expression, right: Expression) -> None:
        self.unifier.unify(left, right, f"'{self.name}'")

    def freeze(self, axis: Expression, reason: str = "") -> Expression:
        """Freezes an axis and returns it."""
        self.unifier.freeze(axis, reason or f"'{self.name}'")
        return self.unifier.resolve(axis)

    def resolve(self, axis: Expression) -> Expression:
        return self.unifier.resolve(axis)

    def tie_masks(self) -> None:
        """Ties each mask to the leading axes of the tensor that it is for."""
        is_paired = len(self.masks) == len(self.tensors)
        for number, mask in enumerate(self.masks):
            tensor = self.tensors[number] if is_paired else self.x
            for place, axis in enumerate(mask.axes):
                if place < tensor.rank and tensor.axes[place].size == axis.size:
                    self.unify(axis, tensor.axes[place])
                else:
                    self.freeze(axis, f"'{self.name}', which has it as a mask")

    # --- tensors --------------------------------------------------------------

    def frozen_output(self, number: int = 0, reason: str = "") -> AxisTensor:
        """Returns an output none of whose axes can change."""
        shape = self.output_shapes[number]
        return AxisTensor(tuple(self.fixed(size, reason) for size in shape))

    def channel_axis(self) -> int:
        """Index of the channel axis of images, from the setting ``data_format``."""
        return 1 if self.config.get("data_format") == "channels_first" else -1

    def normal_axis(self, axis: int, rank: int | None = None) -> int:
        """Returns a possibly negative axis as a non-negative index."""
        rank = self.x.rank if rank is None else rank
        if not -rank <= axis < rank:
            raise Undescribed(f"its axis {axis} is not one of {rank} axes")
        return axis % rank

    def broadcast(self, operands: Sequence[AxisTensor]) -> AxisTensor:
        """Ties the axes of operands as elementwise operations do.

        What broadcasts is decided by the present sizes: an axis of size 1 against one
        of another size ties nothing, and stays 1 for ever.
        """
        rank = max(operand.rank for operand in operands)
        axes = [self._broadcast_axis(operands, back) for back in range(rank, 0, -1)]
        leader = max(operands, key=lambda operand: operand.rank)
        return AxisTensor(tuple(axes), leader.channel)

    def _broadcast_axis(self, operands: Sequence[AxisTensor], back: int) -> Expression:
        axes = [o.axes[-back] for o in operands if o.rank >= back]
        wide = [axis for axis in axes if axis.size != 1]
        if not wide:
            wide = axes
        elif len(wide) < len(axes):
            for axis in axes:
                if axis.size == 1:
                    self.freeze(axis, f"'{self.name}', which broadcasts it")
        for axis in wide[1:]:
            self.unify(wide[0], axis)
        return self.resolve(wide[0])

    def constant(self, value: Any) -> AxisTensor | None:
        """Returns fresh axes for an array argument, None for a scalar or no array.

        The axes are fillers: their positions follow whatever they are tied to.

        Raises:
            Undescribed: The array is a variable, which may be trained.
        """
        if isinstance(value, keras.Variable):
            raise Undescribed("it reads a variable that belongs to no layer")
        shape = np.shape(value) if _is_array_like(value) else ()
        if not shape:
            return None
        return AxisTensor(
            tuple(
                self.fixed(1) if size == 1 else self.atom(size, is_filler=True)
                for size in shape
            )
        )

    def operand(self, value: Any) -> AxisTensor:
        """Returns a tensor, or the fixed axes of a constant array.

        Raises:
            Undescribed: It is something else.
        """
        if isinstance(value, AxisTensor):
            return value
        if isinstance(value, (list, tuple)) or not hasattr(value, "shape"):
            raise Undescribed("one of its operands is not a tensor")
        reason = f"a constant in '{self.name}'"
        return AxisTensor(tuple(self.fixed(size, reason) for size in value.shape))

    def sliced(self, value: Any, tensor: AxisTensor) -> Sliced:
        """An array argument that follows the axes `constant` made for it."""
        return Sliced(value, tensor.axes)

    def same(self, tensor: AxisTensor | None = None, **parts: Any) -> Relation:
        """The relation of a call whose outputs have the axes of one tensor."""
        tensor = self.x if tensor is None else tensor
        return Relation(outputs=(tensor,) * len(self.output_shapes), **parts)


def split_masks(
    cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], list[Any]]:
    """Parts call arguments into data and masks.

    Keras passes masks by itself, as ``mask`` or ``query_mask``, to every layer whose
    ``call`` takes one.
    """
    names = positional_names(cls)
    named = [
        (names[number] if number < len(names) else "", value)
        for number, value in enumerate(args)
    ]
    data: list[Any] = []
    masks: list[Any] = []
    for name, value in (*named, *kwargs.items()):
        is_mask = name == "mask" or name.endswith("_mask")
        (masks if is_mask else data).append(value)
    return data, masks


@cache
def positional_names(cls: Any) -> tuple[str, ...]:
    """Names of the positional arguments of ``cls.call``, without ``self``."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    parameters = list(inspect.signature(cls.call).parameters.values())[1:]
    return tuple(p.name for p in parameters if p.kind in kinds)


def _tensors_in(values: Any) -> list[AxisTensor]:
    return [leaf for leaf in leaves(values) if isinstance(leaf, AxisTensor)]


def _is_array_like(value: Any) -> bool:
    """Whether a call argument is an array (a list of numbers included)."""
    if isinstance(value, (list, tuple)):
        return all(
            isinstance(leaf, (int, float, np.generic, np.ndarray))
            for leaf in leaves(value)
        )
    return hasattr(value, "shape")
