"""How single calls pass demands back and contents on, but for layers with kernels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from keras_nas.axes import MaybeNone
from keras_nas.graph import Call
from keras_nas.surgery.edits.identity.activations import ActivationFunction
from keras_nas.surgery.edits.identity.demand import (
    ANY,
    Demand,
    Facts,
    Impossible,
    Source,
)

# Small enough to vanish beside any number that is not as small itself, large enough to
# survive a few multiplications.
_TINY_VALUE = 1e-20
# The smallest normal number where that would be 0; sums are rounded by more than this.
_TINY_HALF = 2.0**-14

# Index and value of each write into one weight; the same by the name of the weight.
Writes = list[tuple[Any, Any]]
Fills = dict[str, Writes]


class Step:
    """One call of the part; by itself, of a layer that nothing is known about.

    The order of events is: `look` for all calls, from the input on; `ask` for all,
    from the output back; `give` for all, from the input on.

    Attributes:
        call: The call.
        inputs: Facts of the tensors that it is called on.
        source: The input of the part.
        facts: Of its output; what `look` returned.
        fills: Weight name -> ``(index, value)`` to write, one after the other.
    """

    why = "is not a layer that is known to have the identity among its functions"

    def __init__(self, call: Call, inputs: Sequence[Facts], source: Source):
        self.call = call
        self.inputs = list(inputs)
        self.source = source
        self.config = call.part.config
        self.label = f"'{call.path}' ({call.part.cls.__name__})"
        self.weights = dict(call.part.named_weights)
        self.fills: Fills = {}
        try:
            self.facts = self.look()
        except Impossible as error:
            self.facts = self.cut(str(error))

    @property
    def shape(self) -> tuple[int | MaybeNone, ...]:
        return self.call.outputs[0].shape

    def look(self) -> Facts:
        """Returns the facts of the output.

        Raises:
            Impossible: Nothing of the part's input can arrive.
        """
        self.refuse_blocked()
        raise Impossible(f"{self.label} {self.why}")

    def stuck(self) -> str | None:
        """Returns why no weights make all of the output zero, None if some do."""
        return f"nothing makes {self.label} zero"

    def ask(self, demand: Demand) -> list[Demand]:
        """Returns what is wanted of each input, given what is wanted of the output.

        Called only where something is, and `look` found nothing against it.
        """
        raise Impossible(self.stuck())

    @property
    def is_silent(self) -> bool:
        """Whether its weights, all zero and without bias, make it zero."""
        return False

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        """Chooses the weights; returns the content of the output."""
        return np.full(self.facts.channels, ANY)

    def cut(self, reason: str) -> Facts:
        """Returns the facts of an output that nothing of the part's input reaches."""
        rank = len(self.shape)
        is_last = self.source.axis == len(self.source.shape) - 1
        axis = rank - 1 if is_last else min(self.source.axis, rank - 1)
        if self.inputs and len(self.inputs[0].shape) == rank:
            axis = self.inputs[0].axis
        return Facts(self.shape, axis, blocked=reason, stuck=self.stuck())

    def refuse_blocked(self) -> None:
        """Raises the first reason why nothing arrives here, if there is one."""
        for facts in self.inputs:
            if facts.blocked:
                raise Impossible(facts.blocked)

    def first_stuck(self) -> str | None:
        """Returns why some input cannot be zero."""
        return next((facts.stuck for facts in self.inputs if facts.stuck), None)

    def nothing(self) -> list[Demand]:
        """Wants nothing of any input."""
        return [facts.nothing() for facts in self.inputs]

    def zeros(self, demand: Demand) -> list[Demand]:
        """Wants zeros of every input, where the output has to have them."""
        return [facts.zeros(demand.rigid, self.facts) for facts in self.inputs]

    def fill(self, name: str, index: Any, value: Any) -> None:
        """Notes what to write into a weight; nothing if the layer lacks it."""
        if name in self.weights:
            self.fills.setdefault(name, []).append((index, value))

    def tiny(self) -> float:
        dtypes = {spec.dtype for spec in self.call.outputs}
        dtypes |= {weight.dtype for weight in self.weights.values()}
        return _TINY_HALF if "float16" in dtypes else _TINY_VALUE

    def refuse_training(self) -> None:
        if self.call.kwargs.get("training"):
            raise Impossible(f"{self.label} is called with training=True")


class Passing(Step):
    """Does nothing at inference: dropout, noise, regularization."""

    def look(self) -> Facts:
        self.refuse_training()
        return self.inputs[0].but(shape=self.shape)

    def stuck(self) -> str | None:
        return self.inputs[0].stuck

    def ask(self, demand: Demand) -> list[Demand]:
        return [demand]

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        return contents[0]


class Casting(Passing):
    """The same values with more or fewer digits; not where they become whole."""

    def look(self) -> Facts:
        dtype = self.call.outputs[0].dtype
        if "float" not in dtype:
            self.refuse_blocked()
            raise Impossible(f"{self.label} makes {dtype} of its input")
        return super().look()


