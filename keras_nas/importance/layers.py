"""Layers that make neurons, and what an importance function is told about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_nas.axes import Atom, Expression
from keras_nas.graph import Analysis, Call, Graph, Part, TensorRef
from keras_nas.rules import SizeOf, leaves


class LayerInfo(str):
    """The path of a layer, with what an importance function may want to know.

    Attributes:
        size: Number of neurons on the channel axis of its output.
        config: Settings of the layer.
        weights: Weight name -> array.
    """

    size: int
    config: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, path: str, part: Part, size: int) -> LayerInfo:
        info = cls(path)
        info.size = size
        info.config = part.config
        info.weights = _LazyWeights(part)
        return info


class _LazyWeights(Mapping):
    """Weights by name, read only when asked for."""

    def __init__(self, part: Part):
        self._weights = dict(part.named_weights)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._weights[name].value()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def sized_layers(graph: Graph, analysis: Analysis) -> dict[str, Part]:
    """Returns the layers with weights and a width of their own, by first call."""
    result: dict[str, Part] = {}
    seen: set[str] = set()
    for call in analysis.flat.calls:
        part = call.part
        if part.key in seen or not part.weights:
            continue
        seen.add(part.key)
        if _has_own_width(analysis, call):
            result[call.path] = part
    return result


def makers_of(
    graph: Graph, analysis: Analysis, atoms: Mapping[Atom, Any] | frozenset[Atom]
) -> dict[str, tuple[Part, Expression]]:
    """Returns the sized layers that make neurons of some atoms.

    Returns:
        Path -> the layer and the channel axis of its output.
    """
    wanted = frozenset(atoms)
    found: dict[str, tuple[Part, Expression]] = {}
    for path, part in sized_layers(graph, analysis).items():
        axis = analysis.channel_of(analysis.output_of(path))
        if axis is None:
            continue
        if not wanted.isdisjoint(axis.atoms | inner_atoms(analysis, part)):
            found[path] = part, axis
    return found


def inner_atoms(analysis: Analysis, part: Part) -> frozenset[Atom]:
    """Neurons of the further widths of a layer, such as its heads."""
    widths = analysis.parts[part.key].widths.values()
    return frozenset().union(*(analysis.resolve(axis).atoms for axis in widths))


def _has_own_width(analysis: Analysis, call: Call) -> bool:
    """Whether a layer makes neurons, and does not just pass those of its input."""
    relation = analysis.parts[call.part.key]
    if not any(isinstance(leaf, SizeOf) for leaf in leaves(relation.config)):
        return False
    arguments = leaves((tuple(call.args), dict(call.kwargs)))
    inputs = [analysis.tensors[x] for x in arguments if isinstance(x, TensorRef)]
    return all(output not in inputs for output in relation.outputs)
