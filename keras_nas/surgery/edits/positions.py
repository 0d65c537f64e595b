"""Where the positions of a merge's output were before its inputs changed.

The rule of the merge says it: asked about the old and the new inputs, with one atom
for each axis of each, it gives two expressions for each axis of the output. No merge
is known by name.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from keras_nas.axes import Atom, Expression, Fixed, Unifier, terms_of
from keras_nas.graph import Call
from keras_nas.rules import (
    AxisTensor,
    RuleCall,
    Undescribed,
    find_rule,
)
from keras_nas.surgery.edits.draft import Origins

Shape = tuple[int | None, ...]


class Merge:
    """The axes of a vertex's output as its inputs come and go.

    Args:
        call: The vertex.
    """

    def __init__(self, call: Call):
        self._call = call
        self._unifier = Unifier()
        self._tensors: dict[Hashable, AxisTensor] = {}

    def axes(
        self, inputs: Sequence[tuple[Hashable, Shape]], outputs: Shape
    ) -> tuple[Expression, ...] | None:
        """Returns the axes of the first output; None if nobody can tell.

        Args:
            inputs: A label for each input and its shape. What has the same label is the
                same tensor in every question.
            outputs: Shape of the output.

        Raises:
            ValueError: Inputs do not fit together.
        """
        part = self._call.part
        rule = find_rule(part.cls, is_operation=part.is_operation)
        if rule is None:
            return None
        tensors = [self._tensor(label, shape) for label, shape in inputs]
        rule_call = RuleCall(
            self._unifier,
            part.cls,
            self._call.path,
            part.config,
            {},
            (tensors, *self._call.args[1:]),
            dict(self._call.kwargs),
            [outputs],
        )
        try:
            return rule(rule_call).outputs[0].axes
        except Undescribed:
            return None

    def origins(
        self, before: tuple[Expression, ...], after: tuple[Expression, ...]
    ) -> Origins:
        """Returns axis -> old position of each new one, -1 where there was none."""
        origins: dict[int, np.ndarray] = {}
        for number, axes in enumerate(zip(before, after, strict=True)):
            old, new = map(self._unifier.resolve, axes)
            if old != new and None not in (old.size, new.size):
                origins[number] = _old_positions(old, new)
        return origins

    def input_axes(self, label: Hashable) -> tuple[Expression, ...]:
        """Returns the axes of an input that was asked about before."""
        return self._tensors[label].axes

    def _tensor(self, label: Hashable, shape: Shape) -> AxisTensor:
        if label not in self._tensors:
            self._tensors[label] = AxisTensor(
                tuple(
                    Fixed(size)
                    if size is None or size == 1
                    else self._unifier.atom(size, str(label))
                    for size in shape
                )
            )
        return self._tensors[label]


def _old_positions(old: Expression, new: Expression) -> np.ndarray:
    """Looks up each term of the new axis among those of the old one."""
    starts: dict[Atom, list[int]] = {}
    offset = 0
    for term in terms_of(old):
        if isinstance(term, Atom):
            starts.setdefault(term, []).append(offset)
        offset += term.size
    pieces = []
    for term in terms_of(new):
        known = starts.get(term) if isinstance(term, Atom) else None
        if known:
            pieces.append(np.arange(term.size) + known.pop(0))
        else:
            pieces.append(np.full(term.size, -1))
    return np.concatenate(pieces)
