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


class Unsized(keras.utils.PyDataset):
    def __getitem__(self, index):
        return X, Y

    def __len__(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [
        (X[..., 0], Y, r"no channel axis.\n\nAdd one: x = x\[..., None\]"),
        (X.reshape(20, -1), Y, "2 axes holds no images"),
        (X, Y[:-1], "20 samples and 19 labels"),
        (X, np.zeros(20, int), "All samples are of one class"),
        (X, np.eye(4)[np.zeros(20, int)], "All samples are of one class"),
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
        (X, None, "There are no labels, and x is no dataset"),
        (X, np.where(Y == 1, np.inf, Y), "5 values of the labels are NaN or infinite"),
        (X, Y.astype("int64") + 2**40, "Number the classes from 0: names, y = np.uniq"),
        (X, Y * 10**9, "3000000001 classes of 20 samples"),
        (X, [[1], [1, 2]], r"y is no array.*\n\nGive one array of numpy"),
        ([X[0], X[1, :2]] * 2, Y[:4], "x is no array"),
        (X, 3, "20 samples and one number"),
        (Unsized(), None, "does not say how many batches"),
    ],
)
def test_bad_data_are_refused(x, y, match):
    with pytest.raises(InvalidRequestError, match=match):
        prepare(x, y)


@pytest.mark.parametrize("y", [np.eye(5)[Y], Y[:, None]])
def test_samples_one_by_one_may_have_rows_of_labels(y):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, y))
    assert prepare(dataset).fingerprint() == prepare(X, y).fingerprint()


@pytest.mark.parametrize(
    "y",
    [
        (X > 0).astype(int),  # A mask for every image.
        np.arange(20),  # Numbers that are no classes, each only once.
        RNG.normal(size=(20, 19)),
    ],
)
def test_targets_that_are_no_labels_are_split_by_chance(y):
    split = prepare(X, y, validation_split=0.25, wants_labels=False)
    assert (len(split.y), len(split.y_val)) == (15, 5)
    with pytest.raises(InvalidRequestError):
        prepare(X, y, validation_split=0.25)


def test_numbers_of_more_digits_become_float32():
    assert prepare(X.astype(np.longdouble), Y).x.dtype == np.float32


@pytest.mark.parametrize("shape", [(64,), ()])
def test_samples_one_by_one_need_not_be_images(shape):
    import tensorflow as tf

    x = RNG.normal(size=(20, *shape)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((x, Y))
    split = prepare(dataset, input_shape=shape)
    assert split.fingerprint() == prepare(x, Y, input_shape=shape).fingerprint()


def test_batches_of_several_shapes_are_refused():
    import tensorflow as tf

    def stream():
        yield X[:5], Y[:5]
        yield X[5:, :2], Y[5:]

    signature = (tf.TensorSpec((None, None, 4, 1)), tf.TensorSpec((None,), tf.int64))
    dataset = tf.data.Dataset.from_generator(stream, output_signature=signature)
    with pytest.raises(InvalidRequestError, match="batches .* do not fit together"):
        prepare(dataset)


def test_labels_beside_a_dataset_are_refused():
    with pytest.raises(InvalidRequestError, match=r"Leave y out: fit\(dataset\)"):
        prepare(Batches(), Y)


def test_given_model_may_have_more_classes_than_samples():
    split = prepare(X, Y * 10_000, input_shape=(4, 4, 1))
    assert split.num_classes == 30_001
    with pytest.raises(InvalidRequestError, match="1099511627777 classes"):
        prepare(X, Y // 2 * 2**40, input_shape=(4, 4, 1))


def test_part_may_be_a_number_of_numpy():
    given = prepare(X, Y, validation_split=np.float32(0.2))
    assert given.fingerprint() == prepare(X, Y, validation_split=0.2).fingerprint()


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        ((X[:, :3], Y), r"Received: x of shape \(20, 3, 4, 1\) in validation_data"),
        ((X, Y - 1), "from -1 to 2 in validation_data"),
        ((X, Y * 10**9), "maximum of 3000000000 in validation_data"),
        ((X, Y[:3]), r"y of shape \(3,\) in validation_data"),
        ((X, [[1], [1, 2]]), "y of type list in validation_data"),
        ((Batches(), Y), "y=ndarray in validation_data"),
        (X, "y=None in validation_data"),
    ],
)
def test_mistakes_in_validation_data_are_told_as_such(pair, match):
    with pytest.raises(InvalidRequestError, match=match):
        prepare(X, Y, validation_data=pair)


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
