"""Which rule describes which class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from keras import layers

from keras_nas.rules.call import RuleCall
from keras_nas.rules.relation import Relation

Rule = Callable[[RuleCall], Relation]

# Methods that decide how axes hang together. A subclass that replaces one of them is
# another layer, about which the rule of its base says nothing.
_DECISIVE = ("call", "build", "compute_output_shape", "compute_output_spec", "__call__")

_LAYERS: dict[type | str, Rule] = {}
_OPERATIONS: dict[str, Rule] = {}
# Of users; they come before the others.
_CUSTOM: dict[type, Rule] = {}


def layer_rule(*classes: type | str) -> Callable[[Rule], Rule]:
    """Registers a rule for layer classes.

    A class that Keras does not export is named by the end of its full name:
    ``"applications.convnext.LayerScale"``.
    """

    def register(rule: Rule) -> Rule:
        for cls in classes:
            _LAYERS[cls] = rule
        return rule

    return register


def operation_rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operations of ``keras.ops``, by class name.

    A string may hold several names with spaces between them.

    Keras does not export the classes of its operations, and has moved them between
    modules; their names have been stable.
    """

    def register(rule: Rule) -> Rule:
        for name in " ".join(names).split():
            _OPERATIONS[name] = rule
        return rule

    return register


def set_custom_rule(cls: type, rule: Rule) -> None:
    """Registers the rule of a user, in place of any other for this class."""
    _CUSTOM[cls] = rule


def forget_custom_rule(cls: type) -> None:
    """Removes the rule of a user, if there is one."""
    _CUSTOM.pop(cls, None)


def shipped(*names: str) -> tuple[type, ...]:
    """Returns the layer classes of these names that the running Keras has."""
    return tuple(getattr(layers, name) for name in names if hasattr(layers, name))


def is_from_keras(thing: Any) -> bool:
    """Whether a class or function is one of Keras itself."""
    return (thing.__module__ or "").partition(".")[0] == "keras"


def find_rule(cls: type, *, is_operation: bool) -> Rule | None:
    """Returns the rule for a class, or None.

    A subclass of a known layer inherits its rule as long as it overrides nothing that
    decides about axes.
    """
    if is_operation:
        return _OPERATIONS.get(cls.__name__) if is_from_keras(cls) else None
    for base in cls.__mro__:
        rule = _CUSTOM.get(base) or _LAYERS.get(base)
        rule = rule or _LAYERS.get(_unexported_name(base))
        if rule is not None:
            return rule
        if any(name in vars(base) for name in _DECISIVE):
            return None
    return None


def known_classes() -> Iterable[type | str]:
    """Returns every layer class that has a rule of this package."""
    return tuple(_LAYERS)


def known_operations() -> Iterable[str]:
    """Returns the class name of every operation that has a rule."""
    return tuple(_OPERATIONS)


def _unexported_name(cls: type) -> str:
    """Returns ``"applications.convnext.LayerScale"`` for a class inside Keras."""
    if not is_from_keras(cls):
        return ""
    module = cls.__module__.removeprefix("keras.").removeprefix("src.")
    return f"{module}.{cls.__name__}"
