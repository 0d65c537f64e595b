"""Unification: what each pair of forms becomes, and what holds for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from canonical import canonical, has_factor_of_size_1
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import World, orders, random_keeps, systems

from keras_nas.axes import (
    Fixed,
    Unifier,
    fixed_reasons,
    index_of,
    product,
    size_of,
    total,
)

SUMS = systems()
FIXED = systems(fixed=True, repeats=True)
PRODUCTS = systems(fixed=True, repeats=True, products=True)
EVERYTHING = systems(fixed=True, repeats=True, products=True, ones=True)
KINDS = st.one_of(SUMS, FIXED, PRODUCTS, EVERYTHING)


def atoms(*sizes):
    unifier = Unifier()
    return unifier, *(unifier.atom(n, f"x{i}") for i, n in enumerate(sizes))


# --- what holds for every system --------------------------------------------------


@settings(max_examples=400)
@given(KINDS, st.integers(0, 2**32 - 1))
def test_unify_gives_tied_axes_the_same_index_for_every_keep(system, seed):
    world = World(system).tie()
    keeps = random_keeps(world.free(), seed)
    sizes = {atom: len(keep) for atom, keep in keeps.items()}
    for pair in world.pairs:
        left, right = map(world.unifier.resolve, pair)
        assume(size_of(left, sizes) < 100_000)
        np.testing.assert_array_equal(index_of(left, keeps), index_of(right, keeps))
        assert size_of(left, sizes) == size_of(right, sizes)
        assert size_of(left, sizes) == len(index_of(left, keeps))


@settings(max_examples=200)
@given(KINDS)
def test_unify_when_repeated_changes_nothing(system):
    world = World(system).tie()
    before = world.resolved()
    assert world.tie().resolved() == before


@settings(max_examples=200)
@given(KINDS)
def test_unify_makes_both_sides_the_same_expression(system):
    world = World(system).tie()
    for pair in world.pairs:
        left, right = canonical(map(world.unifier.resolve, pair))
        assert left == right


@settings(max_examples=300)
@given(st.one_of(SUMS, FIXED), st.data())
def test_unify_in_another_order_gives_the_same_up_to_names(system, data):
    order, swapped = data.draw(orders(system))
    first = World(system).tie().resolved()
    second = World(system).tie(order, swapped).resolved()
    assert canonical(first) == canonical(second)


class Watcher(Unifier):
    """Remembers whether it ever met a factor of size 1."""

    met_one = False

    def _match(self, left, right):
        self.met_one |= any(f.size == 1 for f in left.parts + right.parts)
        return super()._match(left, right)


@settings(max_examples=300)
@given(PRODUCTS, st.data())
def test_unify_products_in_another_order_gives_the_same_up_to_names(system, data):
    """Where no factor has size 1; see the docstring of the module for why."""
    order, swapped = data.draw(orders(system))
    first, second = World(system, Watcher()), World(system, Watcher())
    one = canonical(first.tie().resolved())
    other = canonical(second.tie(order, swapped).resolved())
    met_one = first.unifier.met_one or second.unifier.met_one
    if not met_one and not has_factor_of_size_1(one + other):
        assert one == other


def test_unify_factors_of_size_1_takes_equal_sizes_to_be_equal():
    unifier, a, b, u, v = atoms(5, 5, 1, 1)
    unifier.unify(product((a, u)), product((b, v)))
    assert [*map(unifier.resolve, (a, b, u, v))] == [a, a, u, u]


def test_unify_factors_of_size_1_when_one_is_frozen_depends_on_the_order():
    unifier, a, b, u, v = atoms(5, 5, 1, 1)
    unifier.freeze(u, "a test")
    unifier.unify(product((a, u)), product((b, v)))
    assert [*map(unifier.resolve, (a, b, u, v))] == [product((b, v)), b, Fixed(1), v]


# --- one pair of forms after the other --------------------------------------------


def test_unify_atom_with_atom_keeps_the_older():
    unifier, a, b = atoms(3, 3)
    unifier.unify(b, a)
    assert unifier.resolve(b) is a
    assert unifier.resolve(a) is a


def test_unify_filler_with_atom_keeps_the_atom():
    unifier = Unifier()
    filler, a = unifier.atom(3, "pad", is_filler=True), unifier.atom(3, "a")
    unifier.unify(filler, a)
    assert unifier.resolve(filler) is a


def test_unify_atom_with_a_filler_inside_a_sum_makes_it_the_atoms_own():
    """Neurons with weights stand for the filler's positions from now on."""
    unifier = Unifier()
    x = unifier.atom(3, "x")
    filler = unifier.atom(2, "pad", is_filler=True)
    conv = unifier.atom(5, "conv.filters")
    unifier.unify(conv, total((x, filler)))
    kept, new = unifier.resolve(conv).parts
    assert kept is x
    assert (new.label, new.size, new.is_filler) == ("conv.filters", 2, False)
    assert unifier.resolve(filler) is new


