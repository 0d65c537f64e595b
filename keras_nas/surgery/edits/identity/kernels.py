"""Layers with a kernel, which choose what input goes to which output.

A column of a kernel that has to carry a value is 1 where the value arrives and 0
elsewhere; one that has to be zero is 0. All other columns keep their random values:
the next layer does not look at them yet, but they break the symmetry of its training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from keras_nas.surgery.edits.identity.activations import ActivationFunction, of_setting
from keras_nas.surgery.edits.identity.demand import (
    ANY,
    TINY,
    ZERO,
    Demand,
    Facts,
    Impossible,
    own_place,
    place,
)
from keras_nas.surgery.edits.identity.steps import Step

# (output, channel) -> which inputs give it, each with its factor.
Readers: TypeAlias = Callable[[int, int], list[tuple[int, float]]]


class Kernel(Step):
    """What all of them have in common."""

    kernels: tuple[str, ...] = ("kernel",)

    @property
    def function(self) -> ActivationFunction:
        return of_setting(self.config.get("activation"))

    def label_of_function(self) -> str:
        return f"the activation of '{self.call.path}' ({self.function.name})"

    def working_axis(self) -> int:
        """The axis whose positions the kernel mixes."""
        return len(self.shape) - 1

    def look(self) -> Facts:
        (facts,) = self.inputs
        self.refuse_blocked()
        if not self._has_usual_weights():
            names = ", ".join(self.weights)
            raise Impossible(f"{self.label} has unusual weights ({names})")
        if self.working_axis() != facts.axis:
            return self.look_across(facts)
        made = facts.but(
            shape=self.shape,
            room=min(facts.room, self.shape[facts.axis]),
            depth=facts.depth + 1,
            padding=self.padding(facts),
            is_nonnegative=self.source.is_nonnegative,
            stuck=self.stuck(),
        )
        return self._behind(made)

    def look_across(self, facts: Facts) -> Facts:
        raise Impossible(f"{self.label} works along another axis than the channels")

    def _behind(self, facts: Facts) -> Facts:
        function = self.function
        facts = function.facts_behind(facts, self.label_of_function())
        return facts.but(is_nonnegative=facts.is_nonnegative or function.is_positive)

    def _has_usual_weights(self) -> bool:
        return set(self.kernels) <= self.weights.keys() <= {*self.kernels, "bias"}

    def padding(self, facts: Facts) -> tuple[tuple[int, int], ...]:
        """Returns the padding of the output. May choose the tap of the kernel."""
        return facts.padding

    def stuck(self) -> str | None:
        if not self._has_usual_weights():
            return super().stuck()
        if self.function.zero == TINY and "bias" not in self.weights:
            return self.needs_bias()
        return self.function.stuck(self.label_of_function())

    def needs_bias(self) -> str:
        return (
            f"where {self.label} is 0 the activation behind it has no gradient, and "
            "there is no bias to lift it"
        )

    def ask(self, demand: Demand) -> list[Demand]:
        if self.is_across:
            return self.ask_across(demand)
        pre = self.function.before(
            demand, self.source.is_nonnegative, self.label_of_function()
        )
        self.placed = self.place(pre)
        self._refuse_tiny()
        channels = {value // 2 for value in self.placed[self.placed >= 0].tolist()}
        return [self.need(channels)]

    def _refuse_tiny(self) -> None:
        if (self.placed == TINY).any() and "bias" not in self.weights:
            raise Impossible(self.needs_bias())

    @property
    def is_silent(self) -> bool:
        return "bias" not in self.weights and bool((self.placed <= ZERO).all())

    @property
    def is_across(self) -> bool:
        """Whether it works along another axis than the one that demands are about."""
        return self.working_axis() != self.facts.axis

    def ask_across(self, demand: Demand) -> list[Demand]:
        """Wants nothing, but all of the output has to be zero."""
        is_nonnegative = self.inputs[0].is_nonnegative
        pre = self.function.before(demand, is_nonnegative, self.label_of_function())
        self.is_stopping = not pre.carries
        if not self.is_stopping:
            return [pre]
        self.placed = np.full(self.shape[self.working_axis()], pre.rigid.min())
        self._refuse_tiny()
        return self.nothing()

    def give_across(self, contents: list[np.ndarray]) -> np.ndarray:
        self.fill_zeros(np.arange(len(self.placed)))
        self.fill_bias()
        return np.full(self.facts.channels, ZERO)

    def place(self, demand: Demand) -> np.ndarray:
        return place(demand, self.call.path, own_place)

    def need(self, channels: set[int]) -> Demand:
        """Returns what the input must hold for these channels to be read."""
        return Demand(self.inputs[0].nothing().rigid, readable=channels)

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        if self.is_across:
            return self.give_across(contents)
        self.fill_zeros(np.flatnonzero(self.placed != ANY))
        self.fill_bias()
        rows, columns, values = self.entries(contents[0])
        if len(rows):
            self.fill_ones(rows, columns, values)
        return self.function.behind(self.placed, self.source)

    def fill_bias(self) -> None:
        self.fill("bias", np.flatnonzero(self.placed != ANY), 0.0)
        tiny = np.flatnonzero(self.placed == TINY)
        if len(tiny):
            self.fill("bias", tiny, self.tiny())

    def entries(self, content: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns input, output and value of all entries of the matrix."""
        found = []
        readers = self.readers(content)
        for column in np.flatnonzero(self.placed >= 0).tolist():
            channel, is_negative = divmod(int(self.placed[column]), 2)
            sign = -1.0 if is_negative else 1.0
            for row, factor in readers(column, channel):
                found.append((row, column, sign * factor))
        if not found:
            return (np.empty(0, int),) * 3
        rows, columns, values = zip(*found)
        return np.array(rows), np.array(columns), np.array(values)

    def readers(self, content: np.ndarray) -> Readers:
        """Returns (output, channel) -> inputs and factors."""
        readers = self.source.readers(content)

        def read(column: int, channel: int) -> list[tuple[int, float]]:
            if channel not in readers:
                raise Impossible(f"channel {channel} does not arrive at {self.label}")
            return readers[channel]

        return read

    def fill_zeros(self, columns: np.ndarray) -> None:
        self.fill("kernel", (..., columns), 0.0)

    def fill_ones(self, rows: np.ndarray, columns: np.ndarray, values: Any) -> None:
        self.fill("kernel", (*self.tap(), rows, columns), values)

    def tap(self) -> tuple[int, ...]:
        """The position in the kernel that stays where it is."""
        return ()


