"""Which neurons matter."""

from keras_nas.importance.magnitude import blocks_of, l2_magnitude
from keras_nas.importance.utility import (
    LayerInfo,
    atom_utilities,
    check_importance,
    sized_layers,
)

__all__ = [
    "LayerInfo",
    "atom_utilities",
    "blocks_of",
    "check_importance",
    "l2_magnitude",
    "sized_layers",
]
