"""Which tensors of a network are certainly not negative."""

from __future__ import annotations

from keras_nas.graph import Call, Graph, TensorRef, flatten
from keras_nas.rules import find_rule, is_from_keras, leaves, split_masks
from keras_nas.surgery.edits.identity.activations import of_class, of_setting


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# These end with the function that their setting names, and know no other.
_WITH_ACTIVATION = _names(
    """
    Dense EinsumDense Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose
    Conv3DTranspose DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D
    """
)
_ACTIVATIONS = frozenset(("Activation", "ReLU", "LeakyReLU", "Softmax"))
_OPERATIONS = _names(
    """
    Relu Relu6 Sigmoid HardSigmoid SparseSigmoid Softmax Sparsemax Softplus Squareplus
    SparsePlus Square Absolute Abs Exp Exp2
    """
)
# Not negative if all of their inputs are so.
_PASSING = _names(
    """
    InputLayer Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D
    ActivityRegularization Flatten Reshape Permute RepeatVector
    MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D
    AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D
    Concatenate Add Average Maximum Minimum Multiply StochasticDepth
    """
)
_PASSING_OPERATIONS = _names(
    "Concatenate Add Maximum Minimum Multiply Reshape Transpose Sum Mean Max Min"
)


def is_nonnegative_after(graph: Graph, path: str) -> bool:
    """Says whether all values of a vertex are certainly at least 0, at inference.

    Args:
        graph: A whole model.
        path: A vertex, or a nested model; the first of its outputs counts.

    Returns:
        False also where nobody knows. Walks back no further than the nearest layers
        that decide; linear in the number of vertices, without recursion.
    """
    flat = flatten(graph)
    calls = flat.by_path
    todo, seen = [flat.tensor(path).vertex], set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        call = calls[path]
        if _is_positive(call):
            continue
        inputs = _inputs(call) if _is_passing(call) else []
        if not inputs:
            return False
        todo += inputs
    return True


def _is_positive(call: Call) -> bool:
    """Whether a call makes no negative values, whatever its input."""
    cls = call.part.cls
    name = cls.__name__
    if call.part.is_operation:
        return name in _OPERATIONS and is_from_keras(cls)
    if not _is_known(cls):
        return False
    if name in _ACTIVATIONS:
        function = of_class(name, call.part.config)
        return function is not None and function.is_positive
    if name in _WITH_ACTIVATION:
        return of_setting(call.part.config.get("activation")).is_positive
    return False


def _is_passing(call: Call) -> bool:
    cls = call.part.cls
    if call.part.is_operation:
        return cls.__name__ in _PASSING_OPERATIONS and is_from_keras(cls)
    return cls.__name__ in _PASSING and _is_known(cls)


def _is_known(cls: type) -> bool:
    """Whether it is a layer of Keras itself, and described as such."""
    return is_from_keras(cls) and find_rule(cls, is_operation=False) is not None


def _inputs(call: Call) -> list[str]:
    """Returns the vertices that a call reads; none if it reads something else too."""
    data, _ = split_masks(call.part.cls, call.args, call.kwargs)
    refs = [leaf for leaf in leaves(data) if isinstance(leaf, TensorRef)]
    is_merge = call.part.cls.__name__ in ("Add", "Multiply", "Maximum", "Minimum")
    if call.part.is_operation and is_merge and len(refs) != 2:
        return []
    return [ref.vertex for ref in refs]
