"""What is needed to make a layer or an operation again, and making it."""

from __future__ import annotations

import contextlib
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_nas.errors import UnsupportedModelError
from keras_nas.graph import keras_private
from keras_nas.graph.structure import Part
from keras_nas.rules import is_from_keras, map_leaves


@dataclass(frozen=True)
class Recipe:
    """Settings of an object of Keras or of a user's class.

    Attributes:
        cls: Class of the object.
        config: What ``get_config`` gave, with lambdas replaced by references into
            ``custom_objects``; None where ``get_config`` fails.
        custom_objects: Classes and functions outside Keras that the config names.
        is_custom: Whether anything outside Keras takes part.
    """

    cls: type
    config: dict[str, Any] | None
    custom_objects: Mapping[str, Any]
    is_custom: bool

    @classmethod
    def of(cls, thing: Any) -> Recipe:
        """Reads the settings of a layer, operation, optimizer, metric or loss."""
        config = map_dicts(_without_build, _read_config(thing))
        is_custom = not is_from_keras(type(thing)) or _names_custom(config)
        custom_objects = {}
        if is_custom:
            custom_objects = _custom_objects(thing)
            config = map_dicts(
                lambda entry: _without_lambda(entry, custom_objects), config
            )
        return cls(type(thing), config, custom_objects, is_custom)

    def create(self) -> Any:
        """Returns a new object with these settings."""
        return from_config(self.cls, self.config, self.custom_objects)


def from_config(
    cls: type[Any], config: Any, custom_objects: Mapping[str, Any]
) -> Any:
    """Returns ``cls.from_config(config)``, leaving ``config`` as it is."""
    with contextlib.ExitStack() as scopes:
        if custom_objects:
            scopes.enter_context(keras.saving.custom_object_scope(custom_objects))
            scopes.enter_context(keras_private.unsafe_deserialization())
        # Some from_config methods write into what they are given.
        return cls.from_config(map_leaves(lambda leaf: leaf, dict(config)))


def create(part: Part) -> Any:
    """Returns a new, never called layer or operation with the settings of a part.

    Raises:
        UnsupportedModelError: Neither its config nor a copy of the original works.
    """
    new = _create(part)
    # Neither settings nor the template know that an edit has given another name.
    new.name = part.name
    return new


def _create(part: Part) -> Any:
    original_is_good = part.template is not None and not part.is_edited
    if original_is_good and (part.is_operation or part.is_opaque):
        return _copy_template(part, None)
    try:
        return from_config(part.cls, part.config, part.custom_objects)
    except Exception as error:
        if original_is_good:
            return _copy_template(part, error)
        raise _cannot_copy(part, error) from error


def _copy_template(part: Part, cause: Exception | None) -> Any:
    copy: Callable[[Any], Any] = keras_private.copy_layer
    if part.is_operation:
        copy = keras_private.copy_operation
    try:
        return copy(part.template)
    except Exception as error:
        raise _cannot_copy(part, cause or error) from error


def _cannot_copy(part: Part, error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"'{part.key}' of class {part.cls.__name__} cannot be made again from its "
        f"settings: {type(error).__name__}: {error}\n\nGive {part.cls.__name__} a "
        "`get_config` that returns all arguments of its constructor. Received: "
        f"config={part.config}"
    )


# --- reading settings ----------------------------------------------------------------


def _read_config(thing: Any) -> dict[str, Any] | None:
    """Returns ``get_config()``, or None if the class has no usable one."""
    try:
        with warnings.catch_warnings():
            # Keras warns that a lambda would be unsafe to load from a file.
            warnings.filterwarnings("ignore", message=".*includes a `lambda`.*")
            return dict(thing.get_config())
    except Exception:  # noqa: BLE001  A user's method may fail in any way.
        return None


def _without_build(entry: dict) -> dict:
    """Returns the config of an inner layer without the shape it was built with.

    It would be built too early, with random values, and with the wrong name scope.
    """
    if "build_config" in entry and "class_name" in entry:
        return {key: entry[key] for key in entry if key != "build_config"}
    return entry