def test_unify_filler_with_a_sum_of_fillers_stays_a_filler():
    unifier = Unifier()
    a, b, c = (unifier.atom(n, "pad", is_filler=True) for n in (2, 3, 5))
    unifier.unify(total((a, b)), c)
    assert unifier.resolve(c).parts == (a, b)
    assert all(part.is_filler for part in unifier.resolve(c).parts)


def test_unify_atom_with_fixed_freezes_it_for_that_reason():
    unifier, a = atoms(3)
    unifier.unify(a, Fixed(3, "model input 'image'"), "'add'")
    assert unifier.resolve(a) == Fixed(3)
    assert fixed_reasons(unifier.resolve(a)) == ("model input 'image'",)


def test_unify_with_unknown_size_freezes():
    unifier, a = atoms(3)
    unifier.unify(Fixed(None), a, "'add'")
    assert fixed_reasons(unifier.resolve(a)) == ("'add'",)


def test_unify_when_sizes_differ_raises():
    unifier, a, b = atoms(3, 4)
    with pytest.raises(ValueError, match="sizes 3 and 4 cannot be equal"):
        unifier.unify(a, b)


def test_unify_sums_cuts_at_all_boundaries():
    unifier, a, b, c, d = atoms(2, 6, 5, 3)
    unifier.unify(total((a, b)), total((c, d)))
    first, second = unifier.resolve(b).parts
    assert (first.size, second.size) == (3, 3)
    assert unifier.resolve(c).parts == (a, first)
    assert unifier.resolve(d) is second or unifier.resolve(second) is d


def test_unify_swapped_sums_ties_a_period():
    """``a + b = b + a``: words that commute are powers of one word."""
    unifier, a, b = atoms(4, 6)
    unifier.unify(total((a, b)), total((b, a)))
    first, second = unifier.resolve(a), unifier.resolve(b)
    assert len(set(first.parts)) == 1
    assert first.parts[0].size == 2
    assert second.parts == first.parts[:1] * 3


def test_unify_repeats_of_an_atom_with_a_sum():
    unifier, x, a, b = atoms(3, 6, 3)
    unifier.unify(product((Fixed(3), x)), total((a, b)))
    assert unifier.resolve(a) == product((Fixed(2), x))
    assert unifier.resolve(b) is x


def test_unify_repeats_with_other_repeats_finds_the_common_period():
    unifier, x, y = atoms(2, 3)
    unifier.unify(product((Fixed(6), x)), product((Fixed(4), y)))
    period = unifier.resolve(x).parts[1]
    assert period.size == 1
    assert unifier.resolve(x) == product((Fixed(2), period))
    assert unifier.resolve(y) == product((Fixed(3), period))


def test_unify_product_with_atom_defines_the_atom():
    unifier, a, b, c = atoms(2, 3, 6)
    unifier.unify(c, product((a, b)))
    assert unifier.resolve(c) == product((a, b))


def test_unify_products_splits_the_longer_head():
    unifier, a, b, c, d = atoms(4, 3, 2, 6)
    unifier.unify(product((a, b)), product((c, d)))
    head, rest = unifier.resolve(a).parts
    assert head is c
    assert rest.size == 2
    assert unifier.resolve(d) == product((rest, b))


