"""``keras.ops.rearrange``: axes by name, as our own rules write them."""

from __future__ import annotations

import re

from keras_nas.axes import Expression, product
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import AxisTensor, Relation, SizeOf, Undescribed

_AXIS = re.compile(r"\w+|\(.*?\)")


@operation_rule("Rearrange")
def rearrange(call: RuleCall) -> Relation:
    """Lengths given by name follow their axes."""
    pattern = call.argument("pattern")
    if not isinstance(pattern, str) or pattern.count("->") != 1:
        raise Undescribed(f"its pattern is {pattern!r}")
    left, right = (_AXIS.findall(side) for side in pattern.split("->"))
    if len(left) != call.x.rank:
        raise Undescribed(f"its pattern '{pattern}' has {len(left)} axes")
    lengths = {
        name: value for name, value in call.kwargs.items() if isinstance(value, int)
    }
    axes: dict[str, Expression] = {}
    for text, axis in zip(left, call.x.axes, strict=True):
        names = text.strip("()").split()
        axes.update(zip(names, _factors(call, names, axis, lengths), strict=True))
    results = []
    for text in right:
        parts = [call.resolve(axes[name]) for name in text.strip("()").split()]
        unknown = len(parts) > 1 and None in [part.size for part in parts]
        if unknown:
            for part in parts:
                call.freeze(part, f"'{call.name}', which joins it with an unknown size")
        results.append(call.fixed(None) if unknown else product(parts))
    arguments = {name: SizeOf(axes[name]) for name in lengths if name in axes}
    return Relation(outputs=(AxisTensor(tuple(results)),), arguments=arguments)


def _factors(
    call: RuleCall, names: list[str], axis: Expression, lengths: dict[str, int]
) -> tuple[Expression, ...]:
    if len(names) == 1:
        return (axis,)
    if axis.size is None:
        raise Undescribed("it takes an axis of unknown size apart")
    given = [lengths.get(name) for name in names]
    known = 1
    for size in given:
        known *= size or 1
    if given.count(None) > 1:
        raise Undescribed(f"it takes an axis apart into {names} of unknown sizes")
    sizes = [axis.size // known if size is None else size for size in given]
    return call.unifier.factor(axis, sizes, call.name)
