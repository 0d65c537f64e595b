"""Importance by the magnitude of the weights that make a neuron."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from keras_nas.axes import Atom, scatter
from keras_nas.graph import Analysis, Graph, Part
from keras_nas.importance.along import axes_with_neurons, parts_of
from keras_nas.importance.combined import Combined
from keras_nas.importance.combining import (
    Aggregation,
    Values,
    check_choice,
    normalize,
    normalize_each,
)
from keras_nas.importance.layers import makers_of
from keras_nas.rules import WeightAxes, blocks_of


class Magnitude(Combined):
    """The norm of the weights of a neuron.

    By default of those that *make* it: for each layer the norm of its kernel columns
    and bias, scaled to mean 1 over the layer, then aggregated over all tied layers.
    This is ``importance="l2"``, and with ``p=1`` it is ``"l1"``.

    With ``group=True`` of all weights that move with the neuron, as in ``"group_l2"``:
    producers, normalisation layers between, and readers. ``aggregation`` is then over
    the sums of powers of the layers, so that ``"sum"`` is the norm of everything
    together, and the norms are scaled over all neurons of one width.

    Args:
        p: 1 or 2: of the norm.
        group: Whether all weights along the neuron count.
        aggregation: ``"sum"``, ``"mean"`` or ``"max"`` over the tied layers.
        normalization: ``"mean"``, ``"max"``, ``"sum"``, ``"gaussian"`` or ``"none"``.

    Raises:
        InvalidRequestError: A setting that does not exist.

    Source: Li 2017, "Pruning filters for efficient ConvNets", ICLR (arXiv 1608.08710),
    for L1; Fang 2023, "DepGraph: towards any structural pruning", CVPR (arXiv
    2301.12900), for the group.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((1,)),
        ...     keras.layers.Dense(3, name="a", use_bias=False),
        ...     keras.layers.Dense(1, name="b", use_bias=False),
        ... ])
        >>> model.set_weights([np.array([[3., 1., 2.]]), np.array([[1.], [9.], [1.]])])
        >>> kn.plan(model, "a", 1, importance="l1").keep["a"]
        array([0])
        >>> group = kn.importance.Magnitude(p=1, group=True)
        >>> kn.plan(model, "a", 1, importance=group).keep["a"]
        array([1])
    """

    def __init__(
        self,
        p: int = 2,
        *,
        group: bool = False,
        aggregation: str = "sum",
        normalization: str = "mean",
    ):
        check_choice("p", p, (1, 2))
        self.p = p
        self.group = bool(group)
        super().__init__(aggregation=aggregation, normalization=normalization)

    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """See `Criterion.utilities`."""
        combined = Aggregation(self.aggregation, atoms)
        if self.group:
            return self._of_groups(graph, analysis, combined, frozenset(atoms))
        for part, _ in makers_of(graph, analysis, frozenset(atoms)).values():
            combined.add(layer_magnitude(analysis, part, self.p, self.normalization))
        return combined.result()

    def _of_groups(
        self,
        graph: Graph,
        analysis: Analysis,
        combined: Aggregation,
        atoms: frozenset[Atom],
    ) -> Values:
        for part in parts_of(graph, analysis).values():
            combined.add(group_powers(analysis, [part], self.p, atoms))
        return normalize_each(self.normalization, _norms(combined.result(), self.p))


def l2_magnitude(analysis: Analysis, part: Part) -> Values:
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
    return layer_magnitude(analysis, part, 2, "mean")


def layer_magnitude(
    analysis: Analysis, part: Part, p: int, normalization: str
) -> Values:
    """Returns the norm of all weights that make each neuron of a layer."""
    return normalize(normalization, _norms(layer_powers(analysis, part, p), p))


def _norms(powers: Values, p: int) -> Values:
    """Returns the norms of which these are the sums of powers."""
    if p == 1:
        return powers
    return {atom: np.sqrt(values) for atom, values in powers.items()}


def layer_powers(analysis: Analysis, part: Part, p: int) -> Values:
    """Returns the sum of powers of all weights that make each neuron of a layer."""
    relation = analysis.parts[part.key]
    powers: Values = {}
    for name, weight in part.named_weights:
        axes = relation.weights.get(name)
        if axes is not None and axes.all_axes:
            _add_powers(analysis, axes, weight.value(), p, powers)
    return powers


def group_powers(
    analysis: Analysis, parts: Iterable[Part], p: int, atoms: frozenset[Atom]
) -> Values:
    """Returns the sum of powers of all weights along each neuron in some parts."""
    powers: Values = {}
    weight, blocks = None, []
    for along in axes_with_neurons(analysis, parts):
        if atoms.isdisjoint(along.axis.atoms):
            continue
        if along.weight is not weight:
            weight = along.weight
            blocks = blocks_of(along.axes, weight.value())
        sums = sum_powers(blocks[along.block], along.number, p)
        _add(powers, scatter(along.axis, sums))
    return powers


def _add_powers(
    analysis: Analysis, axes: WeightAxes, array: np.ndarray, p: int, powers: Values
) -> None:
    """Adds the powers of one weight to the neurons that it makes."""
    for block, numbers in zip(axes.blocks, blocks_of(axes, array), strict=True):
        for number, axis in enumerate(block):
            axis = analysis.resolve(axis)
            if number in axes.reads or not axis.atoms:
                continue
            _add(powers, scatter(axis, sum_powers(numbers, number, p)))


def sum_powers(array: np.ndarray, kept: int, p: int) -> np.ndarray:
    """Sums squares (without a copy of the array) or values over all axes but one."""
    every = list(range(array.ndim))
    operands = [array, every, array, every] if p == 2 else [np.abs(array), every]
    return np.einsum(*operands, [kept], dtype=np.float64, casting="unsafe")


def _add(values: Values, more: Values) -> None:
    for atom, numbers in more.items():
        values[atom] = values.get(atom, 0.0) + numbers
