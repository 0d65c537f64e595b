"""The only file that touches what Keras does not promise to keep.

Everything here is a plain function on Keras objects, so that a new Keras release
breaks this file and no other.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.models.functional import Functional
from keras.src.saving import serialization_lib
from keras.src.utils import python_utils, tracking

flatten = keras.tree.flatten


# --- what an object is ---------------------------------------------------------------


def is_layer_class(cls: type) -> bool:
    """Whether objects of a class are layers, not raw operations."""
    return issubclass(cls, keras.Layer)


def is_input_class(cls: type) -> bool:
    """Whether a class is ``InputLayer`` or derived from it."""
    return issubclass(cls, keras.layers.InputLayer)


def functional_of(operation: Any) -> Any:
    """Returns the recorded graph of a model, or None if it has none.

    A subclass that overrides ``call`` computes something else than the graph says.
    """
    if isinstance(operation, keras.Sequential):
        if type(operation).call is not keras.Sequential.call:
            return None
        return operation._functional
    if isinstance(operation, Functional):
        return operation if type(operation).call is Functional.call else None
    return None


def is_functional_class(cls: type) -> bool:
    """Whether a class is that of functional models or derived from it."""
    return issubclass(cls, Functional)


# --- the recorded calls --------------------------------------------------------------


class CallRecord(NamedTuple):
    """One recorded call: the object, its arguments, and the tensors it returned."""

    operation: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: list


def calls(functional: Any) -> Iterator[CallRecord]:
    """Yields the calls of a model in the order in which Keras runs them."""
    nodes_by_depth = functional._nodes_by_depth
    for depth in sorted(nodes_by_depth, reverse=True):
        for node in nodes_by_depth[depth]:
            arguments = node.arguments
            yield CallRecord(
                node.operation, arguments.args, arguments.kwargs, node.outputs
            )


def chain(model: Any) -> list[CallRecord]:
    """Returns the calls of a sequential model as the chain that it is.

    What Keras recorded has more: operations that compute masks, for one, and the
    arguments that it filled in. Both come back when the layers are called.
    """
    recorded = {id(record.operation): record for record in calls(model._functional)}
    records: list[CallRecord] = []
    for layer in model._layers:
        args = (records[-1].outputs[0],) if records else ()
        records.append(CallRecord(layer, args, {}, recorded[id(layer)].outputs))
    return records


def input_structure(functional: Any) -> Any:
    """The inputs of a functional model, nested as it was made with."""
    return functional._inputs_struct


def output_structure(functional: Any) -> Any:
    """The outputs of a functional model, likewise."""
    return functional._outputs_struct


# --- variables -----------------------------------------------------------------------


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


def is_variable(value: Any) -> bool:
    """Whether an object is a Keras variable."""
    return isinstance(value, keras.Variable)


def snapshot(variable: Any) -> Callable[[], Any]:
    """Returns a function that gives the present value of a variable for ever.

    TensorFlow copies the memory of a variable on the next write if somebody else
    still reads it, so its tensor is the snapshot. A JAX array is immutable, but the
    trainer of Keras donates it to the compiled step, which deletes it; its numpy view
    survives. PyTorch writes in place, so only a copy is safe.
    """
    value = variable.value
    if keras.backend.backend() == "tensorflow":
        tensor = value.read_value()
        return lambda: tensor
    if keras.backend.backend() == "jax":
        view = np.asarray(value)
        return lambda: view
    array = to_numpy(np.array(keras.ops.convert_to_numpy(value)), variable.dtype)
    return lambda: array


def numpy_dtype(name: str) -> np.dtype:
    """Returns the numpy dtype of a Keras dtype name."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def to_numpy(tensor: Any, dtype: str) -> np.ndarray:
    """Returns a tensor as an array of a dtype, without a copy where possible."""
    return np.asarray(tensor).astype(numpy_dtype(dtype), copy=False)


def own_memory(value: Any) -> Any:
    """Returns a value that a new variable may overwrite.

    PyTorch would adopt the memory of a numpy array and train in it.
    """
    if keras.backend.backend() == "torch":
        return np.array(value)
    return value


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


# --- flags ---------------------------------------------------------------------------


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


# --- what is left as it was ----------------------------------------------------------


@contextlib.contextmanager
def names_kept() -> Iterator[None]:
    """Lets Keras count on, after it, as if nothing had been made meanwhile."""
    key = "object_name_uids"
    counts = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, copy.copy(counts))
    try:
        yield
    finally:
        global_state.set_global_attribute(key, counts)


