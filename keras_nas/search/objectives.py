"""What is good: names of numbers, which way they count, and how ties are broken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_finite
from keras_nas.surgery.targets import COSTS

_SMALLER_IS_BETTER = ("loss", "error", "mse", "mae", "seconds", *COSTS)


@dataclass(frozen=True)
class Objective:
    """One number of a candidate that shall be large, or small.

    Attributes:
        name: A metric of the evaluator (``"val_accuracy"``, ``"val_loss"``,
            ``"seconds"``), or a cost (``"params"``, ``"flops"``, ``"memory"``).
        direction: ``"max"``, ``"min"``; by default what the name says.
        digits: If given, the value is rounded to so many digits, and of two candidates
            with the same rounded value the smaller one wins.
        function: ``function(model, x, y)``, called on the trained model and the
            validation data, where the objective is none of the known numbers. More is
            better unless `direction` says otherwise.

    Raises:
        InvalidRequestError: Another direction, or negative digits.

    Example:
        >>> small = Objective("val_accuracy", digits=2)
        >>> a = small.score({"val_accuracy": 0.951, "params": 900})
        >>> b = small.score({"val_accuracy": 0.953, "params": 4000})
        >>> a > b
        True

    Source: the idea of the tie-break is that of NaiveGAflux (``AccuracyVsSize``).
    """

    name: str
    direction: str | None = None
    digits: int | None = None
    function: Callable[..., float] | None = None

    def __post_init__(self) -> None:
        if self.direction not in (None, "max", "min"):
            raise InvalidRequestError(
                f"An objective has no direction {self.direction!r}.\n\nGive 'max' or "
                f"'min'. Received: direction={self.direction!r}"
            )
        if self.digits is not None and self.digits < 0:
            raise InvalidRequestError(
                f"A value cannot be rounded to {self.digits} digits.\n\nGive 0 or "
                f"more, or None. Received: digits={self.digits!r}"
            )

    @property
    def is_minimised(self) -> bool:
        """Whether less is better."""
        if self.direction is not None:
            return self.direction == "min"
        words = self.name.lower().split("_")
        return any(word in _SMALLER_IS_BETTER for word in words)

    @property
    def needs_costs(self) -> bool:
        """Whether the size of the candidate matters."""
        return self.name in COSTS or self.digits is not None

    def score(self, values: Mapping[str, Any]) -> float:
        """Returns the number of which more is better; NaN counts as worst.

        Args:
            values: Metrics and costs of one candidate.

        Raises:
            InvalidRequestError: There is no such number.
        """
        if self.name not in values:
            raise InvalidRequestError(
                f"No candidate has a number '{self.name}'.\n\nUse one of "
                f"{sorted(values)}, or a function. Received: objective={self.name!r}"
            )
        value = values[self.name]
        if value is None or not math.isfinite(value):
            return -math.inf
        value = -float(value) if self.is_minimised else float(value)
        if self.digits is None:
            return value
        # Less for larger networks, and never as much as half of the last digit. The
        # 1 / params of NaiveGAflux stops to tell small networks apart.
        bonus = 0.4 / (1.0 + values["params"] / 1e6)
        return round(value, self.digits) + bonus * 10.0**-self.digits

    def settings(self) -> dict:
        """Returns what the journal compares."""
        direction = "min" if self.is_minimised else "max"
        return {"name": self.name, "direction": direction, "digits": self.digits}


def as_objectives(given: Any, digits: int | None = None) -> tuple[Objective, ...]:
    """Brings a name, a function, an `Objective`, or several of them to objectives.

    Args:
        given: One, or a sequence of several, all of which count.
        digits: Tie-break by size for a single one given by name or function.

    Raises:
        InvalidRequestError: Nothing, something else, or two with one name.
    """
    several = given if isinstance(given, Sequence) and not _is_name(given) else [given]
    objectives = tuple(_as_objective(entry) for entry in several)
    names = [objective.name for objective in objectives]
    if not names or len(set(names)) < len(names):
        raise InvalidRequestError(
            f"{len(names)} objectives with the names {names} are no task.\n\nGive at "
            f"least one, and each only once. Received: objective={given!r}"
        )
    if digits is None or len(objectives) > 1 or isinstance(several[0], Objective):
        return objectives
    [only] = objectives
    if only.name in COSTS:
        return objectives
    return (Objective(only.name, only.direction, digits, only.function),)


def _is_name(given: Any) -> bool:
    return isinstance(given, str)


def _as_objective(given: Any) -> Objective:
    if isinstance(given, Objective):
        return given
    if isinstance(given, str) and given:
        return Objective(given)
    if callable(given):
        name = getattr(given, "__name__", type(given).__name__)
        return Objective(name, "max", function=given)
    raise InvalidRequestError(
        f"{given!r} is no objective.\n\nGive the name of a metric, a function of "
        f"(model, x, y), or an Objective. Received: objective={given!r}"
    )


def check_limits(limits: Mapping[str, float] | None) -> dict[str, float]:
    """Checks upper limits of costs.

    Raises:
        InvalidRequestError: Not a cost, or not positive.
    """
    limits = dict(limits or {})
    for name, limit in limits.items():
        if name not in COSTS or not is_finite(limit) or limit <= 0:
            raise InvalidRequestError(
                f"A candidate cannot be limited to {limit!r} {name!r}.\n\nGive "
                f"positive limits of {', '.join(COSTS)}. Received: {limits!r}"
            )
    return limits


def is_within(costs: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether a candidate keeps all limits."""
    return all(costs[name] <= limit for name, limit in limits.items())
