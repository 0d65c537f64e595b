"""Draws how important the neurons of each layer are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.axes import Atom
from keras_nas.charts import histograms, save_figure
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import analyze
from keras_nas.importance import atom_utilities, check_importance, sized_layers
from keras_nas.surgery.names import Names
from keras_nas.surgery.verbs import as_graph
from keras_nas.surgery.wording import core

# More histograms than this are too small to read on one page.
_MOST = 40


def plot_importance(
    model: Any,
    importance: Any = "l2",
    *,
    layers: Sequence[str] | None = None,
    path: str | Path | None = None,
) -> Any:
    """Draws a histogram of the importance of the neurons of each layer.

    Args:
        model: A model or a `Graph`.
        importance: Which neurons matter, as in `keras_nas.resize`.
        layers: Names of the layers; by default the first forty whose width can change,
            one of each family of tied layers.
        path: Where to write the picture; nowhere by default.

    Returns:
        A matplotlib figure, which a notebook shows.

    Raises:
        UnknownLayerError: No layer has one of the names.
        InvalidRequestError: No layer of the model can change, or one of those named
            cannot; a wrong importance.
        UnsupportedModelError: matplotlib is not installed.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(4, name="hidden"),
        ...     keras.layers.Dense(2, name="head"),
        ... ])
        >>> figure = kn.plot_importance(model)
        >>> [axes.get_title() for axes in figure.axes]
        ['hidden (4)', 'head (2)']
    """
    graph = as_graph(model)
    analysis = analyze(graph)
    names = Names(analysis)
    criterion = check_importance(importance, names.find_width)
    axes = {}
    for name in _one_of_each(names, sized_layers(graph, analysis), layers):
        axes[name] = core(names.width(name))
    if not axes:
        raise InvalidRequestError(
            "No layer of the model can change its width, so no neuron matters more "
            f"than another.\n\n`keras_nas.summary(model)` says why. Received: {model!r}"
        )
    atoms: set[Atom] = set().union(*(axis.atoms for axis in axes.values()))
    utilities = atom_utilities(graph, analysis, criterion, atoms)
    values = {
        name: np.concatenate([utilities[atom] for atom in axis.atoms])
        for name, axis in axes.items()
    }
    figure = histograms(values, f"importance: {importance}")
    save_figure(figure, path)
    return figure


def _one_of_each(names: Names, sized: Any, wanted: Sequence[str] | None) -> list[str]:
    """Returns the layers to draw; each family of neurons once, if nobody chose."""
    if wanted is not None:
        paths = [names.find(name) for name in wanted]
        for name in paths:
            if not names.width(name).atoms:
                raise InvalidRequestError(
                    f"The width of '{name}' cannot change, so it has no importance."
                    f"\n\n`keras_nas.explain(model, {name!r})` says why. "
                    f"Received: {name!r}"
                )
        return paths
    seen: set[Atom] = set()
    found = []
    for path in sized:
        atoms = core(names.width(path)).atoms
        if atoms and not atoms <= seen:
            seen |= atoms
            found.append(path)
    return found[:_MOST]
