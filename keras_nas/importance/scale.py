"""Network slimming: the factor that a normalisation layer gives each neuron."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from keras_nas.axes import Atom, scatter
from keras_nas.graph import Analysis, Graph
from keras_nas.importance.along import axes_with_neurons, parts_of
from keras_nas.importance.combined import Combined
from keras_nas.importance.combining import Aggregation, Values, normalize
from keras_nas.importance.magnitude import Magnitude

# ``gamma`` in all layers that normalise but one, and in the LayerScale of ConvNeXt.
_NAMES = ("gamma", "scale")


class NormalizationScale(Combined):
    """The absolute scale that BatchNormalization and the like give a neuron.

    Widths without a layer that scales them have their L2 magnitude instead; with the
    default normalisation both have mean 1.

    Args:
        aggregation: ``"sum"``, ``"mean"`` or ``"max"`` over the layers that scale.
        normalization: Of each layer: ``"mean"``, ``"max"``, ``"sum"``, ``"gaussian"``
            or ``"none"``.

    Raises:
        InvalidRequestError: A setting that does not exist.

    Source: Liu 2017, "Learning efficient convolutional networks through network
    slimming", ICCV (arXiv 1708.06519).

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((1,)),
        ...     keras.layers.Dense(3, name="a"),
        ...     keras.layers.BatchNormalization(name="norm"),
        ...     keras.layers.Dense(1),
        ... ])
        >>> _ = model.get_layer("norm").gamma.assign([-2.0, 0.1, 1.0])
        >>> kn.plan(model, "a", 2, importance="bn_scale").keep["a"]
        array([0, 2])
    """

    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """See `Criterion.utilities`."""
        combined = Aggregation(self.aggregation, atoms)
        for part in parts_of(graph, analysis).values():
            for along in axes_with_neurons(analysis, [part]):
                if along.reads or along.name.rsplit("/", 1)[-1] not in _NAMES:
                    continue
                every = list(range(len(along.weight.shape)))
                sizes = np.abs(along.weight.value()).astype(np.float64)
                sizes = np.einsum(sizes, every, [along.number])
                scattered = scatter(along.axis, sizes)
                combined.add(normalize(self.normalization, scattered))
        result = combined.result()
        rest = Magnitude(aggregation=self.aggregation, normalization=self.normalization)
        if combined.silent:
            result.update(rest.utilities(graph, analysis, combined.silent))
        return result
