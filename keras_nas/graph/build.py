"""From a graph to a new Keras model."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import keras

from keras_nas.errors import InternalError
from keras_nas.graph import keras_private
from keras_nas.graph.birth import born_with
from keras_nas.graph.constants import restore_constants
from keras_nas.graph.copying import create, restore_assets
from keras_nas.graph.structure import (
    Body,
    Graph,
    Part,
    TensorRef,
    VariableRef,
    Vertex,
)
from keras_nas.graph.weight import Weight
from keras_nas.rules import map_leaves


def build(graph: Graph) -> Any:
    """Returns a new model. See `Graph.build`."""
    return _Builder(graph).model(graph.body)


class _Builder:
    """Makes each part once, however many bodies call it."""

    def __init__(self, graph: Graph):
        self._parts = graph.parts
        self._objects: dict[str, Any] = {}
        self._variables: dict[int, Any] = {}

    def model(self, body: Body) -> Any:
        """Returns the model of a body, compiled if the body says how."""
        if body.is_sequential and _is_chain(body, self._parts):
            model = self._sequential(body)
        else:
            model = self._functional(body)
        if body.dtype_policy is not None and model.dtype_policy != body.dtype_policy:
            model.dtype_policy = body.dtype_policy
        keras_private.set_own_trainable(model, body.trainable)
        if body.compile_state is not None:
            body.compile_state.apply(model, self._weights())
        return model

    def _weights(self) -> dict[int, Weight]:
        """Returns identity of a variable -> the weight that it was made from."""
        parts = self._parts.values()
        weights = {id(weight): weight for part in parts for weight in part.weights}
        return {
            id(variable): weights[key]
            for key, variable in self._variables.items()
            if key in weights
        }

    def _functional(self, body: Body) -> Any:
        tensors: dict[TensorRef, Any] = {}

        def thaw(leaf: Any) -> Any:
            return self._thaw(leaf, tensors)

        for vertex in self._in_order(body):
            for index, tensor in enumerate(self._call(vertex, thaw)):
                tensors[TensorRef(vertex.name, index)] = tensor
        arguments = map_leaves(thaw, body.inputs), map_leaves(thaw, body.outputs)
        with deep_recursion(len(body.vertices)):
            return _construct(body, keras.Model, ("inputs", "outputs"), arguments)

    def _sequential(self, body: Body) -> Any:
        parts = [self._parts[vertex.part] for vertex in body.vertices.values()]
        new = [part for part in parts if part.key not in self._objects]
        layers = [self._object(part) for part in parts]
        with contextlib.ExitStack() as scopes:
            born: dict[int, Weight] = {}
            for part in new:
                if part.body is None:
                    scopes.enter_context(
                        born_with(self._objects[part.key], part.named_weights, born)
                    )
            scopes.enter_context(deep_recursion(len(layers)))
            model = _construct(body, keras.Sequential, ("layers",), (layers,))
        for part in new:
            self._finish(part, born)
        return model

    def _in_order(self, body: Body) -> Iterator[Vertex]:
        """Yields vertices so that a variable used directly is made before its use."""
        waiting = list(body.vertices.values())
        if not any(_owners(vertex) for vertex in waiting):
            yield from waiting
            return
        done: set[str] = set()
        while waiting:
            later = []
            for vertex in waiting:
                needed = {ref.vertex for ref in vertex.reads}
                made = all(owner in self._objects for owner in _owners(vertex))
                if made and needed <= done:
                    yield vertex
                    done.add(vertex.name)
                else:
                    later.append(vertex)
            if len(later) == len(waiting):
                names = [vertex.name for vertex in later]
                raise InternalError(
                    f"The calls {names} wait for each other.\n\nPlease report this. "
                    f"Received: model '{body.name}'"
                )
            waiting = later

    def _call(self, vertex: Vertex, thaw: Any) -> list:
        """Calls a part, making it first if need be; returns its flat outputs."""
        part = self._parts[vertex.part]
        is_new = part.key not in self._objects
        made = self._object(part)
        if part.is_input:
            if is_new:
                self._finish(part, {})
            return keras_private.flatten(made.output)
        args = tuple(map_leaves(thaw, vertex.args))
        kwargs = map_leaves(thaw, dict(vertex.kwargs))
        if not is_new or part.body is not None or part.is_operation:
            return keras_private.flatten(made(*args, **kwargs))
        born: dict[int, Weight] = {}
        with born_with(made, part.named_weights, born):
            outputs = keras_private.flatten(made(*args, **kwargs))
        self._finish(part, born)
        return outputs

    def _object(self, part: Part) -> Any:
        if part.key not in self._objects:
            if part.body is not None:
                self._objects[part.key] = self.model(part.body)
            else:
                self._objects[part.key] = create(part)
                self._share_inner(part)
        return self._objects[part.key]

    def _share_inner(self, part: Part) -> None:
        """Exchanges sub-layers of a new layer that are parts of their own."""
        layer = self._objects[part.key]
        found = list(keras_private.owners(layer)) if part.inner else []
        places = {path.rstrip("/"): inner for inner, path in found}
        for path, key in part.inner.items():
            holder = places.get(path.rpartition("/")[0])
            if path in places and holder is not None:
                shared = self._object(self._parts[key])
                keras_private.share_layer(holder, places[path], shared)

    def _finish(self, part: Part, born: dict[int, Weight]) -> None:
        """Gives a layer that was just built its values, flags and other state."""
        if part.body is not None or part.is_operation:
            return
        layer = self._objects[part.key]
        variables = layer.variables
        _check_shapes(part, variables)
        for weight, variable in zip(part.weights, variables):
            known = self._variables.setdefault(id(weight), variable)
            if known is not variable:
                keras_private.share_variable(layer, variable, known)
                continue
            if born.get(id(variable)) is not weight:
                variable.assign(keras_private.own_memory(weight.tensor()))
            if variable.trainable != weight.trainable:
                variable.trainable = weight.trainable
        keras_private.set_trainable_flags(layer, part.trainable)
        restore_assets(layer, part.assets)
        restore_constants(layer, part.constants)

    def _thaw(self, leaf: Any, tensors: dict[TensorRef, Any]) -> Any:
        if isinstance(leaf, TensorRef):
            return tensors[leaf]
        if isinstance(leaf, VariableRef):
            return self._variables[id(self._parts[leaf.part].weights[leaf.index])]
        if isinstance(leaf, Weight):
            if id(leaf) not in self._variables:
                self._variables[id(leaf)] = keras.Variable(
                    keras_private.own_memory(leaf.tensor()),
                    dtype=leaf.dtype,
                    trainable=leaf.trainable,
                    name=leaf.name,
                )
            return self._variables[id(leaf)]
        return leaf


def _owners(vertex: Vertex) -> list[str]:
    """Returns the keys of the parts whose variables a call uses directly."""
    return [ref.part for ref in vertex.variables if isinstance(ref, VariableRef)]


def _check_shapes(part: Part, variables: list) -> None:
    """Raises `InternalError` unless the weights fit the variables of the new layer."""
    expected = [(name, weight.shape) for name, weight in part.named_weights]
    found = [(variable.name, tuple(variable.shape)) for variable in variables]
    if [shape for _, shape in expected] == [shape for _, shape in found]:
        return
    differing = [
        f"'{name}' has shape {shape}, the variable '{other}' shape {other_shape}"
        for (name, shape), (other, other_shape) in zip(expected, found)
        if shape != other_shape
    ]
    raise InternalError(
        f"The weights of layer '{part.key}' do not fit: it has {len(found)} variables "
        f"for {len(expected)} weights"
        + "".join(f"; weight {line}" for line in differing)
        + f".\n\nPlease report this. Received: weights={expected}"
    )


def _is_chain(body: Body, parts: Any) -> bool:
    """Says whether a body is what ``keras.Sequential`` would record."""
    previous = None
    seen = set()
    for vertex in body.vertices.values():
        part = parts[vertex.part]
        if part.is_operation or part.key in seen or len(vertex.outputs) != 1:
            return False
        seen.add(part.key)
        if previous is None:
            if not part.is_input or keras_private.flatten(body.inputs) != [
                TensorRef(vertex.name)
            ]:
                return False
        elif vertex.args != (TensorRef(previous),) or any(
            value is not None for value in vertex.kwargs.values()
        ):
            return False
        previous = vertex.name
    return (
        previous is not None and len(seen) > 1 and body.outputs == TensorRef(previous)
    )


def _construct(body: Body, fallback: type, names: tuple, arguments: tuple) -> Any:
    """Returns a model of the class of the body, if its constructor allows that."""
    cls: Any = body.cls
    parameters = inspect.signature(cls.__init__).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    takes_any = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    if takes_any <= kinds or all(name in parameters for name in names):
        try:
            return body.cls(*arguments, name=body.name, **body.init_kwargs)
        except TypeError:
            pass  # A constructor that asks for more than we know.
    return fallback(*arguments, name=body.name)


@contextlib.contextmanager
def deep_recursion(num_vertices: int) -> Iterator[None]:
    """Allows the recursion of the constructor of functional models.

    Keras sorts the calls by a function that recurses once per vertex of the longest
    path. From Python 3.11 on, such frames do not use the C stack.
    """
    limit = sys.getrecursionlimit()
    needed = len(inspect.stack(0)) + 2 * num_vertices + 500
    if needed <= limit:
        yield
        return
    sys.setrecursionlimit(needed)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
