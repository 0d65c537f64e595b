"""Layers that are written as sums of products: EinsumDense and Dot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_nas.axes import Expression, Fixed
from keras_nas.rules.activations import activation_mixes
from keras_nas.rules.call import RuleCall
from keras_nas.rules.operations_contraction import contract, parse_equation
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.relation import (
    AxisTensor,
    Relation,
    SizeOf,
    Undescribed,
    WeightAxes,
)


@layer_rule(layers.EinsumDense)
def einsum_dense(call: RuleCall) -> Relation:
    """A letter of the kernel is read from the input, or a width of the layer's own."""
    if call.config.get("lora_rank"):
        raise Undescribed("it has LoRA weights")
    equation = call.setting("equation")
    (data, kernel), output = parse_equation(
        equation, (call.x.rank, len(call.weights["kernel"]))
    )
    sizes = dict(zip(kernel, call.weights["kernel"], strict=True))
    axes = _letters(call, data, kernel, output, sizes)
    result = tuple(axes[label] for label in output)
    letters = [place for place, label in enumerate(output) if len(label) == 1]
    tensor = AxisTensor(result, letters[-1] if letters else -1)
    sentence = "it sums over them without weights"
    reads = frozenset(
        place
        for place, label in enumerate(kernel)
        if label in data and label not in output
    )
    weights = {
        "kernel": WeightAxes((tuple(axes[label] for label in kernel),), reads=reads)
    }
    if "bias" in call.weights:
        weights["bias"] = WeightAxes((_bias_axes(call, output, axes),))
    own = [label for label in output if label not in data]
    return Relation(
        outputs=(tensor,),
        weights=weights,
        config={"output_shape": _output_shape(call, data, output, result)},
        widths={label: axes[label] for label in own},
        mixes=(
            *((axes[n], sentence) for n in data if n not in kernel and n not in output),
            *activation_mixes(call, tensor),
        ),
        macs=(tuple(axes.values()),),
    )


@layer_rule(layers.Dot)
def dot(call: RuleCall) -> Relation:
    """Both inputs share the batch axis; one axis of each is summed over."""
    left, right = call.tensors
    axes = call.setting("axes")
    first, second = (axes, axes) if isinstance(axes, int) else axes
    labels = (
        [f"left{n}" for n in range(left.rank)],
        [f"right{n}" for n in range(right.rank)],
    )
    labels[0][0] = labels[1][0] = "batch"
    labels[0][call.normal_axis(first, left.rank)] = "sum"
    labels[1][call.normal_axis(second, right.rank)] = "sum"
    output = [label for label in (*labels[0], *labels[1][1:]) if label != "sum"]
    relation = contract(call, (left, right), labels, output)
    if len(output) > 1:
        return relation
    axes = (*relation.outputs[0].axes, Fixed(1))
    return dataclasses.replace(relation, outputs=(AxisTensor(axes),))


def _letters(
    call: RuleCall,
    data: Sequence[str],
    kernel: Sequence[str],
    output: Sequence[str],
    sizes: dict[str, int],
) -> dict[str, Expression]:
    """Returns the axis of each letter: the input's, or new neurons."""
    axes: dict[str, Expression] = {}
    for label, axis in zip(data, call.x.axes, strict=True):
        if label in axes:
            raise Undescribed(f"its input has '{label}' twice")
        axes[label] = axis
    for label in kernel:
        if label not in axes:
            axes[label] = call.atom(sizes[label], label)
        elif axes[label].size != sizes[label]:
            raise Undescribed(f"its axis '{label}' broadcasts")
    if len(set(kernel)) < len(kernel) or len(set(output)) < len(output):
        raise Undescribed("its equation repeats a letter in one term")
    return axes


def _bias_axes(
    call: RuleCall, output: Sequence[str], axes: dict[str, Expression]
) -> tuple[Expression, ...]:
    """The bias starts at its first axis in the output; axes it lacks have size 1."""
    bias_axes = call.setting("bias_axes")
    rank = len(call.weights["bias"])
    return tuple(
        axes[label] if label in bias_axes else Fixed(1) for label in output[-rank:]
    )


def _output_shape(
    call: RuleCall,
    data: Sequence[str],
    output: Sequence[str],
    axes: Sequence[Expression],
) -> Any:
    """The shape without batch axis, and without the axes under the ellipsis."""
    setting = call.setting("output_shape")
    shape = (setting,) if isinstance(setting, int) else tuple(setting)
    is_right = data[-1].startswith("...") and not data[0].startswith("...")
    start = 1 if is_right else len(output) - len(shape)
    new = tuple(
        size if size is None else SizeOf(axis)
        for size, axis in zip(shape, axes[start : start + len(shape)], strict=True)
    )
    return new[0] if isinstance(setting, int) else new
