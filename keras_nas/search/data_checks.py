"""Wrong data are refused before anything is trained with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.search.data import Split, as_arrays, is_one_hot, split_data

# More classes than these are believed only if there are as many samples.
_MANY_CLASSES = 10_000
_NUMBERED = "names, y = np.unique(y, return_inverse=True)"


def prepare(
    x: Any,
    y: Any = None,
    *,
    validation_split: float = 0.1,
    validation_data: Any = None,
    seed: int = 0,
    wants_labels: bool = True,
    input_shape: tuple | None = None,
) -> Split:
    """Returns checked data, split into what is trained with and what is compared on.

    Args:
        x: Images `(n, height, width, channels)`, a dataset, or whatever `input_shape`
            takes.
        y: Integer labels `(n,)`, or one-hot labels `(n, classes)`.
        validation_split: Part of the samples to compare candidates on, of each class
            alike.
        validation_data: ``(x, y)`` or a dataset, instead of a split.
        seed: Of the split.
        wants_labels: Whether `y` must be class labels.
        input_shape: Shape of one sample that a given model takes, None for free axes;
            None if there is no model: then the samples must be images.

    Raises:
        InvalidRequestError: Something is wrong with the data; says what and what to do.
    """
    has_model = input_shape is not None
    x, y = _checked((x, y), wants_labels, input_shape, has_model)
    if validation_data is None:
        if len(x) < 2:
            raise InvalidRequestError(
                f"{len(x)} samples are too few to train and validate with.\n\nGive "
                f"more, or validation_data. Received: x of shape {x.shape}"
            )
        train, validation = split_data(x, y, validation_split, seed, wants_labels)
        split = Split(x[train], y[train], x[validation], y[validation])
    else:
        pair = validation_data if _is_pair(validation_data) else (validation_data, None)
        where = " in validation_data"
        x_val, y_val = _checked(pair, wants_labels, x.shape[1:], has_model, where)
        if y_val.shape[1:] != y.shape[1:]:
            raise InvalidRequestError(
                f"Labels of shape {y.shape} and validation labels of shape "
                f"{y_val.shape} are of two kinds.\n\nGive both as integers or both "
                f"one-hot. Received: validation_data"
            )
        split = Split(x, y, x_val, y_val)
    return split


def _is_pair(data: Any) -> bool:
    return isinstance(data, (tuple, list)) and len(data) == 2


def _checked(
    pair: Any,
    wants_labels: bool,
    input_shape: tuple | None,
    has_model: bool,
    where: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    x, y = pair
    num_axes = 3 if input_shape is None else len(input_shape)
    x, y = as_arrays(x, y, where, num_axes)
    _check_inputs(x, input_shape, where)
    if y.ndim == 0 or len(x) != len(y):
        count = "one number" if y.ndim == 0 else f"{len(y)} labels"
        raise InvalidRequestError(
            f"{len(x)} samples and {count} do not fit together.\n\nGive one "
            f"label for each sample. Received: x of shape {x.shape}, y of shape "
            f"{y.shape}{where}"
        )
    _check_numbers(y, where)
    if wants_labels:
        y = _check_labels(y, has_model, where)
    is_wide = x.dtype.kind == "f" and x.itemsize > 4
    return x.astype("float32") if is_wide else x, y


def _check_inputs(x: np.ndarray, input_shape: tuple | None, where: str) -> None:
    if x.dtype.kind not in "fiub":
        raise InvalidRequestError(
            f"Samples of type {x.dtype} are no numbers.\n\nGive an array of floats or "
            f"integers. Received: x of shape {x.shape}{where}"
        )
    if x.ndim == 0 or len(x) == 0:
        raise InvalidRequestError(
            f"There are no samples.\n\nGive at least two. Received: x of shape "
            f"{x.shape}{where}"
        )
    if x.ndim == 3 and (input_shape is None or len(input_shape) == 3):
        raise InvalidRequestError(
            f"Images of shape {x.shape} have no channel axis.\n\nAdd one: "
            f"x = x[..., None]. Received: x of shape {x.shape}{where}"
        )
    if input_shape is None and x.ndim != 4:
        raise InvalidRequestError(
            f"An array with {x.ndim} axes holds no images.\n\nGive (samples, height, "
            f"width, channels), or a model that takes these samples: "
            f"KerasEvolver(model=...). Received: x of shape {x.shape}{where}"
        )
    if input_shape is not None and not _fits(x.shape[1:], input_shape):
        raise InvalidRequestError(
            f"Samples of shape {x.shape[1:]} do not fit: {tuple(input_shape)} is "
            f"expected.\n\nReshape them, or use another model. Received: x of shape "
            f"{x.shape}{where}"
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InvalidRequestError(
            f"{int((~np.isfinite(x)).sum())} values of the samples are NaN or infinite."
            f"\n\nReplace them: np.nan_to_num(x). Received: x of shape {x.shape}{where}"
        )


def _fits(shape: tuple, wanted: tuple) -> bool:
    return len(shape) == len(wanted) and all(
        size is None or size == given for given, size in zip(shape, wanted, strict=True)
    )


def _check_numbers(y: np.ndarray, where: str) -> None:
    if y.dtype.kind not in "fiub":
        raise InvalidRequestError(
            f"Labels of type {y.dtype} are no numbers.\n\nNumber the classes: "
            f"{_NUMBERED}. Received: y of shape {y.shape}, such as "
            f"{y.reshape(-1)[0]!r}{where}"
        )


def check_class_count(count: int, num_samples: int, where: str = "") -> None:
    """Refuses labels that are numbers of something else than classes.

    Args:
        count: Number of classes if the largest label is that of the last one.
        num_samples: How many labels there are.
        where: What the message adds to the name ``y``.

    Raises:
        InvalidRequestError: More classes than samples, and more than 10,000.
    """
    if count > max(_MANY_CLASSES, num_samples):
        raise InvalidRequestError(
            f"The label {count - 1} would make {count} classes of {num_samples} "
            f"samples.\n\nNumber the classes from 0: {_NUMBERED}. Received: y with a "
            f"maximum of {count - 1}{where}"
        )


def _check_labels(y: np.ndarray, has_model: bool, where: str) -> np.ndarray:
    """Returns labels as int32 `(n,)`, or one-hot as float32 `(n, classes)`."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2):
        raise InvalidRequestError(
            f"Labels of shape {y.shape} are neither integers (n,) nor one-hot "
            f"(n, classes).\n\nGive one label for each sample. Received: y of shape "
            f"{y.shape}{where}"
        )
    if not np.isfinite(y).all():
        raise InvalidRequestError(
            f"{int((~np.isfinite(y)).sum())} values of the labels are NaN or infinite."
            f"\n\nLeave these samples out. Received: y of shape {y.shape}{where}"
        )
    if y.ndim == 2:
        return _check_one_hot(y, where)
    return _check_integers(y, has_model, where)


