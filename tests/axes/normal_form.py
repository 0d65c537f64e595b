"""The normal form that `keras_nas.axes.expressions` promises, as assertions."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from keras_nas.axes import Atom, Fixed, Product, Sum


def assert_normal(expression) -> None:
    """Asserts every invariant of one expression and of all its parts."""
    stack = [expression]
    while stack:
        part = stack.pop()
        if isinstance(part, Fixed):
            assert part.atoms == frozenset()
            continue
        if isinstance(part, Atom):
            assert part.atoms == {part}
            assert part.size >= 1
            continue
        sizes = [inner.size for inner in part.parts]
        assert len(sizes) >= 2
        assert min(sizes) >= 1
        assert part.atoms == frozenset().union(*(p.atoms for p in part.parts))
        for first, second in pairwise(part.parts):
            assert not (isinstance(first, Fixed) and isinstance(second, Fixed))
        if isinstance(part, Sum):
            assert part.size == sum(sizes)
            assert not any(isinstance(inner, Sum) for inner in part.parts)
        else:
            assert isinstance(part, Product)
            assert part.size == prod(sizes)
            assert not any(isinstance(inner, Product) for inner in part.parts)
            assert not any(isinstance(inner, Sum) for inner in part.parts[:-1])
            assert Fixed(1) not in part.parts
        stack.extend(part.parts)
