"""From a graph and the neurons that stay to a new graph.

Makes no decisions: everything follows from the keep arrays of the atoms. Weights are
not touched here; the new graph holds recipes that run when a model is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from keras_nas.axes import Atom, Expression, MaybeNone, index_of, size_of
from keras_nas.graph import Analysis, Call, Graph, Part, TensorSpec, Vertex, Weight
from keras_nas.rules import (
    AxisTensor,
    Computed,
    Relation,
    SizeOf,
    Sliced,
    WeightAxes,
    leaves,
    map_leaves,
    positional_names,
)
from keras_nas.surgery.options import Options
from keras_nas.surgery.slicing import (
    block_indices,
    fill_for,
    new_shape,
    no_origin,
    selection,
    slice_array,
    slice_weight,
)


def change_graph(
    graph: Graph,
    analysis: Analysis,
    keep: Mapping[Atom, np.ndarray],
    options: Options,
) -> Graph:
    """Returns the graph whose atoms have the given neurons.

    Args:
        graph: The old graph. Not modified.
        analysis: Its axes.
        keep: Keep array of each atom that changes.
        options: Where new weights come from.
    """
    change = _Change(analysis, keep, options)
    parts: dict[str, Part] = {}
    vertices: dict[str, dict[str, Vertex]] = {}
    for call in analysis.flat.calls:
        key = call.part.key
        if key not in parts:
            parts[key] = change.part(graph.parts[key], analysis.parts[key])
        owner, name = call.home
        if name not in vertices.setdefault(owner, {}):
            vertices[owner][name] = change.vertex(call, analysis.homes[call.home])
    changed = {key: part for key, part in parts.items() if part is not graph.parts[key]}
    graph = graph.replace_parts(changed)
    for owner, found in vertices.items():
        old = graph.body_of(owner).vertices
        new = {name: v for name, v in found.items() if v is not old[name]}
        if new:
            graph = graph.replace_vertices(owner, new)
    return graph


class _Change:
    def __init__(
        self, analysis: Analysis, keep: Mapping[Atom, np.ndarray], options: Options
    ):
        self.analysis = analysis
        self.keep = keep
        self.sizes = {atom: len(index) for atom, index in keep.items()}
        self.options = options
        # A variable that several layers share must stay one.
        self.weights: dict[int, Weight] = {}

    def part(self, part: Part, relation: Relation) -> Part:
        config = self._values(relation.config)
        weights = tuple(
            self._shared_weight(part, name, weight, relation)
            for name, weight in part.named_weights
        )
        if not config and all(
            new is old for new, old in zip(weights, part.weights, strict=True)
        ):
            return part
        if config:
            part = replace(part, config={**part.config, **config})
        constants = {
            name: self._weight(part, name, weight, relation.weights[name])
            for name, weight in part.constants.items()
        }
        return replace(part, weights=weights, constants=constants)

    def vertex(self, call: Call, relation: Relation) -> Vertex:
        vertex = call.vertex
        arguments = self._values(relation.arguments)
        if arguments:
            args, kwargs = _with_arguments(vertex, call.part.cls, arguments)
            vertex = replace(vertex, args=args, kwargs=kwargs)
        outputs = tuple(
            TensorSpec(tuple(map(self._size, tensor.axes)), spec.dtype)
            for tensor, spec in zip(relation.outputs, vertex.outputs, strict=True)
        )
        if outputs != vertex.outputs:
            vertex = replace(vertex, outputs=outputs)
        return vertex

    def _shared_weight(
        self, part: Part, name: str, weight: Weight, relation: Relation
    ) -> Weight:
        axes = relation.weights.get(name)
        if axes is None:
            return weight
        if id(weight) not in self.weights:
            self.weights[id(weight)] = self._weight(part, name, weight, axes)
        return self.weights[id(weight)]

    def _weight(
        self, part: Part, name: str, weight: Weight, axes: WeightAxes
    ) -> Weight:
        blocks = block_indices(axes, self.analysis.resolve, self.keep)
        if blocks is None:
            return weight
        setting = f"{name.rsplit('/', 1)[-1]}_initializer"
        fill = fill_for(
            axes.new,
            axes.initializer or part.config.get(setting),
            weight.dtype,
            self.options.seed,
            f"{part.key}/{name}",
            self.options.initializer,
            part.custom_objects,
        )
        factor = prod(
            (self._size(axis) / self.analysis.resolve(axis).size) ** power
            for axis, power in axes.rescale
        )
        shape = new_shape(axes, blocks)
        function = selection(blocks, factor)
        if function is not None:
            return Weight.derived(weight, shape, function)
        sliced = partial(slice_weight, axes=axes, blocks=blocks)
        return Weight.derived(
            weight,
            shape,
            partial(sliced, fill=fill, factor=factor),
            origins=partial(sliced, fill=no_origin),
        )

    def _values(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the settings or arguments that change, with their new values."""
        return {
            key: map_leaves(self._value, value)
            for key, value in wanted.items()
            if any(map(self._is_changed, leaves(value)))
        }

    def _is_changed(self, leaf: Any) -> bool:
        if isinstance(leaf, SizeOf):
            return not self._is_untouched(leaf.axis)
        if isinstance(leaf, (Sliced, Computed)):
            return not all(map(self._is_untouched, leaf.axes))
        return False

    def _is_untouched(self, axis: Expression) -> bool:
        return self.keep.keys().isdisjoint(self.analysis.resolve(axis).atoms)

    def _value(self, leaf: Any) -> Any:
        if isinstance(leaf, SizeOf):
            return self._size(leaf.axis)
        if isinstance(leaf, Computed):
            return leaf.function(*map(self._size, leaf.axes))
        if isinstance(leaf, Sliced):
            array = slice_array(leaf.value, [self._index(axis) for axis in leaf.axes])
            return array.tolist() if isinstance(leaf.value, (list, tuple)) else array
        return leaf

    def _size(self, axis: Expression) -> int | MaybeNone:
        return size_of(self.analysis.resolve(axis), self.sizes)

    def _index(self, axis: Expression) -> np.ndarray | None:
        if self._is_untouched(axis):
            return None
        return index_of(self.analysis.resolve(axis), self.keep)


def _with_arguments(
    vertex: Vertex, cls: type, arguments: Mapping[str, Any]
) -> tuple[tuple, dict[str, Any]]:
    """Exchanges call arguments by name; tensors in them stay where they are."""
    names = positional_names(cls)
    args, kwargs = list(vertex.args), dict(vertex.kwargs)
    for name, value in arguments.items():
        if name in names and names.index(name) < len(args):
            number = names.index(name)
            args[number] = _with_tensors(args[number], value)
        else:
            kwargs[name] = _with_tensors(kwargs.get(name), value)
    return tuple(args), kwargs


def _with_tensors(old: Any, new: Any) -> Any:
    """Puts the references to tensors back where a rule saw their axes."""
    if isinstance(new, AxisTensor):
        return old
    if not any(isinstance(leaf, AxisTensor) for leaf in leaves(new)):
        # Nothing to put back, and a rule may have written an index out in full.
        return new
    if isinstance(new, (list, tuple)) and isinstance(old, (list, tuple)):
        items = (_with_tensors(a, b) for a, b in zip(old, new, strict=True))
        return type(old)(items)
    return new
