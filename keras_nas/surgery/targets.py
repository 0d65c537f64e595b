"""How much is to be pruned: fractions, budgets and bounds, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from numbers import Integral
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.latency import LatencyTable
from keras_nas.numeric import is_real
from keras_nas.surgery.options import read_names

COSTS = ("params", "flops", "memory")
SCOPES = ("global", "local", "isomorphic")


@dataclass(frozen=True, eq=False)
class Targets:
    """How much is to be pruned, checked once.

    Attributes:
        sparsity: Fraction of all removable neurons to drop.
        params: At most so many parameters; a float is a fraction of the present ones.
        flops: The same for floating point operations.
        memory: The same for the bytes of weights and activations.
        latency: At most so long: a float is a fraction of what the present model
            takes, an int seconds, a ``datetime.timedelta`` what it says.
        latency_table: What was measured. Without it, ``latency`` measures first.
        threshold: Neurons of less importance go.
        scope: Which neurons compete: ``"global"``, ``"local"`` or ``"isomorphic"``.
        ignore: Names of layers that stay as they are.
        min_fraction: Fraction of its neurons that each layer keeps at least; or name
            -> fraction.
    """

    sparsity: float | None = None
    params: float | int | None = None
    flops: float | int | None = None
    memory: float | int | None = None
    latency: float | int | timedelta | None = None
    latency_table: LatencyTable | None = None
    threshold: float | None = None
    scope: str = "global"
    ignore: tuple[str, ...] = ()
    min_fraction: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        given = self.sparsity, self.threshold, self.latency, *self.budgets.values()
        if all(value is None for value in given):
            raise InvalidRequestError(
                "Nothing says how much to prune.\n\nGive one or several of sparsity, "
                "params, flops, memory, latency and threshold. Received: none of them"
            )
        for name, value in self.budgets.items():
            _check_budget(name, value)
        _check_latency(self.latency)
        _check_table(self.latency_table)
        if self.sparsity is not None:
            _check_fraction("sparsity", self.sparsity, "of the neurons to drop")
            if self.sparsity == 1:
                raise InvalidRequestError(
                    "A sparsity of 1 would leave no neuron.\n\nGive a fraction below "
                    f"1. Received: sparsity={self.sparsity!r}"
                )
        if self.threshold is not None:
            _check_number("threshold", self.threshold)
        if self.scope not in SCOPES:
            raise InvalidRequestError(
                f"There is no scope named {self.scope!r}.\n\nChoose one of "
                f"{', '.join(map(repr, SCOPES))}. Received: scope={self.scope!r}"
            )
        object.__setattr__(self, "ignore", read_names("ignore", self.ignore))
        if isinstance(self.min_fraction, Mapping):
            for value in self.min_fraction.values():
                _check_fraction("min_fraction", value, "of a layer to keep")
        elif self.min_fraction is not None:
            _check_fraction("min_fraction", self.min_fraction, "of a layer to keep")

    @property
    def default_importance(self) -> str:
        """Name of the importance to take if nobody chooses: see `prune`."""
        costs = (*self.budgets.values(), self.latency)
        if self.threshold is not None or all(value is None for value in costs):
            return "l2"
        return "group_lamp"

    @property
    def budgets(self) -> dict[str, float | int | None]:
        """Name of each cost -> what may be left of it."""
        return {name: getattr(self, name) for name in COSTS}


def _check_budget(name: str, value: Any) -> None:
    if value is None:
        return
    _check_number(name, value)
    if isinstance(value, Integral):
        if value < 1:
            raise InvalidRequestError(
                f"A budget of {value} {name} leaves no model.\n\nGive an int of at "
                f"least 1, or a fraction. Received: {name}={value!r}"
            )
    elif not 0 < value <= 1:
        raise InvalidRequestError(
            f"The budget {name}={value!r} is no fraction of the present {name}.\n\n"
            "Give a float above 0 and up to 1, or an int for an absolute number. "
            f"Received: {name}={value!r}"
        )


def _check_latency(value: Any) -> None:
    if isinstance(value, timedelta):
        if value <= timedelta(0):
            raise InvalidRequestError(
                f"No model takes only {value.total_seconds()} s.\n\nGive a "
                f"`datetime.timedelta` above 0. Received: latency={value!r}"
            )
        return
    _check_budget("latency", value)


def _check_table(table: Any) -> None:
    if table is not None and not isinstance(table, LatencyTable):
        raise InvalidRequestError(
            f"A latency table cannot be a {type(table).__name__}.\n\nGive what "
            "`keras_nas.measure_latency` returned, or `LatencyTable.load`. "
            f"Received: latency_table={table!r}"
        )


def _check_number(name: str, value: Any) -> None:
    if not is_real(value) or math.isnan(value):
        raise InvalidRequestError(
            f"{name!r} is not a number.\n\nGive an int or a float. "
            f"Received: {name}={value!r}"
        )


def _check_fraction(name: str, value: Any, what: str) -> None:
    _check_number(name, value)
    if not 0 <= value <= 1:
        raise InvalidRequestError(
            f"{name!r} is no fraction {what}.\n\nGive a number from 0 to 1. "
            f"Received: {name}={value!r}"
        )
