"""Layers that work across space and leave each channel to itself.

Their spatial axes are fixed before and after; the channel axis passes.
"""

from __future__ import annotations

from keras_nas.rules.call import RuleCall
from keras_nas.rules.notation import describe
from keras_nas.rules.registry import layer_rule, shipped
from keras_nas.rules.relation import AxisTensor, Relation

_GLOBAL_POOLING = shipped(
    *(
        f"Global{kind}Pooling{rank}D"
        for kind in ("Average", "Max")
        for rank in (1, 2, 3)
    )
)

_PER_CHANNEL = shipped(
    *(
        f"{kind}{rank}D"
        for kind in (
            "MaxPooling",
            "AveragePooling",
            "AdaptiveMaxPooling",
            "AdaptiveAveragePooling",
            "ZeroPadding",
            "Cropping",
            "UpSampling",
        )
        for rank in (1, 2, 3)
    )
)

_GEOMETRIC = shipped(
    "CenterCrop",
    "RandomCrop",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Resizing",
)


@layer_rule(*_PER_CHANNEL, *_GEOMETRIC)
def per_channel(call: RuleCall) -> Relation:
    channel = call.normal_axis(call.channel_axis())
    for number, axis in enumerate(call.x.axes):
        if number != channel:
            call.freeze(axis, f"'{call.name}', which works across it")
    axes = list(call.frozen_output().axes)
    axes[0], axes[channel] = call.x.axes[0], call.x.axes[channel]
    return Relation(outputs=(AxisTensor(tuple(axes), call.channel_axis()),))


@layer_rule(*_GLOBAL_POOLING)
def global_pooling(call: RuleCall) -> Relation:
    first = call.channel_axis() == 1
    left = "b c *" if first else "b * c"
    if not call.config.get("keepdims"):
        return describe(call, f"{left} -> b c")
    ones = " ".join("1" * (call.x.rank - 2))
    right = f"b c {ones}" if first else f"b {ones} c"
    return describe(call, f"{left} -> {right}", channel=call.channel_axis())
