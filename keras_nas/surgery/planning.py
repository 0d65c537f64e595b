"""From requests to a plan, or to the reason why there is none."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np

from keras_nas.axes import Atom
from keras_nas.errors import InfeasibleError
from keras_nas.graph import Graph, analyze
from keras_nas.milp import Infeasible, Sizes, nearest, solve
from keras_nas.surgery.infeasible import describe_conflict
from keras_nas.surgery.names import Names
from keras_nas.surgery.options import Options
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.requests import (
    Request,
    read_input_requests,
    read_requests,
)
from keras_nas.surgery.system import BoundSystem, Job

Nearest = dict[Any, int | tuple[int, int]]


def plan_sizes(graph: Graph, requests: Mapping[Any, Any], options: Options) -> Plan:
    """Plans new sizes of layers, given by name."""
    analysis = analyze(graph)
    names = Names(analysis)
    return _plan(
        Job(graph, analysis, names, read_requests(names, requests), options)
    )


def plan_inputs(graph: Graph, name: str, sizes: Any, options: Options) -> Plan:
    """Plans new sizes of a layer's inputs."""
    analysis = analyze(graph)
    names = Names(analysis)
    requests = read_input_requests(names, name, sizes)
    return _plan(Job(graph, analysis, names, requests, options))


def _plan(job: Job) -> Plan:
    job.check_names()
    try:
        bound, sizes = solve_job(job, job.requests)
    except Infeasible:
        possible = _nearest_sizes(job)
        if job.options.strict:
            raise InfeasibleError(describe_conflict(job, possible), possible) from None
        bound, sizes = _solve_nearest(job, possible)
    return Plan(
        graph=job.graph,
        analysis=job.analysis,
        requests=job.requests,
        options=job.options,
        atom_keep=keep_arrays(job, bound, sizes),
        status=sizes.status,
        names=job.names,
    )


def solve_job(job: Job, requests: Sequence[Request]) -> tuple[BoundSystem, Sizes]:
    """Solves with either end of a product free, whichever serves the requests best."""
    best, best_missed = None, float("inf")
    for bound in _variants(job, requests):
        system = job.with_utilities(bound.system)
        try:
            sizes = solve(
                system,
                solver=job.options.solver,
                time_limit_s=job.options.time_limit_s,
                accept_incumbent=job.options.accept_incumbent,
            )
        except Infeasible:
            continue
        missed = _missed(bound, sizes, requests)
        if missed < best_missed:
            best, best_missed = (replace(bound, system=system), sizes), missed
        if missed == 0:
            break
    if best is None:
        raise Infeasible
    return best


def _variants(job: Job, requests: Sequence[Request]) -> list[BoundSystem]:
    """The size systems with the first and with the last factor of products free."""
    first = job.system(requests, last_free=False)
    if not requests:
        return [first]
    last = job.system(requests, last_free=True)
    is_same = (first.held.sizes, first.held.atoms) == (last.held.sizes, last.held.atoms)
    return [first] if is_same else [first, last]


def _missed(bound: BoundSystem, sizes: Sizes, requests: Sequence[Request]) -> float:
    new = sizes.totals()
    return sum(
        abs(bound.linear(request.axis).value(new) - request.size) / request.size
        for request in requests
    )


def _nearest_sizes(job: Job) -> Nearest:
    """Finds, for each exact request that fails, the nearest sizes that work.

    The other exact requests are kept while that leaves any size at all.
    """
    exact = [request for request in job.requests if not request.is_near]
    result: Nearest = {}
    for request in exact:
        others = [other for other in exact if other is not request]
        for kept in (others, []) if others else ([],):
            below, above = _nearest_of(job, request, kept)
            if (below, above) != (None, None):
                break
        if request.size in (below, above):
            continue
        sides = tuple(side for side in (below, above) if side is not None)
        if sides:
            result[request.key] = sides if len(sides) == 2 else sides[0]
    return result


def _nearest_of(
    job: Job, request: Request, others: Sequence[Request]
) -> tuple[int | None, int | None]:
    found_below, found_above = [], []
    for bound in _variants(job, [*others, request]):
        fitting = bound.linear(request.axis)
        system = replace(
            bound.system,
            exact=tuple((bound.linear(o.axis), o.size) for o in others),
            near=(),
        )
        below, above = nearest(
            system,
            fitting,
            request.size,
            solver=job.options.solver,
            time_limit_s=job.options.time_limit_s,
        )
        found_below += [below] if below is not None else []
        found_above += [above] if above is not None else []
    return max(found_below, default=None), min(found_above, default=None)


def _solve_nearest(job: Job, possible: Nearest) -> tuple[BoundSystem, Sizes]:
    """Takes the nearest sizes of what cannot be had exactly, and says so."""
    soft = tuple(replace(request, is_near=True) for request in job.requests)
    try:
        bound, sizes = solve_job(job, soft)
    except Infeasible:
        raise InfeasibleError(describe_conflict(job, possible), possible) from None
    new = sizes.totals()
    for request in job.requests:
        taken = bound.linear(request.axis).value(new)
        if taken != request.size and not request.is_near:
            warnings.warn(
                f"'{request.path}' cannot have {request.size} neurons; "
                f"it gets {taken}, the nearest size that fits.",
                UserWarning,
                stacklevel=frames_to_the_user(),
            )
    return bound, sizes


def frames_to_the_user() -> int:
    """The stack level of a warning that is to name the line of the user's code."""
    package = f"{__name__.partition('.')[0]}."
    names = (info.frame.f_globals.get("__name__", "") for info in inspect.stack(0)[1:])
    return 1 + sum(1 for _ in takewhile(lambda name: name.startswith(package), names))


def keep_arrays(job: Job, bound: BoundSystem, sizes: Sizes) -> dict[Atom, np.ndarray]:
    """Keeps the most useful neurons of each piece that changes, in their old order."""
    keep: dict[Atom, np.ndarray] = dict(job.forced)
    for piece in bound.system.pieces:
        if piece.key in keep:
            continue
        kept, inserted = sizes.kept[piece.key], sizes.inserted[piece.key]
        if (kept, inserted) == (piece.size, 0):
            continue
        utility = np.nan_to_num(piece.utility, nan=-np.inf, posinf=-np.inf)
        # A stable sort, so that of equally useful neurons the first ones stay.
        best = np.argsort(-utility, kind="stable")[:kept]
        index = np.concatenate([np.sort(best), np.full(inserted, -1)])
        index.flags.writeable = False
        keep[piece.key] = index
    return keep