def _names_custom(config: Any) -> bool:
    """Says whether a config mentions a class or function from outside Keras."""
    found = []

    def look(entry: dict) -> dict:
        found.append(_dumped_lambda(entry) is not None)
        if "class_name" in entry and "config" in entry:
            module = entry.get("module") or ""
            found.append(
                entry["class_name"] == "function"
                or entry.get("registered_name") is not None
                or module.split(".")[0] not in ("keras", "builtins", "")
            )
        return entry

    map_dicts(look, config)
    return any(found)


def map_dicts(function: Any, structure: Any) -> Any:
    """Applies a function to all dicts of a nested config, outer ones first."""
    if isinstance(structure, dict):
        entry = function(structure)
        return {key: map_dicts(function, value) for key, value in entry.items()}
    if type(structure) in (list, tuple):
        return type(structure)(map_dicts(function, item) for item in structure)
    return structure


def _custom_objects(thing: Any) -> dict[str, Any]:
    """Returns the classes and functions from outside Keras that an object uses."""
    found: dict[str, Any] = {}
    for value in _reachable(thing):
        named = value if isinstance(value, types.FunctionType) else type(value)
        if is_from_keras(named):
            continue
        name = keras.saving.get_registered_name(named)
        if getattr(named, "__name__", "") == "<lambda>":
            name = f"lambda_{len(found)}"
        found.setdefault(name, named)
    return found


def _reachable(thing: Any) -> Iterator[Any]:
    """Yields functions and configurable objects among the attributes, at any depth."""
    pending, seen = [thing], set()
    while pending:
        value = pending.pop()
        if id(value) in seen or isinstance(value, type):
            continue
        seen.add(id(value))
        if isinstance(value, types.FunctionType):
            yield value
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, (list, tuple, set)):
            pending.extend(value)
        elif hasattr(value, "get_config") and hasattr(value, "__dict__"):
            yield value
            attributes = vars(value)
            pending.extend(
                attributes[name]
                for name in attributes
                if name not in ("build", "quantize")
            )


def _without_lambda(entry: dict, custom_objects: Mapping[str, Any]) -> dict:
    """Returns a reference to a function in memory for a dumped lambda.

    A dumped lambda loses its module: it could no longer see ``keras``, for example.
    """
    dumped = _dumped_lambda(entry)
    if dumped is None:
        return entry
    code, closure = dumped
    for name, function in custom_objects.items():
        if isinstance(function, types.FunctionType):
            its_code, _, its_closure = keras_private.dump_function(function)
            if its_code == code and _are_same(its_closure, closure):
                return {
                    "module": "builtins",
                    "class_name": "function",
                    "config": name,
                    "registered_name": name,
                }
    return entry


def _dumped_lambda(entry: dict) -> tuple | None:
    """Returns code and closure of a lambda in a config, None for anything else."""
    dumped = entry
    if entry.get("class_name") == "__lambda__":
        dumped = entry["config"]
        if "code" in dumped:
            return dumped["code"], dumped["closure"]
    # An activation is written without its class name.
    if set(dumped) == {"value"} and isinstance(dumped["value"], tuple):
        return dumped["value"][0], dumped["value"][2]
    return None


def _are_same(first: Any, second: Any) -> bool:
    first, second = list(first or ()), list(second or ())
    return len(first) == len(second) and all(
        one is other for one, other in zip(first, second)
    )


# --- state beside the variables ------------------------------------------------------


def read_assets(layer: Any) -> dict[str, bytes]:
    """Returns the files in which a layer (a vocabulary, say) stores its state."""
    if not hasattr(layer, "save_assets"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        layer.save_assets(folder)
        files = (path for path in Path(folder).rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def restore_assets(layer: Any, assets: Mapping[str, bytes]) -> None:
    """Gives a layer the state that `read_assets` returned."""
    if not assets:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, content in assets.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        layer.load_assets(folder)
