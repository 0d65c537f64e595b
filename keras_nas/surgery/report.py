"""What a person reads about a whole model: its summary."""

from __future__ import annotations

from collections.abc import Sequence

from keras_nas.graph import Analysis, Graph, analyze
from keras_nas.importance import sized_layers
from keras_nas.surgery.overview import overview
from keras_nas.surgery.tables import listed, table

_HEADER = ("vertex", "class", "size", "group", "further", "inputs", "can change?")
_INPUTS_WIDTH = 60


def summary(graph: Graph) -> str:
    """Returns the table behind `keras_nas.summary`."""
    analysis = analyze(graph)
    rows = [
        (
            view.path,
            view.kind,
            "" if view.size is None else view.size,
            view.group,
            " ".join(f"{name}={size}" for name, size in view.further.items()),
            _clipped(view.inputs),
            view.state,
        )
        for view in overview(analysis)
    ]
    return f"{table(_HEADER, rows)}\n{_end(graph, analysis)}"


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


def _clipped(inputs: Sequence[str]) -> str:
    """Lists as many inputs as fit, and counts the others."""
    text = ", ".join(inputs)
    shown = len(inputs)
    while len(text) > _INPUTS_WIDTH and shown > 1:
        shown -= 1
        text = f"{', '.join(inputs[:shown])} and {len(inputs) - shown} more"
    return text
