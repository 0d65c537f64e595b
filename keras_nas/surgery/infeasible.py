"""Says why a request cannot be met: what ties the layer, and what stops it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_nas.axes import Expression, fixed_reasons
from keras_nas.importance import sized_layers
from keras_nas.surgery.requests import Request
from keras_nas.surgery.system import Job

_MAX_NAMED = 4


def describe_conflict(job: Job, nearest: Mapping[Any, Any]) -> str:
    """Returns the message of an `InfeasibleError`."""
    exact = [request for request in job.requests if not request.is_near]
    blamed = [r for r in exact if r.key in nearest] or exact or list(job.requests)
    sentences = [_what(job, request) for request in blamed]
    wanted = {request.key: request.size for request in job.requests}
    return (
        "\n".join(sentences) + f"\n\n{_advice(job, blamed, nearest)} "
        f"Received: {wanted!r}"
    )


def tied_layers(job: Job, axis: Expression, path: str) -> list[str]:
    """Returns the layers with a width of their own that share neurons with an axis."""
    analysis = job.analysis
    tied = []
    for other in sized_layers(job.graph, analysis):
        channel = analysis.channel_of(analysis.output_of(other))
        if other != path and channel is not None and channel.atoms & axis.atoms:
            tied.append(other)
    return tied


def _what(job: Job, request: Request) -> str:
    subject = (
        f"'{request.path}' cannot have {request.size} neurons (it has "
        f"{request.axis.size})"
    )
    reasons = list(dict.fromkeys(_reasons(job, request)))
    if not reasons:
        return f"{subject}."
    return f"{subject}: {'; '.join(reasons)}."


def _reasons(job: Job, request: Request) -> Iterator[str]:
    axis = request.axis
    fixed = fixed_reasons(axis)
    if fixed:
        part = "its neurons are" if not axis.atoms else "some of its neurons are"
        yield f"{part} fixed by {_listed(fixed)}"
    tied = tied_layers(job, axis, request.path)
    if tied:
        yield f"it shares neurons with {_listed(map(repr, tied))}"
    locks = {job.locks[a]: None for a in _related(job, axis) & job.locks.keys()}
    if locks:
        yield _listed(locks)
    for path, relation in job.analysis.relations.items():
        for group in relation.equal:
            atoms = frozenset().union(
                *(job.analysis.resolve(member).atoms for member in group)
            )
            if atoms & axis.atoms:
                yield f"'{path}' needs the same size {len(group)} times"
    for name, (low, high) in (job.options.bounds or {}).items():
        other = job.names.width(job.names.find(name))
        is_broken = other.size < (low or 0) or (high or other.size) < other.size
        # A bound that does not hold now has to be met, however far away it is.
        if other.atoms & axis.atoms or is_broken:
            yield f"'{name}' is bound to {(low, high)}"
    if job.options.multiple_of is not None:
        yield f"sizes must be multiples of {job.options.multiple_of!r}"
    others = [o for o in job.requests if o is not request and o.axis.atoms & axis.atoms]
    if others:
        yield f"{_listed(repr(o.key) for o in others)} asks for neurons of it, too"


def _related(job: Job, axis: Expression) -> frozenset:
    """Atoms of an axis and of all axes that share one with it."""
    related = frozenset(axis.atoms)
    for other in job.axes:
        if other.atoms & axis.atoms:
            related |= other.atoms
    return related


def _advice(job: Job, blamed: list[Request], nearest: Mapping[Any, Any]) -> str:
    release = ""
    if _blames_output(job, blamed):
        release = " Or release the outputs of the model with `free_outputs=True`."
    present = {request.key: request.axis.size for request in blamed}
    if not nearest:
        return (
            "No other size works either: leave out a request, or a keyword such as "
            f"`bounds` or `locked`.{release}"
        )
    if all(nearest.get(key) in (None, size) for key, size in present.items()):
        kept = ", ".join(f"{size} for {key!r}" for key, size in present.items())
        return f"Only the present size works: {kept}.{release}"
    offers = []
    for key in present:
        if key in nearest:
            sizes = nearest[key] if isinstance(nearest[key], tuple) else (nearest[key],)
            offers.append(f"{' or '.join(map(str, sizes))} for {key!r}")
    return (
        f"The nearest sizes that work: {', '.join(offers)}. Ask for one of them, or "
        f"use `keras_nas.near`.{release}"
    )


def _blames_output(job: Job, blamed: list[Request]) -> bool:
    return any(
        job.locks[atom].endswith("output of the model")
        for request in blamed
        for atom in _related(job, request.axis) & job.locks.keys()
    )


def _listed(items) -> str:
    items = list(items)
    shown = items[:_MAX_NAMED]
    if len(items) > _MAX_NAMED:
        shown.append(f"{len(items) - _MAX_NAMED} more")
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
