"""What a person reads about a whole model: its summary."""

from __future__ import annotations

from keras_nas.axes import Atom, Expression, fixed_reasons
from keras_nas.graph import Analysis, Call, Graph, analyze
from keras_nas.importance import sized_layers
from keras_nas.surgery.names import Names
from keras_nas.surgery.tables import listed, table
from keras_nas.surgery.wording import Freedom, symbol

_HEADER = ("vertex", "class", "size", "group", "further", "inputs", "can change?")
_INPUTS_WIDTH = 60


def summary(graph: Graph) -> str:
    """Returns the table behind `keras_nas.summary`."""
    analysis = analyze(graph)
    names = Names(analysis)
    calls = analysis.flat.by_path
    inputs = {
        path: list(dict.fromkeys(ref.vertex for ref in names.input_refs(path)))
        for path in calls
    }
    groups = _Groups()
    rows = []
    for path in _in_reading_order(analysis, inputs):
        axis = analysis.channel_of(analysis.output_of(path))
        has_size = axis is not None and axis.size is not None
        rows.append(
            (
                path,
                calls[path].part.cls.__name__,
                axis.size if has_size else "",
                symbol(axis, groups.name) if has_size and axis.atoms else "",
                " ".join(
                    f"{name}={width.size}"
                    for name, width in names.further_widths(path).items()
                ),
                _clipped(inputs[path]),
                _state(analysis, calls[path], axis),
            )
        )
    return f"{table(_HEADER, rows)}\n{_end(graph, analysis)}"


class _Groups:
    """Numbers the families of neurons in the order in which a reader meets them."""

    def __init__(self):
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


def _end(graph: Graph, analysis: Analysis) -> str:
    sized = sized_layers(graph, analysis)
    free = [
        path
        for path in sized
        if (axis := analysis.channel_of(analysis.output_of(path))) is not None
        and axis.atoms
    ]
    text = f"{len(free)} of {len(sized)} layers with a width can change"
    if analysis.frozen:
        return f"{text}; frozen: {listed(map(repr, analysis.frozen))}."
    return f"{text}; nothing is frozen."


def _clipped(inputs: list[str]) -> str:
    """Lists as many inputs as fit, and counts the others."""
    text = ", ".join(inputs)
    shown = len(inputs)
    while len(text) > _INPUTS_WIDTH and shown > 1:
        shown -= 1
        text = f"{', '.join(inputs[:shown])} and {len(inputs) - shown} more"
    return text
