"""Settings of `KerasEvolver` that can never work are refused before anything runs.

A candidate that fails costs one trial, and the evolution goes on. With settings that
let every candidate fail, nobody would be told before all the time is over.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_real
from keras_nas.search.callbacks import Callbacks, EvolverCallback
from keras_nas.search.mutations import Context, check_shields
from keras_nas.search.mutations.weighting import check_weighting
from keras_nas.search.objectives import as_objectives
from keras_nas.search.optimizers import make_optimizer
from keras_nas.search.strategies import Strategy
from keras_nas.search.strategies.base import check_count
from keras_nas.search.training import DEFAULT_TRAINING
from keras_nas.surgery import Graph
from keras_nas.surgery.targets import COSTS

# Names that `compile` gives a meaning of their own.
_NAMES_OF_COMPILE = ("accuracy", "acc", "crossentropy", "ce")
_CALLS = {
    "mutation": "mutation(graph, rng, context), which returns a graph",
    "crossover": "crossover(first, second, rng), which returns two graphs",
    "mutate_training": "mutate_training(settings, rng), which returns settings",
}


def check_space(space: Any) -> None:
    """Refuses a space that no network can be sampled from.

    Raises:
        InvalidRequestError: It cannot sample or build.
    """
    if space is None:
        return
    names = ("sample", "build")
    is_able = all(callable(getattr(space, name, None)) for name in names)
    if not is_able or inspect.isclass(space):
        raise InvalidRequestError(
            f"{space!r:.80} is no search space: no object that can sample and build."
            f"\n\nGive one of keras_nas.search.spaces, or an object with sample(rng) "
            f"and build(architecture). Received: space={space!r:.80}"
        )


def check_names(model: Any, shields: Any, importance: Any) -> None:
    """Refuses shields and an importance that mean nothing in the model.

    Args:
        model: Where names are looked up; None if networks come from a space.
        shields: Names or patterns of layers.
        importance: Of the mutations.

    Raises:
        InvalidRequestError: A shield that matches nothing, or no importance.
        UnknownLayerError: The importance names a layer that the model does not have.
    """
    if not isinstance(shields, Iterable):
        raise InvalidRequestError(
            f"{shields!r} names no layers to shield.\n\nGive a list of names or "
            f"patterns such as 'block_*'. Received: shields={shields!r}"
        )
    context = Context(shields=tuple([shields] if isinstance(shields, str) else shields))
    looks_up = bool(context.shields) or isinstance(importance, Mapping)
    graph = None
    if looks_up and model is not None:
        graph = Graph.from_model(model)
        check_shields(graph, context)
    check_weighting(importance, graph)


def check_functions(**given: Any) -> None:
    """Refuses what cannot be called for a mutation, crossover or mutation of settings.

    Raises:
        InvalidRequestError: One of them is no function, or a class.
    """
    for name, function in given.items():
        is_default = name == "mutate_training" and function == "default"
        if function is None or is_default:
            continue
        if not callable(function) or inspect.isclass(function):
            raise InvalidRequestError(
                f"{function!r:.80} cannot make children.\n\nGive a function or an "
                f"object that is called as {_CALLS[name]}. Received: "
                f"{name}={function!r:.80}"
            )


def check_strategy(strategy: Any) -> None:
    """Refuses what is no strategy.

    Raises:
        InvalidRequestError: It is none.
    """
    if strategy is not None and not isinstance(strategy, Strategy):
        raise InvalidRequestError(
            f"{strategy!r:.80} is no strategy.\n\nGive an object of a subclass of "
            f"keras_nas.search.Strategy, or None. Received: strategy={strategy!r:.80}"
        )


def check_callbacks(callbacks: Any) -> list[EvolverCallback]:
    """Returns a list of callbacks.

    Raises:
        InvalidRequestError: No list, or something else in it.
    """
    if not isinstance(callbacks, Iterable):
        raise InvalidRequestError(
            f"{callbacks!r:.80} is no list of callbacks.\n\nGive a list, of a single "
            f"one, too. Received: callbacks={callbacks!r:.80}"
        )
    return Callbacks(list(callbacks)).callbacks


def check_training(training: Any) -> dict[str, Any]:
    """Returns settings of a training, with numbers of numpy as plain ones.

    Raises:
        InvalidRequestError: No dict, a rate or batch size that is none, or settings
            that no optimizer takes.
    """
    if training is not None and not isinstance(training, Mapping):
        raise InvalidRequestError(
            f"{training!r:.80} has no settings of a training.\n\nGive a dict of "
            f"'optimizer', 'learning_rate' and 'batch_size'. Received: "
            f"training={training!r:.80}"
        )
    settings = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in (training or {}).items()
    }
    if "batch_size" in settings:
        check_count("batch_size", settings["batch_size"], 1)
    if "learning_rate" in settings:
        _check_rate(settings["learning_rate"])
    _check_optimizer(settings)
    return settings


def _check_rate(rate: Any) -> None:
    if not is_real(rate) or not 0 < rate < math.inf:
        raise InvalidRequestError(
            f"A learning rate cannot be {rate!r:.80}.\n\nGive a positive number; in "
            f"each generation it falls by itself along a cosine. Received: "
            f"learning_rate={rate!r:.80}"
        )


def _check_optimizer(settings: Mapping[str, Any]) -> None:
    named = settings.get("optimizer", DEFAULT_TRAINING["optimizer"])
    if not isinstance(named, str):
        raise InvalidRequestError(
            f"{named!r:.80} is no name of an optimizer.\n\nGive its name, such as "
            f"'sgd', and its settings beside it: "
            f"{{'optimizer': 'sgd', 'momentum': 0.9}}. Received: "
            f"optimizer={named!r:.80}"
        )
    try:
        make_optimizer({**DEFAULT_TRAINING, **settings})
        json.dumps(settings, allow_nan=False)  # The journal holds them.
    except (TypeError, ValueError, AttributeError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidRequestError(
            f"No optimizer {named!r} can be made of these settings: {said[0]:.120}\n\n"
            f"Give 'optimizer', 'learning_rate', 'batch_size', and what else the "
            f"class of the optimizer takes. Received: training={dict(settings)!r:.200}"
        ) from error


def check_loss(loss: Any) -> None:
    """Refuses a loss that Keras does not know.

    Raises:
        InvalidRequestError: There is none of that name or type.
    """
    for one in _leaves(loss):
        if one is not None and not _is_known(keras.losses.get, one):
            raise InvalidRequestError(
                f"Keras has no loss {one!r:.80}.\n\nGive a name such as 'mse', an "
                f"object of keras.losses, or a function (y_true, y_pred). Received: "
                f"loss={loss!r:.80}"
            )


def check_metrics(metrics: Any) -> list | None:
    """Returns a list of metrics, of a single one, too; None if none were given.

    Raises:
        InvalidRequestError: There is none of that name or type.
    """
    if metrics is None:
        return None
    if isinstance(metrics, (str, keras.metrics.Metric)) or callable(metrics):
        metrics = [metrics]
    is_listed = isinstance(metrics, Iterable) and not isinstance(metrics, Mapping)
    listed = list(metrics) if is_listed else [metrics]
    for one in _leaves(listed):
        is_own = isinstance(one, str) and one.lower() in _NAMES_OF_COMPILE
        if not is_own and (one is None or not _is_known(keras.metrics.get, one)):
            raise InvalidRequestError(
                f"Keras has no metric {one!r:.80}.\n\nGive a list of names such as "
                f"'accuracy', objects of keras.metrics, or functions "
                f"(y_true, y_pred). Received: metrics={metrics!r:.80}"
            )
    return listed


def _leaves(given: Any) -> Iterator[Any]:
    """Yields what is given: in a list, or in a list of lists, one for each output."""
    for one in given if isinstance(given, (list, tuple)) else [given]:
        yield from one if isinstance(one, (list, tuple)) else [one]


def _is_known(get: Any, one: Any) -> bool:
    try:
        return callable(get(one))
    except (TypeError, ValueError):
        return False


def check_measured(objective: Any, loss: Any, metrics: Any) -> None:
    """Refuses an objective that no candidate will have a number for.

    With metrics of one's own, only the candidates tell how these are called.

    Raises:
        InvalidRequestError: It is none of the numbers of a training without them.
    """
    if metrics or isinstance(loss, (list, tuple, Mapping)):
        return
    trained = ["loss"] if loss is not None or metrics is not None else []
    trained = trained or ["accuracy", "loss"]
    known = {"seconds", *COSTS, *trained, *(f"val_{name}" for name in trained)}
    for wanted in as_objectives(objective):
        if wanted.function is None and wanted.name not in known:
            raise InvalidRequestError(
                f"No candidate will have a number {wanted.name!r}.\n\nLet it be "
                f"measured, such as metrics=['accuracy'] for 'val_accuracy', or use "
                f"one of {sorted(known)}, or a function. Received: "
                f"objective={wanted.name!r}, loss={loss!r:.40}, metrics={metrics!r}"
            )