class Dense(Kernel):
    """A matrix along one axis."""

    def look_across(self, facts: Facts) -> Facts:
        """Along positions the only choice is the identity matrix."""
        axis = self.working_axis()
        before, after = facts.shape[axis], self.shape[axis]
        if before != after:
            raise Impossible(
                f"{self.label} makes {after} positions of {before} along axis {axis}"
            )
        depth = facts.depth + 1
        made = facts.but(shape=self.shape, depth=depth, stuck=self.stuck())
        return self._behind(made)

    def give_across(self, contents: list[np.ndarray]) -> np.ndarray:
        if self.is_stopping:
            return super().give_across(contents)
        positions = np.arange(self.shape[self.working_axis()])
        self.placed = positions
        self.fill_zeros(positions)
        self.fill_bias()
        self.fill_ones(positions, positions, 1.0)
        return self.function.behind(contents[0], self.source)


class EinsumDense(Dense):
    """A Dense layer if its equation says so: ``...x,xy->...y``."""

    def look(self) -> Facts:
        if self._letters() is None:
            raise Impossible(
                f"{self.label} is not a plain matrix: '{self.config['equation']}'"
            )
        return super().look()

    def stuck(self) -> str | None:
        if self._letters() is None:
            return f"nothing makes {self.label} zero"
        return super().stuck()

    def _letters(self) -> tuple[str, str] | None:
        """Returns the letters that are summed over and made, if one each."""
        equation = self.config["equation"].replace(" ", "")
        data, kernel, output = equation.replace("->", ",").split(",")
        if len(kernel) != 2 or kernel[0] == kernel[1]:
            return None
        old, new = kernel if kernel[0] in data else kernel[::-1]
        is_plain = data.replace(old, new) == output and new not in data
        if not is_plain or data.count(old) != 1:
            return None
        return (old, new) if self.config.get("bias_axes") in (None, new) else None

    def working_axis(self) -> int:
        letters = self._letters()
        output = self.config["equation"].replace(" ", "").split("->")[1]
        if letters is None:
            return len(self.shape) - 1
        before, _, after = output.partition("...")
        if letters[1] in before:
            return before.index(letters[1])
        return len(self.shape) - len(after) + after.index(letters[1])

    def _is_turned(self) -> bool:
        letters = self._letters()
        old = None if letters is None else letters[0]
        return self.config["equation"].replace(" ", "").split(",")[1][0] != old

    def fill_zeros(self, columns: np.ndarray) -> None:
        self.fill("kernel", (columns,) if self._is_turned() else (..., columns), 0.0)

    def fill_ones(self, rows: np.ndarray, columns: np.ndarray, values: Any) -> None:
        index = (columns, rows) if self._is_turned() else (rows, columns)
        self.fill("kernel", index, values)
