"""The settings of ``compile``, and compiling a new model with them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import keras

from keras_nas.graph import keras_private
from keras_nas.graph.copying import Recipe
from keras_nas.graph.optimizer_state import OptimizerState, read_state, restore_state
from keras_nas.graph.weight import Weight
from keras_nas.rules import map_leaves

# Arguments of `compile` that may be dicts from the name of an output.
_BY_OUTPUT = ("loss", "loss_weights", "metrics", "weighted_metrics")


@dataclass(frozen=True)
class CompileState:
    """What a model was compiled with.

    Optimizer and metrics are kept as settings, so that each model gets its own;
    functions as they are. Losses have no variables and are copied: the config of
    some Keras losses is not complete (``Huber`` leaves out ``delta``).

    Attributes:
        arguments: Keyword arguments of ``compile``, with `Recipe` leaves.
        config: For a class with its own ``compile``: what ``compile_from_config``
            takes, else None.
        optimizer: What the optimizer remembers apart from its slots; None if it was
            never built.
        carries_optimizer: Whether a new model gets that, and the slots.
    """

    arguments: Mapping[str, Any]
    config: Mapping[str, Any] | None = None
    optimizer: OptimizerState | None = None
    carries_optimizer: bool = False

    @classmethod
    def of_model(
        cls, model: Any, weights: Mapping[int, Weight] = MappingProxyType({})
    ) -> CompileState | None:
        """Returns the state of a compiled model, None if it is not compiled.

        Args:
            model: The model.
            weights: Identity of a variable -> the weight that stands for it.
        """
        state = cls._of_arguments(model)
        if state is None:
            return None
        return replace(state, optimizer=read_state(model, weights))

    @classmethod
    def _of_arguments(cls, model: Any) -> CompileState | None:
        arguments = keras_private.compile_arguments(model)
        if arguments is None:
            return None
        if keras_private.overrides_compile(type(model)):
            if type(model).compile_from_config is keras.Model.compile_from_config:
                _warn(model, "its class has its own `compile`")
                return None
            return cls({}, model.get_compile_config())
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        try:
            arguments = map_leaves(_freeze, arguments)
        except _CannotCopyError as error:
            _warn(model, str(error))
            return None
        return cls({**arguments, "auto_scale_loss": scaled})

    def renamed(self, names: Mapping[str, str]) -> CompileState:
        """Returns the state of a model whose outputs have other names.

        Args:
            names: Old name of an output -> its new one.
        """

        def rename(value: Any) -> Any:
            if not isinstance(value, Mapping):
                return value
            return {names.get(key, key): item for key, item in value.items()}

        arguments = {
            key: rename(value) if key in _BY_OUTPUT else value
            for key, value in self.arguments.items()
        }
        return replace(self, arguments=arguments)

    def apply(self, model: Any, weights: Mapping[int, Weight]) -> None:
        """Compiles a model the same way, with fresh metrics.

        Args:
            model: The new model.
            weights: Identity of a variable of it -> the weight it was made from.
        """
        if self.config is not None:
            model.compile_from_config(dict(self.config))
        else:
            model.compile(**map_leaves(_thaw, dict(self.arguments)))
        if self.carries_optimizer and self.optimizer is not None:
            restore_state(model, self.optimizer, weights)


class _CannotCopyError(Exception):
    """A metric or optimizer has no usable config."""


def _freeze(value: Any) -> Any:
    """Returns a recipe for an object with state, and everything else as it is."""
    if isinstance(value, keras.losses.Loss):
        return keras_private.shallow_copy(value)
    if not isinstance(value, (keras.Metric, keras.Optimizer)):
        return value
    recipe = Recipe.of(value)
    try:
        recipe.create()
    except Exception as error:
        raise _CannotCopyError(
            f"{type(value).__name__} '{value.name}' cannot be made again from its "
            f"config: {error}"
        ) from error
    return recipe


def _thaw(value: Any) -> Any:
    """Returns what the next model may have for itself."""
    if isinstance(value, keras.losses.Loss):
        return keras_private.shallow_copy(value)
    return value.create() if isinstance(value, Recipe) else value


def _warn(model: Any, reason: str) -> None:
    warnings.warn(
        f"The new model will not be compiled, because of model '{model.name}' {reason}."
        " Call `compile` on the new model yourself.",
        UserWarning,
        stacklevel=2,
    )
