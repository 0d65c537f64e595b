"""What an optimizer remembers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_nas.graph.keras_private.values import is_variable

# What an optimizer has of each variable is in lists (or dicts) as long as that of its
# variables. These two are no such lists.
_NO_SLOTS = ("_variables", "_trainable_variables")
# Holds values of the variable itself, which the first step of an optimizer writes.
_AVERAGE = "_model_variables_moving_average"


class Slot(NamedTuple):
    """What an optimizer remembers of one variable, under one name.

    Attributes:
        key: Path to the optimizer (inside others), and name of its attribute.
        variable: The variable of the model.
        state: The variable of the optimizer.
        starts_as_variable: Whether it starts as the value of the variable, though only
            the first step writes it.
    """

    key: tuple[str, ...]
    variable: Any
    state: Any
    starts_as_variable: bool


def optimizers(optimizer: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields an optimizer and those that it wraps, each with its path."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), optimizer)]
    seen: set[int] = set()
    while pending:
        path, found = pending.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield path, found
        for name, value in vars(found).items():
            for key, item in _entries(value):
                if isinstance(item, keras.Optimizer):
                    pending.append(((*path, name, str(key)), item))


def trained_variables(optimizer: Any) -> list:
    """Returns the variables of the model that an optimizer was built for."""
    return list(optimizer._trainable_variables)


def optimizer_slots(optimizer: Any) -> Iterator[Slot]:
    """Yields all that an optimizer, and those in it, remember of single variables."""
    for path, found in optimizers(optimizer):
        variables = trained_variables(found)
        for name, value in vars(found).items():
            entries = [item for _, item in _entries(value)]
            is_list = isinstance(value, (list, tuple, dict)) and name not in _NO_SLOTS
            # TensorFlow keeps account of all variables under names like this.
            is_list = is_list and not name.startswith("_self_")
            if not is_list or len(entries) != len(variables):
                continue
            for variable, state in zip(variables, entries):
                if is_variable(state):
                    yield Slot((*path, name), variable, state, name == _AVERAGE)


def optimizer_scalars(optimizer: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the other variables that are attributes, such as iterations."""
    for path, found in optimizers(optimizer):
        for name, value in vars(found).items():
            if is_variable(value):
                yield (*path, name), value


def optimizer_rest(optimizer: Any) -> list:
    """Returns the variables that are neither slots nor attributes."""
    known = {id(slot.state) for slot in optimizer_slots(optimizer)}
    known.update(id(variable) for _, variable in optimizer_scalars(optimizer))
    return [v for v in optimizer.variables if id(v) not in known]


def _entries(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    return [("", value)]
