"""Layers and operations that bring several tensors together."""

from __future__ import annotations

import numpy as np

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


class Joining(Step):
    """Concatenate."""

    @property
    def axis(self) -> int:
        return self.config.get("axis", -1) % len(self.shape)

    def look(self) -> Facts:
        arriving = [facts for facts in self.inputs if not facts.blocked]
        if not arriving:
            self.refuse_blocked()
        first = arriving[0]
        if self.axis != first.axis:
            raise Impossible(f"{self.label} joins positions, not channels")
        same = (first.layout, first.padding)
        if any((facts.layout, facts.padding) != same for facts in arriving):
            raise Impossible(
                f"{self.label} joins tensors that are laid out differently"
            )
        return first.but(
            shape=self.shape,
            room=min(sum(facts.room for facts in arriving), self.source.channels),
            depth=min(facts.depth for facts in arriving),
            stuck=self.stuck(),
            is_nonnegative=all(facts.is_nonnegative for facts in arriving),
        )

    def stuck(self) -> str | None:
        return self.first_stuck()

    def ask(self, demand: Demand) -> list[Demand]:
        if self.axis != self.facts.axis:
            return self.zeros(demand)
        ends = np.cumsum([facts.channels for facts in self.inputs])[:-1]
        demands = [Demand(rigid) for rigid in np.split(demand.rigid, ends)]
        self._share_out(demand, demands)
        for facts, one in zip(self.inputs, demands, strict=True):
            if one.carries and facts.blocked:
                raise Impossible(facts.blocked)
        return demands

    def _share_out(self, demand: Demand, demands: list[Demand]) -> None:
        """Lets few operands bring what may be anywhere; the others stay random."""
        present = set(demand.rigid[demand.rigid >= 0].tolist())
        exact = sorted(demand.exact - present)
        known = {value // 2 for value in present | demand.exact}
        readable = sorted(demand.readable - known)
        order = sorted(
            (number for number, facts in enumerate(self.inputs) if not facts.blocked),
            key=lambda number: self.inputs[number].depth,
        )
        for number in order:
            facts, one = self.inputs[number], demands[number]
            free = int((one.rigid == ANY).sum())
            # A copy of the input has no negatives.
            taken = [value for value in exact if facts.depth or value % 2 == 0][:free]
            one.exact = set(taken)
            exact = [value for value in exact if value not in one.exact]
            room = max(min(facts.room, free) - len(one.exact), 0)
            one.readable, readable = set(readable[:room]), readable[room:]
        if exact or readable:
            raise Impossible(
                f"{self.label} has no room for {len(exact) + len(readable)} of the "
                f"{len(demand.channels)} channels that go through it"
            )

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        if self.axis != self.facts.axis:
            return super().give(contents)
        return np.concatenate(contents)


class Adding(Step):
    """Add, and Subtract of two: one operand is what is wanted, the others zero."""

    @property
    def is_difference(self) -> bool:
        return self.call.part.cls.__name__ == "Subtract"

    def look(self) -> Facts:
        reasons = []
        for number in self._candidates():
            reason = self._against(number)
            if reason is None:
                facts = self.inputs[number]
                return facts.but(shape=self.shape, stuck=self.stuck())
            reasons.append(reason)
        raise Impossible(reasons[0])

    def stuck(self) -> str | None:
        return self.first_stuck()

    def _candidates(self) -> list[int]:
        """Operands that may carry, those with few weights on the way first."""
        numbers = range(1 if self.is_difference else len(self.inputs))

        def cost(number: int) -> tuple[bool, int]:
            facts = self.inputs[number]
            return facts.blocked is not None, facts.depth

        return sorted(numbers, key=cost)

    def _against(self, number: int) -> str | None:
        """Returns why an operand cannot be the one that carries, or None."""
        facts = self.inputs[number]
        if facts.blocked:
            return facts.blocked
        if facts.shape != self.shape:
            return f"{self.label} repeats one of its inputs"
        for other, rest in enumerate(self.inputs):
            if other != number and not rest.is_zeroable:
                return (
                    f"one input of {self.label} would have to be zero, and {rest.stuck}"
                )
        return None

    def ask(self, demand: Demand) -> list[Demand]:
        if not demand.carries:
            return self._lifted(self.zeros(demand))
        numbers = [n for n in self._candidates() if self._against(n) is None]
        needed = len(demand.channels)
        carrier = next(
            (n for n in numbers if self.inputs[n].room >= needed), numbers[0]
        )
        placed = place(demand, self.call.path, own_place)
        zeros = np.where(placed >= 0, ZERO, placed)
        demands = [facts.zeros(zeros, self.facts) for facts in self.inputs]
        demands[carrier] = Demand(placed)
        return self._lifted(demands)

    def _lifted(self, demands: list[Demand]) -> list[Demand]:
        """Makes sure that what a difference takes away is 0, and no more."""
        if self.is_difference:
            taken = demands[1].rigid
            demands[1] = Demand(np.where(taken == TINY, ZERO, taken))
        return demands

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        contents = [
            content
            if len(content) == self.facts.channels
            else np.resize(content, self.facts.channels)
            for content in contents
        ]
        made = contents[0]
        for content in contents[1:]:
            if self.is_difference:
                content = np.where(content <= ZERO, content, ANY)
            both = np.where(content <= ZERO, made, ANY)
            made = np.where(made <= ZERO, content, both)
        return made


class Choosing(Step):
    """Maximum and Minimum.

    They would be the identity if every operand were, but of equal values only the
    first gets the gradient with some backends.
    """

    why = "chooses one of its inputs, and the others would get no gradient"


class Averaging(Step):
    """Average: the identity if every operand is."""

    def look(self) -> Facts:
        self.refuse_blocked()
        for facts in self.inputs:
            if facts.shape != self.shape:
                raise Impossible(f"{self.label} repeats one of its inputs")
        if sum(facts.depth > 0 for facts in self.inputs) > 1:
            raise Impossible(
                f"all inputs of {self.label} would have to be the same, which "
                "training could not tell apart again"
            )
        deepest = max(self.inputs, key=lambda facts: facts.depth)
        room = min(facts.room for facts in self.inputs)
        return deepest.but(stuck=self.stuck(), room=room)

    def stuck(self) -> str | None:
        return self.first_stuck()

    def ask(self, demand: Demand) -> list[Demand]:
        if not demand.carries:
            return self.zeros(demand)
        placed = place(demand, self.call.path, own_place)
        return [Demand(placed.copy()) for _ in self.inputs]

    def give(self, contents: list[np.ndarray]) -> np.ndarray:
        made = contents[0]
        for content in contents[1:]:
            if len(content) != len(made):
                return super().give(contents)
            made = np.where(made == content, made, ANY)
        return made


class Multiplying(Step):
    """Multiply: zero if one operand is."""

    why = "multiplies by something that depends on the input"

    def look(self) -> Facts:
        if all(facts.blocked for facts in self.inputs):
            self.refuse_blocked()
        raise Impossible(f"{self.label} {self.why}")

    def stuck(self) -> str | None:
        if any(facts.is_zeroable for facts in self.inputs):
            return None
        return self.first_stuck()

    def ask(self, demand: Demand) -> list[Demand]:
        demands = self.nothing()
        for number, facts in enumerate(self.inputs):
            if facts.is_zeroable:
                demands[number] = self.zeros(demand)[number]
                return demands
        return super().ask(demand)