@pytest.mark.parametrize(
    "first, second, common",
    [((4, 3), (6, 2), 2), ((3, 4), (2, 6), 1), ((6, 10), (15, 4), 3)],
)
def test_unify_products_without_a_dividing_head_keeps_the_common_part(
    first, second, common
):
    unifier, a, x, b, y = atoms(*first, *second)
    unifier.unify(product((a, x)), product((b, y)))
    head, rest = unifier.resolve(a).parts
    assert head.size == common
    assert unifier.resolve(b) == product((head, Fixed(b.size // common)))
    assert "no common factor" in fixed_reasons(rest)[0]
    assert unifier.resolve(x).atoms == unifier.resolve(y).atoms != frozenset()


def test_unify_products_of_swapped_factors_with_common_powers():
    unifier, a, b = atoms(2, 4)
    unifier.unify(product((a, b)), product((b, a)))
    assert unifier.resolve(b) == product((a, a))


def test_unify_products_of_swapped_factors_one_of_size_1_freezes_that():
    unifier, a, one = atoms(5, 1)
    unifier.unify(product((a, one)), product((one, a)))
    assert unifier.resolve(a) is a
    assert unifier.resolve(one) == Fixed(1)


def test_unify_atom_with_itself_times_an_atom_of_size_1_freezes_that():
    unifier, a, one = atoms(5, 1)
    unifier.unify(a, product((a, one)), "'add'")
    assert unifier.resolve(a) is a
    assert unifier.resolve(one) == Fixed(1)
    assert fixed_reasons(unifier.resolve(one)) == ("'add'",)


def test_unify_atom_of_size_1_with_its_square_freezes_it():
    unifier, one = atoms(1)
    unifier.unify(one, product((one, one)))
    assert unifier.resolve(one) == Fixed(1)


def test_unify_product_with_a_boundary_inside_a_row_freezes_that_row_only():
    unifier, a, b, s, t = atoms(4, 2, 3, 5)
    unifier.unify(product((a, b)), total((s, t)))
    before, middle, after = unifier.resolve(a).parts
    assert [before.size, middle.size, after.size] == [1, 1, 2]
    assert "falls inside" in fixed_reasons(middle)[0]
    row = unifier.resolve(b)
    assert unifier.resolve(s) == total((product((before, row)), row.parts[0]))
    assert unifier.resolve(t) == total((row.parts[1], product((after, row))))


def test_unify_through_bound_atoms_finds_the_cycle():
    unifier, a, b, one, two = atoms(5, 5, 1, 1)
    unifier.unify(b, product((a, one)))
    unifier.unify(a, product((b, two)))
    assert unifier.resolve(a) is a
    assert unifier.resolve(b) is a
    assert {unifier.resolve(one), unifier.resolve(two)} == {Fixed(1)}


# --- split, factor, freeze --------------------------------------------------------


def test_split_sum_at_its_boundaries_makes_no_atoms():
    unifier, a, b, c = atoms(2, 3, 4)
    assert unifier.split(total((a, b, c)), (5, 0, 4)) == (total((a, b)), Fixed(0), c)


def test_split_atom_into_parts_that_make_it_up():
    unifier, a = atoms(6)
    parts = unifier.split(a, (1, 2, 3))
    assert [part.size for part in parts] == [1, 2, 3]
    assert unifier.resolve(a) == total(parts)


def test_split_when_the_same_atom_comes_again_cuts_all_of_them():
    unifier, a = atoms(4)
    parts = unifier.split(total((a, a)), (1, 3, 4))
    first, second = unifier.resolve(a).parts
    assert parts == (first, second, total((first, second)))


def test_split_when_sizes_do_not_add_up_raises():
    unifier, a = atoms(4)
    with pytest.raises(ValueError, match=r"size 4 cannot be cut into \(1, 2\)"):
        unifier.split(a, (1, 2))


@settings(max_examples=150)
@given(EVERYTHING, st.data())
def test_split_parts_one_after_the_other_are_the_axis(system, data):
    world = World(system).tie()
    axis = world.pairs[0][0]
    cuts = data.draw(st.lists(st.integers(0, axis.size), max_size=4).map(sorted))
    sizes = np.diff([0, *cuts, axis.size]).tolist()
    parts = world.unifier.split(axis, sizes)
    assert [part.size for part in parts] == sizes
    whole = world.unifier.resolve(axis)
    assert canonical([total(parts)]) == canonical([whole])


def test_factor_of_a_product_returns_its_factors():
    unifier, a, b = atoms(4, 3)
    assert unifier.factor(product((a, b)), (4, 1, 3)) == (a, Fixed(1), b)


def test_factor_of_an_atom_defines_it_and_keeps_its_label():
    unifier, a = atoms(12)
    first, second = unifier.factor(a, (4, 3))
    assert unifier.resolve(a) == product((first, second))
    assert {(f.label, f.is_filler) for f in (first, second)} == {("x0", False)}


def test_factor_of_a_sum_of_rows():
    unifier, a, b = atoms(6, 9)
    rows, row = unifier.factor(total((a, b)), (5, 3))
    first, second = rows.parts
    assert unifier.resolve(a) == product((first, row))
    assert unifier.resolve(b) == product((second, row))


def test_factor_of_fixed_is_fixed():
    unifier = Unifier()
    assert unifier.factor(Fixed(6), (2, 3)) == (Fixed(2), Fixed(3))


def test_factor_when_sizes_do_not_multiply_raises():
    unifier, a = atoms(12)
    with pytest.raises(ValueError, match="sizes 12 and 10 cannot be equal"):
        unifier.factor(a, (5, 2))


def test_freeze_reaches_every_atom_and_only_once():
    unifier, a, b = atoms(2, 3)
    unifier.freeze(product((a, total((a, b)))), "first")
    unifier.freeze(total((a, b)), "second")
    assert unifier.resolve(total((a, b))) == Fixed(5)
    assert fixed_reasons(unifier.resolve(total((a, b)))) == ("first",)
