"""What Keras writes down: names, the arguments of compile, configs."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.saving import serialization_lib
from keras.src.utils import python_utils

# Where Keras keeps how many names it has made up for objects of each class.
_COUNTS = "object_name_uids"


@contextlib.contextmanager
def names_kept(*, from_start: bool = False) -> Iterator[None]:
    """Lets Keras count on, after it, as if nothing had been made meanwhile.

    Args:
        from_start: Whether it forgets within the scope what it has counted before.
    """
    counts = global_state.get_global_attribute(_COUNTS)
    meanwhile = None if from_start else copy.copy(counts)
    global_state.set_global_attribute(_COUNTS, meanwhile)
    try:
        yield
    finally:
        global_state.set_global_attribute(_COUNTS, counts)


def names_anew() -> contextlib.AbstractContextManager[None]:
    """Lets Keras count from the start, and count on after it as if nothing had been.

    What is made within this scope has the same names in every process.
    """
    return names_kept(from_start=True)


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
