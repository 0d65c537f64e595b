"""Wider and narrower layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from keras_nas.axes import Atom, Expression
from keras_nas.graph import analyze
from keras_nas.importance import sized_layers
from keras_nas.search.mutations.base import (
    DEFAULT_CONTEXT,
    Mutation,
    check_call,
    check_range,
    choose,
)
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.guards import attempt, keywords
from keras_nas.surgery import Graph, near
from keras_nas.surgery.names import Names

Key = str | tuple[str, str]


@dataclass(frozen=True)
class Width(Mutation):
    """Changes the widths of layers, all of the chosen ones in one solve.

    Layers that are tied (by an addition, say) count as one. Further widths (heads of
    attention, their size, a depth multiplier) are chosen like others. Growth keeps the
    function, unless a layer takes statistics over the new neurons (LayerNormalization).

    Args:
        low: Least relative change, at least -1: by default 20 % narrower.
        high: Largest relative change: by default 20 % wider. A change is rounded away
            from zero to whole neurons. Nothing comes or goes where no other size is
            near enough: a layer of one neuron does not shrink, and sizes that have to
            be multiples may stay.
        each: Probability of each group of tied layers; None changes exactly one.
        lean: Whether important layers are more likely; see `VertexMutation`.

    Raises:
        InvalidRequestError: A number is out of range.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> from keras_nas.search.mutations import Width
        >>> graph = kn.Graph.from_model(keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(10, name="hidden"),
        ...     keras.layers.Dense(2, name="head"),
        ... ]))
        >>> wider = Width(0.1, 0.2)(graph, np.random.default_rng(0))
        >>> wider.build().get_layer("hidden").units
        12

    Source: ``NoutMutation`` of NaiveGAflux.jl.
    """

    low: float = -0.2
    high: float = 0.2
    each: float | None = None
    lean: float = 0.0

    def __post_init__(self) -> None:
        check_range("low", self.low, -1, math.inf)
        check_range("high", self.high, self.low, math.inf)
        check_range("each", self.each, 0, 1, optional=True)
        check_range("lean", self.lean, -1, 1)

    def __call__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        context: Context = DEFAULT_CONTEXT,
    ) -> Graph:
        """See `Mutation`."""
        check_call(graph, rng, context)
        sizes = resizable(graph, context)
        chosen = choose(graph, list(sizes), self.each, self.lean, rng, context)
        requests = {}
        for key in chosen:
            change = rng.uniform(self.low, self.high)
            step = math.ceil(abs(change) * sizes[key])
            wanted = max(1, sizes[key] + int(math.copysign(step, change)))
            if wanted != sizes[key]:
                requests[key] = near(wanted)
        if not requests:
            return graph
        options = keywords(graph, rng, context)

        def edit() -> Graph:
            plan = graph.plan(requests, **options)
            changed = any(plan.sizes[key] != sizes[key] for key in requests)
            return cast(Graph, plan.apply_to_graph()) if changed else graph

        return attempt(graph, context, edit)


def resizable(graph: Graph, context: Context) -> dict[Key, int]:
    """Returns the widths that can change, one of each group of tied ones.

    Returns:
        Path, or ``(path, axis)`` for a further width -> present size.
    """
    analysis = analyze(graph)
    names = Names(analysis)
    outputs = [analysis.channel_of(ref) for ref in analysis.flat.outputs]
    # Naming the layer of an output would change the output.
    taken = {atom for axis in outputs if axis is not None for atom in axis.atoms}
    seen: set[frozenset[Atom]] = set()
    found: dict[Key, int] = {}

    def consider(key: Key, axis: Expression | None) -> None:
        if axis is None or not axis.atoms or axis.atoms & taken or axis.atoms in seen:
            return
        seen.add(axis.atoms)
        found[key] = axis.size

    own = sized_layers(graph, analysis)
    for path in names.paths:
        if context.is_shielded(path):
            continue
        if path in own:
            consider(path, analysis.channel_of(analysis.output_of(path)))
        for name, axis in names.further_widths(path).items():
            consider((path, name), axis)
    return found
