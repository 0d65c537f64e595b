"""Where tensors come into a model."""

from __future__ import annotations

from keras import layers

from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.relation import AxisTensor, Relation, SizeOf


@layer_rule(layers.InputLayer)
def input_layer(call: RuleCall) -> Relation:
    """The input of a model is fixed; that of a nested model is what it is given."""
    if not call.tensors:
        reason = f"model input '{call.name}'"
        return Relation(outputs=(call.frozen_output(reason=reason),))
    shape = call.config.get("batch_shape") or call.config["shape"]
    sizes = tuple(
        None if size is None else SizeOf(axis)
        for size, axis in zip(shape, call.x.axes, strict=True)
    )
    return Relation(
        outputs=(AxisTensor(call.x.axes, call.x.channel),),
        config={"batch_shape": sizes},
    )
