"""A form of expressions in which equal axes look the same."""

from __future__ import annotations

from keras_nas.axes import Atom, Fixed, Product, Sum, product


def canonical(axes) -> list[tuple]:
    """Writes repeats out and numbers the atoms by their first occurrence.

    Two lists of axes have the same form if and only if one becomes the other by giving
    the atoms other names.
    """
    numbers: dict[Atom, int] = {}
    return [_terms(axis, numbers) for axis in axes]


def has_factor_of_size_1(forms) -> bool:
    """Whether an atom of size 1 stands in a product in one of the canonical forms."""
    stack, found = [term for form in forms for term in form], False
    while stack and not found:
        kind, *rest = stack.pop()
        if kind == "product":
            head, tail = rest
            found = any(f[0] == "atom" and f[-1] == 1 for f in (head, *tail))
            stack.extend(tail)
    return found


def _terms(axis, numbers) -> tuple:
    if isinstance(axis, Fixed):
        return (("fixed", axis.size),)
    if isinstance(axis, Atom):
        return (("atom", numbers.setdefault(axis, len(numbers)), axis.size),)
    if isinstance(axis, Sum):
        return _merge(term for part in axis.parts for term in _terms(part, numbers))
    assert isinstance(axis, Product)
    head, *tail = axis.parts
    if isinstance(head, Fixed):
        return _merge(_terms(product(tail), numbers) * head.size)
    (first,) = _terms(head, numbers)
    return (("product", first, _terms(product(tail), numbers)),)


def _merge(terms) -> tuple:
    """Joins neighbours that are fixed."""
    merged: list[tuple] = []
    for term in terms:
        if merged and term[0] == merged[-1][0] == "fixed":
            term = ("fixed", merged.pop()[1] + term[1])
        merged.append(term)
    return tuple(merged)
