"""From a Keras model to a graph."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import keras
import numpy as np

from keras_nas.errors import UnsupportedModelError
from keras_nas.graph import keras_private
from keras_nas.graph.compile_state import CompileState
from keras_nas.graph.constants import read_constants
from keras_nas.graph.copying import Recipe, read_assets
from keras_nas.graph.optimizer_state import read_slots
from keras_nas.graph.structure import (
    Body,
    Graph,
    Part,
    TensorRef,
    TensorSpec,
    VariableRef,
    Vertex,
)
from keras_nas.graph.weight import Weight
from keras_nas.rules import is_from_keras, map_leaves


def wrap(model: Any) -> Graph:
    """Returns the graph of a model. See `Graph.from_model`."""
    _check_supported(model)
    graph, _ = wrap_with_variables(model)
    return graph


def wrap_with_variables(model: Any) -> tuple[Graph, dict[int, Weight]]:
    """Returns the graph, and identity of a variable -> what stands for it there."""
    wrapper = _Wrapper(read_slots(model))
    body = wrapper.body(model, prefix="")
    return Graph(body=body, parts=wrapper.parts_with_inner()), wrapper.weights


def wrap_layer(layer: Any, key: str) -> dict[str, Part]:
    """Returns the part that a layer is, by the given key, and those inside it.

    The layer need not be part of a model, and is neither called nor changed.
    """
    wrapper = _Wrapper({})
    wrapper.part(layer, key)
    return wrapper.parts_with_inner()


class _Wrapper:
    """Collects the parts of one model over all levels of nesting.

    Args:
        slots: Identity of a variable -> what an optimizer remembers of it.
    """

    def __init__(self, slots: Mapping[int, Mapping[Any, Weight]]):
        self._slots = slots
        self.parts: dict[str, Part] = {}
        self._keys: dict[int, str] = {}
        self._layers: dict[str, Any] = {}
        self.weights: dict[int, Weight] = {}
        self._owners: dict[int, VariableRef] = {}

    def body(self, model: Any, prefix: str) -> Body:
        """Returns the inside of a model whose vertices have paths from ``prefix``."""
        functional = keras_private.functional_of(model)
        if isinstance(model, keras.Sequential):
            records = keras_private.chain(model)
        else:
            records = list(keras_private.calls(functional))
        names = _call_names([record.operation for record in records])
        where: dict[int, TensorRef] = {}
        keys = []
        for record, name in zip(records, names):
            keys.append(self.part(record.operation, prefix + name))
            for index, tensor in enumerate(record.outputs):
                where[id(tensor)] = TensorRef(name, index)

        def freeze(leaf: Any) -> Any:
            return self._freeze(leaf, where)

        vertices = {
            name: Vertex(
                name=name,
                part=key,
                args=tuple(map_leaves(freeze, record.args)),
                kwargs=map_leaves(freeze, record.kwargs),
                outputs=tuple(_spec(tensor) for tensor in record.outputs),
            )
            for name, key, record in zip(names, keys, records)
        }
        return Body(
            vertices=vertices,
            inputs=map_leaves(freeze, keras_private.input_structure(functional)),
            outputs=map_leaves(freeze, keras_private.output_structure(functional)),
            cls=type(model),
            name=model.name,
            trainable=keras_private.trainable_flags(model)[0],
            is_sequential=isinstance(model, keras.Sequential),
            dtype_policy=model.dtype_policy,
            init_kwargs=_init_kwargs(model),
            compile_state=CompileState.of_model(model, self.weights),
        )

    def parts_with_inner(self) -> dict[str, Part]:
        """Returns all parts; those whose sub-layers are parts too say which."""
        return {
            key: replace(part, inner=inner) if (inner := self._inner(key)) else part
            for key, part in self.parts.items()
        }

    def _inner(self, key: str) -> dict[str, str]:
        """Returns path inside a layer -> key of the part that the sub-layer is."""
        layer = self._layers.get(key)
        if layer is None:
            return {}
        return {
            path.rstrip("/"): self._keys[id(inner)]
            for inner, path in keras_private.owners(layer)
            if path and id(inner) in self._keys
        }

    def part(self, operation: Any, path: str) -> str:
        """Returns the key of the part of an object, describing it when it is new."""
        key = self._keys.get(id(operation))
        if key is None:
            key = self._keys[id(operation)] = path
            # Keeps its place before the parts inside it.
            self.parts[key] = cast(Part, None)
            self.parts[key] = self._describe(operation, key)
        return key

    def _describe(self, operation: Any, key: str) -> Part:
        if keras_private.functional_of(operation) is not None:
            return Part(
                key=key,
                name=operation.name,
                cls=type(operation),
                config={"name": operation.name},
                body=self.body(operation, prefix=f"{key}/"),
            )
        recipe = Recipe.of(operation)
        config = recipe.config
        if config is None:
            config = {"name": operation.name}
        is_layer = isinstance(operation, keras.Layer)
        if is_layer:
            self._layers[key] = operation
        names, weights = self._read_weights(operation, key) if is_layer else ((), ())
        return Part(
            key=key,
            name=operation.name,
            cls=recipe.cls,
            config=config,
            weights=weights,
            weight_names=names,
            template=_template(operation, recipe),
            original_config=config,
            is_opaque=recipe.config is None,
            custom_objects=recipe.custom_objects,
            trainable=keras_private.trainable_flags(operation) if is_layer else (),
            assets=read_assets(operation),
            constants=read_constants(operation, weights),
        )

    def _read_weights(self, layer: Any, key: str) -> tuple[tuple, tuple]:
        """Returns the names and the weights of a layer.

        A variable of two layers is one weight, which each of them has its name for.
        """
        names: list[str] = []
        weights: list[Weight] = []
        for name, variable in keras_private.named_variables(layer):
            names.append(name)
            if id(variable) not in self.weights:
                self.weights[id(variable)] = self._weight(variable, name)
                self._owners[id(variable)] = VariableRef(key, len(weights))
            weights.append(self.weights[id(variable)])
        return tuple(names), tuple(weights)

    def _loose(self, variable: Any) -> Weight:
        """Returns the weight of a variable that no layer met so far has."""
        if id(variable) not in self.weights:
            weight = self._weight(variable, variable.name)
            self.weights[id(variable)] = weight
        return self.weights[id(variable)]

    def _weight(self, variable: Any, name: str) -> Weight:
        return Weight.of_variable(variable, name, self._slots.get(id(variable), {}))

    def _freeze(self, leaf: Any, where: dict[int, TensorRef]) -> Any:
        """Returns what stands for a leaf of call arguments in the graph."""
        if isinstance(leaf, keras.KerasTensor):
            return where[id(leaf)]
        if keras_private.is_variable(leaf):
            owner = self._owners.get(id(leaf))
            return owner or self._loose(leaf)
        if isinstance(leaf, np.ndarray):
            return leaf.copy()
        return leaf


def _template(operation: Any, recipe: Recipe) -> Any:
    """Returns what a copy is made from where the config may not be enough."""
    if not isinstance(operation, keras.Layer):
        try:
            return keras_private.copy_operation(operation)
        except Exception:  # noqa: BLE001  A user's attribute may refuse.
            return None
    return operation if recipe.is_custom or recipe.config is None else None


def _call_names(operations: list) -> list[str]:
    """Returns a unique name for each call: ``conv``, ``conv^1``, ``conv^2``."""
    taken = {operation.name for operation in operations}
    counts: Counter = Counter()
    names = []
    for operation in operations:
        number = counts[operation.name]
        name = operation.name
        while number and (name := f"{operation.name}^{number}") in taken:
            number += 1
        counts[operation.name] = number + 1
        taken.add(name)
        names.append(name)
    return names


def _spec(tensor: Any) -> TensorSpec:
    return TensorSpec(
        tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)
    )


def _init_kwargs(model: Any) -> dict[str, Any]:
    """Returns the further constructor arguments of a user's model class.

    They are taken from its config or, by the custom of Keras, from the attribute of
    the same name.
    """
    cls = type(model)
    if is_from_keras(cls):
        return {}
    known = {"self", "inputs", "outputs", "layers", "name", "trainable", "dtype"}
    try:
        config = model.get_config()
    except Exception:  # noqa: BLE001  A user's method may fail in any way.
        config = {}
    values = {}
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name in known or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        if name in config:
            values[name] = config[name]
        elif hasattr(model, name):
            values[name] = getattr(model, name)
    return values


def _check_supported(model: Any) -> None:
    """Raises `UnsupportedModelError` unless the model has a recorded graph."""
    if not isinstance(model, keras.Model):
        raise UnsupportedModelError(
            f"A {type(model).__name__} is not a Keras model.\n\nPass a functional or "
            f"sequential `keras.Model`. Received: model={model!r}"
        )
    if keras_private.functional_of(model) is not None:
        return
    if isinstance(model, keras.Sequential):
        raise UnsupportedModelError(
            f"Sequential model '{model.name}' is not built: it does not know its input "
            "shape yet.\n\nGive it a `keras.Input` as first layer, or call it on data "
            f"(or `model.build(input_shape)`) first. Received: model={model!r}"
        )
    raise UnsupportedModelError(
        f"Model '{model.name}' of class {type(model).__name__} is subclassed: what it "
        "computes is written in its `call` method, and Keras has no graph of it.\n\n"
        "Rewrite it with the functional API: `keras.Model(inputs, outputs)`. "
        f"Received: model={model!r}"
    )
