"""Activation functions inside layers: which pass neurons one by one, which mix them."""

from __future__ import annotations

from typing import Any

from keras_nas.rules.call import RuleCall
from keras_nas.rules.relation import AxisTensor, Mixed, Undescribed

ELEMENTWISE = frozenset(
    (
        "celu",
        "elu",
        "exponential",
        "gelu",
        "hard_shrink",
        "hard_sigmoid",
        "hard_silu",
        "hard_swish",
        "hard_tanh",
        "leaky_relu",
        "linear",
        "log_sigmoid",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "soft_shrink",
        "softplus",
        "softsign",
        "sparse_plus",
        "sparse_sigmoid",
        "squareplus",
        "swish",
        "tanh",
        "tanh_shrink",
        "threshold",
    )
)

MIXING = frozenset(("softmax", "log_softmax", "sparsemax"))

# Layers that Keras accepts, and serializes, as an activation.
_LAYERS = frozenset(("ReLU", "LeakyReLU", "ELU", "Activation"))


def activation_mixes(
    call: RuleCall, output: AxisTensor, key: str = "activation"
) -> Mixed:
    """Returns what the activation of a layer mixes, as `Relation.mixes` has it.

    Raises:
        Undescribed: Nobody knows how this activation ties neurons.
    """
    name = _name(call.config.get(key))
    if name in ELEMENTWISE:
        return ()
    if name in MIXING:
        return ((output.axes[-1], f"its {name} activation is taken over all of them"),)
    if call.learn_activation is None:
        raise Undescribed(f"its activation {name!r} is not one that Keras ships")
    return call.learn_activation(call, key, output)


def _name(activation: Any) -> str:
    """Returns the name of an activation as the settings of a layer hold it."""
    if activation is None:
        return "linear"
    if isinstance(activation, str):
        return activation
    inner = activation.get("config", activation)
    if activation.get("class_name") in _LAYERS:
        return _name(inner.get("activation")) if "activation" in inner else "relu"
    if activation.get("module") in ("builtins", None) and isinstance(inner, str):
        return f"custom function {inner}"
    return str(activation.get("class_name"))
