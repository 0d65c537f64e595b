"""Layers with one weight for each channel: normalization, scales, slopes."""

from __future__ import annotations

import numpy as np

from keras_nas.surgery.edits.identity.demand import (
    ANY,
    TINY,
    ZERO,
    Demand,
    Facts,
    Impossible,
)
from keras_nas.surgery.edits.identity.steps import Step


class PerChannel(Step):
    """Multiplies every channel by a weight, and may add one."""

    gains: tuple[str, ...] = ("gamma", "scale")

    @property
    def gain(self) -> str | None:
        return next((name for name in self.gains if name in self.weights), None)

    def look(self) -> Facts:
        (facts,) = self.inputs
        self.refuse_blocked()
        return facts.but(shape=self.shape, depth=facts.depth + 1, stuck=self.stuck())

    def stuck(self) -> str | None:
        return None if self.gain is not None else self.inputs[0].stuck

    def axis(self) -> int:
        """The axis of its weights; of several the last."""
        axis = self.config.get("axis", -1)
        axis = axis if isinstance(axis, int) else axis[-1]
        return axis % len(self.shape)

    def ask(self, demand: Demand) -> list[Demand]:
        self.wanted = demand
        rigid = demand.rigid
        self.is_across = self.axis() != self.facts.axis
        self.is_whole_zero = self.is_across and not demand.carries and bool(self.gain)
        if self.is_whole_zero:
            return self.nothing()
        if self.is_across:
            return [demand]
        through = rigid.copy()
        if "beta" in self.weights:
            through[through == TINY] = ZERO
        if self.gain is not None:
            through[through == ZERO] = ANY
        self.stopped = (rigid <= ZERO) & (through != TINY)
        return [Demand(through, demand.readable, demand.exact)]

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        (content,) = contents
        if self.gain is not None and self.is_whole_zero:
            self.fill(self.gain, slice(None), 0.0)
            is_tiny = (self.wanted.rigid == TINY).any()
            self.fill("beta", slice(None), self.tiny() if is_tiny else 0.0)
            return content
        if self.is_across:
            # Its weights belong to positions that hold all channels.
            self.pass_on(slice(None))
            return content
        rigid = self.wanted.rigid
        self.pass_on((content >= 0) | ((rigid <= ZERO) & ~self.stopped))
        zeros = np.flatnonzero(self.stopped)
        if self.gain is not None:
            self.fill(self.gain, zeros, 0.0)
        self.fill("beta", zeros, 0.0)
        self.fill("moving_mean", zeros, 0.0)
        self.fill("beta", np.flatnonzero(rigid == TINY), self.tiny())
        return content

    def pass_on(self, where: slice | np.ndarray) -> None:
        """Notes weights with which some channels stay as they are."""
        self.fill(self.gain or "", where, 1.0)
        self.fill("beta", where, 0.0)


class BatchNormalizing(PerChannel):
    """The identity at inference; in training it normalizes, as it is meant to.

    The moving variance is ``1 - epsilon``: then it divides by exactly 1, with or
    without a scale. A scale of ``sqrt(1 + epsilon)`` would leave rounding errors, and
    would have to be unlearnt.
    """

    def look(self) -> Facts:
        self.refuse_training()
        if self.config["epsilon"] >= 1.0:
            raise Impossible(f"{self.label} divides by more than 1 for its epsilon")
        return super().look()

    def pass_on(self, where: slice | np.ndarray) -> None:
        super().pass_on(where)
        self.fill("moving_mean", where, 0.0)
        variance = self.weights["moving_variance"]
        number = np.float64 if variance.dtype == "float64" else np.float32
        one_less = number(1) - number(self.config["epsilon"])
        self.fill("moving_variance", where, one_less)


class Normalizing(PerChannel):
    """Normalizes over several channels or positions: can be zero, and no more."""

    why = "divides by statistics of each sample"

    def look(self) -> Facts:
        self.refuse_blocked()
        name = self.call.part.cls.__name__
        if name in ("LayerNormalization", "GroupNormalization"):
            raise Impossible(
                f"{self.label} subtracts each sample's mean and divides by its spread"
            )
        raise Impossible(f"{self.label} {self.why}")

    def ask(self, demand: Demand) -> list[Demand]:
        zeros = demand.rigid <= ZERO
        if (demand.rigid == TINY).any() and "beta" not in self.weights:
            raise Impossible(
                f"{self.label} has no shift that would let a gradient through the "
                "activation behind it"
            )
        name = self.gain
        gain = None if name is None else self.weights.get(name)
        is_whole = gain is None or gain.shape != zeros.shape
        is_whole |= self.axis() != self.facts.axis
        where = slice(None) if is_whole else zeros
        if is_whole:
            demand = Demand(np.full(len(zeros), demand.rigid.min()))
        if name is not None and gain is not None:
            self.fill(name, where, 0.0)
        self.fill("beta", where, 0.0)
        if (demand.rigid == TINY).any():
            tiny = where if is_whole else demand.rigid == TINY
            self.fill("beta", tiny, self.tiny())
        if gain is not None:
            return self.nothing()
        return [Demand(np.full(self.inputs[0].channels, ZERO))]

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        return np.full(self.facts.channels, ANY)


class Scaling(PerChannel):
    """ConvNeXt's LayerScale: one weight, named after the layer."""

    @property
    def gain(self) -> str | None:
        return next(iter(self.weights))


class Sloping(PerChannel):
    """PReLU: slope 1 below zero makes it the identity."""

    gains = ()

    def ask(self, demand: Demand) -> list[Demand]:
        # Its gradient at exactly 0 is 0, whatever the slope.
        self.wanted = demand
        tiny = np.where(demand.rigid == ZERO, TINY, demand.rigid)
        return [Demand(tiny, demand.readable, demand.exact)]

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        (content,) = contents
        alpha = self.weights["alpha"]
        bent = np.flatnonzero((content >= 0) & ~self.source.are_nonnegative(content))
        if len(bent):
            axis = self.facts.axis - 1
            index = [slice(None)] * len(alpha.shape)
            if alpha.shape[axis] == len(content):
                index[axis] = bent
            self.fill("alpha", tuple(index), 1.0)
        return content


class Attending(Step):
    """Attention: its last projection can be zero."""

    why = "mixes positions"

    def stuck(self) -> str | None:
        return None if "attention_output/bias" in self.weights else super().stuck()

    def ask(self, demand: Demand) -> list[Demand]:
        if self.facts.axis != len(self.shape) - 1:
            demand = Demand(np.full(self.shape[-1], demand.rigid.min()))
        zeros = np.flatnonzero(demand.rigid <= ZERO)
        self.fill("attention_output/kernel", (..., zeros), 0.0)
        self.fill("attention_output/bias", (..., zeros), 0.0)
        tiny = np.flatnonzero(demand.rigid == TINY)
        self.fill("attention_output/bias", (..., tiny), self.tiny())
        return self.nothing()
