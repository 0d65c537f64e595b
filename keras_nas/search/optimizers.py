"""Optimizers of candidates: fresh ones, and those that go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

# Of the learning rate, at the end of a round.
_LAST_RATE = 0.02


def make_optimizer(training: Mapping[str, Any]) -> Any:
    """Returns a fresh optimizer of the settings of a candidate.

    Example:
        >>> made = make_optimizer({"optimizer": "sgd", "learning_rate": 0.1})
        >>> type(made).__name__
        'SGD'
    """
    config = {k: v for k, v in training.items() if k not in ("optimizer", "batch_size")}
    # A name is looked up without regard to case; settings need the class.
    cls = type(keras.optimizers.get(training["optimizer"]))
    return cls(**config)


def annealed(share: float) -> float:
    """Returns what is left of the learning rate when a share of the steps is done.

    Example:
        >>> annealed(0.0), round(annealed(0.5), 2), annealed(1.0)
        (1.0, 0.51, 0.02)
    """
    return _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * share)) / 2


def has_same_order(model: Any, other: Any) -> bool:
    """Whether two models that share layers list their trained variables alike.

    What an optimizer remembers is read from a file in that order.
    """
    first, second = model.trainable_variables, other.trainable_variables
    return list(map(id, first)) == list(map(id, second))


def carried_optimizer(model: Any, fresh: Any) -> Any:
    """Returns the optimizer that a model was trained with, if it may go on.

    It may if it has a state, and the settings of another one but for the learning
    rate, which it takes over. If it scales the loss, for half precision, that goes on
    with it, and only the optimizer inside is compared.

    Args:
        model: Maybe compiled.
        fresh: What is wanted, and returned if the model has nothing of that kind.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("adam")
        >>> model.optimizer.build(model.trainable_variables)
        >>> found = carried_optimizer(model, keras.optimizers.Adam(0.5))
        >>> found is model.optimizer, float(found.learning_rate)
        (True, 0.5)
    """
    old = getattr(model, "optimizer", None)
    if old is None or not old.built or _settings_of(old) != _settings_of(fresh):
        return fresh
    # One that scales the loss hands the rate on to the one inside.
    old.learning_rate = float(fresh.learning_rate)
    return old


def _settings_of(optimizer: Any) -> tuple:
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    config = optimizer.get_config()
    return type(optimizer), {
        key: value
        for key, value in config.items()
        if key not in ("learning_rate", "name")
    }
