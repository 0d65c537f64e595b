"""From a draft to a graph that holds together, or to an error and no change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Analysis,
    FlatGraph,
    Graph,
    Seam,
    TensorRef,
    analyze,
    analyze_region,
    check_graph,
    drop_unused,
    flatten,
    grid_problem,
    refs,
)
from keras_nas.surgery.edits.draft import Draft
from keras_nas.surgery.edits.settling import Attempt, settle
from keras_nas.surgery.edits.spreading import spread
from keras_nas.surgery.options import Options


def finish(draft: Draft, options: Options, attempts: Sequence[Attempt]) -> Graph:
    """Returns the graph of a draft with sizes that fit.

    Args:
        draft: The rewired graph.
        options: The shared keywords.
        attempts: Ways to make the sizes fit; the first possible one is taken.

    Raises:
        InfeasibleError: No sizes fit, or an input would reach no output.
        InvalidRequestError: The vertices cannot be put together like this.
    """
    if options.fold_constants:
        raise InvalidRequestError(
            "An edit of layers and edges folds no constants.\n\nUse "
            "fold_constants with `resize` or `prune`. Received: fold_constants=True"
        )
    rewired = drop_unused(draft.graph())
    graph = spread(rewired, draft)
    unequal = _unequal_axes(flatten(graph))
    if unequal or _restricts_sizes(options):
        # Options that name layers mean some that the edit may not reach.
        if _restricts_sizes(options) or options.importance not in (None, "l2"):
            analysis = analyze(graph)
        else:
            analysis = analyze_reach(graph, unequal)
        if _has_other_grids(analysis):
            graph = spread(rewired, draft, analysis)
            analysis = analyze(graph)
        _check_output_axes(draft, graph)
        graph = settle(graph, analysis, options, attempts)
    else:
        _check_output_axes(draft, graph)
    graph = _follow_output_names(draft.old, graph)
    check_graph(graph, draft.old)
    _check_real_grids(graph)
    return graph.with_optimizer() if options.carry_optimizer else graph


def _check_real_grids(graph: Graph) -> None:
    problem = grid_problem(graph)
    if problem is not None:
        path, sentence = problem
        raise InvalidRequestError(
            f"'{path}' would see another grid: {sentence}.\n\nKeep the grid as it is, "
            f"or remove what depends on its size. Received: {path!r}"
        )


def _follow_output_names(old: Graph, new: Graph) -> Graph:
    """Losses and metrics that are given by the name of an output find it again."""
    state = new.body.compile_state
    if state is None or isinstance(new.body.outputs, dict):
        return new
    names = {
        before: after
        for before, after in zip(_output_names(old), _output_names(new), strict=True)
        if before != after
    }
    if not names:
        return new
    body = replace(new.body, compile_state=state.renamed(names))
    return new.replace_body("", body)


def _output_names(graph: Graph) -> list[str]:
    """An output has the name of the layer that it comes from."""
    body = graph.body
    parts = (body.vertices[ref.vertex].part for ref in refs(body.outputs))
    return [graph.parts[key].name for key in parts]


def _unequal_axes(flat: FlatGraph) -> list[tuple[TensorRef, int]]:
    """Returns the axes of tensors that are others than their readers were made for."""
    return [
        (seam.ref, axis)
        for call in flat.calls
        for seam in call.tensors
        if isinstance(seam, Seam)
        for axis, size in enumerate(flat.specs[seam.ref].shape)
        if axis in seam.origins or size != seam.spec.shape[axis]
    ]


def analyze_reach(graph: Graph, start: Sequence[tuple[TensorRef, int]]) -> Analysis:
    """Analyses what a change of some axes can reach, or everything if need be."""
    # What is fixed around a region says nothing about where its channels are.
    has_channels_first = any(
        part.config.get("data_format") == "channels_first"
        for part in graph.parts.values()
    )
    return analyze(graph) if has_channels_first else analyze_region(graph, start)


def _restricts_sizes(options: Options) -> bool:
    """Whether sizes have to be looked at even where the edit changes none."""
    return bool(options.locked or options.bounds or options.multiple_of)


def _has_other_grids(analysis: Analysis) -> bool:
    """Whether anything but the number of channels changes at a seam."""
    return any(
        number != joint.arriving.channel % joint.arriving.rank
        for joint in analysis.joints
        for number, _, _ in joint.pairs()
    )


def _check_output_axes(draft: Draft, graph: Graph) -> None:
    """An output of the model keeps its number of axes."""
    flat = flatten(graph)
    for before, after in zip(draft.flat.outputs, flat.outputs, strict=True):
        old, new = draft.flat.specs[before], flat.specs[after]
        if len(old.shape) != len(new.shape):
            raise InvalidRequestError(
                f"The output of the model that comes from '{before.vertex}' has "
                f"{len(old.shape)} axes, {old.shape}, but would have {len(new.shape)}, "
                f"{new.shape}.\n\nKeep the layer that changes the number of axes. "
                f"Received: {after.vertex!r}"
            )
