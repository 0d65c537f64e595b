"""Which neurons matter: everything that ``importance=`` can be.

By name: ``"l2"`` (the default), ``"l1"``, ``"group_l2"``, ``"group_l1"``,
``"bn_scale"``, ``"lamp"``, ``"group_lamp"``, ``"fpgm"``, ``"random"``. With settings:
`Magnitude`, `NormalizationScale`, `Lamp`, `GeometricMedian`, `Random`, which look at
weights alone. With data: `Activation`, `Taylor`, `Fisher`, `Hessian`, and the callbacks
`ActivationStatistics` and `Contribution`, which collect the same during ``fit``. Or
arrays: a dict from layer to array, or a callable. A class of one's own derives from
`Criterion`.
"""

from keras_nas.importance.activation import Activation
from keras_nas.importance.callback import Contribution
from keras_nas.importance.chance import Random
from keras_nas.importance.criterion import Criterion
from keras_nas.importance.geometric_median import GeometricMedian
from keras_nas.importance.lamp import Lamp
from keras_nas.importance.layers import LayerInfo, sized_layers
from keras_nas.importance.magnitude import Magnitude, l2_magnitude
from keras_nas.importance.scale import NormalizationScale
from keras_nas.importance.scores import Scores
from keras_nas.importance.sensitivity import Fisher, Hessian, Taylor
from keras_nas.importance.statistics import ActivationStatistics
from keras_nas.importance.utility import atom_utilities, check_importance
from keras_nas.rules import blocks_of

__all__ = [
    "Activation",
    "ActivationStatistics",
    "Contribution",
    "Criterion",
    "Fisher",
    "GeometricMedian",
    "Hessian",
    "Lamp",
    "LayerInfo",
    "Magnitude",
    "NormalizationScale",
    "Random",
    "Scores",
    "Taylor",
    "atom_utilities",
    "blocks_of",
    "check_importance",
    "l2_magnitude",
    "sized_layers",
]
