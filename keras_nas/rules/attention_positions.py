"""What all kinds of attention have in common: positions, masks, and their classes."""

from __future__ import annotations

from typing import Any

from keras_nas.axes import Expression
from keras_nas.rules.call import RuleCall
from keras_nas.rules.relation import AxisTensor, Undescribed

Axes = tuple[Expression, ...]
Mixes = tuple[tuple[Expression, str], ...]

SPREADS = "its attention spreads over all of them"


def check_class(call: RuleCall, base: type) -> None:
    """Makes sure that scores and weights are what the class of Keras makes them."""
    for cls in call.cls.__mro__[: call.cls.__mro__.index(base)]:
        for name, member in vars(cls).items():
            if name.startswith("_") and not name.endswith("__") and callable(member):
                raise Undescribed(f"it overrides `{name}`")
    for name in call.weights:
        last = name.rsplit("/", 1)[-1]
        if "lora" in last:
            raise Undescribed("it has LoRA weights")
        if last.endswith(("kernel_scale", "kernel_zero")):
            raise Undescribed("it is quantized")


def freeze_positions(call: RuleCall, axes: Axes) -> None:
    """Freezes axes that cannot lose a position without moving all others."""
    for axis in axes:
        call.freeze(axis, f"'{call.name}', where the order of positions has a meaning")


def tie_mask(call: RuleCall, mask: Any, axes: Axes) -> None:
    """Ties a mask to the leading axes of the tensor that it is for."""
    if not isinstance(mask, AxisTensor):
        return
    for axis, other in zip(mask.axes, axes, strict=False):
        tie(call, axis, other)
    for axis in mask.axes[len(axes) :]:
        call.freeze(axis, f"'{call.name}', which has it as a mask")


def tie_grid(call: RuleCall, mask: AxisTensor, grid: Axes) -> None:
    """Ties what broadcasts against scores to their axes, aligned at the right."""
    for back, axis in enumerate(reversed(mask.axes), start=1):
        if back <= len(grid) and axis.size != 1:
            tie(call, axis, grid[-back])
        else:
            call.freeze(axis, f"'{call.name}', which broadcasts it")


def tie(call: RuleCall, left: Expression, right: Expression) -> None:
    """Makes two axes one; freezes both if one of them broadcasts."""
    if left.size == right.size or None in (left.size, right.size):
        call.unify(left, right)
        return
    for axis in (left, right):
        call.freeze(axis, f"'{call.name}', which broadcasts it")
