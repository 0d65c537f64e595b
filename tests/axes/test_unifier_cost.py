"""Large systems: no recursion, and no time that grows with the square.

The bounds are far above what these take (about 0.1 s each), and far below what a
quadratic algorithm would need.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest

from keras_nas.axes import (
    Fixed,
    Sum,
    Unifier,
    index_of,
    product,
    scatter,
    size_of,
    total,
)


@contextmanager
def at_most(seconds: float):
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


@pytest.mark.parametrize("backwards", [False, True])
def test_unify_when_10_000_atoms_are_chained(backwards):
    unifier = Unifier()
    atoms = [unifier.atom(8) for _ in range(10_000)]
    pairs = list(pairwise(atoms))
    with at_most(3):
        for left, right in reversed(pairs) if backwards else pairs:
            unifier.unify(left, right)
        assert {unifier.resolve(atom) for atom in atoms} == {atoms[0]}


@pytest.mark.parametrize("depth, backwards", [(5_000, False), (1_000, True)])
def test_resolve_when_thousands_of_sums_are_nested(depth, backwards):
    """``a0 = a1 + b1``, ``a1 = a2 + b2`` and so on.

    Backwards every atom is bound to the whole list after it, so that the lists
    together grow with the square, as the axes of a dense block do.
    """
    unifier = Unifier()
    links = [(unifier.atom(depth - n + 1), unifier.atom(1)) for n in range(depth)]
    steps = [
        (longer, total((shorter, one)))
        for (longer, one), (shorter, _) in pairwise(links)
    ]
    with at_most(5):
        for left, right in steps if not backwards else steps[::-1]:
            unifier.unify(left, right)
        axis = unifier.resolve(links[0][0])
    assert axis.size == depth + 1
    assert len(axis.parts) == depth
    assert index_of(axis, {axis.parts[-1]: np.array([])}).tolist() == [*range(depth)]


def test_resolve_when_3_000_factors_of_size_1_are_nested():
    unifier = Unifier()
    axes = [unifier.atom(5) for _ in range(3_001)]
    with at_most(5):
        for left, right in pairwise(axes):
            unifier.unify(left, product((right, unifier.atom(1))))
        axis = unifier.resolve(axes[0])
    assert len(axis.parts) == 3_001
    keep = {axes[-1]: np.array([1, -1])}
    assert index_of(axis, keep).tolist() == [1, -1]
    assert size_of(axis, {axes[-1]: 7}) == 7
    assert scatter(axis, np.arange(5.0))[axes[-1]].tolist() == [0, 1, 2, 3, 4]


def test_unify_when_sums_of_thousands_have_different_boundaries():
    unifier = Unifier()
    threes = [unifier.atom(3) for _ in range(2_000)]
    twos = [unifier.atom(2) for _ in range(3_000)]
    with at_most(10):
        unifier.unify(total(threes), total(twos))
        left, right = (unifier.resolve(total(atoms)) for atoms in (threes, twos))
    assert left == right
    assert [part.size for part in left.parts] == [2, 1, 1, 2] * 1_000


def test_split_when_there_are_10_000_parts():
    unifier = Unifier()
    atom = unifier.atom(10_000)
    axis = total([unifier.atom(2) for _ in range(10_000)])
    with at_most(5):
        parts = unifier.split(atom, [1] * 10_000)
        assert unifier.resolve(atom) == total(parts)
        assert unifier.split(axis, [2] * 10_000) == axis.parts


def test_unify_when_a_wide_concatenation_passes_1_000_layers():
    unifier = Unifier()
    axis = total([unifier.atom(4) for _ in range(1_000)])
    with at_most(5):
        for _ in range(1_000):
            width = unifier.atom(axis.size)
            unifier.unify(axis, width)
            assert unifier.resolve(width) is unifier.resolve(width)
    assert unifier.resolve(width) == axis


def test_unify_when_there_are_50_000_repeats_does_not_write_them_out():
    unifier = Unifier()
    x, y, z = unifier.atom(512), unifier.atom(1024), unifier.atom(48)
    with at_most(1):
        unifier.unify(product((Fixed(50_000), x)), product((Fixed(25_000), y)))
        unifier.unify(product((Fixed(3), x)), product((Fixed(32), z)))
        rest, half = unifier.split(
            product((Fixed(50_000), x)), (40_000 * 512, 5_120_000)
        )
    assert unifier.resolve(y) == product((Fixed(2), unifier.resolve(x)))
    assert unifier.resolve(x).parts[0] == Fixed(32)
    assert unifier.resolve(z).parts[0] == Fixed(3)
    assert half == product((Fixed(320_000), unifier.resolve(x).parts[1]))
    assert rest.size == 40_000 * 512


def test_unify_when_chained_sums_swap_their_parts():
    """Residual additions of concatenations in swapped order, one after the other."""
    unifier = Unifier()
    with at_most(10):
        first, second = unifier.atom(6), unifier.atom(10)
        axes = []
        for number in range(1_000):
            third, fourth = unifier.atom(6), unifier.atom(10)
            new = total((third, fourth) if number % 2 else (fourth, third))
            unifier.unify(total((first, second)), new)
            axes.append(new)
            first, second = new.parts
        forms = {unifier.resolve(axis) for axis in axes}
    (form,) = forms
    assert isinstance(form, Sum)
    assert form.size == 16
