"""Where the positions of a merge's output were before its inputs changed.

The rule of the merge says it: asked about the old and the new inputs, with one atom
for each axis of each, it gives two expressions for each axis of the output. No merge
is known by name.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import cast

import numpy as np

from keras_nas.axes import Atom, Expression, Fixed, MaybeNone, Unifier, terms_of, total
from keras_nas.graph import Call
from keras_nas.rules import (
    AxisTensor,
    RuleCall,
    Undescribed,
    find_rule,
)
from keras_nas.surgery.edits.draft import Origins

Shape = tuple[int | MaybeNone, ...]
Axes = tuple[Expression, ...]


class Merge:
    """The axes of a merge's output as its inputs, or its kind, change."""

    def __init__(self) -> None:
        self._unifier = Unifier()
        self._tensors: dict[Hashable, AxisTensor] = {}

    def axes(
        self, call: Call, inputs: Sequence[tuple[Hashable, Shape]], outputs: Shape
    ) -> Axes | None:
        """Returns the axes of the first output; None if nobody can tell.

        Args:
            call: The merge.
            inputs: A label for each input and its shape. What has the same label is the
                same tensor in every question.
            outputs: Shape of the output.

        Raises:
            ValueError: Inputs do not fit together.
        """
        part = call.part
        rule = find_rule(part.cls, is_operation=part.is_operation)
        if rule is None:
            return None
        tensors = [self._tensor(label, shape) for label, shape in inputs]
        rule_call = RuleCall(
            self._unifier,
            part.cls,
            call.path,
            part.config,
            {},
            (tensors, *call.args[1:]),
            dict(call.kwargs),
            [outputs],
        )
        try:
            return rule(rule_call).outputs[0].axes
        except Undescribed:
            return None

    def ties_unequal(self, call: Call, shapes: Sequence[Shape]) -> bool:
        """Whether a merge needs equal sizes where its inputs have different ones."""
        try:
            self.axes(call, list(enumerate(shapes)), shapes[0])
        except ValueError:
            return True
        return False

    def origins(self, before: Axes | None, after: Axes | None) -> Origins:
        """Returns axis -> old position of each new one, -1 where there was none.

        Nothing is known where nobody can tell the axes, or their number has changed.
        """
        origins: dict[int, np.ndarray] = {}
        if before is None or after is None or len(before) != len(after):
            return origins
        for number, axes in enumerate(zip(before, after, strict=True)):
            old, new = map(self._unifier.resolve, axes)
            if old != new and None not in (old.size, new.size):
                origins[number] = _old_positions(old, new)
        return origins

    def compose(
        self, label: Hashable, pieces: Sequence[tuple[Hashable, Shape]], shape: Shape
    ) -> None:
        """Says that an input consists of others, one after the other."""
        number = cast(int, joined_axis([piece for _, piece in pieces], shape))
        tensors = [self._tensor(*piece) for piece in pieces]
        axes = list(tensors[0].axes)
        axes[number] = total(tensor.axes[number] for tensor in tensors)
        self._tensors[label] = AxisTensor(tuple(axes))

    def input_axes(self, label: Hashable) -> Axes:
        """Returns the axes of an input that was asked about before."""
        return self._tensors[label].axes

    def _tensor(self, label: Hashable, shape: Shape) -> AxisTensor:
        if label not in self._tensors:
            self._tensors[label] = AxisTensor(
                tuple(
                    Fixed(size)
                    if size is None
                    else self._unifier.atom(size, str(label))
                    for size in shape
                )
            )
        return self._tensors[label]


def joined_axis(pieces: Sequence[Shape], whole: Shape) -> int | None:
    """Returns the axis along which tensors side by side have a shape, or None."""
    if any(len(piece) != len(whole) for piece in pieces) or len(pieces) < 2:
        return None
    found = []
    for number, size in enumerate(whole):
        sizes = [piece[number] for piece in pieces]
        if set(sizes) == {size}:
            continue
        if None in (*sizes, size) or sum(sizes) != size:
            return None
        found.append(number)
    return found[0] if len(found) == 1 else None


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
            start = known.pop(0) if len(known) > 1 else known[0]
            pieces.append(np.arange(term.size) + start)
        else:
            pieces.append(np.full(term.size, -1))
    return np.concatenate(pieces)
