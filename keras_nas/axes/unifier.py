"""Makes axes equal, as type inference makes types equal.

`Unifier.unify` takes two expressions of the same size and binds atoms so that both
become the same expression. After it, every choice of kept neurons gives both axes the
same index array, which is the only promise the rest of the package relies on.

What cannot be made equal by binding is *frozen*: the atoms concerned are bound to
`Fixed`, with a reason. Freezing is always sound (what cannot change cannot come
apart) and only makes a model less resizable.

Unification ends: each step finishes a pair of expressions or replaces it by finitely
many pairs of strictly fewer positions. Only factors of size 1 leave the number of
positions as it is; such a factor is taken off the side that begins with it, and frozen
where taking it off would bring the same pair back.

Bindings have no cycle: only an unbound atom is bound, to an expression that was
resolved just before and in which it does not occur. So no bound atom on the way from
the expression could lead back to it.

The order of calls and of sides does not matter, up to the names of atoms, as long as
no factor of a product is an atom of size 1 (given, or left by a cut): each step is then
forced, as in first-order unification. With atoms of size 1 there are several answers,
none more general than the others, and factors of equal size are taken to be equal:
``a u = b v`` with ``u`` and ``v`` of size 1 becomes ``a = b`` and ``u = v``; but had
``u`` been frozen before, it would have become ``a = b v``. Either is sound.

Source: Robinson 1965, "A machine-oriented logic based on the resolution principle",
for unification by substitution; the concatenation and row-major product forms, and
cutting at the union of the boundaries, are this package's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any, TypeAlias, cast

from keras_nas.axes.expressions import (
    Atom,
    Expression,
    Fixed,
    Product,
    Sum,
    product,
    terms_of,
    total,
)

_OFF_ROW = "a boundary falls inside one of its rows"
_SINGLE_ROW = "joining or splitting it one by one"
# Axes that have to become equal, two by two.
Pairs: TypeAlias = Sequence[tuple[Expression, Expression]]

_NO_COMMON_FACTOR = "two factorings of it that have no common factor"


class Unifier:
    """Creates atoms and remembers what each of them turned out to be."""

    def __init__(self) -> None:
        self._bindings: dict[Atom, Expression] = {}
        self._num_atoms = 0

    def atom(self, size: int, label: str = "", *, is_filler: bool = False) -> Atom:
        """Returns a new atom of ``size`` neurons."""
        self._num_atoms += 1
        return Atom(size, label, self._num_atoms, is_filler)

    def resolve(self, expression: Expression) -> Expression:
        """Returns the expression with every bound atom replaced by what it became."""
        atom = expression if isinstance(expression, Atom) else None
        if atom is not None:
            expression = self._follow(atom)
        if self._is_final(expression):
            return expression
        result = total(map(self._resolve_term, self._open(expression, Sum)))
        if atom is not None:
            self._bindings[atom] = result
        return result

    def unify(self, left: Expression, right: Expression, reason: str = "") -> None:
        """Makes two axes equal; freezes what binding cannot make equal.

        Args:
            left: An expression.
            right: An expression of the same size.
            reason: Stands in messages where this forces something to be frozen.

        Raises:
            ValueError: The sizes are known and differ.
        """
        work = [(left, right)]
        while work:
            left, right = map(self.resolve, work.pop())
            if left == right:
                continue
            if None in (left.size, right.size):
                self.freeze(left, _reason_of(right, reason))
                self.freeze(right, _reason_of(left, reason))
                continue
            if left.size != right.size:
                raise ValueError(
                    f"Axes of sizes {left.size} and {right.size} cannot be equal."
                )
            work.extend(reversed(self._step(left, right, reason)))

    def freeze(self, expression: Expression, reason: str) -> None:
        """Binds every atom of the expression to `Fixed`."""
        for atom in sorted(self.resolve(expression).atoms, key=_serial):
            self._bindings[atom] = Fixed(atom.size, reason)

    def split(
        self, expression: Expression, sizes: Sequence[int]
    ) -> tuple[Expression, ...]:
        """Cuts an axis into consecutive parts of the given sizes."""
        if sum(sizes) != expression.size:
            raise ValueError(
                f"An axis of size {expression.size} cannot be cut into {tuple(sizes)}."
            )
        parts, stack = [], [expression]
        for size in sizes:
            terms = []
            while size:
                term = self._pop_term(stack)
                if term.size > size:
                    term, rest = self._cut(term, size)
                    stack.append(rest)
                terms.append(term)
                size -= term.size
            parts.append(total(terms))
        return tuple(map(self.resolve, parts))

    def factor(
        self, expression: Expression, sizes: Sequence[int], label: str = ""
    ) -> tuple[Expression, ...]:
        """Writes an axis as row-major combinations of axes of the given sizes.

        An axis of size 1 stays 1: it becomes ``Fixed(1)``.
        """
        factors = tuple(
            self.atom(size, label, is_filler=not label) if size > 1 else Fixed(size)
            for size in sizes
        )
        self.unify(expression, product(factors))
        return tuple(map(self.resolve, factors))

    def _step(self, left: Expression, right: Expression, reason: str) -> Pairs:
        """Returns smaller pairs whose equality makes ``left`` and ``right`` equal."""
        if isinstance(left, Fixed):
            self.freeze(right, _reason_of(left, reason))
            return ()
        if isinstance(right, Fixed):
            self.freeze(left, _reason_of(right, reason))
            return ()
        if isinstance(left, Atom) or isinstance(right, Atom):
            self._bind(left, right, reason)
            return ()
        if isinstance(left, Sum) or isinstance(right, Sum):
            return self._align(terms_of(left), terms_of(right))
        return self._match(cast(Product, left), cast(Product, right))

    def _bind(self, left: Any, right: Any, reason: str) -> None:
        """Binds the one that is an atom to the other."""
        if isinstance(left, Atom) and isinstance(right, Atom):
            # The older atom survives, so that names do not depend on later layers;
            # a filler never does, since the other one has weights.
            if (left.is_filler, left.serial) < (right.is_filler, right.serial):
                left, right = right, left
        elif not isinstance(left, Atom):
            left, right = right, left
        if left in right.atoms:
            # Both have one size, so the other factors of the product have size 1.
            others = list(right.parts)
            others.remove(left)
            for factor in others:
                self.freeze(factor, reason or "its addition to its own input")
            return
        self._bindings[left] = right
        if not left.is_filler:
            for atom in sorted(filter(_is_filler, right.atoms), key=_serial):
                self._bindings[atom] = self.atom(atom.size, left.label)

    def _align(
        self, left_terms: Sequence[Expression], right_terms: Sequence[Expression]
    ) -> Pairs:
        """Cuts two sums at the union of their boundaries and pairs the pieces."""
        pairs = []
        left, right = list(reversed(left_terms)), list(reversed(right_terms))
        while left:
            a, b = self._pop_term(left), self._pop_term(right)
            if a.size > b.size:
                a, rest = self._cut(a, b.size)
                left.append(rest)
            elif b.size > a.size:
                b, rest = self._cut(b, a.size)
                right.append(rest)
            pairs.append((a, b))
        return pairs

    def _pop_term(self, stack: list[Expression]) -> Expression:
        """Pops the next term; a cut elsewhere may have made it a sum meanwhile."""
        term = self.resolve(stack.pop())
        if isinstance(term, Sum):
            stack.extend(reversed(term.parts))
            term = stack.pop()
        return term

    def _match(self, left: Product, right: Product) -> Pairs:
        """Matches the factors of two products from the left."""
        a, b = left.parts[0], right.parts[0]
        if a.size < b.size:
            left, right, a, b = right, left, b, a
        x, y = product(left.parts[1:]), product(right.parts[1:])
        if a.size == b.size:
            return (a, b), (x, y)
        if isinstance(a, Fixed) and isinstance(b, Fixed):
            return self._match_repeats(a, x, b, y)
        if b.size == 1 and a == next(f for f in right.parts if f.size > 1):
            # ``a x = b a z`` would make ``a`` begin with ``b`` for ever.
            self.freeze(b, _NO_COMMON_FACTOR)
            return ((left, right),)
        # The longest head that both can have, and what it leaves of either.
        common = gcd(a.size, b.size)
        a_rest: Expression
        if b.size == common:
            head, a_rest, b_rest = b, self._new(a.size // common), Fixed(1)
        else:
            head = self._new(common)
            a_rest = Fixed(a.size // common, _NO_COMMON_FACTOR)
            b_rest = Fixed(b.size // common, _NO_COMMON_FACTOR)
        return (
            (a, product((head, a_rest))),
            (b, product((head, b_rest))),
            (product((a_rest, x)), product((b_rest, y))),
        )

    def _match_repeats(
        self, a: Fixed, x: Expression, b: Fixed, y: Expression
    ) -> Pairs:
        """Matches ``a`` times ``x`` and ``b`` times ``y``: both repeat one period."""
        common = gcd(a.size, b.size)
        if b.size == common:
            return ((y, product((Fixed(a.size // common), x))),)
        period = self._new(x.size * common // b.size)
        return (
            (x, product((Fixed(b.size // common), period))),
            (y, product((Fixed(a.size // common), period))),
        )

    def _new(self, size: int) -> Atom:
        """Returns an atom that is nobody's: a filler until it is tied to more."""
        return self.atom(size, is_filler=True)

    def _cut(
        self, expression: Expression, position: int
    ) -> tuple[Expression, Expression]:
        """Cuts an axis that is no sum in two; ``0 < position < size``."""
        if isinstance(expression, Fixed):
            rest = expression.size - position
            reason = expression.reason
            return Fixed(position, reason), Fixed(rest, reason)
        if isinstance(expression, Atom):
            return self._cut_atom(expression, position)
        return self._cut_product(cast(Product, expression), position)

    def _cut_atom(self, atom: Atom, position: int) -> tuple[Atom, Atom]:
        first = self.atom(position, atom.label, is_filler=atom.is_filler)
        rest = atom.size - position
        second = self.atom(rest, atom.label, is_filler=atom.is_filler)
        self._bindings[atom] = total((first, second))
        return first, second

    def _cut_product(
        self, expression: Product, position: int
    ) -> tuple[Expression, Expression]:
        head = expression.parts[0]
        tail = product(expression.parts[1:])
        row, offset = divmod(position, tail.size)
        if offset == 0:
            first, second = self._cut(head, row)
            # Growing a single row would repeat it, and multiply two sizes for that.
            for part in (first, second):
                if part.size == 1:
                    self.freeze(part, _SINGLE_ROW)
            return product((first, tail)), product((second, tail))
        # The cut falls inside a row, so that row must stay: freeze it, and cut the
        # tail, which every other row shares.
        before, middle, after = self.split(head, (row, 1, head.size - row - 1))
        self.freeze(middle, _OFF_ROW)
        first, second = self.split(tail, (offset, tail.size - offset))
        return (
            total((product((before, tail)), first)),
            total((second, product((after, tail)))),
        )

    def _is_final(self, expression: Expression) -> bool:
        """Whether an expression holds no bound atom."""
        return self._bindings.keys().isdisjoint(expression.atoms)

    def _follow(self, atom: Atom) -> Expression:
        """Returns what an atom is bound to, past atoms bound to other atoms."""
        passed: list[Atom] = []
        target: Expression = atom
        while isinstance(target, Atom) and target in self._bindings:
            passed.append(target)
            target = self._bindings[target]
        for link in passed:
            self._bindings[link] = target
        return target

    def _open(
        self, expression: Expression, form: type[Sum | Product]
    ) -> list[Expression]:
        """Lists the terms (or factors), also of bound atoms, without recursion.

        Takes as long as the list is: atoms on the way are not stored resolved, since a
        chain of ``n`` sums would store ``n`` lists.
        """
        result, stack = [], [expression]
        while stack:
            part = stack.pop()
            if isinstance(part, Atom):
                part = self._follow(part)
            if isinstance(part, form):
                stack.extend(reversed(part.parts))
            else:
                result.append(part)
        return result

    def _resolve_term(self, term: Expression) -> Expression:
        """Resolves what is no sum; recurses only into sums inside a product."""
        if self._is_final(term):
            return term
        return product(map(self.resolve, self._open(term, Product)))


def _serial(atom: Atom) -> int:
    return atom.serial


def _is_filler(atom: Atom) -> bool:
    return atom.is_filler


def _reason_of(expression: Expression, reason: str) -> str:
    if isinstance(expression, Fixed) and expression.reason:
        return expression.reason
    return reason
