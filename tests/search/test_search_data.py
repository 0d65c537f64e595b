"""Data: wrong ones are refused with what to do, right ones split and kept in reach."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_nas.errors import InvalidRequestError
from keras_nas.search.data import Split, batches
from keras_nas.search.data_checks import prepare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4, 4, 1)).astype("float32")
Y = np.arange(20) % 4


def test_split_takes_the_same_part_of_every_class():
    split = prepare(X, Y, validation_split=0.2)
    assert split.x.shape == (16, 4, 4, 1)
    assert np.bincount(split.y_val).tolist() == [1, 1, 1, 1]
    assert np.bincount(split.y).tolist() == [4, 4, 4, 4]
    together = np.concatenate([split.x, split.x_val])
    assert sorted(together.sum((1, 2, 3))) == sorted(X.sum((1, 2, 3)))


def test_split_depends_on_the_seed_only():
    parts = [prepare(X, Y, seed=seed).x_val for seed in (0, 0, 1)]
    assert np.array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[0], parts[2])


def test_validation_data_are_taken_as_they_are():
    split = prepare(X, Y, validation_data=(X[:5] + 1, Y[:5]))
    assert np.array_equal(split.x, X)
    assert np.array_equal(split.x_val, X[:5] + 1)


def test_one_hot_labels_stay_one_hot():
    split = prepare(X, np.eye(4)[Y], validation_split=0.2)
    assert split.y.shape == (16, 4)
    assert split.num_classes == 4
    assert not split.is_sparse


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        part = slice(5 * index, 5 * index + 5)
        return X[part], Y[part]


def test_pydataset_gives_the_same_as_its_arrays():
    assert prepare(Batches()).fingerprint() == prepare(X, Y).fingerprint()


@pytest.mark.parametrize("size", [None, 6])
def test_tf_dataset_gives_the_same_as_its_arrays(size):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    if size is not None:
        dataset = dataset.batch(size)
    assert prepare(dataset).fingerprint() == prepare(X, Y).fingerprint()


def test_endless_dataset_is_refused():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).repeat()
    with pytest.raises(InvalidRequestError, match="dataset.take"):
        prepare(dataset)


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [
        (X[..., 0], Y, r"no channel axis.\n\nAdd one: x = x\[..., None\]"),
        (X.reshape(20, -1), Y, "2 axes holds no images"),
        (X, Y[:-1], "20 samples and 19 labels"),
        (X, np.zeros(20, int), "All 20 samples are of one class"),
        (X, np.eye(4)[np.zeros(20, int)], "All 20 samples are of one class"),
        (X, Y / 3, "no classes.\n\nGive integers"),
        (X, np.array(list("ab") * 10), r"np.unique\(y, return_inverse=True\)"),
        (X, Y - 1, "label -1 is negative"),
        (X, np.ones((20, 4)), "do not add up to 1"),
        (X, np.zeros((20, 2, 2)), "neither integers"),
        (X[:0], Y[:0], "There are no samples"),
        (X[:1], Y[:1], "one class"),
        (X[:5], Y[:5], "Class 1 has only one sample"),
        (np.where(X > 2, np.nan, X), Y, "NaN or infinite"),
        (X.astype(str), Y, "no numbers"),
        (X, None, "There are no labels"),
    ],
)
def test_bad_data_are_refused(x, y, match):
    with pytest.raises(InvalidRequestError, match=match):
        prepare(x, y)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2, "half", None, True])
def test_bad_split_is_refused(fraction):
    with pytest.raises(InvalidRequestError, match="no part of the samples"):
        prepare(X, Y, validation_split=fraction)


def test_validation_data_of_another_kind_are_refused():
    with pytest.raises(InvalidRequestError, match="of two kinds"):
        prepare(X, Y, validation_data=(X, np.eye(4)[Y]))
    with pytest.raises(InvalidRequestError, match="do not fit"):
        prepare(X, Y, validation_data=(X[:, :3], Y))


def test_samples_that_do_not_fit_the_model_are_refused():
    with pytest.raises(InvalidRequestError, match=r"\(5, 5, 1\) is expected"):
        prepare(X, Y, input_shape=(5, 5, 1))
    assert prepare(X, Y, input_shape=(None, 4, 1)).x.shape[1:] == (4, 4, 1)


def test_saved_data_come_back_bit_for_bit(tmp_path):
    split = prepare(X, Y)
    split.save(tmp_path)
    assert Split.load(tmp_path).fingerprint() == split.fingerprint()


def test_all_batch_sizes_see_the_same_samples_in_the_same_order():
    def seen(size):
        return np.concatenate(list(batches(20, 6, 8, 0, 3, size)))

    assert np.array_equal(seen(8), seen(4))
    assert np.array_equal(seen(8), seen(16))
    assert np.array_equal(seen(8)[:45], seen(5)[:45])
    assert sorted(seen(8)[:20]) == list(range(20))


def test_rounds_and_seeds_have_other_batches():
    first = np.concatenate(list(batches(20, 2, 8, 0, 0, 8)))
    for seed, number in ((0, 1), (1, 0)):
        other = np.concatenate(list(batches(20, 2, 8, seed, number, 8)))
        assert not np.array_equal(first, other)


def test_batch_larger_than_a_round_is_the_round():
    [only] = batches(20, 2, 4, 0, 0, 64)
    assert len(only) == 8
