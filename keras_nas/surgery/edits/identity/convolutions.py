"""Convolutions: plain, grouped, transposed, depthwise and separable.

The kernel that moves nothing is 1 at one tap. It is the centre of an odd kernel; of an
even one it is the position before the middle, since Keras pads one position more
behind than before, with every backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_nas.graph import Call
from keras_nas.surgery.edits.identity.demand import (
    ANY,
    Demand,
    Facts,
    Impossible,
    Source,
    place,
)
from keras_nas.surgery.edits.identity.kernels import Kernel, Readers


class Convolution(Kernel):
    """Plain convolutions; the base of all others."""

    def look(self) -> Facts:
        self.taps: tuple[int, ...] = ()
        return super().look()

    def working_axis(self) -> int:
        first = self.config.get("data_format") == "channels_first"
        return 1 if first else len(self.shape) - 1

    def padding(self, facts: Facts) -> tuple[tuple[int, int], ...]:
        first = 2 if self.config.get("data_format") == "channels_first" else 1
        settings = zip(*(self._per_axis(n) for n in ("kernel_size", "strides")))
        padding, taps = list(facts.padding), []
        dilations = self._per_axis("dilation_rate")
        for number, (size, stride) in enumerate(settings):
            axis = first + number
            if stride != 1:
                raise Impossible(
                    f"{self.label} moves in strides of {stride}, which changes the "
                    "number of positions"
                )
            tap, padding[axis] = self._tap(size, dilations[number], padding[axis])
            taps.append(tap)
        self.taps = tuple(taps)
        return tuple(padding)

    def _per_axis(self, name: str) -> tuple[int, ...]:
        value = self.config[name]
        rank = len(self.shape) - 2
        return (value,) * rank if isinstance(value, int) else tuple(value)

    def _tap(
        self, size: int, dilation: int, around: tuple[int, int]
    ) -> tuple[int, tuple[int, int]]:
        """Returns the tap that moves nothing, and the padding of the output."""
        mode = self.config["padding"]
        if mode == "causal":
            return size - 1, around
        if mode == "same":
            if size % 2 == 0 and dilation != 1:
                raise Impossible(
                    f"no tap of {self.label} stays in place: its kernel size {size} is "
                    f"even and dilated by {dilation}"
                )
            return (size - 1) // 2, around
        return self._valid_tap(size, dilation, around)

    def _valid_tap(
        self, size: int, dilation: int, around: tuple[int, int]
    ) -> tuple[int, tuple[int, int]]:
        before, after = around
        taps = [
            tap
            for tap in range(size)
            if tap * dilation <= before and (size - 1 - tap) * dilation <= after
        ]
        if not taps:
            raise Impossible(
                f"{self.label} has kernel size {size} and valid padding, which loses "
                "positions at the border"
            )
        tap = min(taps, key=lambda tap: abs(2 * tap - size + 1))
        rest = (before - tap * dilation, after - (size - 1 - tap) * dilation)
        return tap, rest

    def tap(self) -> tuple[int, ...]:
        return self.taps


class Grouped(Convolution):
    """Each group of outputs reads a group of inputs of its own."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Inputs and outputs of one group."""
        groups = self.config["groups"]
        axis = self.working_axis()
        return self.inputs[0].shape[axis] // groups, self.shape[axis] // groups

    def place(self, demand: Demand) -> np.ndarray:
        """Prefers outputs of the group that a channel of the same number is in."""
        old, new = self.sizes

        def own_group(channel: int) -> range:
            start = channel // old * new
            return range(start, start + new)

        return place(demand, self.call.path, own_group)

    def need(self, channels: set[int]) -> Demand:
        old, new = self.sizes
        rigid = self.inputs[0].nothing().rigid
        for group in range(self.config["groups"]):
            placed = self.placed[group * new : (group + 1) * new]
            wanted = sorted({value // 2 for value in placed[placed >= 0].tolist()})
            if len(wanted) > old:
                raise Impossible(
                    f"the outputs of a group of {self.label} need {len(wanted)} "
                    f"channels, more than the {old} that the group reads"
                )
            one = Demand(np.full(old, ANY), readable=set(wanted))
            start = group * old

            def inside(channel: int, start: int = start) -> tuple[int]:
                return (channel - start,)

            rigid[start : start + old] = place(one, self.call.path, inside)
        return Demand(rigid)

    def readers(self, content: np.ndarray) -> Readers:
        _, new = self.sizes
        groups = np.split(content, self.config["groups"])
        readers = [self.source.readers(group) for group in groups]

        def read(column: int, channel: int) -> list[tuple[int, float]]:
            found = readers[column // new]
            if channel not in found:
                raise Impossible(
                    f"channel {channel} is in another group of {self.label}"
                )
            return found[channel]

        return read


class Transposed(Convolution):
    """Stride 1 only; Keras stores the kernel with its outputs before its inputs."""

    def _valid_tap(
        self, size: int, dilation: int, around: tuple[int, int]
    ) -> tuple[int, tuple[int, int]]:
        tap = (size - 1) // 2
        before, after = around
        return tap, (before + tap * dilation, after + (size - 1 - tap) * dilation)

    def fill_zeros(self, columns: np.ndarray) -> None:
        self.fill("kernel", (..., columns, slice(None)), 0.0)

    def fill_ones(self, rows: np.ndarray, columns: np.ndarray, values: Any) -> None:
        self.fill("kernel", (*self.tap(), columns, rows), values)


class Depthwise(Convolution):
    """Output ``j`` reads input ``j // depth_multiplier`` and no other."""

    @property
    def multiplier(self) -> int:
        return self.config["depth_multiplier"]

    def place(self, demand: Demand) -> np.ndarray:
        """A value that may be anywhere is where it arrives."""
        self.wanted = demand
        return demand.rigid

    def need(self, channels: set[int]) -> Demand:
        rows = self.placed.reshape(-1, self.multiplier)
        # Whatever the sign, the kernel can turn it.
        wanted = np.where(rows >= 0, rows // 2 * 2, ANY).max(axis=1)
        clash = ((rows >= 0) & (rows // 2 * 2 != wanted[:, None])).any()
        if clash:
            raise Impossible(f"{self.label} would have to copy two channels from one")
        readable, exact = self.wanted.readable, self.wanted.exact
        return Demand(wanted, set(readable), set(exact))

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        if self.is_across:
            return self.give_across(contents)
        (content,) = contents
        rows = self.placed.reshape(-1, self.multiplier).copy()
        if self.wanted.readable or self.wanted.exact:
            # The first free copy of everything that arrives.
            for row in np.flatnonzero(content >= 0):
                free = np.flatnonzero(rows[row] == ANY)
                if len(free):
                    rows[row, free[0]] = content[row]
        self.placed = rows.reshape(-1)
        self.fill_zeros(np.flatnonzero(self.placed != ANY))
        self.fill_bias()
        columns = np.flatnonzero(self.placed >= 0)
        arriving = np.repeat(content, self.multiplier)[columns]
        if (self.placed[columns] // 2 != arriving // 2).any():
            raise Impossible(f"other channels arrive at {self.label} than it could use")
        signs = np.where(self.placed[columns] == arriving, 1.0, -1.0)
        index = np.divmod(columns, self.multiplier)
        self.fill("kernel", (*self.tap(), *index), signs)
        return self.function.behind(self.placed, self.source)

    def fill_zeros(self, columns: np.ndarray) -> None:
        self.fill("kernel", (..., *np.divmod(columns, self.multiplier)), 0.0)


class Separable(Convolution):
    """A depthwise convolution, then a pointwise one."""

    kernels = ("depthwise_kernel", "pointwise_kernel")

    def fill_zeros(self, columns: np.ndarray) -> None:
        self.fill("pointwise_kernel", (..., columns), 0.0)

    def fill_ones(self, rows: np.ndarray, columns: np.ndarray, values: Any) -> None:
        used = np.unique(rows)
        self.fill("depthwise_kernel", (..., used, 0), 0.0)
        self.fill("depthwise_kernel", (*self.tap(), used, 0), 1.0)
        first = rows * self.config["depth_multiplier"]
        self.fill("pointwise_kernel", (..., first, columns), values)


def convolution(
    call: Call, inputs: Sequence[Facts], source: Source
) -> Convolution:
    """Returns the step of a Conv layer, with groups or without."""
    cls = Convolution if call.part.config.get("groups", 1) == 1 else Grouped
    return cls(call, inputs, source)
