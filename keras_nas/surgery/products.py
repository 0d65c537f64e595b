"""Makes the size of every axis linear in the sizes of atoms.

The size of ``heads x head size`` is a product of two unknowns. Only one factor of each
product is left free: the one that was asked for; of a product that was asked for as a
whole, the first factor (a depthwise layer follows its input), or else the last (its
multiplier). The other factors are *held*: at the size that the request gives them, or
at their present size, with all their neurons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from keras_nas.axes import Atom, Expression, Fixed, Product, Sum, factors_of, terms_of
from keras_nas.milp import Linear


@dataclass(frozen=True, eq=False)
class Held:
    """Which factors are held.

    Attributes:
        sizes: Held factor -> its size in all products.
        atoms: Atoms that may not change because their factor is held as it is.
    """

    sizes: Mapping[Expression, int] = field(default_factory=dict)
    atoms: frozenset[Atom] = frozenset()


def hold(
    axes: Iterable[Expression],
    requested: Mapping[Expression, int | None],
    locked: frozenset[Atom],
    *,
    last_free: bool,
) -> Held:
    """Chooses the factors to hold.

    Args:
        axes: Resolved axes of the model.
        requested: Axis asked for -> exact size, None for a near request.
        locked: Atoms that cannot change anyway.
        last_free: Which factor of a product that was asked for as a whole stays
            free: the last one instead of the first one.

    Returns:
        The held factors; with them every axis has a linear size.
    """
    products = _products(axes)
    asked = _asked_atoms(requested)
    wanted_whole = {p for axis in requested for p in _inner_products(axis)}
    sizes: dict[Expression, int] = {}
    held: set[Atom] = set(locked)
    for item in products:
        free = [
            factor
            for factor in item.parts
            if factor not in sizes and not factor.atoms <= held
        ]
        if len(free) < 2:
            continue
        exact = {f: size for f, size in requested.items() if size is not None}
        given = {f: exact[f] for f in free if f in exact}
        if item in wanted_whole and len(given) < len(free):
            # The sizes of the whole and of these factors are known; others follow.
            sizes |= given
            free = [factor for factor in free if factor not in given]
        chosen = _choose(free, asked, last_free and item in wanted_whole)
        # Of a square (the same axis twice) the second one holds the first one, too.
        for factor in free[:chosen] + free[chosen + 1 :]:
            if factor in exact:
                sizes[factor] = exact[factor]
            else:
                held |= factor.atoms
    return Held(sizes, frozenset(held - locked))


def linear_size(axis: Expression, held: Held, locked: frozenset[Atom]) -> Linear:
    """Returns the size of an axis as a linear combination of the sizes of atoms."""
    terms: dict[Atom, int] = {}
    constant = 0
    still = held.atoms | locked
    stack: list[tuple[Expression, int]] = [(axis, 1)]
    while stack:
        part, times = stack.pop()
        if isinstance(part, Fixed):
            constant += times * part.size
        elif isinstance(part, Atom):
            terms[part] = terms.get(part, 0) + times
        elif isinstance(part, Sum):
            stack.extend((term, times) for term in part.parts)
        else:
            item = cast(Product, part)
            free, times = _free_factor(item, held, still, times)
            stack.append((free, times))
    return Linear(terms, constant)


def _free_factor(
    item: Product, held: Held, still: frozenset[Atom], times: int
) -> tuple[Expression, int]:
    """Returns the one free factor of a product and the product of all others."""
    free: Expression = Fixed(1)
    for factor in item.parts:
        if factor in held.sizes:
            times *= held.sizes[factor]
        elif factor.atoms <= still:
            times *= factor.size
        else:
            free = factor
    return free, times


def _choose(free: list[Expression], asked: frozenset[Atom], last_free: bool) -> int:
    for number, factor in enumerate(free):
        if factor.atoms & asked:
            return number
    return len(free) - 1 if last_free else 0


def _products(axes: Iterable[Expression]) -> list[Product]:
    """Returns all products with several factors that could change, in order."""
    found: dict[Product, None] = {}
    for axis in axes:
        for item in _inner_products(axis):
            if sum(bool(factor.atoms) for factor in item.parts) > 1:
                found[item] = None
    return list(found)


def _inner_products(axis: Expression) -> list[Product]:
    found, stack = [], list(terms_of(axis))
    while stack:
        part = stack.pop()
        if isinstance(part, Product):
            found.append(part)
        if isinstance(part, (Product, Sum)):
            stack.extend(part.parts)
    return found


def _asked_atoms(requested: Iterable[Expression]) -> frozenset[Atom]:
    """Atoms asked for by themselves, not as factors of a larger axis."""
    asked: set[Atom] = set()
    for axis in requested:
        for term in terms_of(axis):
            free = [factor for factor in factors_of(term) if factor.atoms]
            if len(free) == 1:
                asked |= free[0].atoms
    return frozenset(asked)