def _check_one_hot(y: np.ndarray, where: str) -> np.ndarray:
    if not is_one_hot(y):
        raise InvalidRequestError(
            f"Rows of labels of shape {y.shape} do not add up to 1, as one-hot labels "
            f"do.\n\nGive integer labels (n,), or another task with loss=... . "
            f"Received: first row {y[0].tolist()[:8]}{where}"
        )
    if len(np.unique(np.argmax(y, axis=1))) < 2:
        _refuse_one_class(y, where)
    return y.astype("float32")


def _check_integers(y: np.ndarray, has_model: bool, where: str) -> np.ndarray:
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        raise InvalidRequestError(
            f"Labels such as {float(y[y != np.round(y)][0])!r} are no classes.\n\nGive "
            f"integers from 0, or another task with loss=... . Received: y of type "
            f"{y.dtype}{where}"
        )
    if y.min() < 0:
        raise InvalidRequestError(
            f"The label {int(y.min())} is negative.\n\nNumber the classes from 0: "
            f"{_NUMBERED}. Received: labels from {int(y.min())} to {int(y.max())}"
            f"{where}"
        )
    # A model that is given says itself how many classes there are.
    if not has_model or y.max() > np.iinfo(np.int32).max:
        check_class_count(int(y.max()) + 1, len(y), where)
    if len(np.unique(y)) < 2:
        _refuse_one_class(y, where)
    return y.astype("int32")


def _refuse_one_class(y: np.ndarray, where: str) -> None:
    raise InvalidRequestError(
        f"All samples are of one class: there is nothing to learn.\n\nGive samples of "
        f"at least two classes. Received: y of shape {y.shape}{where}"
    )
