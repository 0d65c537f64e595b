"""The normal form of axes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from normal_form import assert_normal
from strategies import World, systems

from keras_nas.axes import (
    Atom,
    Fixed,
    Product,
    Sum,
    factors_of,
    fixed_reasons,
    product,
    terms_of,
    total,
)

A, B, C = (Atom(size, name, size) for size, name in ((2, "a"), (3, "b"), (5, "c")))


def test_total_when_nested_is_flat():
    axis = total((A, total((B, C)), A))
    assert axis.parts == (A, B, C, A)
    assert axis.size == 12


def test_total_of_fixed_neighbours_is_one_fixed_with_the_first_reason():
    axis = total((A, Fixed(2, "first"), total((Fixed(3, "second"), B))))
    assert axis.parts == (A, Fixed(5), B)
    assert axis.parts[1].reason == "first"


def test_total_of_nothing_has_no_positions():
    assert total(()) == Fixed(0)
    assert total((Fixed(0), Fixed(0))) == Fixed(0)
    assert total((Fixed(0), A)) is A


def test_product_when_nested_is_flat():
    axis = product((A, product((B, C))))
    assert axis == product((product((A, B)), C))
    assert axis.parts == (A, B, C)
    assert axis.size == 30


def test_product_without_factors_is_one_position():
    assert product(()) == Fixed(1)
    assert product((Fixed(1), Fixed(1))) == Fixed(1)
    assert product((Fixed(1), A, Fixed(1))) is A


def test_product_with_an_empty_factor_has_no_positions():
    assert product((A, Fixed(0))) == Fixed(0)
    assert product((Fixed(0), A)).atoms == frozenset()
    assert product((total((A, B)), Fixed(0))) == Fixed(0)


def test_product_of_fixed_neighbours_is_one_fixed():
    assert product((Fixed(2), Fixed(3), A, Fixed(4))).parts == (Fixed(6), A, Fixed(4))


def test_product_when_the_head_is_a_sum_is_distributed():
    axis = product((total((A, B)), C, Fixed(2)))
    assert axis == total((product((A, C, Fixed(2))), product((B, C, Fixed(2)))))
    assert isinstance(axis, Sum)


def test_product_when_the_tail_is_a_sum_stays():
    axis = product((A, total((B, C))))
    assert isinstance(axis, Product)
    assert axis.parts == (A, total((B, C)))


def test_product_when_a_sum_stands_in_the_middle_is_distributed_there():
    axis = product((A, total((B, C)), A))
    assert axis.parts == (A, total((product((B, A)), product((C, A)))))


def test_product_of_a_fixed_number_of_rows_stays_short():
    assert product((Fixed(50_000), A)).parts == (Fixed(50_000), A)


def test_equality_when_parts_are_equal_ignores_reasons():
    assert total((A, Fixed(2, "x"))) == total((A, Fixed(2, "y")))
    assert hash(total((A, Fixed(2, "x")))) == hash(total((A, Fixed(2, "y"))))
    assert total((A, B)) != total((B, A))
    assert Atom(2, "a", 2) != A
    assert Fixed(2) != A


def test_terms_and_factors_of_something_else_are_itself():
    assert terms_of(product((A, B))) == (product((A, B)),)
    assert factors_of(total((A, B))) == (total((A, B)),)
    assert terms_of(total((A, B))) == (A, B)
    assert factors_of(product((A, B))) == (A, B)


def test_fixed_reasons_when_repeated_are_listed_once_in_order():
    axis = total(
        (Fixed(1, "x"), A, product((Fixed(2, "y"), total((A, Fixed(1, "x"))))))
    )
    assert fixed_reasons(axis) == ("x", "y")
    assert fixed_reasons(A) == ()


@given(systems(fixed=True, repeats=True, products=True, ones=True), st.data())
def test_everything_a_unifier_returns_is_in_normal_form(system, data):
    world = World(system)
    for axis in (axis for pair in world.pairs for axis in pair):
        assert_normal(axis)
        size = data.draw(st.integers(0, axis.size))
        for part in world.unifier.split(axis, (size, axis.size - size)):
            assert_normal(part)
    world.tie()
    for axis in [*world.resolved(), *(side for pair in world.pairs for side in pair)]:
        axis = world.unifier.resolve(axis)
        assert_normal(axis)
        assert world.unifier.resolve(axis) is axis
