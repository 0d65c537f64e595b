"""LAMP: how much a neuron adds to what is left when all smaller ones are gone."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from keras_nas.axes import Atom
from keras_nas.graph import Analysis, Graph
from keras_nas.importance.along import parts_of
from keras_nas.importance.combined import Combined
from keras_nas.importance.combining import Aggregation, Values
from keras_nas.importance.layers import makers_of
from keras_nas.importance.magnitude import group_powers, layer_powers


class Lamp(Combined):
    """The energy of a neuron, over that of all neurons with at least as much.

    The energy is the sum of squares of its weights in a layer. The score of the
    strongest neuron of each layer is 1, which makes layers comparable without further
    scaling. Dropping neurons in the order of their scores, the scores add up to about
    minus the logarithm of the energy that is left: the last neurons of a width cost
    ever more. That makes sums over layers meaningful, so ``"group_lamp"`` is what
    budgets of cost use by default.

    Args:
        group: Whether all layers that the neuron passes through have a say (its
            makers, normalization layers between, and readers), not only its makers.
        aggregation: ``"sum"``, ``"mean"`` or ``"max"`` of the scores that these layers
            give a neuron.

    Raises:
        InvalidRequestError: A setting that does not exist.

    Source: Lee 2021, "Layer-adaptive sparsity for the magnitude-based pruning", ICLR
    (arXiv 2010.07611), there for single weights; here for neurons. The group is that of
    Fang 2023, "DepGraph: towards any structural pruning", CVPR (arXiv 2301.12900).

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((1,)),
        ...     keras.layers.Dense(3, name="a", use_bias=False),
        ...     keras.layers.Dense(1),
        ... ])
        >>> model.layers[0].set_weights([np.array([[3., 1., 2.]])])
        >>> kn.plan(model, "a", 2, importance=kn.importance.Lamp()).keep["a"]
        array([0, 2])
    """

    def __init__(self, *, group: bool = False, aggregation: str = "sum"):
        super().__init__(aggregation=aggregation, normalization="none")
        self.group = bool(group)

    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """See `Criterion.utilities`."""
        combined = Aggregation(self.aggregation, atoms)
        wanted = frozenset(atoms)
        if self.group:
            for part in parts_of(graph, analysis).values():
                energies = group_powers(analysis, [part], 2, wanted)
                combined.add(_scores(energies))
        else:
            for part, _ in makers_of(graph, analysis, wanted).values():
                combined.add(_scores(layer_powers(analysis, part, 2)))
        return combined.result()


def _scores(energies: Values) -> Values:
    return {atom: lamp_scores(energy) for atom, energy in energies.items()}


def lamp_scores(energy: np.ndarray) -> np.ndarray:
    """Returns each value over the sum of all values that are at least as large.

    Args:
        energy: Float array of shape ``(n,)``, nothing negative.

    Returns:
        Float array of shape ``(n,)``, in [0, 1].
    """
    order = np.argsort(-energy, kind="stable")
    falling = energy[order]
    sums = np.cumsum(falling)
    # Equal values all have the sum up to the last of them.
    last = np.searchsorted(-falling, -falling, side="right") - 1
    scores = np.zeros_like(falling)
    np.divide(falling, sums[last], out=scores, where=sums[last] > 0)
    result = np.empty_like(scores)
    result[order] = scores
    return result
