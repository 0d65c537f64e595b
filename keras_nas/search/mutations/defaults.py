"""The mutation of `KerasEvolver`."""

from __future__ import annotations

from keras_nas.search.mutations.base import Mutation
from keras_nas.search.mutations.cleaning import CleanUp
from keras_nas.search.mutations.composition import Chain, Retry
from keras_nas.search.mutations.edges import AddEdge, RemoveEdge
from keras_nas.search.mutations.insertion import Insert
from keras_nas.search.mutations.removal import Remove
from keras_nas.search.mutations.settings import (
    ChangeActivation,
    DropoutRate,
    KernelSize,
    PoolingType,
)
from keras_nas.search.mutations.width import Width


def default_mutation(rate: float = 1.0, tries: int = 10) -> Mutation:
    """Returns what evolution does to a network by default.

    All mutations in one row, with a small probability of each vertex: first what takes
    away, then widths and settings, edges, and new layers last, whose importance nobody
    knows yet. What does nothing is removed in the end. Unimportant vertices are more
    likely to go, important ones to be built upon.

    Args:
        rate: Factor on all probabilities.
        tries: The row is run until it changes something, so often at most.

    Source: the probabilities and the order of ``AutoFlux`` of NaiveGAflux.jl. There a
    child may be its parent.
    """
    return Retry(
        Chain(
            Remove(each=_share(0.01, rate), lean=-0.8),
            Width(each=_share(0.05, rate)),
            KernelSize(each=_share(0.02, rate)),
            ChangeActivation(each=_share(0.02, rate), lean=-0.8),
            PoolingType(each=_share(0.05, rate)),
            DropoutRate(each=_share(0.05, rate)),
            RemoveEdge(each=_share(0.02, rate)),
            AddEdge(each=_share(0.01, rate), lean=0.8),
            Insert(each=_share(0.01, rate), lean=0.8),
            CleanUp(),
        ),
        tries,
    )


def _share(probability: float, rate: float) -> float:
    return min(1.0, probability * rate)
