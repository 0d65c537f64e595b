"""Says why no sizes make the two sides of a seam equal."""

from __future__ import annotations

from collections.abc import Iterator

from keras_nas.axes import Expression, fixed_reasons
from keras_nas.graph import Joint
from keras_nas.surgery.products import Held, linear_size
from keras_nas.surgery.system import Job
from keras_nas.surgery.tables import listed


def describe_seams(job: Job) -> str:
    """Returns the message of an `InfeasibleError` of an edit."""
    analysis, options = job.analysis, job.options
    if not analysis.joints:
        return (
            "No sizes of the layers keep all that is asked of them."
            "\n\nWiden the bounds, or lock less. Received: "
            f"bounds={options.bounds!r}, multiple_of={options.multiple_of!r}, "
            f"locked={options.locked!r}"
        )
    sentences = []
    for joint in analysis.joints:
        for _, arriving, expected in joint.pairs():
            arriving, expected = map(analysis.resolve, (arriving, expected))
            if arriving.size != expected.size or joint.origins:
                sentences.append(_sentence(job, joint, arriving, expected))
    lines = list(dict.fromkeys(sentences))[:4]
    locked = f", locked={options.locked!r}" if options.locked else ""
    return (
        "\n".join(lines) + "\n\nMake the widths equal first (`keras_nas.resize`), "
        "choose another place, or release what is locked or fixed. "
        f"Received: {', '.join(repr(joint.path) for joint in analysis.joints)}{locked}"
    )


def _sentence(
    job: Job, joint: Joint, arriving: Expression, expected: Expression
) -> str:
    subject = (
        f"'{joint.path}' was made for {expected.size} neurons, but would get "
        f"{arriving.size} from '{joint.ref.vertex}', and no sizes make them equal"
    )
    reasons = list(_reasons(job, arriving, expected))
    if not reasons:
        reasons = ["a layer on the way divides its neurons, or ties them to others"]
    return f"{subject}: {'; '.join(reasons)}."


def _reasons(job: Job, arriving: Expression, expected: Expression) -> Iterator[str]:
    circle = _circle(arriving, expected)
    if circle:
        yield circle
    for side, axis in (("what arrives", arriving), ("what is read", expected)):
        fixed = fixed_reasons(axis)
        if fixed:
            part = "is" if not axis.atoms else "is partly"
            yield f"{side} {part} fixed by {listed(fixed)}"
        locks = dict.fromkeys(job.locks[a] for a in axis.atoms & job.locks.keys())
        if locks:
            yield listed(locks)
    for name in ("bounds", "multiple_of"):
        wanted = getattr(job.options, name)
        if wanted:
            yield f"{name}={wanted!r} holds"


def _circle(arriving: Expression, expected: Expression) -> str | None:
    """Recognises a size that would have to be larger than itself."""
    nothing = Held({}, frozenset())
    left, right = (
        linear_size(axis, nothing, frozenset()) for axis in (arriving, expected)
    )
    if not left.terms.keys() & right.terms.keys():
        return None
    difference = dict(left.terms)
    for key, count in right.terms.items():
        difference[key] = difference.get(key, 0) - count
    rest = left.constant - right.constant
    signs = {count > 0 for count in difference.values() if count}
    if signs - {rest >= 0}:
        return None
    more = "some" if signs else str(abs(rest))
    if not signs and not rest:
        return None
    return (
        f"the same neurons are on both sides, so their number n would have to be n "
        f"plus {more} others"
    )
