"""Decisions: who makes them, and under which names.

A space asks for one decision after the other, each with a name and the options that
are possible at that moment. Who answers decides what comes out: chance gives a sample,
an architecture gives the network that it describes, an architecture with some holes
gives its nearest relative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError

Decide = Callable[[str, Sequence[Any]], Any]


class Scope:
    """Asks for decisions under a common prefix of their names.

    Where only one option is possible nobody is asked.

    Args:
        decide: ``(name, options) -> option``.
        prefix: Stands before the names, with a slash between.
    """

    def __init__(self, decide: Decide, prefix: str = ""):
        self._decide = decide
        self.prefix = prefix

    def inside(self, name: str) -> Scope:
        """Returns a scope with one more word before the names."""
        return Scope(self._decide, f"{self.prefix}/{name}" if self.prefix else name)

    def choose(self, name: str, options: Sequence[Any]) -> Any:
        """Returns one of the options."""
        if len(options) == 1:
            return options[0]
        key = f"{self.prefix}/{name}" if self.prefix else name
        return self._decide(key, options)

    def layer_name(self, word: str) -> str:
        """Returns what a layer that is decided here is called."""
        words = [*self.prefix.split("/")] if self.prefix else []
        return "_".join(words if words[-1:] == [word] else [*words, word])


def by_chance(rng: np.random.Generator) -> Decide:
    """Each option with the same probability."""
    return lambda key, options: options[int(rng.integers(len(options)))]


class Recorder:
    """Lets another decide, and remembers what was decided.

    Attributes:
        made: Name of a decision -> the option taken: an architecture.
        options: Name of a decision -> what could have been taken.
    """

    def __init__(self, decide: Decide):
        self._decide = decide
        self.made: dict[str, Any] = {}
        self.options: dict[str, Sequence[Any]] = {}

    def __call__(self, key: str, options: Sequence[Any]) -> Any:
        self.options[key] = options
        self.made[key] = self._decide(key, options)
        return self.made[key]


def as_in(architecture: Mapping[str, Any]) -> Decide:
    """The option that an architecture names.

    Raises:
        InvalidRequestError: It names none, or one that is impossible here.
    """

    def decide(key: str, options: Sequence[Any]) -> Any:
        if key not in architecture:
            raise InvalidRequestError(
                f"The architecture does not decide '{key}'.\n\nTake an architecture "
                f"that this space has sampled. Received: {dict(architecture)!r}"
            )
        if architecture[key] not in options:
            raise InvalidRequestError(
                f"The architecture decides '{key}' for {architecture[key]!r}, but the "
                f"options are {list(options)!r}.\n\nTake an architecture that this "
                f"space has sampled. Received: {dict(architecture)!r}"
            )
        return architecture[key]

    return decide


def nearly_as_in(*architectures: Mapping[str, Any], otherwise: Decide) -> Decide:
    """The option of the first architecture that names a possible one."""

    def decide(key: str, options: Sequence[Any]) -> Any:
        for architecture in architectures:
            if key in architecture and architecture[key] in options:
                return architecture[key]
        return otherwise(key, options)

    return decide


class Odometer:
    """Goes through all decisions: the last one counts up first.

    Attributes:
        goes_on: Whether there is another way to decide.
    """

    def __init__(self) -> None:
        self.goes_on = True
        self._digits: list[int] = []
        self._bases: list[int] = []
        self._place = 0

    def __call__(self, key: str, options: Sequence[Any]) -> Any:
        if self._place == len(self._digits):
            self._digits.append(0)
            self._bases.append(len(options))
        self._place += 1
        return options[self._digits[self._place - 1]]

    def advance(self) -> None:
        """Takes the next way; what the last decision led to may be others then."""
        self._place = 0
        while self._digits and self._digits[-1] + 1 == self._bases[-1]:
            self._digits.pop()
            self._bases.pop()
        if self._digits:
            self._digits[-1] += 1
        else:
            self.goes_on = False
