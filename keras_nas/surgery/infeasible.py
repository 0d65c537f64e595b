"""Says why a request cannot be met: what ties the layer, and what stops it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_nas.axes import Expression, fixed_reasons
from keras_nas.surgery.requests import Request
from keras_nas.surgery.system import Job
from keras_nas.surgery.tables import listed
from keras_nas.surgery.wording import Freedom, tied_layers

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


def _what(job: Job, request: Request) -> str:
    subject = _subject(request)
    reasons = list(dict.fromkeys(_reasons(job, request)))
    if not reasons:
        return f"{subject}."
    return f"{subject}: {'; '.join(reasons)}."


def _subject(request: Request) -> str:
    wanted, present = request.size, request.axis.size
    match request.key:
        case (_, "input", number):
            what = f"Input {number} of '{request.path}'"
        case (_, str(width)):
            what = f"The width {width!r} of '{request.path}'"
        case _:
            what = f"'{request.path}'"
    return f"{what} cannot have {wanted} neurons (it has {present})"


def _reasons(job: Job, request: Request) -> Iterator[str]:
    axis = request.axis
    yield from _what_is_fixed(request)
    tied = tied_layers(job.graph, job.analysis, request.path, axis)
    if tied:
        yield f"it shares neurons with {listed(map(repr, tied), most=_MAX_NAMED)}"
    related = _related(job, axis)
    locks = {lock: None for atom, lock in job.locks.items() if atom in related}
    if locks:
        yield listed(locks, most=_MAX_NAMED)
    for path, relation in job.analysis.relations.items():
        for group in relation.equal:
            atoms = frozenset().union(
                *(job.analysis.resolve(member).atoms for member in group)
            )
            if atoms & axis.atoms:
                yield f"'{path}' needs {len(group)} parts of one size"
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
        verb = "asks" if len(others) == 1 else "ask"
        keys = listed((repr(o.key) for o in others), most=_MAX_NAMED)
        yield f"{keys} {verb} for neurons of it, too"


def _what_is_fixed(request: Request) -> Iterator[str]:
    axis = request.axis
    if not axis.atoms:
        yield f"it is fixed by {listed(fixed_reasons(axis), 'the model')}"
        return
    freedom = Freedom.of(axis)
    if freedom.num_fixed:
        reasons = listed(freedom.why_fixed, "the model")
        yield f"{freedom.num_fixed} of its neurons are fixed by {reasons}"
    if (request.size - freedom.num_fixed) % freedom.step:
        because = listed(freedom.why_step)
        because = f", because of {because}" if because else ""
        yield f"it changes in steps of {freedom.step}{because}"


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
    offers = [
        f"{_either(nearest[key])} for {key!r}" for key in present if key in nearest
    ]
    if len(offers) > 1:
        advice = f"If the others stay, this works: {listed(offers, last='or')}"
        return f"{advice}. Or use `keras_nas.near`.{release}"
    advice = f"The nearest size that works: {offers[0]}. Ask for it"
    if " or " in offers[0]:
        advice = f"The nearest sizes that work: {offers[0]}. Ask for one of them"
    return f"{advice}, or use `keras_nas.near`.{release}"


def _either(sizes: Any) -> str:
    return " or ".join(map(str, sizes if isinstance(sizes, tuple) else (sizes,)))


def _blames_output(job: Job, blamed: list[Request]) -> bool:
    return any(
        job.locks[atom].endswith("output of the model")
        for request in blamed
        for atom in _related(job, request.axis) & job.locks.keys()
    )
