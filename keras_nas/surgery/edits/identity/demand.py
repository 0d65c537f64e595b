"""What each tensor of an inserted part has to hold, for the whole to be the identity.

A *demand* on a tensor says for each position of its channel axis which value it has to
hold. Values are numbers:

* ``2 * k`` is channel ``k`` of the part's input, ``2 * k + 1`` its negative;
* `ZERO`, and `TINY`, which is zero for all purposes but for the gradient: a ReLU
  passes no gradient at 0 exactly, so what it cuts to zero could never train;
* `ANY`: nobody looks.

Demands go from the output to the input. *Contents*, which go from the input to the
output, are the same numbers, and beyond: ``value + 2 * n * number`` is what the
activation function of that number makes of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keras_nas.axes import MaybeNone

ANY, ZERO, TINY = -1, -2, -3


class Impossible(Exception):
    """A part cannot be the identity; its text is the reason, as a clause."""


def own_place(channel: int) -> tuple[int, ...]:
    """Channel k goes to position k if it can. See `place`."""
    return (channel,)


@dataclass
class Demand:
    """What the consumers of one tensor want of it.

    Attributes:
        rigid: Value of each position of the channel axis, shape ``(channels,)``.
        readable: Channels of the part's input that must be somewhere, in any form
            that a kernel can read: as they are, or as a pair of activations.
        exact: Values that must be somewhere just so.
    """

    rigid: np.ndarray
    readable: set[int] = field(default_factory=set)
    exact: set[int] = field(default_factory=set)

    @classmethod
    def nothing(cls, channels: int) -> Demand:
        return cls(np.full(channels, ANY))

    @property
    def carries(self) -> bool:
        """Whether something of the part's input has to arrive."""
        return bool(self.readable or self.exact or (self.rigid >= 0).any())

    @property
    def has_zeros(self) -> bool:
        return bool((self.rigid <= ZERO).any())

    @property
    def is_empty(self) -> bool:
        return not self.carries and not self.has_zeros

    @property
    def channels(self) -> set[int]:
        """All channels of the part's input that have to arrive."""
        values = {*self.exact, *self.rigid[self.rigid >= 0].tolist()}
        return self.readable | {value // 2 for value in values}

    def and_also(self, other: Demand, name: str) -> Demand:
        """Returns what satisfies both of two consumers of the tensor ``name``."""
        left, right = self.rigid, other.rigid
        both = np.minimum(left, right)  # TINY is a ZERO, and the smaller of them.
        is_one_free = (left == ANY) | (right == ANY)
        both = np.where(is_one_free, np.where(left == ANY, right, left), both)
        is_agreed = is_one_free | (left == right) | ((left < ANY) & (right < ANY))
        if not is_agreed.all():
            raise Impossible(
                f"one consumer of '{name}' needs another value of it than the next"
            )
        return Demand(both, self.readable | other.readable, self.exact | other.exact)


def place(
    demand: Demand, name: str, slots: Callable[[int], Iterable[int]]
) -> np.ndarray:
    """Gives every value that may be anywhere a position of its own.

    Args:
        demand: What is wanted.
        name: Of the vertex, for the reason.
        slots: Returns the positions that a channel of the part's input would rather
            have, best first; it gets any other free one if they are taken.

    Returns:
        Rigid values, shape ``(channels,)``.
    """
    placed = demand.rigid.copy()
    present = set(placed[placed >= 0].tolist())
    wanted = sorted(demand.exact - present)
    held = {value // 2 for value in present | demand.exact}
    wanted += [2 * channel for channel in sorted(demand.readable - held)]
    free = dict.fromkeys(np.flatnonzero(placed == ANY).tolist())
    if len(wanted) > len(free):
        needed = len(present) + len(wanted)
        what = "values" if demand.exact else "channels"
        raise Impossible(
            f"the bottleneck '{name}' has {len(placed)} channels, fewer than the "
            f"{needed} {what} that go through it"
            + (" (both signs of each, because of the activation)" * bool(demand.exact))
        )
    waiting = []
    for value in wanted:
        slots_of_it = slots(value // 2) if value % 2 == 0 else ()
        slot = next((s for s in slots_of_it if s in free), None)
        if slot is None:
            waiting.append(value)
        else:
            placed[slot] = value
            del free[slot]
    for value, slot in zip(waiting, list(free)):
        placed[slot] = value
    return placed


@dataclass(frozen=True)
class Source:
    """The input of the part.

    Attributes:
        shape: Of the tensor, batch axis included.
        axis: Its channel axis.
        is_nonnegative: Whether all of its values are known to be at least 0.
        activations: Functions that contents are behind, by number (from 1).
    """

    shape: tuple[int | MaybeNone, ...]
    axis: int
    is_nonnegative: bool
    activations: list = field(default_factory=list)

    @property
    def channels(self) -> int:
        return self.shape[self.axis]

    def number_of(self, activation: Any) -> int:
        if activation not in self.activations:
            self.activations.append(activation)
        return self.activations.index(activation) + 1

    def readers(self, content: np.ndarray) -> dict[int, list[tuple[int, float]]]:
        """Returns channel -> the positions, with factors, whose sum it is."""
        found: dict[int, int] = {}
        for position, value in enumerate(content.tolist()):
            if value >= 0:
                found.setdefault(value, position)
        readers = {}
        for value, position in found.items():
            number, plain = divmod(value, 2 * self.channels)
            channel, is_negative = divmod(plain, 2)
            if number == 0:
                sign = -1.0 if is_negative else 1.0
                readers[channel] = [(position, sign)]
            elif not is_negative and value + 1 in found:
                factor = 1 / self.activations[number - 1].odd_part
                pair = [(position, factor), (found[value + 1], -factor)]
                readers.setdefault(channel, pair)
        return readers

    def are_nonnegative(self, content: np.ndarray) -> np.ndarray:
        """Says of each value whether it is known to be at least 0."""
        number, plain = np.divmod(content, 2 * self.channels)
        known = [self.is_nonnegative]
        known += [function.is_positive for function in self.activations]
        is_known = (content >= 0) & np.array(known)[np.maximum(number, 0)]
        return is_known & ((number > 0) | (plain % 2 == 0))

    def facts(self) -> Facts:
        """Returns what is known of the input itself."""
        rank = len(self.shape)
        layout = tuple(
            (n,) if n in (0, self.axis) or size != 1 else ()
            for n, size in enumerate(self.shape)
        )
        return Facts(
            self.shape,
            self.axis,
            layout,
            ((0, 0),) * rank,
            room=self.channels,
            is_nonnegative=self.is_nonnegative,
        )


@dataclass(frozen=True)
class Facts:
    """What is known of a tensor before any weight is chosen.

    Attributes:
        shape: With None where unknown.
        axis: The axis that demands and contents are about.
        layout: For each axis the axes of the part's input that it consists of; axes
            of size 1 are left out.
        padding: For each axis the number of positions before and behind the part's
            input.
        blocked: Why nothing of the part's input arrives unchanged, or None.
        room: How many of its channels could arrive.
        depth: How many layers with weights they pass.
        stuck: Why no weights make all of it zero, as a clause, or None if some do.
        is_nonnegative: Whether what arrives of the part's input is at least 0.
    """

    shape: tuple[int | MaybeNone, ...]
    axis: int
    layout: tuple[tuple[int, ...], ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    blocked: str | None = None
    room: int = 0
    depth: int = 0
    stuck: str | None = "the input of the part itself cannot be zero"
    is_nonnegative: bool = False

    @property
    def is_zeroable(self) -> bool:
        return self.stuck is None

    @property
    def channels(self) -> int:
        """How many there are; 0 where that is unknown."""
        return (self.shape[self.axis] or 0) if self.shape else 0

    def but(self, **changes: Any) -> Facts:
        return replace(self, **changes)

    def nothing(self) -> Demand:
        return Demand.nothing(self.channels)

    def zeros(self, like: np.ndarray, facts: Facts) -> Demand:
        """Returns the demand for zeros where another tensor has to have them.

        Where the channels may not be those of the other, all must be zero.

        Args:
            like: Values wanted of the other tensor.
            facts: Of the other tensor.
        """
        is_same = self.axis == facts.axis and len(self.shape) == len(facts.shape)
        if is_same and self.channels == len(like):
            return Demand(np.where(like <= ZERO, like, ANY))
        return Demand(np.full(self.channels, like.min(initial=ANY)))
