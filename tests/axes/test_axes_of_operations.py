"""The index of an axis against the real operation on arrays of ids.

Every neuron has an id of its own. Running an operation on the ids of the kept neurons
must give what running it on all ids and picking by the index array gives. New neurons
have the id -1.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import random_keeps

from keras_nas.axes import Fixed, Unifier, index_of, product, size_of, total

H, W = 3, 2
KEEPS = [
    ([0, 2, 3], [1, 4]),
    ([1, -1, -1], [0, 1, 2, 3, 4, -1]),
    ([], [2]),
    ([0, 1, 2, 3], []),
]


@pytest.fixture(params=KEEPS, ids=str)
def case(request):
    """Two atoms of 4 and 5 neurons and their keep arrays."""
    unifier = Unifier()
    a, b = unifier.atom(4, "a"), unifier.atom(5, "b")
    keeps = [np.array(keep, dtype=np.int64) for keep in request.param]
    return unifier, a, b, dict(zip((a, b), keeps, strict=True))


def pick(ids: np.ndarray, index: np.ndarray, axis: int = -1) -> np.ndarray:
    """Selects along an axis; -1 for what is new."""
    shape = [1] * ids.ndim
    shape[axis] = -1
    is_new = (index < 0).reshape(shape)
    return np.where(is_new, -1, np.take(ids, np.maximum(index, 0), axis=axis))


def ids(*shape: int, start: int = 0) -> np.ndarray:
    return start + np.arange(np.prod(shape)).reshape(shape)


def assert_follows(operation, inputs, axis, keeps):
    """Runs an operation before and after; its one axis must follow ``axis``."""
    old = operation(*(array for array, _ in inputs))
    new = operation(*(pick(array, index_of(of, keeps)) for array, of in inputs))
    np.testing.assert_array_equal(pick(old, index_of(axis, keeps)), new)


def test_index_of_concatenated_axes(case):
    _, a, b, keeps = case
    inputs = [(ids(4), a), (ids(5, start=100), b), (ids(4), a)]
    assert_follows(lambda *x: np.concatenate(x), inputs, total((a, b, a)), keeps)


@pytest.mark.parametrize("repeats", [1, 3])
def test_index_of_repeated_and_tiled_axes(case, repeats):
    _, a, b, keeps = case
    inputs = [(ids(4), a), (ids(5, start=100), b)]
    axis, k = total((a, b)), Fixed(repeats)

    def repeat(*x):
        return np.repeat(np.concatenate(x), repeats)

    def tile(*x):
        return np.tile(np.concatenate(x), repeats)

    assert_follows(repeat, inputs, product((axis, k)), keeps)
    assert_follows(tile, inputs, product((k, axis)), keeps)


def test_index_of_flattened_feature_map(case):
    _, a, b, keeps = case
    inputs = [(ids(H, W, 4), a), (ids(H, W, 5, start=100), b)]

    def flatten(x, y):
        return np.concatenate([x, y], axis=-1).reshape(-1)

    assert_follows(flatten, inputs, product((Fixed(H * W), total((a, b)))), keeps)


def test_index_of_flattened_feature_map_with_channels_first(case):
    _, a, b, keeps = case
    inputs = [(ids(H, W, 4), a), (ids(H, W, 5, start=100), b)]

    def flatten(x, y):
        return np.concatenate([x, y], axis=-1).transpose(2, 0, 1).reshape(-1)

    assert_follows(flatten, inputs, product((total((a, b)), Fixed(H * W))), keeps)


def test_index_of_rows_of_a_feature_map(case):
    """``Reshape((H, W * C))`` of a flattened map."""
    unifier, a, _, keeps = case
    rows, row = unifier.factor(product((Fixed(H * W), a)), (H, W * 4))
    assert rows == Fixed(H)
    assert_follows(lambda x: x.reshape(H, -1), [(ids(H, W, 4), a)], row, keeps)


@pytest.mark.parametrize("axis_of_stack", [0, 1])
def test_index_of_stacked_and_flattened_axes(case, axis_of_stack):
    unifier, a, _, keeps = case
    other = unifier.atom(4, "other")
    unifier.unify(a, other)
    factors = (Fixed(2), a) if axis_of_stack == 0 else (a, Fixed(2))
    inputs = [(ids(4), a), (ids(4, start=50), unifier.resolve(other))]

    def stack(*x):
        return np.stack(x, axis=axis_of_stack).reshape(-1)

    assert_follows(stack, inputs, product(factors), keeps)


def test_index_of_outer_products(case):
    """Heads times size of a head; inputs times depth multiplier."""
    _, a, b, keeps = case

    def outer(x, y):
        grid = np.where((x < 0)[:, None] | (y < 0), -1, x[:, None] * 10 + y)
        return grid.reshape(-1)

    assert_follows(outer, [(ids(4), a), (ids(5), b)], product((a, b)), keeps)


def test_index_of_parts_of_a_split(case):
    unifier, a, b, keeps = case
    parts = unifier.split(total((a, Fixed(2), b)), (4, 1, 6))
    whole = [pick(ids(4), keeps[a]), ids(2, start=4), pick(ids(5, start=6), keeps[b])]
    ends = np.cumsum([size_of(p, {x: len(k) for x, k in keeps.items()}) for p in parts])
    pieces = np.split(np.concatenate(whole), ends[:-1])
    for part, piece, start in zip(parts, pieces, (0, 4, 5), strict=True):
        old = ids(part.size, start=start)
        np.testing.assert_array_equal(pick(old, index_of(part, keeps)), piece)


@pytest.mark.parametrize("groups", [2, 3])
def test_index_of_shuffled_channels(groups):
    """ShuffleNet: reshape to groups, transpose, flatten."""
    unifier = Unifier()
    channels = unifier.atom(12, "channels")
    group, member = unifier.factor(channels, (groups, 12 // groups))
    shuffled = product((member, group))
    axis = unifier.resolve(channels)
    for seed in range(10):
        keeps = random_keeps((group, member), seed)
        new_groups, new_members = (len(keeps[atom]) for atom in (group, member))

        def shuffle(x, shape):
            return x.reshape(shape).T.reshape(-1)

        old = shuffle(ids(12), (groups, -1))
        new = pick(ids(12), index_of(axis, keeps))
        np.testing.assert_array_equal(
            pick(old, index_of(shuffled, keeps)),
            shuffle(new, (new_groups, new_members)),
        )


class Program:
    """Operations on axes, run first on expressions and later on ids.

    `values` holds expressions; `steps` computes an array of ids for each of them from
    the arrays before it and a function that says how large an axis is then.
    """

    def __init__(self):
        self.unifier = Unifier()
        self.values = []
        self.steps = []

    def add(self, expression, step):
        self.values.append(expression)
        self.steps.append(step)

    def atom(self, size):
        number = len(self.values)
        atom = self.unifier.atom(size, f"value{number}")
        start = 1000 * number
        self.add(atom, lambda arrays, index: index(atom, start + np.arange(size)))

    def concatenate(self, i, j):
        self.add(
            total((self.values[i], self.values[j])),
            lambda arrays, index: np.concatenate([arrays[i], arrays[j]]),
        )

    def tile(self, i, k):
        self.add(
            product((Fixed(k), self.values[i])),
            lambda arrays, index: np.tile(arrays[i], k),
        )

    def repeat(self, i, k):
        self.add(
            product((self.values[i], Fixed(k))),
            lambda arrays, index: np.repeat(arrays[i], k),
        )

    def outer(self, i, j):
        def step(arrays, index):
            x, y = arrays[i][:, None], arrays[j][None, :]
            # Different pairs have different numbers, but for wild coincidences.
            return np.where((x < 0) | (y < 0), -1, (x * 7919 + y) % 2**40).reshape(-1)

        self.add(product((self.values[i], self.values[j])), step)

    def split(self, i, position):
        axis = self.values[i]
        first, second = self.unifier.split(axis, (position, axis.size - position))

        def cut(arrays, index):
            return np.split(arrays[i], [index.size(first)])

        self.add(first, lambda arrays, index: cut(arrays, index)[0])
        self.add(second, lambda arrays, index: cut(arrays, index)[1])

    def transpose(self, i, rows):
        axis = self.values[i]
        m, n = self.unifier.factor(axis, (rows, axis.size // rows))

        def step(arrays, index):
            grid = arrays[i].reshape(index.size(m), index.size(n))
            return grid.T.reshape(-1)

        self.add(product((n, m)), step)

    def tie(self, i, j):
        self.unifier.unify(self.values[i], self.values[j])

    def run(self, keeps):
        """Returns the ids of every value for given keep arrays of free atoms."""
        index = Index(self.unifier, keeps)
        arrays = []
        for step in self.steps:
            arrays.append(step(arrays, index))
        return arrays


class Index:
    """Says what is left of an axis."""

    def __init__(self, unifier, keeps):
        self.unifier = unifier
        self.keeps = keeps
        self.sizes = {atom: len(keep) for atom, keep in keeps.items()}

    def __call__(self, axis, array):
        return pick(array, index_of(self.unifier.resolve(axis), self.keeps))

    def size(self, axis):
        return size_of(self.unifier.resolve(axis), self.sizes)


VERBS = ("concatenate", "outer", "tile", "repeat", "split", "transpose", "tie")


@st.composite
def programs(draw, max_size=72):
    program = Program()
    for _ in range(draw(st.integers(1, 3))):
        program.atom(draw(st.integers(1, 6)))
    for _ in range(draw(st.integers(1, 7))):
        places = st.integers(0, len(program.values) - 1)
        verb = draw(st.sampled_from(VERBS))
        i, j = draw(places), draw(places)
        size, other = program.values[i].size, program.values[j].size
        if verb == "concatenate" and size + other <= max_size:
            program.concatenate(i, j)
        elif verb == "outer" and size * other <= max_size:
            program.outer(i, j)
        elif verb in ("tile", "repeat") and size * 3 <= max_size:
            getattr(program, verb)(i, draw(st.integers(1, 3)))
        elif verb == "split" and size > 1:
            program.split(i, draw(st.integers(1, size - 1)))
        elif verb == "transpose":
            divisors = [rows for rows in range(1, size + 1) if size % rows == 0]
            program.transpose(i, draw(st.sampled_from(divisors)))
        elif verb == "tie":
            same = [n for n, v in enumerate(program.values) if v.size == size]
            program.tie(i, draw(st.sampled_from(same)))
    return program


@settings(max_examples=400)
@given(programs(), st.integers(0, 2**32 - 1))
def test_index_of_every_axis_of_a_program_equals_running_it_on_ids(program, seed):
    axes = [program.unifier.resolve(value) for value in program.values]
    free = sorted(frozenset().union(*(x.atoms for x in axes)), key=lambda a: a.serial)
    keeps = random_keeps(free, seed)
    sizes = {atom: len(keep) for atom, keep in keeps.items()}
    assume(max(size_of(axis, sizes) for axis in axes) < 100_000)
    before, after = program.run({}), program.run(keeps)
    for axis, old, new in zip(axes, before, after, strict=True):
        np.testing.assert_array_equal(pick(old, index_of(axis, keeps)), new)
