"""Layers that prepare data and have no weights to slice.

What changes each channel by itself passes channels. What mixes colours, or works
with a vocabulary or a spectrum, is listed with its reason in `unsupported`.
"""

from __future__ import annotations

from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import layer_rule, shipped
from keras_nas.rules.relation import Relation, Undescribed
from keras_nas.rules.spatial import per_channel

_AUGMENTING = shipped(
    "AutoContrast",
    "RandomBrightness",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomGaussianBlur",
    "RandomInvert",
    "RandomPosterization",
    "RandomSharpness",
    "Solarization",
)


@layer_rule(*_AUGMENTING)
def augmentation(call: RuleCall) -> Relation:
    """Each channel by itself, across space."""
    return per_channel(call)


@layer_rule(*shipped("Discretization"))
def discretization(call: RuleCall) -> Relation:
    """Numbers of bins, value by value, unless it encodes them further."""
    if call.config.get("output_mode", "int") != "int":
        raise Undescribed("it encodes the numbers of bins, which are data")
    return call.same()
