"""When a search ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_finite, is_real


@dataclass(frozen=True)
class Budget:
    """Limits of a search; it ends at the first one that is reached.

    A budget is no part of what a run is: a finished run goes on when it is started
    again with a larger one.

    Attributes:
        trials: How many candidates are scored. Rejected draws are free, failures are
            not.
        generations: How many rounds of the strategy; a generation of an evolution.
        seconds: Of all parts of the run together. Candidates in training are finished.
        target: The search ends after the round in which the first objective is at
            least as good as this.

    Raises:
        InvalidRequestError: A limit that is not positive, or no number.

    Example:
        >>> Budget(trials=10).spent(trials=10, generations=1, seconds=3.0)
        '10 trials are done'
    """

    trials: int | None = None
    generations: int | None = None
    seconds: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "generations"):
            _check(name, getattr(self, name), whole=True)
        _check("seconds", self.seconds, whole=False)
        if self.target is not None and not is_finite(self.target):
            raise InvalidRequestError(
                f"The target {self.target!r} can never be reached.\n\nGive a finite "
                f"number or None. Received: target={self.target!r}"
            )

    @property
    def is_open(self) -> bool:
        """Whether nothing would ever end the search."""
        return all(limit is None for limit in asdict(self).values())

    def spent(
        self, trials: int, generations: int, seconds: float, reached: bool = False
    ) -> str | None:
        """Returns why the search ends here, or None if it goes on.

        Args:
            trials: Done so far.
            generations: Complete rounds so far.
            seconds: Spent so far.
            reached: Whether the best candidate is as good as the target.
        """
        if reached and self.target is not None:
            return f"the target {self.target:g} is reached"
        if self.trials is not None and trials >= self.trials:
            return f"{trials} trials are done"
        if self.generations is not None and generations >= self.generations:
            return f"{generations} generations are done"
        if self.is_late(seconds):
            return f"{seconds:.0f} seconds are over"
        return None

    def is_late(self, seconds: float) -> bool:
        """Whether the time is over."""
        return self.seconds is not None and seconds >= self.seconds


def _check(name: str, value: Any, whole: bool) -> None:
    if value is None:
        return
    if is_real(value) and value > 0 and (not whole or float(value).is_integer()):
        return
    kind = "a whole number of at least 1" if whole else "a positive number"
    raise InvalidRequestError(
        f"A budget of {value!r} {name} is none.\n\nGive {kind}, or None for no limit. "
        f"Received: {name}={value!r}"
    )
