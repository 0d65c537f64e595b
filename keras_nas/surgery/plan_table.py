"""The table that a plan prints: which layers change, by how much, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_nas.graph import Analysis, Graph
from keras_nas.importance import sized_layers
from keras_nas.surgery.names import Names
from keras_nas.surgery.requests import Request
from keras_nas.surgery.tables import listed, table
from keras_nas.surgery.wording import core

_MAX_NOTES = 6
_MAX_ALIKE = 8


def plan_table(
    graph: Graph,
    analysis: Analysis,
    names: Names,
    requests: Sequence[Request],
    keep: Mapping[Any, np.ndarray],
    notes: Sequence[str],
    reason: str = "less important",
) -> str:
    """Returns the table of the layers that change, and the notes.

    Args:
        graph: The old graph.
        analysis: Its axes.
        names: Its names.
        requests: What was asked for.
        keep: ``plan.keep``.
        notes: ``plan.notes``.
        reason: Why layers change if nothing was asked for.
    """
    shown = {*sized_layers(graph, analysis), *(request.path for request in requests)}
    rows, followers = [], 0
    for key, index in keep.items():
        path, further = key if isinstance(key, tuple) else (key, None)
        axis = names.width(path, further)
        if np.array_equal(index, np.arange(axis.size)):
            continue
        if path not in shown:
            followers += 1
            continue
        new = int((index < 0).sum())
        kept = len(index) - new
        name = f"{path} ({further})" if further else path
        why = _why(requests, path, axis) if requests else reason
        rows.append((name, axis.size, len(index), kept, axis.size - kept, new, why))
    if not rows and not followers:
        return "Nothing changes."
    header = ("layer", "old", "new", "kept", "dropped", "added", "why")
    text = table(header, _without_repeats(rows))
    if followers:
        words = "vertex follows" if followers == 1 else "vertices follow"
        text += f"\n{followers} further {words}."
    if not notes:
        return f"{text}\nExact: the same function on the neurons that are kept."
    lines = "\n".join(f"- {note}" for note in shorten_notes(notes))
    return f"{text}\nNot exact:\n{lines}"


def _without_repeats(rows: Sequence[tuple]) -> list[tuple]:
    """Counts the layers of a long table of which earlier rows say everything."""
    number_of = Counter(row[1:] for row in rows)
    seen: Counter = Counter()
    shown = []
    for row in rows:
        seen[row[1:]] += 1
        if number_of[row[1:]] <= _MAX_ALIKE or seen[row[1:]] < _MAX_ALIKE:
            shown.append(row)
        elif seen[row[1:]] == _MAX_ALIKE:
            rest = number_of[row[1:]] - _MAX_ALIKE + 1
            shown.append((f"and {rest} more", *row[1:]))
    return shown


def _why(requests: Sequence[Request], path: str, axis) -> str:
    for request in requests:
        if request.path == path and request.axis == axis:
            return "asked for"
    for request in requests:
        if core(axis) == core(request.axis):
            return f"same neurons as '{request.path}'"
    for request in requests:
        if axis.atoms & request.axis.atoms:
            return f"shares neurons with '{request.path}'"
    return "makes the sizes fit"


def shorten_notes(notes: Sequence[str]) -> list[str]:
    """Says once what several vertices have in common."""
    alike: dict[str, list[str]] = {}
    for note in notes:
        _, name, rest = note.split("'", 2)
        alike.setdefault(rest, []).append(f"'{name}'")
    lines = []
    for rest, names in alike.items():
        more = listed(names[1:], most=_MAX_NOTES - 1)
        lines.append(f"{names[0]}{rest}" + (f" So do {more}." if more else ""))
    return lines
