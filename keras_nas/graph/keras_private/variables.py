"""What a layer or a model keeps account of: its variables and its sub-layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_nas.graph.keras_private.values import is_variable


def named_variables(layer: Any) -> list[tuple[str, Any]]:
    """Returns all variables in the order of ``layer.variables`` with their names."""
    variables = layer.variables
    if not variables:
        return []
    names: dict[int, str] = {}
    for owner, prefix in owners(layer):
        own = owner._trainable_variables + owner._non_trainable_variables
        for variable in own + [seed.state for seed in owner._seed_generators]:
            names.setdefault(id(variable), prefix + variable.name)
    return [(names.get(id(v), v.name), v) for v in variables]


def owners(layer: Any) -> Iterator[tuple[Any, str]]:
    """Yields a layer and its sub-layers, each with its path from the layer."""
    pending = [(layer, "")]
    while pending:
        owner, prefix = pending.pop()
        yield owner, prefix
        for inner in reversed(owner._layers):
            pending.append((inner, f"{prefix}{inner.name}/"))


def forget_variable(optimizer: Any, variable: Any) -> None:
    """Undoes ``optimizer.add_variable``."""
    optimizer._tracker.untrack(variable)


def track_variable(model: Any, variable: Any) -> None:
    """Makes a variable one of a built model, so that a step on JAX may change it."""
    model._tracker.unlock()
    model._track_variable(variable)
    model._tracker.lock()


def untrack_variable(model: Any, variable: Any) -> None:
    """Undoes `track_variable`."""
    model._untrack_variable(variable)


def share_layer(layer: Any, old: Any, new: Any) -> None:
    """Makes a layer, but not what is inside it, use ``new`` where it used ``old``."""
    _replace_attribute(layer, old, new)
    layer._layers[:] = [new if inner is old else inner for inner in layer._layers]
    ids = layer._tracker.stored_ids["layers"]
    ids.discard(id(old))
    ids.add(id(new))


def own_variables(layer: Any) -> list:
    """Returns the variables that a layer has apart from those of its sub-layers."""
    return layer._trainable_variables + layer._non_trainable_variables


def replace_variables(layer: Any, new: dict[int, Any]) -> list[int]:
    """Puts other things where a layer that is thrown away later holds variables.

    Args:
        layer: The layer.
        new: Identity of a variable -> what to put in its place.

    Returns:
        The identities that were found.
    """
    found: dict[int, None] = {}

    def replaced(value: Any) -> Any:
        if id(value) in new:
            found[id(value)] = None
            return new[id(value)]
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)) and any(map(is_variable, value)):
            return [replaced(item) for item in value]
        return value

    attributes = vars(layer)
    for name, value in list(attributes.items()):
        if name.startswith("_") and not is_variable(value):
            # Where Keras keeps account, and PyTorch variables under their names.
            inside = value.items() if type(value) is dict else ()
            for key, item in inside:
                if id(item) in new:
                    attributes[key] = replaced(item)
        else:
            attributes[name] = replaced(value)
    return list(found)


def share_variable(layer: Any, old: Any, new: Any) -> None:
    """Makes a layer and its sub-layers use ``new`` wherever they used ``old``."""
    for owner in layer._flatten_layers():
        _replace_attribute(owner, old, new)
        for store in (owner._trainable_variables, owner._non_trainable_variables):
            for position, variable in enumerate(store):
                if variable is old:
                    store[position] = new
        for ids in owner._tracker.stored_ids.values():
            if id(old) in ids:
                ids.remove(id(old))
                ids.add(id(new))


def _replace_attribute(owner: Any, old: Any, new: Any) -> None:
    """Replaces an object among the attributes; PyTorch keeps some in dicts of them."""
    attributes = vars(owner)
    dicts = [value for value in attributes.values() if type(value) is dict]
    for holder in [attributes, *dicts]:
        for name, value in list(holder.items()):
            if value is old:
                holder[name] = new


def trainable_flags(layer: Any) -> tuple[bool, ...]:
    """The flags of a layer and all its sub-layers, outermost first."""
    return tuple(inner._trainable for inner in layer._flatten_layers())


def set_trainable_flags(layer: Any, flags: tuple[bool, ...]) -> None:
    """Sets the flag of a layer and of each sub-layer, without spreading any."""
    layers = list(layer._flatten_layers())
    if len(layers) != len(flags):
        return
    for inner, flag in zip(layers, flags):
        if inner._trainable != flag:
            inner._trainable = flag


def set_own_trainable(layer: Any, flag: bool) -> None:
    """Sets the flag of one layer and leaves those inside alone."""
    layer._trainable = flag
