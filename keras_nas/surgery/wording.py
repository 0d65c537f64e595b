"""How axes are put into words: what they are made of, and what can change of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import gcd, prod
from typing import cast

from keras_nas.axes import (
    Atom,
    Expression,
    Fixed,
    Product,
    Sum,
    factors_of,
    fixed_reasons,
    product,
    terms_of,
    total,
)
from keras_nas.graph import Analysis, Graph
from keras_nas.importance import sized_layers
from keras_nas.surgery.tables import listed

_MAX_TERMS = 6
# Widths that need no word: a neuron of a layer is meant.
_MAIN_WIDTHS = ("channels", "filters", "output_dim", "units")


@dataclass(frozen=True)
class Freedom:
    """What can change of an axis, for a reader.

    Attributes:
        num_fixed: Positions that always stay as they are.
        why_fixed: What fixes them.
        step: The size of the rest is a multiple of this.
        why_step: What fixes the factor, if anything is known.
    """

    num_fixed: int
    why_fixed: tuple[str, ...]
    step: int
    why_step: tuple[str, ...]

    @classmethod
    def of(cls, axis: Expression) -> Freedom:
        """Looks at a resolved axis of known size."""
        terms = terms_of(axis)
        fixed = total(term for term in terms if not term.atoms)
        free = Counter(term for term in terms if term.atoms)
        factors = [
            product(f for f in factors_of(term) if isinstance(f, Fixed))
            for term in free
        ]
        steps = [number * f.size for number, f in zip(free.values(), factors)]
        reasons = dict.fromkeys(r for f in factors for r in fixed_reasons(f))
        return cls(fixed.size, fixed_reasons(fixed), gcd(*steps), tuple(reasons))


def tied_layers(
    graph: Graph, analysis: Analysis, path: str, axis: Expression
) -> dict[str, Expression]:
    """Returns the layers with a width of their own that share neurons with an axis.

    Args:
        graph: The graph.
        analysis: Its axes.
        path: Of the vertex that the axis is of, which is left out.
        axis: The axis.

    Returns:
        Path -> the width.
    """
    tied = {}
    for other in sized_layers(graph, analysis):
        width = analysis.channel_of(analysis.output_of(other))
        if other != path and width is not None and width.atoms & axis.atoms:
            tied[other] = width
    return tied


def core(axis: Expression) -> Expression:
    """Leaves out factors of size 1, such as a depth multiplier nobody uses."""
    terms = [
        product(factor for factor in factors_of(term) if factor.size != 1)
        if term.size != 1
        else term
        for term in terms_of(axis)
    ]
    return total(terms)


def formula(axis: Expression) -> str:
    """Writes an axis as a formula of sizes: ``16 + 4 x 8 of 'conv'``."""
    parts = []
    for number, term in _counted(core(axis)):
        names = [_short(factor) for factor in factors_of(term)]
        parts.append(" x ".join([str(number)] * (number > 1) + names))
    return listed(parts, most=_MAX_TERMS, last="+").replace(", ", " + ")


def symbol(axis: Expression, name: Callable[[Atom], str], most: int = 3) -> str:
    """Writes an axis in names of its atoms: ``g3``, ``g1+g2``, ``36xg3``.

    Args:
        axis: Resolved.
        name: Gives the name of an atom.
        most: Terms that are written.
    """
    parts = []
    for number, term in _counted(core(axis)):
        known = [f.size for f in factors_of(term) if isinstance(f, Fixed)]
        count = number * prod(known) if term.atoms else 1
        factors = [
            name(factor) if isinstance(factor, Atom) else f"({symbol(factor, name)})"
            for factor in factors_of(term)
            if isinstance(factor, (Atom, Sum))
        ]
        parts.append("x".join([str(count)] * (count > 1) + factors) or "fixed")
    return "+".join(parts[:most] + ["..."] * (len(parts) > most))


def _counted(axis: Expression) -> list[tuple[int, Expression]]:
    """Lists the terms of a sum, each once, with how often it occurs."""
    return [(number, term) for term, number in Counter(terms_of(axis)).items()]


def _short(factor: Expression) -> str:
    if isinstance(factor, (Sum, Product)):
        return f"({formula(factor)})"
    if isinstance(factor, Fixed):
        return str(factor.size)
    atom = cast(Atom, factor)
    if atom.is_filler or not atom.label:
        return f"{factor.size} filled in"
    layer, _, width = atom.label.rpartition(".")
    if not layer or width in _MAIN_WIDTHS:
        return f"{factor.size} of '{layer or width}'"
    return f"{factor.size} of {width!r} of '{layer}'"