class Spreading(Step):
    """Moves, mixes or drops positions, but makes zeros of zeros."""

    why = "does not keep every value at its position"

    def stuck(self) -> str | None:
        return self.inputs[0].stuck

    def ask(self, demand: Demand) -> list[Demand]:
        return self.zeros(demand)


class Unbent(Passing):
    """Is the identity only with some settings, which the class has to know."""

    def look(self) -> Facts:
        config = self.config
        settings = (config.get("scale", 1.0), config.get("offset", 0.0))
        if settings not in ((1.0, 0.0), (None, 0.0)):
            raise Impossible(f"{self.label} multiplies and adds by its settings")
        if config.get("mask_value", 0.0) != 0.0:
            raise Impossible(f"{self.label} puts zeros where it masks other values")
        return super().look()

    def stuck(self) -> str | None:
        offset = self.config.get("offset", 0.0)
        if not isinstance(offset, (int, float)) or offset != 0.0:
            return f"{self.label} is not 0 where its input is 0"
        return super().stuck()


class Padding(Passing):
    """Adds positions around the others, or takes some away."""

    def look(self) -> Facts:
        (facts,) = self.inputs
        self.refuse_blocked()
        setting = self.config.get("padding", self.config.get("cropping"))
        pairs = [setting] if isinstance(setting[0], int) else setting
        sign = 1 if "padding" in self.config else -1
        first = 2 if self.config.get("data_format") == "channels_first" else 1
        padding = list(facts.padding)
        for axis, (before, after) in enumerate(pairs, start=first):
            old = padding[axis]
            padding[axis] = (old[0] + sign * before, old[1] + sign * after)
            if min(padding[axis]) < 0:
                raise Impossible(f"{self.label} crops the input of the part")
        return facts.but(shape=self.shape, padding=tuple(padding))


class Arranging(Spreading):
    """Brings the same values into other axes: Reshape, Flatten, Permute."""

    def look(self) -> Facts:
        (facts,) = self.inputs
        self.refuse_blocked()
        if self.shape == facts.shape and "dims" not in self.config:
            return facts
        if "dims" in self.config:
            order = (0, *self.config["dims"])
            layout = tuple(facts.layout[axis] for axis in order)
            padding = tuple(facts.padding[axis] for axis in order)
        else:
            layout = self._regrouped(facts)
            padding = ((0, 0),) * len(layout)
        channels = (self.source.axis,)
        if channels not in layout:
            raise Impossible(f"{self.label} brings channels and positions to one axis")
        axis = layout.index(channels)
        return facts.but(shape=self.shape, axis=axis, layout=layout, padding=padding)

    def _regrouped(self, facts: Facts) -> tuple[tuple[int, ...], ...]:
        """Returns the layout of the new shape, if it only joins and parts axes."""
        if any(pad != (0, 0) for pad in facts.padding):
            raise Impossible(f"{self.label} brings padded axes into another shape")
        source = self.source
        sizes = dict(enumerate(source.shape))
        sizes[source.axis] = facts.channels
        atoms = [atom for axis in facts.layout for atom in axis]
        layout: list[tuple[int, ...]] = []
        for size in self.shape:
            joined: list[int] = []
            while size != 1 and atoms and _product(sizes, joined) != size:
                joined.append(atoms.pop(0))
            if not layout and not joined and atoms:
                joined.append(atoms.pop(0))
            if size != 1 and _product(sizes, joined) != size:
                raise Impossible(f"{self.label} cuts positions into other axes")
            layout.append(tuple(joined))
        if atoms:
            raise Impossible(f"{self.label} cuts positions into other axes")
        return tuple(layout)

    def ask(self, demand: Demand) -> list[Demand]:
        if not self.facts.blocked:
            return [demand]
        # Nobody knows which position is which any more.
        (facts,) = self.inputs
        return [Demand(np.full(facts.channels, demand.rigid.min(initial=ANY)))]

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        return super().give(contents) if self.facts.blocked else contents[0]


def _product(sizes: dict[int, int | None], axes: Sequence[int]) -> int | None:
    """Size of joined axes; None, the unknown one, stays alone."""
    values = [sizes[axis] for axis in axes]
    if values == [None]:
        return None
    known = [value for value in values if value is not None]
    return -1 if not values or len(known) < len(values) else prod(known)


class Activating(Step):
    """An activation function as a layer or operation."""

    def __init__(
        self,
        call: Call,
        inputs: Sequence[Facts],
        source: Source,
        function: ActivationFunction,
    ):
        self.function = function
        super().__init__(call, inputs, source)

    def look(self) -> Facts:
        facts, function = self.inputs[0], self.function
        self.refuse_blocked()
        return function.facts_behind(facts, self.label_of()).but(
            shape=self.shape,
            stuck=self.stuck(),
            is_nonnegative=facts.is_nonnegative or function.is_positive,
        )

    def label_of(self) -> str:
        return f"'{self.call.path}' ({self.function.name})"

    def stuck(self) -> str | None:
        return self.function.stuck(self.label_of()) or self.inputs[0].stuck

    def ask(self, demand: Demand) -> list[Demand]:
        is_nonnegative = self.inputs[0].is_nonnegative
        return [self.function.before(demand, is_nonnegative, self.label_of())]

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        return self.function.behind(contents[0], self.source)
