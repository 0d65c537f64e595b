"""Small histograms side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_nas.charts.figures import BLUE, new_figure

_COLUMNS = 4
# So many letters of a title are about as wide as a histogram.
_WIDEST = 32


def histograms(values: Mapping[str, np.ndarray], xlabel: str) -> Any:
    """Draws a histogram for each array, all on the same scale.

    Args:
        values: Title -> float array of any length.
        xlabel: What the values are.

    Returns:
        A matplotlib figure.
    """
    columns = min(_COLUMNS, len(values))
    rows = math.ceil(len(values) / columns)
    figure = new_figure(2.6 * columns, 0.6 + 1.7 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    everything = np.concatenate(list(values.values()))
    bins = np.histogram_bin_edges(everything, bins=30)
    for axes, (title, numbers) in zip(grid.flat, values.items(), strict=False):
        axes.hist(numbers, bins=bins, color=BLUE)
        lines = _lines(f"{title} ({len(numbers)})", _WIDEST)
        axes.set_title("\n".join(lines), fontsize=8)
        axes.tick_params(labelsize=7)
        axes.yaxis.get_major_locator().set_params(integer=True)
    for axes in list(grid.flat)[len(values) :]:
        axes.set_visible(False)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel("neurons", fontsize=9)
    return figure


def _lines(text: str, most: int) -> Iterator[str]:
    """Breaks a title, where it can behind a mark between words."""
    while len(text) > most:
        cut = max(text.rfind(mark, 0, most) for mark in "_/ ") + 1 or most
        yield text[:cut]
        text = text[cut:]
    yield text
