"""What stands in the boxes of a drawn network, and what the lines between them join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keras_nas.surgery import VertexView


@dataclass(frozen=True)
class Box:
    """One box: a vertex, or several in a row with the same neurons.

    Attributes:
        views: The vertices, producers first.
        new_size: Size in a plan, if it is another.
    """

    views: tuple[VertexView, ...]
    new_size: int | None = None

    @property
    def last(self) -> VertexView:
        """The vertex that others read."""
        return self.views[-1]

    @property
    def name(self) -> str:
        """Unique in a picture."""
        return self.last.path


@dataclass(frozen=True)
class Boxes:
    """A network to draw.

    Attributes:
        boxes: In reading order.
        lines: Names of boxes, from and to.
    """

    boxes: tuple[Box, ...]
    lines: tuple[tuple[str, str], ...]


def boxes_of(
    views: Sequence[VertexView], new_sizes: Mapping[str, int], *, fold: bool
) -> Boxes:
    """Puts vertices into boxes.

    Args:
        views: The vertices.
        new_sizes: Vertex -> size in a plan, for those that change.
        fold: Whether vertices in a row that have the same neurons share a box.
    """
    readers = Counter(source for view in views for source in view.inputs)
    rows: dict[str, list[VertexView]] = {}
    for view in views:
        row = rows.pop(view.inputs[0], None) if len(view.inputs) == 1 else None
        if row is None:
            rows[view.path] = [view]
        elif fold and readers[view.inputs[0]] == 1 and _are_alike(row[-1], view):
            rows[view.path] = [*row, view]
        else:
            rows[view.inputs[0]] = row
            rows[view.path] = [view]
    places = {view.path: number for number, view in enumerate(views)}
    boxes = [
        Box(tuple(row), new_sizes.get(row[-1].path))
        for row in sorted(rows.values(), key=lambda row: places[row[0].path])
    ]
    box_of = {view.path: box.name for box in boxes for view in box.views}
    lines = [
        (box_of[source], box.name) for box in boxes for source in box.views[0].inputs
    ]
    return Boxes(tuple(boxes), tuple(lines))


def _are_alike(first: VertexView, second: VertexView) -> bool:
    return (first.size, first.group, first.state, first.is_frozen) == (
        second.size,
        second.group,
        second.state,
        second.is_frozen,
    )
