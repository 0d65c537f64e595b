"""Aggregation, normalisation, and where atoms stand along an axis."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.axes import Atom, Fixed, product, scatter, total
from keras_nas.importance.along import positions
from keras_nas.importance.combining import Aggregation, normalize
from keras_nas.importance.lamp import lamp_scores

A, B = Atom(2, "a", 0), Atom(3, "b", 1)


@pytest.mark.parametrize(
    ("how", "expected"), [("sum", [4, 2]), ("mean", [2, 1]), ("max", [3, 4])]
)
def test_aggregation_of_two_layers(how, expected):
    combined = Aggregation(how, [A, B])
    combined.add({A: np.array([1.0, 4.0]), Atom(1, "c", 2): np.array([9.0])})
    combined.add({A: np.array([3.0, -2.0])})
    np.testing.assert_array_equal(combined.result()[A], expected)
    assert combined.silent == {B}
    np.testing.assert_array_equal(combined.result()[B], [0, 0, 0])


def test_largest_of_negative_values_is_negative():
    combined = Aggregation("max", [A])
    combined.add({A: np.array([-1.0, -4.0])})
    combined.add({A: np.array([-3.0, -2.0])})
    np.testing.assert_array_equal(combined.result()[A], [-1, -2])


def test_normalization_has_one_scale_for_all_atoms():
    values = {A: np.array([1.0, 2.0]), B: np.array([3.0, 4.0, 5.0])}
    assert normalize("mean", values)[B].tolist() == [1.0, 4 / 3, 5 / 3]
    assert normalize("max", values)[A].tolist() == [0.2, 0.4]
    assert normalize("sum", values)[A].tolist() == [1 / 15, 2 / 15]
    np.testing.assert_allclose(
        normalize("gaussian", values)[A], [0, 1 / np.sqrt(2)], rtol=1e-12
    )
    assert normalize("none", values) is values


@pytest.mark.parametrize("how", ["mean", "max", "sum", "gaussian"])
def test_normalization_of_zeros_is_zeros(how):
    assert normalize(how, {A: np.zeros(2)})[A].tolist() == [0, 0]
    assert normalize(how, {}) == {}


@pytest.mark.parametrize(
    "axis",
    [
        A,
        total([A, Fixed(2), B, A]),
        product([Fixed(2), A]),
        product([A, Fixed(3), B]),
        product([A, total([B, Fixed(1), A])]),
        total([product([B, A]), A]),
        product([A, A]),
    ],
)
def test_positions_are_where_scatter_adds_up(axis):
    numbers = np.random.default_rng(0).random(axis.size)
    where, sums = positions(axis), scatter(axis, numbers)
    assert where.keys() == sums.keys() == axis.atoms
    for atom, table in where.items():
        np.testing.assert_allclose(numbers[table].sum(axis=1), sums[atom])


def test_lamp_of_nothing_is_nothing():
    assert lamp_scores(np.zeros(3)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(lamp_scores(np.array([1.0, 3, 1])), [0.2, 1, 0.2])
