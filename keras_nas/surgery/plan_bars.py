"""The diagram of a plan: kept, dropped and new neurons, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_nas.charts import stacked_bars
from keras_nas.charts.figures import BLUE, GREEN, GREY
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Graph
from keras_nas.importance import sized_layers


def plan_bars(
    graph: Graph,
    analysis: Analysis,
    keep: Mapping[Any, np.ndarray],
    old_sizes: Mapping[Any, int],
) -> Any:
    """Returns a matplotlib figure with a bar for each layer that changes.

    Args:
        graph: The old graph.
        analysis: Its axes.
        keep: ``plan.keep``.
        old_sizes: ``plan.old_sizes``.
    """
    sized = set(sized_layers(graph, analysis))
    names, kept, dropped, new = [], [], [], []
    for key, index in keep.items():
        path, further = key if isinstance(key, tuple) else (key, None)
        old = old_sizes[key]
        if path not in sized or np.array_equal(index, np.arange(old)):
            continue
        stays = int((index >= 0).sum())
        names.append(f"{path} ({further})" if further else path)
        kept.append(stays)
        dropped.append(old - stays)
        new.append(len(index) - stays)
    if not names:
        raise InvalidRequestError(
            "Nothing changes, so there is nothing to draw.\n\nPlan another size. "
            "Received: a plan without changes"
        )
    pieces = {
        "kept": (BLUE, kept),
        "dropped": (GREY, dropped),
        "new": (GREEN, new),
    }
    shown = {label: piece for label, piece in pieces.items() if any(piece[1])}
    return stacked_bars(names, shown, "neurons")
