"""Bars from left to right, one below the other, in pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_nas.charts.figures import new_figure


def stacked_bars(
    names: Sequence[str],
    pieces: Mapping[str, tuple[str, Sequence[float]]],
    xlabel: str,
    notes: Sequence[str],
) -> Any:
    """Draws one bar for each name.

    Args:
        names: From top to bottom.
        pieces: Label -> colour, and the length of that piece in each bar.
        xlabel: What the lengths are.
        notes: What is written at the end of each bar; many are too short to be read.

    Returns:
        A matplotlib figure.
    """
    figure = new_figure(7.5, 1.2 + 0.24 * len(names))
    axes = figure.add_subplot()
    starts = [0.0] * len(names)
    for label, (color, lengths) in pieces.items():
        axes.barh(names, lengths, left=starts, color=color, label=label, height=0.75)
        starts = [a + b for a, b in zip(starts, lengths, strict=True)]
    for row, (end, note) in enumerate(zip(starts, notes, strict=True)):
        place = {"textcoords": "offset points", "va": "center_baseline"}
        axes.annotate(note, (end, row), (3, 0), size=7, **place)
    # Room for the longest bar's note.
    axes.set_xlim(0, 1.15 * max(starts))
    axes.invert_yaxis()
    axes.set_xlabel(xlabel)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", labelsize=8, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(pieces), frameon=False)
    return figure
