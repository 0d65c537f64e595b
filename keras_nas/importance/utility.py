"""From the importance that layers state to the utility of the neurons of atoms."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from keras_nas.axes import Atom, Expression, scatter
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Graph
from keras_nas.importance.chance import Random
from keras_nas.importance.criterion import Criterion
from keras_nas.importance.geometric_median import GeometricMedian
from keras_nas.importance.lamp import Lamp
from keras_nas.importance.layers import LayerInfo, makers_of
from keras_nas.importance.magnitude import Magnitude
from keras_nas.importance.scale import NormalizationScale

FindAxis = Callable[[Any], tuple[str, Expression]]

NAMED: dict[str, Callable[[], Criterion]] = {
    "l1": lambda: Magnitude(p=1),
    "l2": Magnitude,
    "group_l1": lambda: Magnitude(p=1, group=True),
    "group_l2": lambda: Magnitude(group=True),
    "bn_scale": NormalizationScale,
    "lamp": Lamp,
    "group_lamp": lambda: Lamp(group=True),
    "fpgm": GeometricMedian,
    "random": Random,
}


def check_importance(importance: Any, find: FindAxis) -> Any:
    """Returns an importance, read and checked.

    Args:
        importance: What the user gave: a name such as ``"l2"``, a `Criterion`, None, a
            callable or a dict.
        find: ``key -> (path, axis)``; raises for an unknown layer.

    Returns:
        What `atom_utilities` takes.

    Raises:
        InvalidRequestError: A wrong name, type, length, or NaN.
    """
    if isinstance(importance, str):
        if importance in NAMED:
            return NAMED[importance]()
        names = ", ".join(map(repr, NAMED))
        raise InvalidRequestError(
            f"There is no importance named {importance!r}.\n\nUse one of {names}, an "
            "object of keras_nas.importance, a dict from layer name to array, or a "
            f"callable. Received: importance={importance!r}"
        )
    if inspect.isclass(importance) and issubclass(importance, Criterion):
        raise InvalidRequestError(
            f"{importance.__name__} is a class.\n\nMake an object of it: "
            f"importance={importance.__name__}(...). "
            f"Received: importance={importance!r}"
        )
    is_criterion = isinstance(importance, Criterion)
    if importance is None or is_criterion or callable(importance):
        return importance
    if not isinstance(importance, Mapping):
        raise InvalidRequestError(
            f"Importance cannot be a {type(importance).__name__}.\n\nUse a name such "
            "as 'l2', an object of keras_nas.importance, a dict from layer name to "
            f"array, or a callable. Received: importance={importance!r}"
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
    if isinstance(importance, Criterion):
        return importance.utilities(graph, analysis, atoms)
    utilities = {atom: np.zeros(atom.size) for atom in atoms}
    named: set[str] = set()
    if isinstance(importance, Mapping):
        # Any call of a shared layer names the layer.
        named = {c.part.key for c in analysis.flat.calls if c.path in importance}
        for pairs in importance.values():
            for axis, values in pairs:
                _add(utilities, scatter(axis, values))
    for path, (part, axis) in makers_of(graph, analysis, frozenset(atoms)).items():
        if part.key in named:
            continue
        values = 1.0
        if callable(importance):
            values = importance(LayerInfo.of(path, part, axis.size))
            values = 1.0 if values is None else values
        _add(utilities, scatter(axis, _read_values(path, values, axis.size)))
    return utilities


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
