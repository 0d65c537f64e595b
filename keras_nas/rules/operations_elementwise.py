"""Operations that treat every position alike: ``y[i] = f(x[i])``, ``f(a[i], b[i])``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_nas.axes import Expression
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import (
    AxisTensor,
    Mixed,
    Relation,
    Sliced,
    Undescribed,
    leaves,
)

_UNARY = """
    Abs Absolute Angle Arcsinh Arctan Array BitwiseInvert BitwiseNot Cast Cbrt Ceil
    Celu Conj Conjugate ConvertToTensor Copy Cos Cosh Deg2rad Elu EmptyLike Erf
    Erfc Exp Exp2 Expm1 Fabs Floor Gelu HardShrink HardSigmoid HardSilu HardTanh I0
    Imag Isfinite Isinf Isnan Isneginf Isposinf Isreal LeakyRelu LogSigmoid LogicalNot
    NanToNum Negative OnesLike Rad2deg Real Relu Relu6 Round SaturateCast Selu Sigmoid
    Sign Signbit Silu Sin Sinc Sinh SoftShrink Softplus Softsign SparsePlus
    SparseSigmoid Square Squareplus StopGradient Tan TanhShrink Tanh Threshold Trunc
    ZerosLike
"""

_PARTIAL_UNARY = """
    Arccos Arccosh Arcsin Arctanh Erfinv Log Log10 Log1p Log2 Reciprocal
    Rsqrt Sqrt
"""

_BINARY = """
    Add Arctan2 BitwiseAnd BitwiseLeftShift BitwiseOr BitwiseRightShift
    BitwiseXor DivideNoNan Equal Fmax Fmin Gcd Greater GreaterEqual Heaviside Hypot
    Isclose Lcm Ldexp LeftShift Less LessEqual Logaddexp Logaddexp2 LogicalAnd LogicalOr
    LogicalXor Maximum Minimum Multiply Nextafter NotEqual Polar RightShift
    Subtract
"""

_DIVISIONS = "Divide FloorDivide Fmod Mod TrueDivide"


@operation_rule(_UNARY)
def unary(call: RuleCall) -> Relation:
    return call.same(_only_tensor(call))


@operation_rule(_PARTIAL_UNARY)
def partial_unary(call: RuleCall) -> Relation:
    tensor = _only_tensor(call)
    return call.same(tensor, partial=undefined_somewhere(call, tensor))


@operation_rule("Clip")
def clip(call: RuleCall) -> Relation:
    if not all(_is_number(call.setting(name)) for name in ("x_min", "x_max")):
        raise Undescribed("it clips to an array")
    return call.same(_only_tensor(call))


@operation_rule("FullLike")
def full_like(call: RuleCall) -> Relation:
    if call.constant(call.argument("fill_value")) is not None:
        raise Undescribed("it fills with an array")
    return call.same(_only_tensor(call))


@operation_rule(_BINARY)
def binary(call: RuleCall) -> Relation:
    """Both operands are tied along every axis that does not broadcast."""
    output, arguments = tie_operands(call, _operand_names(call))
    return Relation(outputs=(output,), arguments=arguments)


@operation_rule(_DIVISIONS)
def division(call: RuleCall) -> Relation:
    """Undefined where the divisor is zero; a constant divisor stays as it is."""
    output, arguments = tie_operands(call, ("x1", "x2"))
    partial: Mixed = ()
    if isinstance(call.argument("x2"), AxisTensor):
        partial = undefined_somewhere(call, output)
    return Relation(outputs=(output,), arguments=arguments, partial=partial)


@operation_rule("Power")
def power(call: RuleCall) -> Relation:
    """Defined everywhere for a whole exponent and for a positive base."""
    output, arguments = tie_operands(call, ("x1", "x2"))
    base, exponent = call.argument("x1"), call.argument("x2")
    is_total = _is_number(base) and base > 0
    if _is_number(exponent) and exponent >= 0 and exponent == int(exponent):
        is_total = True
    partial = () if is_total else undefined_somewhere(call, output)
    return Relation(outputs=(output,), arguments=arguments, partial=partial)


@operation_rule("Where")
def where(call: RuleCall) -> Relation:
    if call.argument("x1") is None or call.argument("x2") is None:
        raise Undescribed("it lists the positions where its condition holds")
    output, arguments = tie_operands(call, ("condition", "x1", "x2"))
    return Relation(outputs=(output,), arguments=arguments)


def tie_operands(
    call: RuleCall, names: Sequence[str]
) -> tuple[AxisTensor, dict[str, Sliced]]:
    """Broadcasts operands, tensors and constants alike.

    Args:
        call: The call.
        names: Names of the operands among the call arguments.

    Returns:
        The result, and the new values of the arguments that are constant arrays.

    Raises:
        Undescribed: An operand is a list of tensors, or a variable.
    """
    tensors, constants, arguments = [], [], {}
    for name in names:
        value = call.argument(name)
        if isinstance(value, AxisTensor):
            tensors.append(value)
            continue
        if any(isinstance(leaf, AxisTensor) for leaf in leaves(value)):
            raise Undescribed(f"its argument '{name}' is a list of tensors")
        constant = call.constant(value)
        if constant is not None:
            constants.append(constant)
            arguments[name] = call.sliced(value, constant)
    return call.broadcast((*tensors, *constants)), arguments


def undefined_somewhere(
    call: RuleCall, tensor: AxisTensor
) -> tuple[tuple[Expression, str], ...]:
    """Says that a function is undefined on some values, as `Relation.partial` does."""
    sentence = f"{call.cls.__name__} is undefined on some values"
    return tuple((axis, sentence) for axis in tensor.axes if call.resolve(axis).atoms)


def _only_tensor(call: RuleCall) -> AxisTensor:
    if len(call.tensors) != 1:
        raise Undescribed(f"it has {len(call.tensors)} tensors, where one is expected")
    return call.x


def _operand_names(call: RuleCall) -> tuple[str, str]:
    """The bitwise operations call their operands otherwise."""
    if call.cls.__name__ == "Polar":
        return "abs_", "angle"
    has_x1 = call.argument("x1") is not None
    return ("x1", "x2") if has_x1 else ("x", "y")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
