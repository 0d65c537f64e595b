"""Small histograms side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_nas.charts.figures import BLUE, new_figure

_COLUMNS = 4


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
        axes.set_title(f"{title} ({len(numbers)})", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.yaxis.get_major_locator().set_params(integer=True)
    for axes in list(grid.flat)[len(values) :]:
        axes.set_visible(False)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel("neurons", fontsize=9)
    return figure
