"""Random systems of axes: which atoms there are, and which axes are tied.

A system is data, not objects, so that a test can build it twice and tie its axes in
another order. An axis is a nested tuple: ``("atom", number)``, ``("fixed", size)``,
``("sum", axis, ...)`` or ``("product", axis, ...)``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st

from keras_nas.axes import Fixed, Unifier, product, total


@dataclasses.dataclass(frozen=True)
class System:
    """Atoms by size, and pairs of axes of equal size."""

    sizes: tuple[int, ...]
    pairs: tuple[tuple[tuple, tuple], ...]


class World:
    """A system with real atoms.

    Args:
        system: What to build. Nothing is tied before `tie`.
        unifier: Ties it; a new one by default.
    """

    def __init__(self, system: System, unifier: Unifier | None = None):
        self.unifier = Unifier() if unifier is None else unifier
        self.atoms = [
            self.unifier.atom(size, f"atom{number}")
            for number, size in enumerate(system.sizes)
        ]
        self.pairs = [tuple(map(self.build, pair)) for pair in system.pairs]

    def build(self, axis: tuple):
        form, *rest = axis
        if form == "atom":
            return self.atoms[rest[0]]
        if form == "fixed":
            return Fixed(rest[0], "it is fixed")
        return (total if form == "sum" else product)(map(self.build, rest))

    def tie(self, order=None, swapped=frozenset()) -> World:
        """Ties all pairs, in the given order, some with their sides swapped."""
        for number in order or range(len(self.pairs)):
            left, right = self.pairs[number]
            if number in swapped:
                left, right = right, left
            self.unifier.unify(left, right, "they are tied")
        return self

    def resolved(self) -> list:
        """What became of the atoms that the system began with."""
        return [self.unifier.resolve(atom) for atom in self.atoms]

    def free(self) -> list:
        """The atoms that are left, oldest first."""
        found = frozenset().union(*(axis.atoms for axis in self.resolved()))
        return sorted(found, key=lambda atom: atom.serial)


@st.composite
def systems(
    draw,
    *,
    fixed: bool = False,
    repeats: bool = False,
    products: bool = False,
    ones: bool = False,
    max_size: int = 24,
    max_pairs: int = 4,
):
    """Draws a system.

    Args:
        draw: From Hypothesis.
        fixed: Whether parts may be fixed.
        repeats: Whether there are products with a fixed first factor.
        products: Whether there are products of any two axes.
        ones: Whether a factor may have size 1.
        max_size: Size of the largest axis.
        max_pairs: Number of ties, at most.
    """
    sizes: list[int] = []

    def atom(size):
        known = [number for number, other in enumerate(sizes) if other == size]
        choice = draw(st.integers(0, min(len(known), 3)))
        if choice < len(known):
            return ("atom", known[choice])
        sizes.append(size)
        return ("atom", len(sizes) - 1)

    def axis(size, depth):
        least = 1 if ones else 2
        heads = [n for n in range(least, size // least + 1) if size % n == 0]
        forms = ["atom"]
        if fixed:
            forms.append("fixed")
        if depth and size > 1:
            forms += ["sum", "sum"]
        if depth and heads and repeats:
            forms.append("repeat")
        if depth and heads and products:
            forms += ["product", "product"]
        form = draw(st.sampled_from(forms))
        if form == "atom":
            return atom(size)
        if form == "fixed":
            return ("fixed", size)
        if form == "sum":
            first = draw(st.integers(1, size - 1))
            return ("sum", axis(first, depth - 1), axis(size - first, depth - 1))
        head = draw(st.sampled_from(heads))
        first = ("fixed", head) if form == "repeat" else axis(head, depth - 1)
        return ("product", first, axis(size // head, depth - 1))

    size = draw(st.integers(1, max_size))
    pairs = []
    for _ in range(draw(st.integers(1, max_pairs))):
        if draw(st.booleans()):
            size = draw(st.integers(1, max_size))
        pairs.append((axis(size, 3), axis(size, 3)))
    return System(tuple(sizes), tuple(pairs))


@st.composite
def orders(draw, system: System):
    """Draws an order of the pairs of a system and which of them are swapped."""
    numbers = range(len(system.pairs))
    return draw(st.permutations(numbers)), draw(st.sets(st.sampled_from(numbers)))


def random_keeps(atoms, seed: int) -> dict:
    """Returns keep arrays: some old neurons in order, then some new ones, or none."""
    rng = np.random.default_rng(seed)
    keeps = {}
    for atom in atoms:
        kept = np.flatnonzero(rng.random(atom.size) < rng.random())
        grown = rng.integers(0, 3) * rng.integers(0, 2)
        keeps[atom] = np.concatenate([kept, np.full(grown, -1, dtype=np.int64)])
    return keeps
