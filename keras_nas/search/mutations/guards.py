"""Tries an edit; what is refused or not wanted leaves the graph as it was."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_nas.errors import (
    InfeasibleError,
    InvalidRequestError,
    SolverError,
    UnknownLayerError,
)
from keras_nas.graph import grid_problem
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.places import (
    Place,
    all_places,
    locked_names,
    num_params,
    num_vertices,
)
from keras_nas.search.mutations.weighting import is_measurable
from keras_nas.surgery import Graph

# Stands for the size of a grid that is not known; can be halved five times.
_ANY_SIZE = 224
# How surgery says that an edit cannot be done here. All else is a mistake of somebody.
# A layer is unknown where the edit would drop one that is locked.
REFUSALS = (InfeasibleError, InvalidRequestError, SolverError, UnknownLayerError)


def attempt(graph: Graph, context: Context, edit: Callable[[], Graph]) -> Graph:
    """Returns what an edit makes of a graph; the graph itself where it cannot be done.

    Args:
        graph: The graph.
        context: What has to be respected.
        edit: Returns the new graph.
    """
    try:
        new = edit()
    except REFUSALS:
        return graph
    return new if is_allowed(graph, new, context) else graph


def is_allowed(old: Graph, new: Graph, context: Context) -> bool:
    """Whether an edit respects the shields and limits of a context."""
    for limit, number in (
        (context.max_params, num_params),
        (context.max_vertices, num_vertices),
    ):
        # What is already too large may shrink.
        if limit is not None and number(new) > max(limit, number(old)):
            return False
    if context.shields and not _are_shields_intact(old, new, context):
        return False
    return not has_open_grid(new) or _fits_as_before(old, new)


def has_open_grid(graph: Graph) -> bool:
    """Whether only the data will tell how large the grid of some input is."""
    inputs = (place for place in all_places(graph).values() if place.is_input)
    return any(None in place.spec.shape[1:] for place in inputs)


def _fits_as_before(old: Graph, new: Graph) -> bool:
    """Whether all grids meet on data of some size, if they did before.

    Shapes do not tell: what a pooling gives for unknown sizes is unknown as well.
    """
    if grid_problem(new, _ANY_SIZE) is None:
        return True
    return grid_problem(old, _ANY_SIZE) is not None


def _are_shields_intact(old: Graph, new: Graph, context: Context) -> bool:
    present = all_places(new)
    for path, before in all_places(old).items():
        if not context.is_shielded(path):
            continue
        after = present.get(path)
        if after is None or after.vertex.reads != before.vertex.reads:
            return False
        if after.part is before.part or before.part.body is not None:
            continue
        weights = zip(after.part.weights, before.part.weights, strict=False)
        same = after.part.cls is before.part.cls and (
            dict(after.part.config) == dict(before.part.config)
        )
        if not same or any(one is not other for one, other in weights):
            return False
    return True


def keywords(graph: Graph, rng: np.random.Generator, context: Context) -> dict:
    """Returns the keywords of verbs that a context stands for."""
    found: dict[str, Any] = {"seed": int(rng.integers(2**31))}
    if context.importance is not None and is_measurable(graph, context):
        found["importance"] = context.importance
    locked = locked_names(graph, context)
    return {**found, "locked": locked} if locked else found


@contextmanager
def repeatable(rng: np.random.Generator) -> Iterator[None]:
    """Lets new Keras layers draw their seeds from a generator.

    Keras takes the seeds of initializers and dropouts from the module ``random``, whose
    state is as before at the end.
    """
    before = random.getstate()
    random.seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def policy_of(places: Sequence[Place]) -> Iterator[None]:
    """Lets new Keras layers compute in the dtypes of those around them.

    Args:
        places: The first of them with a dtype policy tells.
    """
    before = keras.config.dtype_policy()
    for place in places:
        known = place.part.config.get("dtype")
        if isinstance(known, Mapping) and not place.is_input:
            keras.config.set_dtype_policy(keras.dtype_policies.get(dict(known)))
            break
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
