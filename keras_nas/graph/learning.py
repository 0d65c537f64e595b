"""Learns how a layer without rule and without weights ties axes, from its own `call`.

A `Lambda` or a layer of a user is called on symbolic tensors, which shows the Keras
operations inside. The rules of these say which axes pass. But Python code may hold
sizes that nobody can rewrite (``x[:, :3]``, a constant of 8 values), so nothing is
believed before the layer, made anew, has been run: permuting neurons must permute the
results, and dropping or adding some must leave the results of the others as they are.
What fails is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_nas.axes import Atom, Expression, index_of
from keras_nas.graph import keras_private
from keras_nas.graph.copying import create
from keras_nas.graph.flatten import Call
from keras_nas.graph.structure import Graph, TensorRef, TensorSpec
from keras_nas.graph.wrap import wrap
from keras_nas.rules import AxisTensor, Relation, RuleCall, Undescribed, map_leaves

Keep = Mapping[Atom, np.ndarray]
# Runs the rules of an inner graph on the axes of its inputs.
Describe = Callable[[Graph, list[AxisTensor]], tuple[list[AxisTensor], list[Relation]]]

_BATCH, _UNKNOWN = 3, 5


def learn(
    call: Call, rule_call: RuleCall, specs: list[TensorSpec], describe: Describe
) -> Relation:
    """Returns the relation of a call of a layer that nobody has described.

    Args:
        call: The call.
        rule_call: The same with axes; they are tied as the operations inside say.
        specs: Shape and dtype of each tensor that it is called on.
        describe: Runs the rules of the operations inside.

    Raises:
        Undescribed: The layer has weights, or its call cannot be traced, or what the
            rules say about it is not what it does.
    """
    part = call.part
    if part.is_operation or part.template is None or part.is_opaque:
        raise Undescribed("no rule describes its class")
    if part.weights:
        raise Undescribed("no rule describes its class, which has weights")
    if rule_call.masks:
        raise Undescribed("no rule describes its class, which is given a mask")
    with keras_private.names_kept():
        layer = _Layer(call, specs)
        graph = layer.trace()
        outputs, relations = describe(graph, rule_call.tensors)
        return _Learned(layer, rule_call, outputs, relations).relation()


class _Layer:
    """A layer that is made anew for every shape it is called on."""

    def __init__(self, call: Call, specs: list[TensorSpec]):
        self._call = call
        self.specs = [(spec.shape, spec.dtype) for spec in specs]

    def trace(self) -> Graph:
        """Returns the graph of the operations inside, for the recorded shapes."""
        dtypes = self._call.vertex.outputs
        try:
            inputs = [
                keras.Input(batch_shape=shape, dtype=dtype)
                for shape, dtype in self.specs
            ]
            layer = create(self._call.part)
            args, kwargs = self._arguments(inputs)
            layer(*args, **kwargs)  # Builds it.
            outputs = layer.call(*args, **kwargs)
            flat = keras_private.flatten(outputs)
            if len(flat) != len(dtypes):
                raise Undescribed("its call returns what is no tensor")
            return wrap(keras.Model(inputs, flat))
        except Exception as error:
            raise Undescribed(
                f"no rule describes its class, and its call cannot be traced: {error}"
            ) from error

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Runs a new layer as inference does."""
        layer = create(self._call.part)
        args, kwargs = self._arguments(arrays)
        outputs = keras_private.flatten(layer(*args, **kwargs))
        return [keras.ops.convert_to_numpy(output) for output in outputs]

    def recorded(self, shapes: list[tuple]) -> list[tuple]:
        """Returns the shapes that Keras would record for inputs of some shapes."""
        inputs = [
            keras.Input(batch_shape=shape, dtype=dtype)
            for shape, (_, dtype) in zip(shapes, self.specs, strict=True)
        ]
        args, kwargs = self._arguments(inputs)
        outputs = create(self._call.part)(*args, **kwargs)
        return [tuple(y.shape) for y in keras_private.flatten(outputs)]

    def _arguments(self, tensors: list[Any]) -> tuple[tuple, dict]:
        waiting = iter(tensors)

        def put(leaf: Any) -> Any:
            return next(waiting) if isinstance(leaf, TensorRef) else leaf

        args = tuple(map_leaves(put, tuple(self._call.args)))
        return args, dict(map_leaves(put, dict(self._call.kwargs)))


