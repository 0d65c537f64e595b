"""Operations that sum products of tensors: matmul, tensordot, einsum.

Each is written as an einsum whose labels are strings of any length. Equal labels are
one axis. A label that the output does not have is summed over without weights, so the
function changes with the axis: it is *mixed*. Unless one of the operands is a variable
of some layer, an embedding that is its own output head for instance: that *reads* it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from keras_nas.axes import Expression, product
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import AxisTensor, Relation, Undescribed

Labels = Sequence[str]


@operation_rule("Matmul")
def matmul(call: RuleCall) -> Relation:
    """The axes before the last two broadcast."""
    left, right = _operands(call)
    left_labels = [f"batch{n}" for n in range(left.rank - 2, 0, -1)] + ["row", "sum"]
    right_labels = [f"batch{n}" for n in range(right.rank - 2, 0, -1)]
    right_labels += ["sum", "column"] if right.rank > 1 else ["sum"]
    left_labels = left_labels[-left.rank :]
    longer = left_labels if left.rank >= right.rank else right_labels
    output = [label for label in longer if label.startswith("batch")]
    output += ["row"] * (left.rank > 1) + ["column"] * (right.rank > 1)
    return contract(call, (left, right), (left_labels, right_labels), output)


@operation_rule("Dot")
def dot(call: RuleCall) -> Relation:
    left, right = _operands(call)
    if not left.rank or not right.rank:
        raise Undescribed("it multiplies with a scalar")
    return _tensordot(call, left, right, [left.rank - 1], [max(right.rank - 2, 0)])


@operation_rule("Inner")
def inner(call: RuleCall) -> Relation:
    left, right = _operands(call)
    if not left.rank or not right.rank:
        raise Undescribed("it multiplies with a scalar")
    return _tensordot(call, left, right, [left.rank - 1], [right.rank - 1])


@operation_rule("Tensordot")
def tensordot(call: RuleCall) -> Relation:
    left, right = _operands(call)
    axes = call.setting("axes")
    if isinstance(axes, int):
        left_axes = list(range(left.rank - axes, left.rank))
        right_axes = list(range(axes))
    else:
        left_axes, right_axes = (
            [side] if isinstance(side, int) else list(side) for side in axes
        )
    left_axes = [call.normal_axis(axis, left.rank) for axis in left_axes]
    right_axes = [call.normal_axis(axis, right.rank) for axis in right_axes]
    return _tensordot(call, left, right, left_axes, right_axes)


@operation_rule("Outer")
def outer(call: RuleCall) -> Relation:
    """Both operands are flattened."""
    axes = []
    for tensor in _operands(call):
        if None in tensor.shape:
            raise Undescribed("it flattens axes of unknown size")
        axes.append(product(map(call.resolve, tensor.axes)))
    return Relation(outputs=(AxisTensor(tuple(axes)),), macs=(tuple(axes),))


@operation_rule("Vdot")
def vdot(call: RuleCall) -> Relation:
    left, right = _operands(call)
    if left.shape != right.shape:
        raise Undescribed("it flattens operands of unequal shapes")
    labels = [f"sum{number}" for number in range(left.rank)]
    return contract(call, (left, right), (labels, labels), [])


@operation_rule("Einsum")
def einsum(call: RuleCall) -> Relation:
    operands = [call.operand(value) for value in call.args]
    inputs, output = parse_equation(
        call.setting("subscripts"), [operand.rank for operand in operands]
    )
    return contract(call, operands, inputs, output)


def contract(
    call: RuleCall,
    operands: Sequence[AxisTensor],
    inputs: Sequence[Labels],
    output: Labels,
) -> Relation:
    """Describes an einsum.

    Args:
        call: The call.
        operands: Its tensors.
        inputs: Labels of the axes of each operand. Of axes with the same label, those
            of size 1 broadcast; an operand with a label twice is read on its diagonal.
        output: Labels of the axes of the output.

    Returns:
        The `Relation`; equal labels are tied.
    """
    axes = _tie_labels(call, operands, inputs)
    reads = {
        label: axis
        for tensor, labels in zip(operands, inputs, strict=True)
        for label, axis in zip(labels, tensor.axes, strict=True)
        if tensor.is_variable and label not in output
    }
    sentence = "it sums over them without weights"
    mixes = tuple(
        (axis, sentence)
        for label, axis in axes.items()
        if label not in output and label not in reads and call.resolve(axis).atoms
    )
    result = AxisTensor(tuple(call.resolve(axes[label]) for label in output))
    # Not of what broadcasts: its sums are over the wide axes.
    macs = (tuple(map(call.resolve, axes.values())),)
    return call.same(result, mixes=mixes, reads=tuple(reads.values()), macs=macs)


def parse_equation(
    equation: str, ranks: Sequence[int]
) -> tuple[list[list[str]], list[str]]:
    """Splits an einsum equation into labels.

    Args:
        equation: As ``numpy.einsum`` takes it; ``...`` stands for axes that broadcast.
        ranks: Rank of each operand.

    Returns:
        The labels of each operand and those of the output. Axes under the ellipsis
        are labelled ``"...1"``, ``"...2"``, ... from the right.

    Raises:
        Undescribed: The equation does not fit the operands.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise Undescribed(f"its equation '{equation}' has {len(terms)} operands")
    inputs = [_term(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    hidden = max((_hidden(labels) for labels in inputs), key=len, default=[])
    if not arrow:
        letters = re.sub("[^a-zA-Z]", "", left)
        once = sorted(letter for letter in letters if letters.count(letter) == 1)
        return inputs, [*hidden, *once]
    output: list[str] = []
    for token in re.findall(r"\.\.\.|[a-zA-Z]", right):
        output += hidden if token == "..." else [token]
    return inputs, output


def _term(term: str, rank: int) -> list[str]:
    tokens = re.findall(r"\.\.\.|[a-zA-Z]", term)
    missing = rank - len(tokens) + ("..." in tokens)
    if missing < 0 or (missing and "..." not in tokens):
        raise Undescribed(f"its operand '{term}' has {rank} axes")
    labels = []
    for token in tokens:
        if token == "...":
            labels += [f"...{number}" for number in range(missing, 0, -1)]
        else:
            labels.append(token)
    return labels


def _hidden(labels: Labels) -> list[str]:
    return [label for label in labels if label.startswith("...")]


def _tie_labels(
    call: RuleCall, operands: Sequence[AxisTensor], inputs: Sequence[Labels]
) -> dict[str, Expression]:
    """Returns the axis of each label, after tying all axes that have it."""
    groups: dict[str, list[Expression]] = {}
    for tensor, labels in zip(operands, inputs, strict=True):
        for label, axis in zip(labels, tensor.axes, strict=True):
            if labels.count(label) > 1:
                call.freeze(axis, f"'{call.name}', which reads a diagonal along it")
            groups.setdefault(label, []).append(axis)
    axes = {}
    for label, group in groups.items():
        wide = [axis for axis in group if axis.size != 1] or group
        if len(wide) < len(group):
            for axis in group:
                if axis.size == 1:
                    call.freeze(axis, f"'{call.name}', which broadcasts it")
        for axis in wide[1:]:
            call.unify(wide[0], axis)
        axes[label] = wide[0]
    return axes


def _tensordot(
    call: RuleCall,
    left: AxisTensor,
    right: AxisTensor,
    left_axes: Sequence[int],
    right_axes: Sequence[int],
) -> Relation:
    left_labels = [f"left{number}" for number in range(left.rank)]
    right_labels = [f"right{number}" for number in range(right.rank)]
    for number, (a, b) in enumerate(zip(left_axes, right_axes, strict=True)):
        left_labels[a] = right_labels[b] = f"sum{number}"
    output = [
        label for label in (*left_labels, *right_labels) if not label.startswith("sum")
    ]
    return contract(call, (left, right), (left_labels, right_labels), output)


def _operands(call: RuleCall) -> tuple[AxisTensor, AxisTensor]:
    left, right = (call.operand(call.argument(name)) for name in ("x1", "x2"))
    return left, right
