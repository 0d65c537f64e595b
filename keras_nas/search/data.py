"""Training and validation data: checked, split, and within reach of every worker."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_real
from keras_nas.search.seeding import Purpose, generator

_PARTS = ("x", "y", "x_val", "y_val")


@dataclass(frozen=True)
class Split:
    """What candidates are trained with, and what they are compared on.

    Attributes:
        x: Shape `(n, ...)`.
        y: Labels `(n,)` or one-hot `(n, classes)`, or any targets.
        x_val: Shape `(m, ...)`.
        y_val: Like `y`.
    """

    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray

    @property
    def num_classes(self) -> int:
        """Number of classes, for labels and one-hot labels."""
        if self.y.ndim == 2 and self.y.shape[1] > 1:
            return self.y.shape[1]
        return int(max(self.y.max(), self.y_val.max())) + 1

    @property
    def is_sparse(self) -> bool:
        """Whether labels are integers."""
        return self.y.ndim == 1 or self.y.shape[1] == 1

    def fingerprint(self) -> dict:
        """Returns what tells these data from others, for the journal."""
        parts = {name: getattr(self, name) for name in _PARTS}
        return {
            name: [*part.shape, str(part.dtype), zlib.crc32(part.tobytes())]
            for name, part in parts.items()
        }

    def save(self, directory: Path) -> None:
        """Writes the arrays, one file each, for workers to map into memory."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in _PARTS:
            np.save(directory / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Split:
        """Reads arrays without loading what is not needed."""
        return cls(
            *(
                np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in _PARTS
            )
        )


def batches(
    count: int, steps: int, batch_size: int, seed: int, round_number: int, own_size: int
) -> Iterator[np.ndarray]:
    """Yields the positions of every batch of one round.

    All candidates of a round see the same samples in the same order, however large
    their own batches are.

    Args:
        count: Samples that there are.
        steps: Batches of the common size in one round.
        batch_size: The common size.
        seed: Seed of the run.
        round_number: Its number.
        own_size: Batch size of this candidate.

    Yields:
        Int arrays of shape `(own_size,)`; as many samples as `steps` common batches
        have, up to one incomplete batch of its own.
    """
    rng = generator(seed, Purpose.BATCHES, round_number)
    total = steps * batch_size
    passes = -(-total // count)
    order = np.concatenate([rng.permutation(count) for _ in range(passes)])[:total]
    own_size = min(own_size, total)
    for start in range(0, total - own_size + 1, own_size):
        yield order[start : start + own_size]


def as_arrays(
    x: Any, y: Any = None, where: str = "", num_axes: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Brings arrays, a `tf.data.Dataset` or a `PyDataset` to two arrays.

    Datasets are read once, to their end, into memory: every candidate must see the
    same samples, and a generation may go through them several times.

    Args:
        x: Samples, or a dataset of pairs.
        y: Labels; None for a dataset.
        where: What messages add to the names ``x`` and ``y``.
        num_axes: Axes of one sample, by which single samples are told from batches.

    Raises:
        InvalidRequestError: No labels, labels twice, samples of different shapes, an
            endless dataset, or no batches of pairs.
    """
    if y is None and isinstance(x, (tuple, list)) and len(x) == 2:
        x, y = x
    if y is None:
        return _read_dataset(x, where, num_axes)
    if _is_sequence(x) or _is_stream(x):
        raise InvalidRequestError(
            f"A dataset has its labels in it already.\n\nLeave y out: fit(dataset), or "
            f"validation_data=dataset. Received: x={type(x).__name__}, "
            f"y={type(y).__name__}{where}"
        )
    return _array("x", x, where), _array("y", y, where)


def _array(name: str, given: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"{name} is no array: {str(error).splitlines()[0]:.120}\n\nGive one array "
            f"of numpy, with all samples of the same shape. Received: {name} of type "
            f"{type(given).__name__}{where}"
        ) from error


def _is_sequence(data: Any) -> bool:
    # Asked of the class: the number itself may be missing.
    return hasattr(data, "__getitem__") and hasattr(type(data), "num_batches")


def _is_stream(data: Any) -> bool:
    return hasattr(data, "element_spec")


def _read_dataset(
    dataset: Any, where: str, num_axes: int
) -> tuple[np.ndarray, np.ndarray]:
    if _is_sequence(dataset):
        stream = (dataset[index] for index in range(_num_batches(dataset)))
    elif _is_stream(dataset):
        if int(dataset.cardinality()) == -1:
            _refuse_endless(dataset)
        stream = iter(dataset)
    else:
        raise InvalidRequestError(
            f"There are no labels, and x is no dataset of pairs.\n\nGive x and y, a "
            f"tf.data.Dataset, or a keras PyDataset. Received: an object of type "
            f"{type(dataset).__name__}, y=None{where}"
        )
    pairs = []
    for batch in stream:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise InvalidRequestError(
                "A batch of the dataset is no pair.\n\nLet it give (images, labels). "
                f"Received: an object of type {type(batch).__name__}{where}"
            )
        pairs.append((_plain(batch[0]), _plain(batch[1])))
    if not pairs:
        raise InvalidRequestError(
            "The dataset is empty.\n\nGive one with batches. "
            f"Received: {type(dataset).__name__}{where}"
        )
    xs, ys = zip(*pairs, strict=True)
    join = np.stack if _is_single(xs[0], ys[0], num_axes) else np.concatenate
    try:
        return join(xs), join(ys)
    except ValueError as error:
        raise InvalidRequestError(
            f"The batches of the dataset do not fit together: {error!s:.160}\n\nLet "
            f"all samples have the same shape. Received: first x of shape "
            f"{xs[0].shape} and y of shape {ys[0].shape}{where}"
        ) from error


def _is_single(x: np.ndarray, y: np.ndarray, num_axes: int) -> bool:
    """Whether a pair is one sample: the dataset is not batched."""
    return y.ndim == 0 or (x.ndim == num_axes and len(x) != len(y))


def _num_batches(dataset: Any) -> int:
    try:
        count = dataset.num_batches
    except (NotImplementedError, TypeError, AttributeError) as error:
        raise InvalidRequestError(
            "The dataset does not say how many batches it has.\n\nGive its class a "
            f"method __len__ that does. Received: {type(dataset).__name__}"
        ) from error
    if count is None:
        _refuse_endless(dataset)
    return int(count)


def _refuse_endless(dataset: Any) -> None:
    raise InvalidRequestError(
        "The dataset has no end, but it is read into memory.\n\nCut it: "
        f"dataset.take(number of batches). Received: {type(dataset).__name__}"
    )


def _plain(tensor: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor))


def split_data(
    x: np.ndarray, y: np.ndarray, fraction: Any, seed: int, has_labels: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions of training and validation samples, class by class.

    Every class has the same part of its samples in the validation data, and at least
    one in each of both. What may be no labels is split so if it can be.

    Args:
        x: Samples.
        y: Labels, or any targets.
        fraction: Part of the samples to validate with.
        seed: Of the run.
        has_labels: Whether `y` is known to be labels.

    Raises:
        InvalidRequestError: No fraction, or a class with a single sample.
    """
    if not is_real(fraction) or not 0 < fraction < 1:
        raise InvalidRequestError(
            f"{fraction!r} is no part of the samples to validate with.\n\nGive a "
            f"number between 0 and 1, or validation_data. Received: "
            f"validation_split={fraction!r}"
        )
    fraction = float(fraction)
    rng = generator(seed, Purpose.SPLIT)
    classes = class_numbers(y)
    if classes is not None and not has_labels:
        counts = np.unique(classes, return_counts=True)[1]
        classes = classes if counts.min() > 1 else None
    if classes is None:
        order = rng.permutation(len(x))
        size = min(max(1, round(fraction * len(x))), len(x) - 1)
        return np.sort(order[size:]), np.sort(order[:size])
    train, validation = [], []
    for label in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == label))
        if len(members) < 2:
            raise InvalidRequestError(
                f"Class {label} has only one sample, which cannot be both trained and "
                f"validated with.\n\nGive more samples, leave the class out, or give "
                f"validation_data. Received: {len(x)} samples, "
                f"validation_split={fraction!r}"
            )
        size = min(max(1, round(fraction * len(members))), len(members) - 1)
        validation.append(members[:size])
        train.append(members[size:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def class_numbers(y: np.ndarray) -> np.ndarray | None:
    """Returns the class of every sample; None if `y` is no labels."""
    if y.ndim == 2 and y.shape[1] > 1:
        return np.argmax(y, axis=1) if is_one_hot(y) else None
    if y.size == len(y) and y.dtype.kind in "iub":
        return y.reshape(-1).astype(np.int64)
    return None


def is_one_hot(y: np.ndarray) -> bool:
    """Whether the rows of a matrix are one-hot, or probabilities of classes."""
    return bool(np.allclose(y.sum(axis=1), 1, atol=1e-3) and y.min() >= 0)
