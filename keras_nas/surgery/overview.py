"""What there is to say about each vertex of a network, for tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_nas.axes import Atom, Expression, fixed_reasons
from keras_nas.graph import Analysis, Call
from keras_nas.surgery.names import Names
from keras_nas.surgery.wording import Freedom, symbol


@dataclass(frozen=True)
class VertexView:
    """One vertex, as a reader sees it.

    Attributes:
        path: Name of the vertex.
        kind: Class of what it calls.
        size: Its number of neurons; None if that is not known or it has none.
        group: Its neurons in names of the families they belong to: ``"g1+g2"``; empty
            where none can change.
        further: Further widths by name.
        inputs: The vertices it reads, each once.
        state: Whether it can change, or why not.
        is_frozen: Whether nothing is known of it.
    """

    path: str
    kind: str
    size: int | None
    group: str
    further: Mapping[str, int]
    inputs: tuple[str, ...]
    state: str
    is_frozen: bool


def overview(analysis: Analysis) -> list[VertexView]:
    """Returns the vertices of a network, each branch together."""
    names = Names(analysis)
    calls = analysis.flat.by_path
    inputs = {
        path: list(dict.fromkeys(ref.vertex for ref in names.input_refs(path)))
        for path in calls
    }
    groups = _Groups()
    views = []
    for path in _in_reading_order(analysis, inputs):
        axis: Any = analysis.channel_of(analysis.output_of(path))
        has_size = axis is not None and axis.size is not None
        further = names.further_widths(path).items()
        views.append(
            VertexView(
                path,
                calls[path].part.cls.__name__,
                axis.size if has_size else None,
                symbol(axis, groups.name) if has_size and axis.atoms else "",
                {name: width.size for name, width in further},
                tuple(inputs[path]),
                _state(analysis, calls[path], axis),
                path in analysis.frozen,
            )
        )
    return views


class _Groups:
    """Numbers the families of neurons in the order in which a reader meets them."""

    def __init__(self) -> None:
        self._numbers: dict[Atom, int] = {}

    def name(self, atom: Atom) -> str:
        """Returns the name of a family: ``g3``."""
        return f"g{self._numbers.setdefault(atom, len(self._numbers) + 1)}"


def _in_reading_order(analysis: Analysis, inputs: dict[str, list[str]]) -> list[str]:
    """Sorts vertices so that each branch stands together, the longest one first.

    Keras sorts them by depth, which mixes the lines of branches side by side.
    """
    depths: dict[str, int] = {}
    for path, sources in inputs.items():
        depths[path] = 1 + max((depths.get(source, 0) for source in sources), default=0)
    order: list[str] = []
    seen: set[str] = set()
    ends = [*(ref.vertex for ref in analysis.flat.outputs), *inputs]
    stack = [(path, False) for path in reversed(ends)]
    while stack:
        path, is_done = stack.pop()
        if is_done:
            order.append(path)
        elif path not in seen:
            seen.add(path)
            stack.append((path, True))
            longest_first = sorted(inputs[path], key=depths.__getitem__, reverse=True)
            stack += [(source, False) for source in reversed(longest_first)]
    return order


def _state(analysis: Analysis, call: Call, axis: Expression | None) -> str:
    if call.path in analysis.frozen:
        return f"frozen: {analysis.frozen[call.path]}"
    if axis is None or axis.size is None:
        return ""
    if not axis.atoms:
        reasons = fixed_reasons(axis) or ("the model",)
        return f"fixed: {reasons[0]}"
    is_output = any(
        axis.atoms & other.atoms
        for ref in analysis.flat.outputs
        for other in analysis.axes_of(ref)
    )
    if is_output:
        return "on request: model output"
    freedom = Freedom.of(axis)
    steps = f" in steps of {freedom.step}" if freedom.step > 1 else ""
    if freedom.num_fixed:
        return f"{axis.size - freedom.num_fixed} of {axis.size}{steps}"
    return f"yes{',' if steps else ''}{steps}"
