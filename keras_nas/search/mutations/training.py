"""How a network is trained, as a small dict of plain JSON that evolves beside it.

``"optimizer"`` is the name of a Keras optimizer and ``"batch_size"`` the size of its
batches; everything else (``"learning_rate"``, ``"momentum"``) are its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_real, is_whole
from keras_nas.search.mutations.base import check_range


class _Optimizer(NamedTuple):
    """A Keras optimizer, and how its learning rates compare with those of Adam."""

    name: str
    scale: float
    settings: Mapping[str, Any] = {}


_OPTIMIZERS = {
    "sgd": _Optimizer("sgd", 30.0),
    "momentum": _Optimizer("sgd", 10.0, {"momentum": 0.9}),
    "nesterov": _Optimizer("sgd", 10.0, {"momentum": 0.9, "nesterov": True}),
    "adam": _Optimizer("adam", 1.0),
    "adamw": _Optimizer("adamw", 1.0),
    "nadam": _Optimizer("nadam", 1.0),
    "rmsprop": _Optimizer("rmsprop", 1.0),
    "adagrad": _Optimizer("adagrad", 10.0),
}
OPTIMIZERS = tuple(_OPTIMIZERS)
BATCH_SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
# What every Keras optimizer takes, so that it may stay when another one comes.
_GENERAL = {
    *("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema"),
    *("ema_momentum", "ema_overwrite_frequency", "gradient_accumulation_steps"),
}
_LOWEST_RATE, _HIGHEST_RATE = 1e-6, 1.0


def sample_training(
    rng: np.random.Generator,
    *,
    optimizers: tuple[str, ...] = OPTIMIZERS,
    batch_sizes: tuple[int, ...] = (16, 32, 64, 128),
) -> dict[str, Any]:
    """Returns random settings, with a learning rate around what is usual.

    Args:
        rng: Where all chance comes from.
        optimizers: What to choose from; see `mutate_training`.
        batch_sizes: What to choose from.

    Raises:
        InvalidRequestError: There is no such optimizer.

    Example:
        >>> import numpy as np
        >>> from keras_nas.search.mutations import sample_training
        >>> sample_training(np.random.default_rng(0), optimizers=("adam",))
        {'optimizer': 'adam', 'learning_rate': 0.00217..., 'batch_size': 64}
    """
    _check_names(optimizers)
    kind = _OPTIMIZERS[optimizers[int(rng.integers(len(optimizers)))]]
    rate = kind.scale * 10 ** rng.uniform(-3.3, -2.3)
    return {
        "optimizer": kind.name,
        **kind.settings,
        "learning_rate": _clipped(rate),
        "batch_size": batch_sizes[int(rng.integers(len(batch_sizes)))],
    }


def mutate_training(
    settings: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    optimizers: tuple[str, ...] = OPTIMIZERS,
    optimizer_probability: float = 0.1,
    rate_change: float = 0.15,
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
    batch_size_probability: float = 0.1,
) -> dict[str, Any]:
    """Returns settings of which each may have changed a little.

    The learning rate always does. Another optimizer gets a rate that means as much to
    it as the old rate did to the old one. The batch size goes one step up or down.

    Args:
        settings: ``"optimizer"``, ``"learning_rate"``, ``"batch_size"``, and further
            arguments of the optimizer. Not changed.
        rng: Where all chance comes from.
        optimizers: What to choose from: names of `OPTIMIZERS`. ``"momentum"`` and
            ``"nesterov"`` are ``"sgd"`` with these. An optimizer that is none of
            `OPTIMIZERS` stays.
        optimizer_probability: Of another optimizer.
        rate_change: Largest relative change of the learning rate.
        batch_sizes: Sizes to choose from.
        batch_size_probability: Of another batch size.

    Raises:
        InvalidRequestError: The settings are incomplete, there is no such optimizer,
            or a number is out of range.

    Example:
        >>> import numpy as np
        >>> from keras_nas.search.mutations import mutate_training
        >>> old = {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 32}
        >>> new = mutate_training(old, np.random.default_rng(0))
        >>> 0.00085 <= new["learning_rate"] <= 0.00115
        True

    Source: ``LearningRateMutation`` (15 %, clipped to 1e-6 and 1),
    ``OptimiserMutation`` and ``TrainBatchSizeMutation`` of NaiveGAflux.jl, which keeps
    the rate where the optimizer changes.
    """
    new = check_training(settings)
    _check_names(optimizers)
    check_range("optimizer_probability", optimizer_probability, 0, 1)
    check_range("rate_change", rate_change, 0, 1)
    check_range("batch_size_probability", batch_size_probability, 0, 1)
    # All draws are made, so that no choice depends on another.
    draws, number = rng.random(2), int(rng.integers(2**31))
    factor, step = rng.uniform(-rate_change, rate_change), int(rng.integers(2)) * 2 - 1
    present = _kind_of(new)
    others = [name for name in optimizers if name != present]
    if draws[0] < optimizer_probability and present is not None and others:
        new = _with_optimizer(new, present, others[number % len(others)])
    new["learning_rate"] = _clipped(new["learning_rate"] * (1 + factor))
    if draws[1] < batch_size_probability:
        new["batch_size"] = _stepped(new["batch_size"], step, batch_sizes)
    return new


def crossover_training(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    probability: float = 0.3,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings of two children.

    The optimizer goes with all its arguments; the batch size by itself.

    Args:
        first: Settings of one parent. Not changed.
        second: Settings of the other. Not changed.
        rng: Where all chance comes from.
        probability: Of each of the two to be exchanged.

    Raises:
        InvalidRequestError: The settings are incomplete, or a number is out of range.
    """
    check_range("probability", probability, 0, 1)
    one, other = check_training(first), check_training(second)
    swaps_optimizer, swaps_size = rng.random(2) < probability
    if swaps_optimizer:
        one, other = other, one
    if bool(swaps_size) != bool(swaps_optimizer):
        one["batch_size"], other["batch_size"] = other["batch_size"], one["batch_size"]
    return one, other


