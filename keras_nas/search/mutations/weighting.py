"""Which vertices are important, and how likely that makes a mutation of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from keras_nas.axes import Atom, Expression
from keras_nas.errors import KerasNasError, UnknownLayerError
from keras_nas.graph import analyze
from keras_nas.importance import Magnitude, atom_utilities, check_importance
from keras_nas.search.mutations.context import Context
from keras_nas.surgery import Graph
from keras_nas.surgery.names import Names

# Not scaled layer by layer, so that layers can be compared.
_CHEAP = Magnitude(aggregation="mean", normalization="none")


class _Measured(NamedTuple):
    importance: Any
    values: dict[str, float]
    by_context: bool


# A graph never changes, and several mutations in a row may leave it as it is. The
# importance is kept with what it gave, so that no other can have its identity.
_KNOWN: WeakKeyDictionary[Graph, _Measured] = WeakKeyDictionary()


def vertex_importance(graph: Graph, context: Context) -> dict[str, float]:
    """Returns path -> mean importance of the neurons that a vertex gives.

    Vertices without neurons of their own (all fixed) are left out.
    """
    return _measured(graph, context).values


def is_measurable(graph: Graph, context: Context) -> bool:
    """Whether the importance of a context is about this graph.

    Numbers that were measured for an ancestor may not be.
    """
    return _measured(graph, context).by_context


def check_weighting(importance: Any, graph: Graph | None = None) -> None:
    """Makes sure that an importance is one.

    Args:
        importance: What a user gave.
        graph: Where the layers are that a dict names; None if they cannot be known.

    Raises:
        InvalidRequestError: A name that does not exist, a wrong type or length, NaN.
        UnknownLayerError: A dict names a layer that the graph does not have.
    """
    if not isinstance(importance, Mapping):
        check_importance(importance, _look_up_nothing)
    elif graph is not None:
        _read(importance, Names(analyze(graph)))


def _look_up_nothing(key: Any) -> tuple[str, Expression]:
    raise UnknownLayerError(f"Layer {key!r} is asked for without a graph.")


def _read(importance: Any, names: Names) -> Any:
    return check_importance(
        importance, lambda key: (names.find(key), names.width(names.find(key)))
    )


def _measured(graph: Graph, context: Context) -> _Measured:
    known = _KNOWN.get(graph)
    if known is None or known.importance is not context.importance:
        known = _KNOWN[graph] = _measure(graph, context)
    return known


def _measure(graph: Graph, context: Context) -> _Measured:
    analysis = analyze(graph)
    names = Names(analysis)
    axes = {}
    for path in names.paths:
        ref = analysis.output_of(path)
        axis = analysis.channel_of(ref) if ref in analysis.tensors else None
        if axis is not None and axis.atoms:
            axes[path] = axis
    atoms = frozenset().union(*(axis.atoms for axis in axes.values()))

    def utilities(importance: Any) -> Mapping[Atom, np.ndarray]:
        return atom_utilities(graph, analysis, _read(importance, names), atoms)

    # A wrong name is a mistake; numbers may have been measured for an ancestor.
    check_weighting(context.importance)
    by_context = True
    try:
        found = utilities(_CHEAP if context.importance is None else context.importance)
    except KerasNasError:
        found, by_context = utilities(_CHEAP), False
    values = {
        path: float(np.mean(np.concatenate([found[atom] for atom in axis.atoms])))
        for path, axis in axes.items()
    }
    return _Measured(context.importance, values, by_context)


def likelihoods(
    graph: Graph, paths: Sequence[str], lean: float, context: Context
) -> np.ndarray:
    """Returns how likely each of some vertices is to be chosen; on average 1.

    Args:
        graph: The graph.
        paths: Candidates.
        lean: From -1 (only the least important) over 0 (all alike) to 1.
        context: Says what is important.

    Returns:
        Float array of shape ``(len(paths),)``, linear in the rank of the importance.

    Source: ``HighUtilityMutationProbability`` of NaiveGAflux.jl, with ranks in place
    of values, so that the scale of an importance does not matter.
    """
    if not lean or len(paths) < 2:
        return np.ones(len(paths))
    known = vertex_importance(graph, context)
    values = np.array([known.get(path, np.nan) for path in paths])
    has_value = np.flatnonzero(np.isfinite(values))
    result = np.ones(len(paths))
    if len(has_value) > 1:
        order = np.argsort(values[has_value], kind="stable")
        ranks = np.empty(len(order))
        ranks[order] = (np.arange(len(order)) + 0.5) / len(order)
        result[has_value] = 1 + lean * (2 * ranks - 1)
    return result
