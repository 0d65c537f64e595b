"""The four forms an axis can take.

Every axis of every tensor and of every weight is described by one expression:

* `Fixed`: positions nobody may change (inputs, spatial axes, kernel sizes);
* `Atom`: *neurons* of one layer, which may lose some and gain some;
* `Sum`: one part after the other (Concatenate);
* `Product`: row-major combinations (Flatten, depthwise multiplier, heads).

Expressions are immutable and kept in a normal form by `total` and `product`, the only
places that make a `Sum` or a `Product`:

* a `Sum` has at least two terms, none of them a `Sum`, no two neighbours `Fixed`;
* a `Product` has at least two factors; only the last may be a `Sum`, since
  ``(a + b) c`` is ``a c + b c`` (and not the other way round: ``c (a + b)`` stays);
  no factor is a `Product` or ``Fixed(1)``, no two neighbours are `Fixed`;
* what has no positions at all is ``Fixed(0)``, and a part of nothing.

``Product(Fixed(k), x)`` is ``k`` times the *same* ``x`` and stays in that short form:
the flattened output of a convolution may have 50,000 of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, TypeAlias

# For the annotation `int | MaybeNone`: None, too, but almost never where sizes are
# computed with. Readers need not ask before every sum, which is what typeshed does
# with the same name.
MaybeNone: TypeAlias = Any

_NO_ATOMS: frozenset[Atom] = frozenset()


class Expression:
    """Base of the four forms. ``size`` is the number of positions, None if unknown."""

    __slots__ = ()

    size: int | MaybeNone
    atoms: frozenset[Atom]


class Fixed(Expression):
    """Positions that cannot change; two of the same size are equal.

    Args:
        size: Number of positions; None for an unknown dimension such as the batch.
        reason: Why nobody may change them, as a clause: ``"model input 'image'"``.
    """

    __slots__ = ("reason", "size")

    atoms = _NO_ATOMS

    def __init__(self, size: int | None, reason: str = ""):
        self.size = size
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fixed) and self.size == other.size

    def __hash__(self) -> int:
        return hash((Fixed, self.size))

    def __repr__(self) -> str:
        return f"Fixed({self.size})"


class Atom(Expression):
    """Neurons that stand or fall one by one; equal only to itself.

    Args:
        size: Number of neurons, at least 1.
        label: Who brought it into the model, for messages: ``"conv1.filters"``.
        serial: Position in the order of creation; ties are broken by it.
        is_filler: Whether its positions hold constants (padding), which have neither
            weights nor importance.
    """

    __slots__ = ("atoms", "is_filler", "label", "serial", "size")

    def __init__(self, size: int, label: str, serial: int, is_filler: bool = False):
        self.size = size
        self.label = label
        self.serial = serial
        self.is_filler = is_filler
        self.atoms = frozenset((self,))

    def __repr__(self) -> str:
        return f"Atom({self.size}, {self.label!r})"


class _Compound(Expression):
    __slots__ = ("_hash", "atoms", "parts", "size")

    def __init__(self, parts: tuple[Expression, ...], size: int):
        self.parts = parts
        self.size = size
        self.atoms = _NO_ATOMS.union(*(part.atoms for part in parts))
        self._hash = hash((type(self), parts))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, type(self)) or self._hash != other._hash:
            return False
        return self.parts == other.parts

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"


class Sum(_Compound):
    """``parts`` one after the other. Made by `total`."""

    __slots__ = ()


class Product(_Compound):
    """Row-major combinations of ``parts``, the last one fastest. Made by `product`."""

    __slots__ = ()


def total(terms: Iterable[Expression]) -> Expression:
    """Returns the normal form of ``terms`` one after the other."""
    parts: list[Expression] = []
    for term in terms:
        for part in terms_of(term):
            _append_term(parts, part)
    if not parts:
        return Fixed(0)
    if len(parts) == 1:
        return parts[0]
    return Sum(tuple(parts), sum(part.size for part in parts))


def product(factors: Iterable[Expression]) -> Expression:
    """Returns the normal form of the row-major combinations of ``factors``."""
    parts: list[Expression] = []  # the last factor first
    for factor in reversed(tuple(factors)):
        for part in reversed(factors_of(factor)):
            if isinstance(part, Sum) and parts:
                tail = parts[::-1]
                parts = [total(product((term, *tail)) for term in part.parts)]
            else:
                _prepend_factor(parts, part)
    if not parts:
        return Fixed(1)
    if len(parts) == 1:
        return parts[0]
    size = prod(part.size for part in parts)
    return Product(tuple(reversed(parts)), size) if size else Fixed(0)


def factors_of(expression: Expression) -> tuple[Expression, ...]:
    """Returns the factors of a product, anything else as its own only factor."""
    return expression.parts if isinstance(expression, Product) else (expression,)


def terms_of(expression: Expression) -> tuple[Expression, ...]:
    """Returns the terms of a sum, anything else as its own only term."""
    return expression.parts if isinstance(expression, Sum) else (expression,)


def fixed_reasons(expression: Expression) -> tuple[str, ...]:
    """Returns why the fixed parts of an expression are fixed, without repeats."""
    reasons: dict[str, None] = {}
    stack = [expression]
    while stack:
        part = stack.pop()
        if isinstance(part, Fixed):
            if part.reason:
                reasons[part.reason] = None
        elif isinstance(part, _Compound):
            stack.extend(reversed(part.parts))
    return tuple(reasons)


def _append_term(parts: list[Expression], part: Expression) -> None:
    if part.size == 0:
        return
    if parts and isinstance(part, Fixed) and isinstance(parts[-1], Fixed):
        last = parts[-1]
        part = Fixed(last.size + part.size, last.reason or part.reason)
        parts.pop()
    parts.append(part)


def _prepend_factor(parts: list[Expression], part: Expression) -> None:
    """Adds a factor that is no product in front of others, listed last first."""
    if isinstance(part, Fixed) and part.size == 1:
        return
    if parts and isinstance(part, Fixed) and isinstance(parts[-1], Fixed):
        first = parts[-1]
        part = Fixed(part.size * first.size, part.reason or first.reason)
        parts.pop()
    parts.append(part)
