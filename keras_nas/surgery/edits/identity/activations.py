"""Activation functions: where they are the identity, and what else passes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_nas.surgery.edits.identity.demand import (
    ANY,
    TINY,
    ZERO,
    Demand,
    Facts,
    Impossible,
    Source,
)


@dataclass(frozen=True)
class ActivationFunction:
    """What matters of a function ``f`` of one number.

    Attributes:
        name: For reasons.
        is_linear: ``f(x) = x``.
        is_identity_above_zero: ``f(x) = x`` for ``x >= 0``.
        odd_part: The ``c`` in ``f(x) - f(-x) = c x``, or None if there is none. Then
            two units with opposite signs carry a value through ``f``: it is
            ``(f(x) - f(-x)) / c``. True of ReLU and of every ``x g(x)`` with
            ``g(x) + g(-x) = c``, such as GELU and SiLU.
        zero: What has to arrive for ``f`` to be 0 with a gradient that is not:
            `ZERO`, `TINY`, or None for nothing.
        is_positive: ``f(x) >= 0`` for all ``x``.
        why: Why it is not the identity, as a clause about "it".
    """

    name: str
    is_linear: bool = False
    is_identity_above_zero: bool = False
    odd_part: float | None = None
    zero: int | None = None
    is_positive: bool = False
    why: str = "is not the identity on any range"

    def stuck(self, label: str) -> str | None:
        """Returns why nothing makes it zero, None if something does."""
        if self.zero is None:
            return f"{label} is not 0 where its input is 0, or has no gradient there"
        return None

    def before(self, demand: Demand, is_nonnegative: bool, label: str) -> Demand:
        """Returns what has to go into the function, given what has to come out."""
        if self.is_linear:
            return demand
        rigid = demand.rigid
        if demand.has_zeros:
            if self.zero is None:
                raise Impossible(self.stuck(label))
            if self.zero == TINY:
                rigid = np.where(rigid == ZERO, TINY, rigid)
        if not demand.carries:
            return Demand(rigid)
        if self.is_identity_above_zero and is_nonnegative:
            return Demand(rigid, demand.readable, demand.exact)
        if self.odd_part is None or demand.exact or (rigid >= 0).any():
            raise Impossible(f"{label} {self.why}")
        pairs = {2 * k + sign for k in demand.readable for sign in (0, 1)}
        return Demand(rigid, set(), pairs)

    def facts_behind(self, facts: Facts, label: str) -> Facts:
        """Returns the facts of its output, as far as what arrives is concerned."""
        passes = self.is_identity_above_zero and facts.is_nonnegative
        if self.is_linear or passes:
            return facts
        if self.odd_part is None:
            raise Impossible(f"{label} {self.why}")
        # Two units for each value, one of them with its negative.
        room = min(facts.room, facts.channels // 2)
        return facts.but(room=room, is_nonnegative=self.is_positive)

    def behind(self, content: np.ndarray, source: Source) -> np.ndarray:
        """Returns what the function makes of the content of its input."""
        if self.is_linear:
            return content
        number = content // (2 * source.channels)
        made = np.full_like(content, ANY)
        if self.zero is not None:
            made[content <= ZERO] = ZERO
        if self.odd_part is not None:
            is_plain = (content >= 0) & (number == 0)
            shift = 2 * source.channels * source.number_of(self)
            made[is_plain] = content[is_plain] + shift
        if self.is_identity_above_zero:
            is_nonnegative = source.are_nonnegative(content)
            made[is_nonnegative] = content[is_nonnegative]
        return made


_CUTS = "is the identity only on values that are not negative, and these may be"
_LARGE = "is not the identity for large values"


def _functions() -> dict[str, ActivationFunction]:
    smooth: dict[str, Any] = {"zero": ZERO, "odd_part": 1.0}
    positive: dict[str, Any] = {"is_positive": True}
    exact: dict[str, Any] = {"is_identity_above_zero": True, "why": _CUTS}
    listed: dict[str, dict[str, Any]] = {
        "linear": {"is_linear": True, "zero": ZERO},
        "relu": {**exact, **positive, "odd_part": 1.0, "zero": TINY},
        "elu": {**exact, "zero": ZERO},
        "celu": {**exact, "zero": ZERO},
        "gelu": smooth,
        "silu": smooth,
        "swish": smooth,
        "hard_silu": smooth,
        "hard_swish": smooth,
        "softplus": {**positive, "odd_part": 1.0},
        "squareplus": {**positive, "odd_part": 1.0},
        "sparse_plus": {**positive, "odd_part": 1.0},
        "log_sigmoid": {"odd_part": 1.0},
        "relu6": {**positive, "zero": TINY, "why": "cuts off above 6"},
        "mish": {"zero": ZERO},
        "selu": {"zero": ZERO},
        "softsign": {"zero": ZERO},
        "tanh": {"zero": ZERO},
        "hard_tanh": {"zero": ZERO, "why": _LARGE},
        "sigmoid": positive,
        "hard_sigmoid": positive,
        "sparse_sigmoid": positive,
        "exponential": positive,
        "softmax": {**positive, "why": "divides by a sum over all channels"},
        "sparsemax": positive,
    }
    return {name: ActivationFunction(name, **facts) for name, facts in listed.items()}


FUNCTIONS = _functions()
LINEAR = FUNCTIONS["linear"]
# One more name for the same function, each in the words of another class.
_LAYERS = {"ReLU": "relu", "ELU": "elu", "Softmax": "softmax", "LeakyReLU": "leaky"}
_OPERATIONS = {
    "LeakyRelu": "leaky",
    "HardSilu": "hard_silu",
    "SparsePlus": "sparse_plus",
}
_NOT_OPERATIONS = ("linear", "exponential", "swish", "hard_swish")


def of_setting(setting: Any) -> ActivationFunction:
    """Returns the function that an ``activation=`` setting names."""
    if setting is None:
        return LINEAR
    if isinstance(setting, str):
        if setting == "leaky_relu":
            return _leaky(0.2)
        return FUNCTIONS.get(setting) or _unknown(setting)
    if isinstance(setting, Mapping):
        inner = setting.get("config")
        name = setting.get("class_name")
        if setting.get("registered_name") or setting.get("module") == "builtins":
            return _unknown("a function of your own")
        if isinstance(inner, Mapping):
            return of_class(str(name), inner) or _unknown(str(name))
        if isinstance(inner, str):
            return of_setting(inner)
    return _unknown("a function of your own")


def of_class(name: str, config: Mapping[str, Any]) -> ActivationFunction | None:
    """Returns the function of an activation layer or operation, None if it is none."""
    if name == "Activation":
        return of_setting(config.get("activation"))
    known = _LAYERS.get(name) or _OPERATIONS.get(name) or _snake(name)
    if known == "leaky":
        return _leaky(config.get("negative_slope", 0.2))
    if known == "relu":
        return _relu(config)
    return None if known in _NOT_OPERATIONS else FUNCTIONS.get(known)


def _relu(config: Mapping[str, Any]) -> ActivationFunction:
    """The ReLU layer has three settings that bend it."""
    if config.get("threshold"):
        return _unknown("relu with a threshold")
    slope = float(config.get("negative_slope") or 0.0)
    if config.get("max_value") is not None:
        why = f"cuts off above {config['max_value']}"
        positive = slope == 0.0
        return ActivationFunction("relu", zero=TINY, is_positive=positive, why=why)
    return _leaky(slope) if slope else FUNCTIONS["relu"]


def _leaky(slope: float) -> ActivationFunction:
    return ActivationFunction(
        f"leaky_relu with slope {slope:g}",
        is_linear=slope == 1.0,
        is_identity_above_zero=True,
        odd_part=1.0 + slope if slope > -1.0 else None,
        zero=ZERO if slope else TINY,
        is_positive=slope <= 0.0,
        why=_CUTS,
    )


def _unknown(name: str) -> ActivationFunction:
    return ActivationFunction(name, why="is not known to be the identity on any range")


def _snake(name: str) -> str:
    letters = (f"_{c.lower()}" if c.isupper() else c for c in name)
    return "".join(letters).lstrip("_")
