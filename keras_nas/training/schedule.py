"""When to cut, and how much each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_real, is_whole

KINDS = ("one_shot", "linear", "cubic", "agp")


@dataclass(frozen=True)
class PruningSchedule:
    """Says before which epochs a model is cut, and how far.

    A cut makes a share of the way from the original model to the budget; the last one
    arrives. With ``t`` from 0 (no cut yet) to 1 (the last cut), equally spaced over the
    cuts, that share is 1 (``"one_shot"``), ``t`` (``"linear"``), ``1 - (1 - t) ** 3``
    (``"cubic"``: fast as long as there is much to spare), or ``initial + (1 - initial)
    * (1 - (1 - t) ** 3)`` (``"agp"``: the same from a start that is cut at once).

    Args:
        kind: ``"one_shot"``, ``"linear"``, ``"cubic"`` or ``"agp"``.
        begin: Number of the epoch before which the first cut is made, from 0.
        end: The same for the last one. By default ``begin`` for ``"one_shot"``, else
            after two thirds of the epochs that are left then, so that the final model
            is trained, too.
        every: Epochs between two cuts.
        initial: Share of the first cut of ``"agp"``, in [0, 1].

    Raises:
        InvalidRequestError: A kind that does not exist, or a number out of range.

    Example:
        >>> import keras_nas as kn
        >>> schedule = kn.PruningSchedule("linear", begin=1, every=2)
        >>> schedule.cuts(10)
        {1: 0.25, 3: 0.5, 5: 0.75, 7: 1.0}

    Source: Zhu 2017, "To prune, or not to prune" (arXiv 1710.01878), for the cubic law
    and automated gradual pruning.
    """

    kind: str = "cubic"
    begin: int = 0
    end: int | None = None
    every: int = 1
    initial: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidRequestError(
                f"There is no schedule named {self.kind!r}.\n\nChoose one of "
                f"{', '.join(map(repr, KINDS))}. Received: kind={self.kind!r}"
            )
        check_epochs("begin", self.begin, 0)
        check_epochs("every", self.every, 1)
        if self.end is not None:
            check_epochs("end", self.end, 0)
            if self.end < self.begin:
                raise InvalidRequestError(
                    f"The last cut, before epoch {self.end}, would come before the "
                    f"first one, before epoch {self.begin}.\n\nLet `end` be at least "
                    f"`begin`. Received: begin={self.begin}, end={self.end}"
                )
        if not is_real(self.initial) or not 0 <= self.initial <= 1:
            raise InvalidRequestError(
                "The share of the first cut is a number from 0 to 1.\n\nGive a "
                f"fraction. Received: initial={self.initial!r}"
            )

    @classmethod
    def read(cls, value: Any) -> PruningSchedule:
        """Returns a schedule; the name of a kind gives one with its defaults."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(value)
        raise InvalidRequestError(
            f"A schedule cannot be a {type(value).__name__}.\n\nGive a "
            "`keras_nas.PruningSchedule`, or the name of its kind. "
            f"Received: schedule={value!r}"
        )

    def cuts(self, epochs: int) -> dict[int, float]:
        """Returns number of an epoch -> share of the way that is made before it.

        Args:
            epochs: Number of the epoch that training ends before.

        Raises:
            InvalidRequestError: The last cut would come too late to be trained.
        """
        end = self._end(epochs)
        if self.kind == "one_shot":
            found = [end]
        else:
            # The last cut is at the end, whatever the spacing leaves over.
            found = [*range(self.begin, end, self.every), end]
        if found[-1] >= epochs:
            raise InvalidRequestError(
                f"The last cut would come before epoch {found[-1]}, counted from 0, "
                f"but training ends after {epochs} epochs.\n\nTrain for more epochs, "
                f"or cut earlier. Received: schedule={self!r}, epochs={epochs}"
            )
        steps = [(number + 1) / len(found) for number in range(len(found))]
        if self.kind == "agp":
            # Begins with the initial share itself.
            last = max(len(found) - 1, 1)
            steps = [number / last for number in range(len(found) - 1)] + [1.0]
        shares = dict(zip(found, map(self._share, steps), strict=True))
        return {epoch: share for epoch, share in shares.items() if share > 0}

    def _end(self, epochs: int) -> int:
        if self.end is not None:
            return self.end
        if self.kind == "one_shot":
            return self.begin
        return self.begin + max(0, 2 * (epochs - self.begin) // 3)

    def _share(self, t: float) -> float:
        if self.kind in ("one_shot", "linear"):
            return t
        cubic = 1 - (1 - t) ** 3
        start = self.initial if self.kind == "agp" else 0.0
        return start + (1 - start) * cubic


def check_epochs(name: str, value: Any, least: int) -> None:
    """Raises `InvalidRequestError` unless a setting is a number of epochs."""
    if not is_whole(value) or value < least:
        raise InvalidRequestError(
            f"{name!r} is a number of epochs, at least {least}.\n\nGive an int. "
            f"Received: {name}={value!r}"
        )
