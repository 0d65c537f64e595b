"""Sizes, index arrays and scattered values of single axes."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import World, random_keeps, systems

from keras_nas.axes import (
    Atom,
    Fixed,
    index_of,
    is_unchanged,
    product,
    scatter,
    size_of,
    total,
)

A, B = Atom(2, "a", 1), Atom(3, "b", 2)
EVERYTHING = systems(fixed=True, repeats=True, products=True, ones=True, max_pairs=2)


@pytest.mark.parametrize(
    "axis, index",
    [
        (A, [1, -1]),
        (B, [0, 2]),
        (Fixed(2), [0, 1]),
        (total((A, B)), [1, -1, 2, 4]),
        (total((B, Fixed(1), A)), [0, 2, 3, 5, -1]),
        (product((A, B)), [3, 5, -1, -1]),
        (product((B, A)), [1, -1, 5, -1]),
        (product((Fixed(2), A)), [1, -1, 3, -1]),
        (product((A, Fixed(2))), [2, 3, -1, -1]),
        (product((A, total((B, Fixed(1))))), [4, 6, 7, -1, -1, -1]),
    ],
)
def test_index_and_size_of_each_form(axis, index):
    keeps = {A: np.array([1, -1]), B: np.array([0, 2])}
    assert index_of(axis, keeps).tolist() == index
    assert size_of(axis, {A: 2, B: 2}) == len(index)


def test_index_of_atom_that_is_not_mentioned_keeps_all():
    assert index_of(total((A, B)), {A: np.array([0])}).tolist() == [0, 2, 3, 4]
    assert size_of(total((A, B)), {A: 1}) == 4


def test_index_of_atom_without_neurons_left_is_empty():
    keeps = {A: np.array([], dtype=int)}
    assert index_of(total((A, B)), keeps).tolist() == [2, 3, 4]
    assert index_of(product((A, B)), keeps).tolist() == []
    assert index_of(product((A, B)), keeps).dtype == np.int64


def test_index_of_given_as_lists_is_an_int_array():
    assert index_of(A, {A: []}).dtype == np.int64
    assert index_of(A, {A: [1]}).tolist() == [1]


def test_size_of_unknown_is_none():
    assert size_of(Fixed(None), {}) is None


def test_size_of_large_products_is_exact():
    assert size_of(product([A] * 100), {A: 3}) == 3**100


def test_is_unchanged_when_all_neurons_stay_in_order():
    axis = total((A, product((Fixed(2), B))))
    assert is_unchanged(axis, {})
    assert is_unchanged(axis, {A: np.array([0, 1]), B: np.arange(3)})


@pytest.mark.parametrize("keep", [[0], [1, 0], [0, 1, -1], [0, -1], []])
def test_is_unchanged_when_something_moves_is_false(keep):
    keeps = {A: np.array(keep, dtype=int)}
    assert not is_unchanged(total((A, B)), keeps)
    assert is_unchanged(B, keeps)


def test_scatter_adds_over_the_other_factors():
    axis = total((product((Fixed(2), A)), B, product((B, A)), Fixed(1)))
    values = np.array([1, 2, 4, 8, 10, 20, 30, 1, 2, 3, 4, 5, 6, 99.0])
    result = scatter(axis, values)
    assert result[A].tolist() == [1 + 4 + (1 + 3 + 5), 2 + 8 + (2 + 4 + 6)]
    assert result[B].tolist() == [10 + 3, 20 + 7, 30 + 11]
    assert set(result) == {A, B}


def test_scatter_of_fixed_positions_is_empty():
    assert scatter(Fixed(3), np.ones(3)) == {}


def test_scatter_when_changed_in_place_leaves_the_values_alone():
    values = np.ones(2)
    result = scatter(A, values)
    result[A] += 1
    assert values.tolist() == [1, 1]


def positions_of(axis, path=()) -> list[list[tuple]]:
    """Lists, for each position of an axis, all the neurons that it depends on."""
    if isinstance(axis, Atom):
        return [[(axis, neuron)] for neuron in range(axis.size)]
    if isinstance(axis, Fixed):
        return [[] for _ in range(axis.size)]
    parts = [positions_of(part) for part in axis.parts]
    if axis == total(axis.parts):
        return reduce(add, parts)
    return reduce(lambda rows, row: [a + b for a in rows for b in row], parts)


@settings(max_examples=150)
@given(EVERYTHING, st.integers(0, 2**32 - 1))
def test_scatter_counts_each_position_for_every_neuron_in_it(system, seed):
    world = World(system).tie()
    axis = world.unifier.resolve(world.pairs[0][0])
    values = np.random.default_rng(seed).normal(size=axis.size)
    expected = {atom: np.zeros(atom.size) for atom in axis.atoms}
    for value, neurons in zip(values, positions_of(axis), strict=True):
        for atom, neuron in neurons:
            expected[atom][neuron] += value
    result = scatter(axis, values)
    assert set(result) == set(expected)
    for atom, numbers in expected.items():
        np.testing.assert_allclose(result[atom], numbers, atol=1e-12)


@settings(max_examples=150)
@given(systems(fixed=True, repeats=True), st.integers(0, 2**32 - 1))
def test_scatter_is_the_adjoint_of_dropping_neurons(system, seed):
    """Without products of atoms, what goes is worth what was scattered to it."""
    world = World(system).tie()
    axis = world.unifier.resolve(world.pairs[0][0])
    rng = np.random.default_rng(seed)
    values = rng.normal(size=axis.size)
    drops = {atom: rng.random(atom.size) < 0.5 for atom in world.free()}
    keeps = {atom: np.flatnonzero(~drop) for atom, drop in drops.items()}
    lost = values.sum() - values[index_of(axis, keeps)].sum()
    worth = sum(part @ drops[atom] for atom, part in scatter(axis, values).items())
    np.testing.assert_allclose(worth, lost, atol=1e-9)


@settings(max_examples=150)
@given(EVERYTHING, st.integers(0, 2**32 - 1))
def test_index_of_lists_old_positions_whose_neurons_all_stay(system, seed):
    world = World(system).tie()
    axis = world.unifier.resolve(world.pairs[0][0])
    keeps = random_keeps(world.free(), seed)
    assume(size_of(axis, {a: len(k) for a, k in keeps.items()}) < 100_000)
    kept = {(atom, n) for atom, keep in keeps.items() for n in keep}
    old = [n for n, p in enumerate(positions_of(axis)) if kept.issuperset(p)]
    index = index_of(axis, keeps)
    assert index[index >= 0].tolist() == old
