"""Unification against brute force over single positions.

Where there are no products of two atoms, tying axes means that single positions are
equal. The oracle ties them one by one, and keeps apart what has to be: two neighbours
of one atom stay in one piece unless an end of something else falls between them.
"""

from __future__ import annotations

from itertools import pairwise

from canonical import canonical
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import System, World, systems

from keras_nas.axes import index_of, terms_of

FIXED, CUT = ("fixed",), ("cut",)


class Classes:
    """Disjoint sets of anything hashable."""

    def __init__(self):
        self.parents = {}

    def find(self, item):
        while item in self.parents:
            item = self.parents[item]
        return item

    def join(self, first, second):
        first, second = self.find(first), self.find(second)
        if first != second:
            self.parents[first] = second


def written_out(axis: tuple, sizes: tuple[int, ...]) -> list[tuple]:
    """Lists the positions of an axis: ``(number of atom, neuron)``, or `FIXED`."""
    form, *rest = axis
    if form == "fixed":
        return [FIXED] * rest[0]
    if form == "atom":
        return [(rest[0], neuron) for neuron in range(sizes[rest[0]])]
    if form == "sum":
        return [place for term in rest for place in written_out(term, sizes)]
    (_, repeats), tail = rest
    return written_out(tail, sizes) * repeats


def gap(left: tuple, right: tuple):
    """What lies between two neighbours of an axis."""
    if left == right == FIXED:
        return None
    if left[0] == right[0] != "fixed" and right[1] == left[1] + 1:
        return ("gap", *left)
    return CUT


def tie_positions(system: System) -> Classes:
    """Ties positions, and the gaps between them, one by one."""
    classes = Classes()
    for pair in system.pairs:
        left, right = (written_out(axis, system.sizes) for axis in pair)
        for first, second in zip(left, right, strict=True):
            classes.join(first, second)
        gaps = (map(gap, side, side[1:]) for side in (left, right))
        for first, second in zip(*gaps, strict=True):
            if None not in (first, second):
                classes.join(first, second)
    return classes


@settings(max_examples=400)
@given(st.one_of(systems(), systems(fixed=True), systems(fixed=True, repeats=True)))
def test_unify_leaves_exactly_as_much_free_as_brute_force(system):
    classes = tie_positions(system)
    found: dict[tuple, tuple] = {}
    for number, form in enumerate(canonical(World(system).tie().resolved())):
        places = []
        for kind, *rest in form:
            if kind == "fixed":
                places += [FIXED] * rest[0]
            else:
                places += [(rest[0], offset) for offset in range(rest[1])]
        assert len(places) == system.sizes[number]
        for place, position in enumerate(places):
            # The same class has the same neuron, and another class another one.
            expected = classes.find((number, place))
            assert (expected == classes.find(FIXED)) == (position == FIXED)
            assert found.setdefault(expected, position) == position
        for place, (left, right) in enumerate(pairwise(places)):
            if FIXED in (left, right):
                continue
            joined = left[0] == right[0] and right[1] == left[1] + 1
            is_cut = classes.find(("gap", number, place)) == classes.find(CUT)
            assert joined != is_cut
    assert len(set(found.values())) == len(found)


@settings(max_examples=150)
@given(systems(fixed=True, repeats=True), st.randoms(use_true_random=False))
def test_dropping_any_tied_positions_is_possible(system, random):
    """Whatever classes of positions go: some keep arrays drop exactly them."""
    classes = tie_positions(system)
    world = World(system).tie()
    dropped, keeps = {}, {}
    for number, axis in enumerate(world.resolved()):
        start = 0
        for piece in terms_of(axis):
            if piece in world.free():
                keeps[piece] = [
                    offset
                    for offset in range(piece.size)
                    if not dropped.setdefault(
                        classes.find((number, start + offset)), random.random() < 0.5
                    )
                ]
            start += piece.size
    for number, axis in enumerate(world.resolved()):
        expected = [
            place
            for place in range(system.sizes[number])
            if not dropped.get(classes.find((number, place)), False)
        ]
        assert index_of(axis, keeps).tolist() == expected
