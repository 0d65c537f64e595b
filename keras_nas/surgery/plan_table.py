"""The table that a plan prints: which layers change, by how much, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from keras_nas.axes import Expression
from keras_nas.graph import Analysis, Graph
from keras_nas.importance import sized_layers
from keras_nas.surgery.changes import Change
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
    changes: Iterable[Change],
    notes: Sequence[str],
    reason: str = "less important",
) -> str:
    """Returns the table of the layers that change, and the notes.

    Args:
        graph: The old graph.
        analysis: Its axes.
        names: Its names.
        requests: What was asked for.
        changes: See `changes_of`.
        notes: ``plan.notes``.
        reason: Why layers change if nothing was asked for.
    """
    shown = {*sized_layers(graph, analysis), *(request.path for request in requests)}
    rows, followers = [], 0
    for change in changes:
        if change.path not in shown:
            followers += 1
            continue
        axis = names.width(change.path, change.further)
        why = _why(requests, change.path, axis) if requests else reason
        kept, dropped, added = change.kept, change.dropped, change.added
        sizes = (kept + dropped, kept + added)
        rows.append((change.name, *sizes, kept, dropped, added, why))
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


def _why(requests: Sequence[Request], path: str, axis: Expression) -> str:
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
