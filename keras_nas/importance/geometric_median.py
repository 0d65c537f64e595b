"""FPGM: neurons that the others can stand in for go first."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from keras_nas.axes import Atom
from keras_nas.graph import Analysis, Graph, Part
from keras_nas.importance.along import axes_with_neurons, positions
from keras_nas.importance.combined import Combined
from keras_nas.importance.combining import Aggregation, Values, normalize
from keras_nas.importance.layers import makers_of

_ROWS = 512


class GeometricMedian(Combined):
    """The sum of distances from the weights of a neuron to those of all others.

    Small near the geometric median of the layer, where a neuron is redundant, however
    large its weights are. The weights that make a neuron count, kernel and bias. Costs
    as many operations as a layer has neurons times weights: seconds for a whole
    ResNet50, where the other criteria take milliseconds.

    Args:
        aggregation: ``"sum"``, ``"mean"`` or ``"max"`` over the tied layers.
        normalization: Of each layer: ``"mean"``, ``"max"``, ``"sum"``, ``"gaussian"``
            or ``"none"``.

    Raises:
        InvalidRequestError: A setting that does not exist.

    Source: He 2019, "Filter pruning via geometric median", CVPR (arXiv 1811.00250).

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((1,)),
        ...     keras.layers.Dense(3, name="a", use_bias=False),
        ...     keras.layers.Dense(1),
        ... ])
        >>> model.layers[0].set_weights([np.array([[5., 1., 4.]])])
        >>> kn.plan(model, "a", 2, importance="fpgm").keep["a"]
        array([0, 1])
    """

    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """See `Criterion.utilities`."""
        wanted = frozenset(atoms)
        combined = Aggregation(self.aggregation, atoms)
        for part, _ in makers_of(graph, analysis, wanted).values():
            distances = _layer_distances(analysis, part, wanted)
            combined.add(normalize(self.normalization, distances))
        return combined.result()


def _layer_distances(analysis: Analysis, part: Part, atoms: frozenset[Atom]) -> Values:
    """Returns the sum of distances to the other neurons of the layer."""
    vectors: dict[Atom, list[np.ndarray]] = {}
    for along in axes_with_neurons(analysis, [part]):
        if along.reads or atoms.isdisjoint(along.axis.atoms):
            continue
        array = along.weight.value()[along.axes.window(along.block)]
        rows = np.moveaxis(array, along.number, 0)
        for atom, where in positions(along.axis).items():
            if atom in atoms:
                own = rows[where].reshape(atom.size, -1)
                vectors.setdefault(atom, []).append(own.astype(_precision(own.dtype)))
    return {a: distance_sums(np.concatenate(v, axis=1)) for a, v in vectors.items()}


def distance_sums(vectors: np.ndarray) -> np.ndarray:
    """Returns the sum of the distances of each row to all others.

    Through the products of all pairs, some rows at a time, so that nothing of size
    ``n * n`` is kept; centred first, so that little is lost to rounding.

    Args:
        vectors: Float array of shape ``(n, d)``.

    Returns:
        Float64 array of shape ``(n,)``.
    """
    vectors = vectors - vectors.mean(axis=0)
    norms = np.einsum("ij,ij->i", vectors, vectors)
    sums = np.empty(len(vectors))
    for start in range(0, len(vectors), _ROWS):
        window = slice(start, start + _ROWS)
        squares = vectors[window] @ vectors.T
        squares *= -2
        squares += norms[window, None]
        squares += norms
        np.maximum(squares, 0, out=squares)
        own = np.arange(len(squares))
        squares[own, start + own] = 0
        sums[window] = np.sqrt(squares, out=squares).sum(axis=1, dtype=np.float64)
    return sums


def _precision(dtype: np.dtype) -> type:
    return np.float64 if dtype == np.float64 else np.float32