def check_training(settings: Any) -> dict[str, Any]:
    """Returns settings as a new dict.

    Raises:
        InvalidRequestError: They are incomplete, or no numbers.
    """
    if not isinstance(settings, Mapping) or not (
        {"optimizer", "learning_rate", "batch_size"} <= settings.keys()
    ):
        raise InvalidRequestError(
            "Training has the settings 'optimizer', 'learning_rate' and 'batch_size'."
            f"\n\nGive a dict with all three. Received: {settings!r}"
        )
    rate, size = settings["learning_rate"], settings["batch_size"]
    if not is_real(rate) or not rate > 0:
        raise InvalidRequestError(
            "The learning rate is a number above 0.\n\nGive one such as 0.001. "
            f"Received: learning_rate={rate!r}"
        )
    if not is_whole(size) or size < 1:
        raise InvalidRequestError(
            "The batch size is a whole number of at least 1.\n\nGive one such as 32. "
            f"Received: batch_size={size!r}"
        )
    return dict(settings)


def _kind_of(settings: Mapping[str, Any]) -> str | None:
    """Returns which of the optimizers settings mean; None if it is another one."""
    name = str(settings["optimizer"]).lower()
    if name == "sgd" and settings.get("nesterov"):
        return "nesterov"
    if name == "sgd" and settings.get("momentum"):
        return "momentum"
    return name if name in _OPTIMIZERS else None


def _with_optimizer(settings: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    kept = {*_GENERAL, "learning_rate", "batch_size"}
    kind = _OPTIMIZERS[new]
    return {
        **{key: value for key, value in settings.items() if key in kept},
        "optimizer": kind.name,
        **kind.settings,
        "learning_rate": (
            settings["learning_rate"] * kind.scale / _OPTIMIZERS[old].scale
        ),
    }


def _check_names(names: Any) -> None:
    listed = tuple(names) if isinstance(names, (tuple, list)) else ()
    if not listed or not set(listed) <= set(OPTIMIZERS):
        raise InvalidRequestError(
            f"There are no such optimizers to evolve: {names!r}.\n\nChoose from "
            f"{', '.join(map(repr, OPTIMIZERS))}. Received: optimizers={names!r}"
        )


def _clipped(rate: float) -> float:
    return float(min(max(rate, _LOWEST_RATE), _HIGHEST_RATE))


def _stepped(size: int, step: int, sizes: tuple[int, ...]) -> int:
    """Returns the next size up or down; at the end of the list the size stays."""
    further = [one for one in sizes if (one - size) * step > 0]
    if not further:
        return size
    return min(further) if step > 0 else max(further)
