"""Importance by the magnitude of the weights that make a neuron."""

from __future__ import annotations

import numpy as np

from keras_nas.axes import Atom, scatter
from keras_nas.graph import Analysis, Part
from keras_nas.rules import WeightAxes


def l2_magnitude(analysis: Analysis, part: Part) -> dict[Atom, np.ndarray]:
    """Returns the L2 norm of all weights that make each neuron of a layer.

    Weights that *read* an axis say nothing about its neurons. The norms are divided by
    their mean, so that layers of different fan-in can be compared.

    Args:
        analysis: Axes of the graph.
        part: A layer with weights.

    Returns:
        Atom -> float array of shape ``(atom.size,)``.

    Source: Li 2017, "Pruning filters for efficient ConvNets", ICLR (arXiv
    1608.08710), with L2 in place of L1; the scaling by the mean follows Torch-Pruning.
    """
    relation = analysis.parts[part.key]
    energy: dict[Atom, np.ndarray] = {}
    for name, weight in part.named_weights:
        axes = relation.weights.get(name)
        if axes is not None and axes.all_axes:
            _add_energy(analysis, axes, weight.value(), energy)
    norms = {atom: np.sqrt(values) for atom, values in energy.items()}
    mean = _mean(norms)
    return {atom: values / mean for atom, values in norms.items()}


def _add_energy(
    analysis: Analysis, axes: WeightAxes, array: np.ndarray, energy: dict
) -> None:
    """Adds the squares of one weight to the neurons that it makes."""
    for block, numbers in zip(axes.blocks, blocks_of(axes, array), strict=True):
        for number, axis in enumerate(block):
            axis = analysis.resolve(axis)
            if number in axes.reads or not axis.atoms:
                continue
            for atom, values in scatter(axis, _sum_squares(numbers, number)).items():
                energy[atom] = energy.get(atom, 0.0) + values


def _sum_squares(array: np.ndarray, kept: int) -> np.ndarray:
    """Sums the squares over all axes but one, without a copy of the array."""
    every = list(range(array.ndim))
    return np.einsum(
        array, every, array, every, [kept], dtype=np.float64, casting="unsafe"
    )


def blocks_of(axes: WeightAxes, array: np.ndarray) -> list[np.ndarray]:
    """Cuts a weight into its blocks."""
    if len(axes.blocks) == 1:
        return [array]
    ends = np.cumsum([block[axes.joined].size for block in axes.blocks])[:-1]
    return np.split(array, ends, axis=axes.joined)


def _mean(norms: dict[Atom, np.ndarray]) -> float:
    count = sum(values.size for values in norms.values())
    total = sum(float(values.sum()) for values in norms.values())
    return total / count if total > 0 else 1.0
