"""Makes the sizes on both sides of every seam equal, and closes the seams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_nas.axes import Atom, Expression, keep_for, size_of
from keras_nas.errors import InfeasibleError, InternalError
from keras_nas.graph import (
    Analysis,
    Graph,
    Joint,
    Seam,
    map_arguments,
)
from keras_nas.milp import Infeasible
from keras_nas.surgery.change import change_graph
from keras_nas.surgery.edits.conflicts import describe_seams
from keras_nas.surgery.names import Names
from keras_nas.surgery.options import Options
from keras_nas.surgery.planning import keep_arrays, solve_job
from keras_nas.surgery.system import Job

DIRECTIONS = ("grow", "shrink", "both")


@dataclass(frozen=True)
class Attempt:
    """One way to make the sizes fit; the first one that is possible is taken.

    Attributes:
        direction: ``"grow"``, ``"shrink"`` or ``"both"``, as in `Job`.
        holds: Whether what arrives at the seams keeps its size.
        by_origin: Whether readers of a tensor with known origins keep exactly the
            positions that they knew before; otherwise positions are paired in order.
    """

    direction: str = "both"
    holds: bool = False
    by_origin: bool = False


def settle(
    graph: Graph,
    analysis: Analysis,
    options: Options,
    attempts: Sequence[Attempt],
) -> Graph:
    """Returns a graph without seams.

    Args:
        graph: The rewired graph with its seams.
        analysis: Its axes.
        options: The shared keywords.
        attempts: Ways to make the sizes fit.

    Raises:
        InfeasibleError: No attempt gives sizes that fit.
    """
    names = Names(analysis)
    plain = Job(graph, analysis, names, (), options)
    plain.check_names()
    for attempt in attempts:
        job = _job(plain, attempt)
        if job is None:
            continue
        try:
            bound, sizes = solve_job(job, ())
        except Infeasible:
            continue
        keep = keep_arrays(job, bound, sizes)
        _check_closed(analysis, keep)
        return close(change_graph(graph, analysis, keep, options))
    raise InfeasibleError(describe_seams(plain))


def close(graph: Graph) -> Graph:
    """Returns a graph whose readers read across no seam any more."""

    def straight(leaf: Any) -> Any:
        return leaf.ref if isinstance(leaf, Seam) else leaf

    for owner, body in tuple(graph.bodies()):
        changed = {}
        for name, vertex in body.vertices.items():
            if not vertex.has_seams:
                continue
            if graph.parts[vertex.part].is_input:
                changed[name] = replace(vertex, args=())
            else:
                changed[name] = map_arguments(vertex, straight)
        if changed:
            graph = graph.replace_vertices(owner, changed)
    return graph


def _job(job: Job, attempt: Attempt) -> Job | None:
    """Returns what is to be solved; None if the attempt is impossible as it is."""
    analysis = job.analysis
    held: set[Atom] = set()
    forced: dict[Atom, np.ndarray] = {}
    if attempt.holds:
        for joint in analysis.joints:
            held |= _atoms(analysis.resolve(axis) for _, axis, _ in joint.pairs())
    if attempt.by_origin:
        for joint in analysis.joints:
            known = [axis for n, axis, _ in joint.pairs() if n in joint.origins]
            held |= _atoms(map(analysis.resolve, known))
        try:
            for joint in analysis.joints:
                _force(analysis, joint, forced)
        except ValueError:
            return None
    for atom in held & forced.keys():
        if not np.array_equal(forced.pop(atom), np.arange(atom.size)):
            return None
    return replace(
        job, held=frozenset(held), forced=forced, direction=attempt.direction
    )


def _force(analysis: Analysis, joint: Joint, forced: dict[Atom, np.ndarray]) -> None:
    """Adds the keep arrays with which the readers know what arrives by its origin."""
    for number, arriving, expected in joint.pairs():
        if number not in joint.origins:
            continue
        origins = joint.origins[number]
        if len(origins) != analysis.resolve(arriving).size:
            raise ValueError("What arrives is not what the origins are about.")
        for atom, index in keep_for(analysis.resolve(expected), origins).items():
            if atom in forced and not np.array_equal(forced[atom], index):
                raise ValueError("One neuron would have to stay and go.")
            forced[atom] = index


def _atoms(axes: Iterable[Expression | None]) -> frozenset[Atom]:
    return frozenset[Atom]().union(*(axis.atoms for axis in axes if axis is not None))


def _check_closed(analysis: Analysis, keep: dict[Atom, np.ndarray]) -> None:
    sizes = {atom: len(index) for atom, index in keep.items()}
    for path, arriving, expected in _pairs(analysis):
        found = size_of(arriving, sizes), size_of(expected, sizes)
        if found[0] != found[1]:
            raise InternalError(
                f"'{path}' would read {found[1]} neurons of {found[0]}.\n\nNothing was "
                f"changed. Please report this. Received: {path!r}"
            )


def _pairs(analysis: Analysis) -> Iterator[tuple[str, Expression, Expression]]:
    for joint in analysis.joints:
        for _, arriving, expected in joint.pairs():
            yield joint.path, analysis.resolve(arriving), analysis.resolve(expected)
