"""The diagram of a plan: kept, dropped and new neurons, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_nas.charts import stacked_bars
from keras_nas.charts.figures import BLUE, GREEN, GREY
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Graph
from keras_nas.importance import sized_layers
from keras_nas.surgery.changes import Change


def plan_bars(graph: Graph, analysis: Analysis, changes: Iterable[Change]) -> Any:
    """Returns a matplotlib figure with a bar for each layer that changes.

    Args:
        graph: The old graph.
        analysis: Its axes.
        changes: See `changes_of`.
    """
    sized = sized_layers(graph, analysis)
    drawn = [change for change in changes if change.path in sized]
    if not drawn:
        raise InvalidRequestError(
            "Nothing changes, so there is nothing to draw.\n\nPlan another size. "
            "Received: a plan without changes"
        )
    pieces = {
        "kept": (BLUE, [change.kept for change in drawn]),
        "dropped": (GREY, [change.dropped for change in drawn]),
        "new": (GREEN, [change.added for change in drawn]),
    }
    shown = {label: piece for label, piece in pieces.items() if any(piece[1])}
    names = [change.name for change in drawn]
    notes = [
        f"{change.kept + change.dropped} → {change.kept + change.added}"
        for change in drawn
    ]
    return stacked_bars(names, shown, "neurons", notes)
