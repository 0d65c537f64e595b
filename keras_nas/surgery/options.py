"""The keywords that every verb takes, checked once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_nas.errors import InvalidRequestError
from keras_nas.importance.data import check_data
from keras_nas.milp import INSTALL
from keras_nas.numeric import is_real, is_whole
from keras_nas.surgery.requests import MOST_NEURONS

SOLVERS = ("auto", *INSTALL)


@dataclass(frozen=True, eq=False)
class Options:
    """Keywords shared by all verbs.

    Attributes:
        importance: Which neurons matter: ``"l2"`` (weight magnitude, scaled to mean 1
            in each layer) or another name or object of `keras_nas.importance`, a dict
            or callable from layer name to a scalar or an array over the layer's output
            axis (layers not named count 1 per neuron), or None for 1 everywhere.
        solver: ``"auto"`` (HiGHS), ``"highs"``, ``"glpk"`` or ``"cbc"``.
        time_limit_s: Seconds the solver may take.
        accept_incumbent: Whether the best sizes found until the time limit will do.
        locked: Names of layers none of whose neurons may go or come.
        bounds: Name -> ``(low, high)`` for the size; None is open.
        multiple_of: An int for all layers that change, or name -> int.
        strict: Whether an infeasible exact request raises; if not, a warning names
            the nearest feasible size, which is taken.
        free_outputs: Whether the outputs of the model may change.
        seed: For the initializers of new weights.
        initializer: For the new weights that would come from a layer's own
            initializer. Weights that read new neurons start at zero all the same.
        carry_optimizer: Whether the new model goes on with the state of the optimizer.
        fold_constants: Whether what dropped neurons contributed on average is added to
            the layers that read them.
        data: Inputs on which that average is measured; None to add only what neurons
            contributed that are certainly constant.
    """

    importance: Any = "l2"
    solver: str = "auto"
    time_limit_s: float = 20.0
    accept_incumbent: bool = False
    locked: tuple[str, ...] = ()
    bounds: Mapping[str, tuple[int | None, int | None]] | None = None
    multiple_of: int | Mapping[str, int] | None = None
    strict: bool = True
    free_outputs: bool = False
    seed: int = 0
    initializer: Any = None
    carry_optimizer: bool = False
    fold_constants: bool = False
    data: Any = None

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise InvalidRequestError(
                f"There is no solver named {self.solver!r}.\n\nChoose one of "
                f"{', '.join(map(repr, SOLVERS))}. Received: solver={self.solver!r}"
            )
        _check_time(self.time_limit_s)
        object.__setattr__(self, "locked", read_names("locked", self.locked))
        _check_seed(self.seed)
        _check_multiples(self.multiple_of)
        _check_bounds(self.bounds)
        _check_initializer(self.initializer)
        for name in ("carry_optimizer", "fold_constants"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidRequestError(
                    f"{name!r} is done or not.\n\nGive True or False. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        _check_folding(self.fold_constants, self.data)


def _check_folding(fold_constants: bool, data: Any) -> None:
    if data is not None:
        check_data(data, None, 32)
        if not fold_constants:
            raise InvalidRequestError(
                "There is no use for data without fold_constants=True.\n\nLeave `data` "
                f"out, or fold. Received: data of type {type(data).__name__}"
            )


def read_names(keyword: str, names: Any) -> tuple[str, ...]:
    """Returns the names of layers as a tuple; a single string is one name."""
    if isinstance(names, str):
        return (names,)
    if names is None:
        return ()
    if not isinstance(names, Iterable):
        words = {"locked": "Locked layers", "ignore": "Layers to ignore"}
        raise InvalidRequestError(
            f"{words[keyword]} are given by name, not by a {type(names).__name__}.\n\n"
            f"Give a name or several. Received: {keyword}={names!r}"
        )
    return tuple(names)


def _check_time(seconds: Any) -> None:
    if not is_real(seconds) or math.isnan(seconds) or seconds <= 0:
        raise InvalidRequestError(
            "The time limit must be a number of seconds above 0.\n\n"
            f"Give some seconds, 20 by default. Received: time_limit_s={seconds!r}"
        )


def _check_seed(seed: Any) -> None:
    if not is_whole(seed):
        raise InvalidRequestError(
            f"The seed must be a whole number.\n\nGive an int. Received: seed={seed!r}"
        )


def _check_multiples(multiple_of: Any) -> None:
    if multiple_of is None:
        return
    steps = multiple_of.values() if isinstance(multiple_of, Mapping) else [multiple_of]
    for step in steps:
        if not is_whole(step) or step < 1:
            raise InvalidRequestError(
                "Sizes can only be multiples of a whole number, at least 1.\n\nGive an "
                f"int, or a dict from layer to int. Received: multiple_of={step!r}"
            )
        if int(step) > MOST_NEURONS:
            raise InvalidRequestError(
                f"Sizes cannot be multiples of {step}: at most {MOST_NEURONS} neurons "
                f"can be asked for.\n\nGive less. Received: multiple_of={step!r}"
            )


def _check_initializer(initializer: Any) -> None:
    try:
        keras.initializers.get(initializer)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"There is no such initializer: {error}\n\nGive the name of a Keras "
            "initializer, or a `keras.initializers.Initializer`. "
            f"Received: initializer={initializer!r}"
        ) from error


def _check_bounds(bounds: Any) -> None:
    if bounds is None:
        return
    if not isinstance(bounds, Mapping):
        raise InvalidRequestError(
            f"The bounds cannot be a {type(bounds).__name__}.\n\nGive a dict from "
            f"layer to (low, high), None where open. Received: bounds={bounds!r}"
        )
    for name, bound in bounds.items():
        _check_bound(name, bound)


def _check_bound(name: Any, bound: Any) -> None:
    if not isinstance(bound, (tuple, list)) or len(bound) != 2:
        raise InvalidRequestError(
            f"The bounds of {name!r} are not a pair.\n\nGive (low, high), None where "
            f"open. Received: bounds={{{name!r}: {bound!r}}}"
        )
    for limit in bound:
        if limit is not None and (not is_whole(limit) or limit < 1):
            raise InvalidRequestError(
                f"A bound of {name!r} is not a size.\n\nGive whole numbers of at least "
                f"1, None where open. Received: bounds={{{name!r}: {bound!r}}}"
            )
    low, high = bound
    if low is not None and high is not None and low > high:
        raise InvalidRequestError(
            f"The bounds of {name!r} contradict each other: no size is at least {low} "
            f"and at most {high}.\n\nSwap or widen them. "
            f"Received: bounds={{{name!r}: {tuple(bound)!r}}}"
        )
