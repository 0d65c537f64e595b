"""Whether the rule of a user fits the layer that it is used for."""

from __future__ import annotations

from collections.abc import Mapping

from keras_nas.errors import RuleError
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import Rule
from keras_nas.rules.relation import Relation, SizeOf, Undescribed, WeightAxes

_STATE = "seed_generator_state"


def checked(function: Rule, call: RuleCall, *, may_refuse: bool) -> Relation:
    """Runs a rule and compares what it says with the layer.

    Args:
        function: The rule.
        call: What it is asked about.
        may_refuse: Whether the rule may raise `Undescribed`, as a function may.

    Raises:
        RuleError: It says something else than the layer does.
    """
    try:
        relation = function(call)
    except (RuleError, Undescribed) as error:
        if isinstance(error, RuleError) or may_refuse:
            raise
        raise contradiction(call, str(error)) from error
    except Exception as error:
        raise contradiction(call, f"{type(error).__name__}: {error}") from error
    if not isinstance(relation, Relation):
        raise contradiction(
            call, f"the rule returned a {type(relation).__name__}, not a Relation"
        )
    _check_weights(call, relation.weights)
    _check_outputs(call, relation)
    for key, value in relation.config.items():
        real = call.config.get(key)
        if not isinstance(value, SizeOf) or not isinstance(real, int):
            continue
        if value.axis.size != real:
            raise contradiction(
                call,
                f"the setting {key!r} is {real}, but the axis that the rule gives it "
                f"has size {value.axis.size}",
            )
    return relation


def _check_weights(call: RuleCall, weights: Mapping[str, WeightAxes]) -> None:
    if call.layer is not None and len(call.layer.variables) != len(call.weights):
        raise contradiction(
            call, f"two of its weights have one name (it has {sorted(call.weights)})"
        )
    for name, shape in call.weights.items():
        if name in weights:
            described = weights[name].shape
            if described != tuple(shape):
                raise contradiction(
                    call,
                    f"its weight '{name}' has shape {tuple(shape)}, but the rule gives "
                    f"it the shape {described}",
                )
        elif not name.endswith(_STATE):
            raise contradiction(
                call,
                f"its weight '{name}' of shape {tuple(shape)} is not in the rule, "
                f"which names {sorted(weights)}",
            )


def _check_outputs(call: RuleCall, relation: Relation) -> None:
    shapes = [tensor.shape for tensor in relation.outputs]
    real = [tuple(shape) for shape in call.output_shapes]
    if [len(shape) for shape in shapes] == [len(shape) for shape in real]:
        pairs = (
            pair
            for left, right in zip(shapes, real, strict=True)
            for pair in zip(left, right, strict=True)
        )
        if all(None in (a, b) or a == b for a, b in pairs):
            return
    raise contradiction(
        call, f"its outputs have shapes {real}, but the rule gives them {shapes}"
    )


def contradiction(call: RuleCall, problem: str) -> RuleError:
    """Returns the error that says how a rule and a layer differ."""
    return RuleError(
        f"The rule for {call.cls.__name__} does not fit layer '{call.name}': "
        f"{problem}.\n\nCorrect it with another call of `keras_nas.register_rule`. "
        f"Received: weights={ {k: tuple(v) for k, v in call.weights.items()} }"
    )
