"""A layer that is made anew as often as needed: to look inside, and to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_nas.graph import keras_private
from keras_nas.graph.copying import create
from keras_nas.graph.structure import Graph, Part, TensorRef, TensorSpec
from keras_nas.graph.weight import Weight
from keras_nas.graph.wrap import wrap_with_variables
from keras_nas.rules import Undescribed, map_leaves


@dataclass(frozen=True)
class Trace:
    """What a layer does inside.

    Attributes:
        graph: Its operations and sub-layers. The inputs are the tensors that it is
            called on, and then its own weights.
        own: Positions of these weights among all weights of the layer.
        inner: Position of a weight of a sub-layer -> what stands for it in the graph.
        first_values: Value of each weight in a layer that was just made.
    """

    graph: Graph
    own: tuple[int, ...]
    inner: Mapping[int, Weight]
    first_values: tuple[np.ndarray, ...]


class Subject:
    """A layer and how it is called.

    Args:
        part: The layer. Only its settings count.
        weights: Name of each of its weights -> shape.
        args: Positional call arguments, with `TensorRef` leaves.
        kwargs: Keyword call arguments, likewise.
        specs: Shape and dtype of each tensor that it is called on.
        num_outputs: Number of tensors that it returns.
    """

    def __init__(
        self,
        part: Part,
        weights: Mapping[str, tuple[int, ...]],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        specs: Sequence[TensorSpec],
        num_outputs: int,
    ):
        self._part = part
        self._weights = weights
        self._args = args
        self._kwargs = kwargs
        self._num_outputs = num_outputs
        self.specs = [(spec.shape, spec.dtype) for spec in specs]

    @property
    def fingerprint(self) -> Any:
        """Equal for layers that do the same, apart from the values of weights."""
        part = self._part
        config = {k: v for k, v in part.config.items() if k != "name"}
        objects = tuple((k, id(v)) for k, v in part.custom_objects.items())
        shapes = tuple(map(tuple, self._weights.values()))
        arguments = (tuple(self._args), dict(self._kwargs))
        return (
            part.cls,
            objects,
            shapes,
            tuple(self.specs),
            _frozen_value(map_leaves(_without_vertex, arguments)),
            _frozen_value(config),
        )

    def trace(self) -> Trace:
        """Returns what is inside, for the recorded shapes.

        Raises:
            Undescribed: The call leaves Keras on the way, or fails.
        """
        try:
            inputs = self._inputs([shape for shape, _ in self.specs])
            layer = self._built(inputs)
            self._check_names(layer)
            values = [keras.ops.convert_to_numpy(v) for v in layer.variables]
            own, stand_ins = self._replace_own(layer)
            args, kwargs = self._arguments(inputs)
            flat = keras_private.flatten(layer.call(*args, **kwargs))
            if len(flat) != self._num_outputs:
                raise Undescribed("it returns what is no tensor")
            model = keras.Model([*inputs, *stand_ins], flat)
            graph, weights = wrap_with_variables(model)
        except Exception as error:
            raise Undescribed(
                "no rule describes its class, and its call cannot be traced: "
                f"{first_line(error)}"
            ) from error
        inner = {
            number: weights[id(variable)]
            for number, variable in enumerate(layer.variables)
            if id(variable) in weights
        }
        return Trace(graph, own, inner, tuple(values))

    def run(
        self, arrays: Sequence[np.ndarray], weights: Mapping[int, np.ndarray]
    ) -> tuple[list[np.ndarray], list[tuple]]:
        """Runs a new layer as inference does.

        Args:
            arrays: What it is called on.
            weights: Position of a weight -> its value. Others stay as they are made.

        Returns:
            The outputs, and the shape that Keras records for each.
        """
        inputs = self._inputs([self._shape(a, n) for n, a in enumerate(arrays)])
        layer = create(self._part)
        args, kwargs = self._arguments(inputs)
        recorded = keras_private.flatten(layer(*args, **kwargs))
        variables = layer.variables
        if len(variables) != len(self._weights):
            raise ValueError(f"it has {len(variables)} weights")
        for number, value in weights.items():
            if tuple(variables[number].shape) != value.shape:
                raise ValueError(f"a weight has the shape {variables[number].shape}")
            variables[number].assign(value)
        args, kwargs = self._arguments(arrays)
        outputs = keras_private.flatten(layer(*args, **kwargs))
        return (
            [keras.ops.convert_to_numpy(output) for output in outputs],
            [tuple(output.shape) for output in recorded],
        )

    def _shape(self, array: np.ndarray, number: int) -> tuple:
        """The shape of an array, unknown where the recorded one is."""
        shape, _ = self.specs[number]
        pairs = zip(array.shape, shape, strict=True)
        return tuple(None if old is None else size for size, old in pairs)

    def _built(self, inputs: list) -> Any:
        layer = create(self._part)
        args, kwargs = self._arguments(inputs)
        layer(*args, **kwargs)
        return layer

    def _check_names(self, layer: Any) -> None:
        """Makes sure that its weights come in the order of those of the original."""
        found = [name for name, _ in keras_private.named_variables(layer)]
        if [_last(name) for name in found] != [_last(name) for name in self._weights]:
            raise Undescribed(f"made anew, it has the weights {found}")

    def _inputs(self, shapes: Sequence[tuple]) -> list:
        return [
            keras.Input(batch_shape=shape, dtype=dtype)
            for shape, (_, dtype) in zip(shapes, self.specs, strict=True)
        ]

    def _replace_own(self, layer: Any) -> tuple[tuple[int, ...], list]:
        """Puts symbolic tensors where a layer uses weights of its own.

        So operations on a weight alone, such as transposing it, are seen as well.
        """
        positions = {id(v): n for n, v in enumerate(layer.variables)}
        stand_ins = {
            id(v): keras.Input(batch_shape=tuple(v.shape), dtype=v.dtype)
            for v in keras_private.own_variables(layer)
            if id(v) in positions
        }
        found = keras_private.replace_variables(layer, stand_ins)
        own = tuple(positions[key] for key in found)
        return own, [stand_ins[key] for key in found]

    def _arguments(self, tensors: Sequence[Any]) -> tuple[tuple, dict]:
        waiting = iter(tensors)

        def put(leaf: Any) -> Any:
            return next(waiting) if isinstance(leaf, TensorRef) else leaf

        args = tuple(map_leaves(put, tuple(self._args)))
        return args, dict(map_leaves(put, dict(self._kwargs)))


def first_line(error: Exception) -> str:
    """Returns the first line of a message, which may be pages long."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _without_vertex(leaf: Any) -> Any:
    return "tensor" if isinstance(leaf, TensorRef) else leaf


def _frozen_value(value: Any) -> Any:
    """Returns a value that can be a key; objects are told apart by identity."""
    if isinstance(value, Mapping):
        return tuple((key, _frozen_value(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen_value, value))
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    is_plain = isinstance(value, (str, int, float, bool, type(None)))
    return (type(value), value) if is_plain else (type(value), id(value))