@dataclass
class _Learned:
    """What the rules say about a layer, and whether it is so."""

    layer: _Layer
    call: RuleCall
    outputs: list[AxisTensor]
    relations: list[Relation]

    def relation(self) -> Relation:
        self._freeze_inner()
        rng = np.random.default_rng(0)
        arrays = [self._sample(tensor, n, rng) for n, tensor in enumerate(self._x)]
        try:
            self._check_atoms(arrays, rng)
            self._check({a: _fewer(a) for a in self._atoms()}, arrays, rng)
        except Exception as error:
            raise Undescribed(
                f"no rule describes its class, and running it did not help: {error}"
            ) from error
        resolve = self.call.resolve
        return Relation(
            outputs=tuple(
                AxisTensor(tuple(map(resolve, y.axes)), y.channel) for y in self.outputs
            ),
            mixes=self._all("mixes"),
            partial=self._all("partial"),
        )

    @property
    def _x(self) -> list[AxisTensor]:
        return self.call.tensors

    def _all(self, field: str) -> tuple[tuple[Expression, str], ...]:
        return tuple(
            (axis, sentence)
            for relation in self.relations
            for axis, sentence in getattr(relation, field)
            if self.call.resolve(axis).atoms
        )

    def _atoms(self) -> list[Atom]:
        axes = [self.call.resolve(axis) for x in self._x for axis in x.axes]
        found = frozenset().union(*(axis.atoms for axis in axes))
        return sorted(found, key=lambda atom: atom.serial)

    def _freeze_inner(self) -> None:
        """Freezes what nobody can rewrite: widths made inside, and equal sizes."""
        reason = f"a size inside the call of '{self.call.name}'"
        known = set(self._atoms())
        for tensor in self.outputs:
            for axis in tensor.axes:
                if not self.call.resolve(axis).atoms <= known:
                    self.call.freeze(axis, reason)
        groups = [group for relation in self.relations for group in relation.equal]
        for group in groups:
            if len({self.call.resolve(axis) for axis in group}) > 1:
                for axis in group:
                    self.call.freeze(axis, reason)

    def _check_atoms(self, arrays: list[np.ndarray], rng) -> None:
        """Freezes each atom along which the layer does not do what the rules say."""
        self._check({}, arrays, rng)  # It must do the same twice.
        for atom in self._atoms():
            trials = (
                rng.permutation(atom.size),
                _fewer(atom),
                _half(atom),
                _more(atom),
            )
            try:
                for index in trials:
                    self._check({atom: index}, arrays, rng)
            except Exception:  # noqa: BLE001  A user's call may fail in any way.
                reason = f"a size inside the call of '{self.call.name}'"
                self.call.freeze(atom, reason)

    def _check(self, keep: Keep, arrays: list[np.ndarray], rng) -> None:
        """Raises unless the results follow the neurons."""
        old = self.layer.run(arrays)
        changed = [
            self._changed(array, self._x[n], keep, n, rng)
            for n, array in enumerate(arrays)
        ]
        new = self.layer.run(changed)
        recorded = self.layer.recorded([array.shape for array in changed])
        mixed = frozenset().union(
            *(
                self.call.resolve(axis).atoms
                for axis, _ in (*self._all("mixes"), *self._all("partial"))
            )
        )
        # A mean over other neurons is another mean; over permuted ones, the same.
        compares = all(
            atom not in mixed or sorted(index) == list(range(atom.size))
            for atom, index in keep.items()
        )
        for tensor, a, b, shape in zip(self.outputs, old, new, recorded, strict=True):
            indices = self._indices(tensor, keep, a.shape)
            if b.shape != shape or b.shape != tuple(map(len, indices)):
                raise ValueError(f"it gives shape {b.shape} for {list(keep)}")
            if compares:
                _assert_kept_equal(a, b, indices)

    def _changed(self, array, tensor: AxisTensor, keep: Keep, number: int, rng):
        """Keeps the neurons of an input; new ones are random."""
        indices = self._indices(tensor, keep, array.shape)
        fresh = self._random(tuple(map(len, indices)), number, rng)
        taken = array[np.ix_(*(np.maximum(index, 0) for index in indices))]
        is_new = np.zeros(taken.shape, bool)
        for place, index in enumerate(indices):
            shape = [1] * taken.ndim
            shape[place] = -1
            is_new |= (index < 0).reshape(shape)
        return np.where(is_new, fresh, taken)

    def _indices(self, tensor: AxisTensor, keep: Keep, shape) -> list[np.ndarray]:
        return [
            np.arange(size)
            if axis.size is None or keep.keys().isdisjoint(axis.atoms)
            else index_of(axis, keep)
            for axis, size in zip(
                map(self.call.resolve, tensor.axes), shape, strict=True
            )
        ]

    def _sample(self, tensor: AxisTensor, number: int, rng) -> np.ndarray:
        shape = tuple(
            size if size is not None else (_UNKNOWN if place else _BATCH)
            for place, size in enumerate(tensor.shape)
        )
        return self._random(shape, number, rng)

    def _random(self, shape: Iterable[int], number: int, rng) -> np.ndarray:
        dtype = self.layer.specs[number][1]
        if dtype == "bool" or "int" in dtype:
            return rng.integers(0, 2, shape).astype(dtype)
        # Most values are small, some are large: code may treat them apart.
        return (rng.normal(size=shape) * rng.choice([0.1, 1, 10], shape)).astype(dtype)


def _assert_kept_equal(old: np.ndarray, new: np.ndarray, indices) -> None:
    for place, index in enumerate(indices):
        new = np.take(new, np.flatnonzero(index >= 0), place)
        old = np.take(old, index[index >= 0], place)
    if old.dtype.kind in "fc":
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(new, old)


def _fewer(atom: Atom) -> np.ndarray:
    """All neurons but the first; a single one stays."""
    return np.arange(min(1, atom.size - 1), atom.size)


def _half(atom: Atom) -> np.ndarray:
    return np.arange(0, atom.size, 2)


def _more(atom: Atom) -> np.ndarray:
    """All neurons, and three new ones."""
    return np.concatenate([np.arange(atom.size), [-1, -1, -1]])