@contextlib.contextmanager
def names_anew() -> Iterator[None]:
    """Lets Keras count from the start, and count on after it as if nothing had been.

    What is made within this scope has the same names in every process.
    """
    key = "object_name_uids"
    counts = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(key, counts)


# --- compile and serialization -------------------------------------------------------


def compile_arguments(model: Any) -> dict[str, Any] | None:
    """Returns the arguments that ``compile`` was called with, as objects."""
    if not model.compiled or not hasattr(model, "_compile_config"):
        return None
    return dict(model._compile_config.config)


def loss_settings(loss: Any) -> dict[str, Any]:
    """Returns what a loss object depends on, without its name.

    The config of some Keras losses is not complete (``Huber`` leaves out ``delta``),
    and few people write one for their own.
    """
    own = vars(loss)
    public = {key: value for key, value in own.items() if not key.startswith("_")}
    settings = {**public, **own.get("_fn_kwargs", {}), **loss.get_config()}
    # Keras numbers the names of those that were given none.
    settings.pop("name", None)
    return settings


def overrides_compile(model_class: Any) -> bool:
    """Whether a model class has a ``compile`` of its own."""
    return model_class.compile is not keras.Model.compile


def unsafe_deserialization() -> Any:
    """Returns a scope in which Python lambdas are deserialized.

    Only for configs of objects that are in memory already: nothing was loaded.
    """
    return serialization_lib.SafeModeScope(safe_mode=False)


def dump_function(function: Callable) -> tuple:
    """Returns what Keras writes into a config for a lambda."""
    return python_utils.func_dump(function)


# --- optimizers ----------------------------------------------------------------------

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


# --- copies --------------------------------------------------------------------------


def shallow_copy(thing: Any) -> Any:
    """Returns ``copy.copy(thing)`` without the detour through the Keras file format."""
    new = object.__new__(type(thing))
    vars(new).update(vars(thing))
    return new


def copy_operation(operation: Any) -> Any:
    """Returns a copy of a raw operation that was never called."""
    new = object.__new__(type(operation))
    memo = {
        id(operation): new,
        id(operation._inbound_nodes): [],
        id(operation._outbound_nodes): [],
    }
    vars(new).update(
        {name: copy.deepcopy(value, memo) for name, value in vars(operation).items()}
    )
    return new


def copy_layer(layer: Any) -> Any:
    """Returns a deep copy of a layer that was never called, with its own variables.

    ``copy.deepcopy`` alone would go through the Keras file format, which needs a
    working ``get_config``. So all layers, variables and seed generators inside get an
    empty shell first, and then their attributes are deep-copied into the shells.
    """
    layers = list(layer._flatten_layers())
    seeds = [seed for inner in layers for seed in inner._seed_generators]
    memo: dict[int, Any] = {}
    for inner in layers:
        memo[id(inner)] = keras.Layer.__new__(type(inner))
        memo[id(inner._inbound_nodes)] = []
        memo[id(inner._outbound_nodes)] = []
    for seed in seeds:
        memo[id(seed)] = object.__new__(type(seed))
        memo[id(seed.backend)] = seed.backend
    for variable in layer.variables:
        new = memo[id(variable)] = _copy_variable(variable)
        memo[id(variable._value)] = new._value
    with tracking.DotNotTrackScope():  # What is tracked is copied with the rest.
        for owner in layers + seeds:
            for name, value in vars(owner).items():
                # Both wrap the methods of the original; the shell has its own.
                if name not in ("build", "quantize"):
                    vars(memo[id(owner)])[name] = copy.deepcopy(value, memo)
    for inner in layers:
        tracker = memo[id(inner)]._tracker
        for store, (_, values) in tracker.config.items():
            tracker.stored_ids[store] = {id(value) for value in values}
    return memo[id(layer)]


def _copy_variable(variable: Any) -> Any:
    """Returns a new variable with the same value, settings and path."""
    new = keras.Variable(
        np.array(to_numpy(snapshot(variable)(), variable.dtype)),
        dtype=variable.dtype,
        trainable=variable.trainable,
        autocast=variable._autocast,
        aggregation=variable.aggregation,
        name=variable.name,
    )
    new._path = variable._path
    new.regularizer = variable.regularizer
    new.constraint = variable.constraint
    return new
