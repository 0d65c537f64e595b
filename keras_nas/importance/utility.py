"""From the importance that layers state to the utility of the neurons of atoms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from keras_nas.axes import Atom, Expression, scatter
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Call, Graph, Part, TensorRef
from keras_nas.importance.magnitude import l2_magnitude
from keras_nas.rules import SizeOf, leaves

FindAxis = Callable[[Any], tuple[str, Expression]]


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

    def __iter__(self):
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def check_importance(importance: Any, find: FindAxis) -> Any:
    """Returns an importance with its dict, if it is one, read and checked.

    Args:
        importance: What the user gave: ``"l2"``, None, a callable or a dict.
        find: ``key -> (path, axis)``; raises for an unknown layer.

    Raises:
        InvalidRequestError: A wrong type, length, or NaN.
    """
    if importance is None or callable(importance):
        return importance
    if isinstance(importance, str):
        if importance == "l2":
            return importance
        raise InvalidRequestError(
            f"There is no importance named {importance!r}.\n\nUse 'l2', a dict from "
            f"layer name to array, or a callable. Received: importance={importance!r}"
        )
    if not isinstance(importance, Mapping):
        raise InvalidRequestError(
            f"Importance cannot be a {type(importance).__name__}.\n\nUse 'l2', a dict "
            "from layer name to array, or a callable. "
            f"Received: importance={importance!r}"
        )
    stated: dict[str, list[tuple[Expression, np.ndarray]]] = {}
    for key, values in importance.items():
        path, axis = find(key)
        stated.setdefault(path, []).append((axis, _read_values(key, values, axis.size)))
    return stated


def atom_utilities(
    graph: Graph,
    analysis: Analysis,
    importance: Any,
    atoms: Collection[Atom],
) -> dict[Atom, np.ndarray]:
    """Adds up what all tied layers say about the neurons of some atoms.

    Args:
        graph: The graph.
        analysis: Its axes.
        importance: As `check_importance` returns it.
        atoms: Atoms that are asked about.

    Returns:
        Atom -> float array of shape ``(atom.size,)``. A neuron nobody speaks for
        (padding) has utility 0.
    """
    utilities = {atom: np.zeros(atom.size) for atom in atoms}
    named: set[str] = set()
    if isinstance(importance, Mapping):
        # Any call of a shared layer names the layer.
        named = {c.part.key for c in analysis.flat.calls if c.path in importance}
        for pairs in importance.values():
            for axis, values in pairs:
                _add(utilities, scatter(axis, values))
    for path, part in sized_layers(graph, analysis).items():
        axis = analysis.channel_of(analysis.output_of(path))
        if axis is None or part.key in named:
            continue
        if utilities.keys().isdisjoint(axis.atoms | _inner_atoms(analysis, part)):
            continue
        _add(utilities, _layer_utility(analysis, importance, path, part, axis))
    return utilities


def _inner_atoms(analysis: Analysis, part: Part) -> frozenset[Atom]:
    """Neurons of the further widths of a layer, such as its heads."""
    widths = analysis.parts[part.key].widths.values()
    return frozenset().union(*(analysis.resolve(axis).atoms for axis in widths))


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


def _has_own_width(analysis: Analysis, call: Call) -> bool:
    """Whether a layer makes neurons, and does not just pass those of its input."""
    relation = analysis.parts[call.part.key]
    if not any(isinstance(leaf, SizeOf) for leaf in leaves(relation.config)):
        return False
    arguments = leaves((tuple(call.args), dict(call.kwargs)))
    inputs = [analysis.tensors[x] for x in arguments if isinstance(x, TensorRef)]
    return all(output not in inputs for output in relation.outputs)


def _layer_utility(
    analysis: Analysis, importance: Any, path: str, part: Part, axis: Expression
) -> dict[Atom, np.ndarray]:
    if importance == "l2":
        return l2_magnitude(analysis, part)
    values: Any = 1.0
    if callable(importance):
        values = importance(LayerInfo.of(path, part, axis.size))
        values = 1.0 if values is None else values
    return scatter(axis, _read_values(path, values, axis.size))


def _read_values(key: Any, values: Any, size: int) -> np.ndarray:
    """Returns importance as an array over an axis."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            f"The importance of {key!r} is not made of numbers.\n\nGive a number, or "
            f"an array of {size} numbers. Received: {values!r}"
        ) from None
    if array.ndim == 0:
        array = np.full(size, float(array))
    if array.shape != (size,):
        raise InvalidRequestError(
            f"The importance of {key!r} has shape {array.shape}, but the layer has "
            f"{size} neurons.\n\nGive a number, or an array of shape ({size},). "
            f"Received: shape {array.shape}"
        )
    if np.isnan(array).any():
        where = np.flatnonzero(np.isnan(array))[:5].tolist()
        raise InvalidRequestError(
            f"The importance of {key!r} is NaN at {where}.\n\nReplace NaN by a number, "
            f"such as 0 for neurons that may go first. Received: {values!r}"
        )
    return array


def _add(utilities: dict[Atom, np.ndarray], more: Mapping[Atom, np.ndarray]) -> None:
    for atom, values in more.items():
        if atom in utilities:
            utilities[atom] = utilities[atom] + values
