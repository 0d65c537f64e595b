"""Layers that a user hands over, as parts of a draft."""

from __future__ import annotations

from typing import Any

import keras

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Part,
    Seam,
    TensorRef,
    TensorSpec,
    Vertex,
    create,
    names_kept,
    wrap_layer,
)
from keras_nas.rules import map_leaves
from keras_nas.surgery.edits.draft import Draft, path_in


def read_layers(layers: Any) -> list[Any]:
    """Returns a list of layers, of which models may be some.

    Raises:
        InvalidRequestError: Something in it is no layer.
    """
    listed = list(layers) if isinstance(layers, (list, tuple)) else [layers]
    for layer in listed:
        is_layer = isinstance(layer, keras.Layer)
        if not is_layer or isinstance(layer, keras.layers.InputLayer):
            what = f"A {type(layer).__name__}"
            if isinstance(layer, type):
                what = f"The class {layer.__name__}, which is no layer yet,"
            raise InvalidRequestError(
                f"{what} cannot be put into a model.\n\nGive a Keras "
                "layer, a list of layers, or a functional model with one input and one "
                f"output. Received: {layer!r}"
            )
    if not listed:
        raise InvalidRequestError(
            "There is no layer to put into the model.\n\nGive at least one. "
            f"Received: {layers!r}"
        )
    return listed


def put_layer(
    draft: Draft, owner: str, layer: Any, leaf: TensorRef, after: str
) -> TensorRef:
    """Adds a vertex that calls a layer on a tensor; returns what it gives.

    A layer with weights keeps them, and the solver makes the widths fit; a new one gets
    weights for what it reads. The layer that is handed over is not called.

    Args:
        draft: The graph under way.
        owner: The body.
        layer: A layer or model.
        leaf: The tensor that it is called on.
        after: Name of the vertex that it stands behind.

    Raises:
        InvalidRequestError: It cannot be called on such a tensor.
    """
    spec = draft.spec(owner, leaf)
    name = draft.free_name(owner, layer.name)
    made_for = shape_built_for(layer, spec)
    if made_for is None:
        layer, made_for = called_copy(layer, spec), spec
    part = put_parts(draft, owner, layer, name)
    if isinstance(layer, keras.Model) and part.body is None:
        raise InvalidRequestError(
            f"The model '{layer.name}' of class {type(layer).__name__} is subclassed: "
            "Keras has no graph of it.\n\nRewrite it with the functional API, or as a "
            f"`keras.Layer`. Received: {layer!r}"
        )
    key = path_in(owner, name)
    argument = leaf if made_for == spec else Seam(leaf, made_for, (owner, name))
    vertex = Vertex(name, key, (argument,))
    try:
        vertex = draft.with_outputs(owner, vertex)
    except Exception as error:
        raise _cannot_call(layer, made_for, error) from error
    if len(vertex.outputs) != 1:
        raise InvalidRequestError(
            f"'{layer.name}' gives {len(vertex.outputs)} tensors, but one has to come "
            f"in place of '{leaf.vertex}'.\n\nGive a layer with one output. "
            f"Received: {layer!r}"
        )
    draft.put(owner, vertex, after=after)
    return TensorRef(name)


def put_parts(draft: Draft, owner: str, layer: Any, name: str) -> Part:
    """Adds the parts of a layer to a draft, under a name; returns the outermost."""
    key = path_in(owner, name)
    parts = wrap_layer(layer, key)
    part = parts[key].named(name)
    for one in (part, *(other for other in parts.values() if other.key != key)):
        draft.put_part(one)
    return part


def shape_built_for(layer: Any, spec: TensorSpec) -> TensorSpec | None:
    """Returns the shape that a layer with weights was built for, None without any."""
    if isinstance(layer, keras.Model):
        shapes = [tuple(x.shape) for x in layer.inputs] if layer.built else []
        if len(shapes) > 1 or (shapes and len(layer.outputs) > 1):
            raise InvalidRequestError(
                f"The model '{layer.name}' has {len(shapes)} inputs and "
                f"{len(layer.outputs)} outputs.\n\nGive a functional model with one "
                f"input and one output. Received: {layer!r}"
            )
        shape = shapes[0] if shapes else None
    else:
        build_config = layer.get_build_config() if layer.weights else None
        shape = (build_config or {}).get("input_shape")
    if shape is None:
        return None
    shape = tuple(shape)
    if len(shape) != len(spec.shape):
        raise InvalidRequestError(
            f"'{layer.name}' was built for {len(shape)} axes, {shape}, but would get "
            f"{len(spec.shape)}, {spec.shape}.\n\nGive a layer that fits, or one that "
            f"is not built yet. Received: {layer!r}"
        )
    # A size that it was not built for is any size.
    return TensorSpec(
        tuple(
            now if was is None or number == 0 else was
            for number, (was, now) in enumerate(zip(shape, spec.shape, strict=True))
        ),
        spec.dtype,
    )


def called_copy(layer: Any, specs: TensorSpec | list[TensorSpec]) -> Any:
    """Returns a layer with the same settings, built for a tensor or a list of them.

    Raises:
        InvalidRequestError: It cannot be called on them.
    """
    with names_kept():
        part = next(iter(wrap_layer(layer, layer.name).values()))
        try:
            new = create(part)
            new(map_leaves(_input, specs))
        except Exception as error:
            raise _cannot_call(layer, specs, error) from error
    return new


def _input(spec: TensorSpec) -> Any:
    return keras.Input(batch_shape=spec.shape, dtype=spec.dtype)


def _cannot_call(
    layer: Any, specs: TensorSpec | list[TensorSpec], error: Exception
) -> InvalidRequestError:
    shapes = map_leaves(lambda spec: spec.shape, specs)
    return InvalidRequestError(
        f"'{layer.name}' ({type(layer).__name__}) cannot be called on a tensor of "
        f"shape {shapes}: {error}\n\nGive a layer that takes it, or put it elsewhere. "
        f"Received: {layer!r}"
    )
