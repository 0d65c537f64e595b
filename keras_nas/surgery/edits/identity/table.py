"""Which kind of step each layer and operation is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from keras import layers

from keras_nas.graph import Call
from keras_nas.rules import find_rule, is_from_keras
from keras_nas.surgery.edits.identity import (
    convolutions,
    kernels,
    merging,
    steps,
    weights,
)
from keras_nas.surgery.edits.identity.activations import ActivationFunction, of_class
from keras_nas.surgery.edits.identity.demand import Facts, Source

Maker = Callable[[Call, Sequence[Facts], Source], steps.Step]

_BY_NAME: dict[Maker, str] = {
    steps.Passing: """
        InputLayer Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D
        GaussianDropout GaussianNoise AlphaDropout ActivityRegularization
    """,
    steps.Unbent: "Rescaling Masking",
    steps.Spreading: """
        MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D
        AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
        GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
        UpSampling1D UpSampling2D UpSampling3D RepeatVector
    """,
    steps.Padding: """
        ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D
    """,
    steps.Arranging: "Reshape Flatten Permute",
    merging.Joining: "Concatenate",
    merging.Adding: "Add Subtract",
    merging.Averaging: "Average",
    merging.Choosing: "Maximum Minimum",
    merging.Multiplying: "Multiply",
    weights.BatchNormalizing: "BatchNormalization",
    weights.Normalizing: "LayerNormalization GroupNormalization RMSNormalization",
    weights.Sloping: "PReLU",
    weights.Attending: "MultiHeadAttention GroupQueryAttention",
    kernels.Dense: "Dense",
    kernels.EinsumDense: "EinsumDense",
    convolutions.convolution: "Conv1D Conv2D Conv3D",
    convolutions.Transposed: "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    convolutions.Depthwise: "DepthwiseConv1D DepthwiseConv2D",
    convolutions.Separable: "SeparableConv1D SeparableConv2D",
}
_ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax")
_OPERATIONS: dict[str, Maker] = {
    "Identity": steps.Passing,
    "Cast": steps.Casting,
    "Reshape": steps.Arranging,
    "Concatenate": merging.Joining,
    "Add": merging.Adding,
    "Subtract": merging.Adding,
    "Maximum": merging.Choosing,
    "Minimum": merging.Choosing,
    "Multiply": merging.Multiplying,
}
# Layers that do the same with a time axis more, whether they know of it or not.
_BLIND_TO_TIME = ("Activation", "Dense", "Dropout", "LeakyReLU", "ReLU")
# Classes that Keras does not export, by the end of their full names.
_UNEXPORTED: dict[str, Maker] = {
    "applications.convnext.StochasticDepth": steps.Passing,
    "applications.convnext.LayerScale": weights.Scaling,
}


def _by_class() -> dict[type, Maker]:
    return {
        getattr(layers, name): maker
        for maker, names in _BY_NAME.items()
        for name in names.split()
        if hasattr(layers, name)
    }


_LAYERS = _by_class()


def step_of(call: Call, inputs: Sequence[Facts], source: Source) -> steps.Step:
    """Returns the step of a call; one that can do nothing if its class is unknown."""
    cls = call.part.cls
    if call.part.is_operation:
        return _operation(call, inputs, source)
    if cls is layers.TimeDistributed:
        call = _without_time(call)
        cls = call.part.cls
    base = _known_base(cls)
    if base is not None and base.__name__ in _ACTIVATIONS:
        function = cast(
            ActivationFunction, of_class(base.__name__, call.part.config)
        )
        return steps.Activating(call, inputs, source, function)
    maker: Any = _LAYERS.get(base) if base is not None else _unexported(cls)
    return (maker or steps.Step)(call, inputs, source)


def _without_time(call: Call) -> Call:
    """Returns the call of the layer inside, if it treats time as it is treated."""
    part, inner = call.part, call.part.config["layer"]
    name, config = inner["class_name"], inner["config"]
    if inner.get("module") != "keras.layers" or name not in _BLIND_TO_TIME:
        return call
    names = tuple(path.rpartition("/")[2] for path, _ in part.named_weights)
    cls = getattr(layers, name)
    return replace(call, part=replace(part, cls=cls, config=config, weight_names=names))


def _operation(call: Call, inputs: Sequence[Facts], source: Source) -> steps.Step:
    """Operations of other things than tensors are not looked into."""
    cls = call.part.cls
    name = cls.__name__
    maker = _OPERATIONS.get(name, steps.Step)
    if not is_from_keras(cls):
        maker = steps.Step
    elif maker in (merging.Adding, merging.Multiplying):
        maker = maker if len(inputs) == 2 else steps.Step
    elif maker is steps.Step and len(inputs) == 1:
        function = of_class(name, call.part.config)
        if function is not None:
            return steps.Activating(call, inputs, source, function)
    return maker(call, inputs, source)


def _known_base(cls: type) -> type | None:
    """Returns the Keras class that decides what a class does to its input.

    A subclass that replaces what decides has another rule, or none.
    """
    known = {*_LAYERS, *(getattr(layers, name) for name in _ACTIVATIONS)}
    base = next((base for base in cls.__mro__ if base in known), None)
    if base is None or base is cls:
        return base
    rule = find_rule(cls, is_operation=False)
    return base if rule is find_rule(base, is_operation=False) else None


def _unexported(cls: type) -> Maker | None:
    if not is_from_keras(cls):
        return None
    path = f"{cls.__module__}.{cls.__name__}"
    return next((m for end, m in _UNEXPORTED.items() if path.endswith(end)), None)
