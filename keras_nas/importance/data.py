"""Batches of data, and a private copy of a model to run them through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Analysis,
    Graph,
    analyze,
    build,
    names_kept,
)
from keras_nas.graph.wrap import wrap_with_variables
from keras_nas.numeric import is_whole


class Copy(NamedTuple):
    """A model made from a graph, whose weights may be looked at while it runs.

    Attributes:
        model: The model.
        graph: Its graph; parts have the same keys as in the graph it was made from.
        analysis: Axes of that graph.
        variables: Identity of a weight of the graph -> the variable.
    """

    model: Any
    graph: Graph
    analysis: Analysis
    variables: dict[int, Any]


def copy_to_run(graph: Graph) -> Copy:
    """Builds a model that only the caller knows.

    Raises:
        InvalidRequestError: The graph is in the middle of an edit and cannot run.
    """
    vertices = (v for _, body in graph.bodies() for v in body.vertices.values())
    if any(vertex.has_seams for vertex in vertices):
        raise InvalidRequestError(
            "Importance cannot be measured in the middle of an edit, where the sizes "
            "do not fit yet.\n\nMeasure it before: "
            "`importance=criterion.measure(model)`. "
            f"Received: the model {graph.body.name!r} while its layers are rewired"
        )
    with names_kept():
        model = build(graph.with_optimizer(False))
    new, weights = wrap_with_variables(model)
    by_id = {id(variable): variable for variable in model.variables}
    variables = {id(w): by_id[key] for key, w in weights.items() if key in by_id}
    return Copy(model, new, analyze(new), variables)


def find_layer(model: Any, key: str) -> Any:
    """Returns the layer of a part, by its path through nested models."""
    for name in key.split("/"):
        model = model.get_layer(name.partition("^")[0])
    return model


def check_data(x: Any, y: Any, batch_size: Any) -> None:
    """Raises `InvalidRequestError` for data that no model can take."""
    if not is_whole(batch_size) or batch_size < 1:
        raise InvalidRequestError(
            "The batch size must be a whole number, at least 1.\n\nGive an int. "
            f"Received: batch_size={batch_size!r}"
        )
    if not _is_arrays(x):
        if y is not None:
            raise InvalidRequestError(
                f"A {type(x).__name__} brings its own targets.\n\nLeave `y` out. "
                f"Received: y of type {type(y).__name__}"
            )
        return
    lengths = {len(array) for array in keras.tree.flatten((x, y)) if array is not None}
    if len(lengths) > 1 or not min(lengths, default=0):
        raise InvalidRequestError(
            f"Inputs and targets have {sorted(lengths)} samples.\n\nGive as many "
            "targets as inputs, at least one. Received: "
            f"{_shapes(x)} and {_shapes(y)}"
        )


def batches(x: Any, y: Any, batch_size: int) -> Iterator[tuple[Any, Any, Any]]:
    """Yields ``(x, y, sample_weight)`` as arrays.

    Args:
        x: Arrays, in the structure that the model takes, or an iterable of batches:
            ``x``, ``(x, y)`` or ``(x, y, sample_weight)`` (a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset``, a ``DataLoader``, a list).
        y: Arrays, or None.
        batch_size: Number of samples; iterables have their own.
    """
    if not _is_arrays(x):
        for batch in _iterate(x):
            batch = tuple(batch) if isinstance(batch, list) else batch
            yield keras.utils.unpack_x_y_sample_weight(batch)
        return
    length = len(keras.tree.flatten(x)[0])
    for start in range(0, length, batch_size):

        def part(array: Any, start: int = start) -> Any:
            return None if array is None else array[start : start + batch_size]

        yield (
            keras.tree.map_structure(part, x),
            None if y is None else keras.tree.map_structure(part, y),
            None,
        )


def run_batches(
    step: Callable[[Any, Any, Any], Any], x: Any, y: Any, batch_size: int
) -> Iterator[np.ndarray]:
    """Yields what a function makes of each batch, as an array.

    Raises:
        InvalidRequestError: The data do not fit the model, or there are none.
    """
    count = 0
    for batch in batches(x, y, batch_size):
        try:
            result = keras.ops.convert_to_numpy(step(*map(_tensors, batch)))
        except InvalidRequestError:
            raise
        except Exception as error:  # Each backend has errors of its own for this.
            raise InvalidRequestError(
                f"The data do not fit the model: {_shortened(error)}\n\n"
                "Give data as `model.fit` takes them. "
                f"Received: {_shapes(batch[0])} and {_shapes(batch[1])}"
            ) from error
        if not np.isfinite(result).all():
            raise InvalidRequestError(
                "What the data contribute to the loss is not finite.\n\nLook for NaN "
                "or infinity in the data and the weights. "
                f"Received: {_shapes(batch[0])}"
            )
        count += 1
        yield result
    if not count:
        raise InvalidRequestError(
            "There are no data.\n\nGive at least one batch; a generator can be used "
            f"only once. Received: x={x!r}"
        )


def _shortened(error: Exception) -> str:
    """Returns the message of an error on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _is_arrays(x: Any) -> bool:
    """Whether data are arrays, as opposed to something that yields batches."""
    if isinstance(x, (list, tuple)) and x and isinstance(x[0], tuple):
        return False
    flat = keras.tree.flatten(x)
    return bool(flat) and all(
        hasattr(leaf, "shape") and hasattr(leaf, "__getitem__") for leaf in flat
    )


def _iterate(x: Any) -> Iterable:
    if isinstance(x, keras.utils.PyDataset):
        return (x[number] for number in range(x.num_batches))
    if not isinstance(x, Iterable):
        raise InvalidRequestError(
            f"Data cannot be a {type(x).__name__}.\n\nGive arrays, or a data set that "
            f"yields batches. Received: x={x!r}"
        )
    return x


def _tensors(value: Any) -> Any:
    if value is None:
        return None
    return keras.tree.map_structure(keras.ops.convert_to_tensor, value)


def _shapes(value: Any) -> str:
    if value is None:
        return "no targets"
    shapes = [tuple(np.shape(leaf)) for leaf in keras.tree.flatten(value)]
    return f"arrays of shape {', '.join(map(str, shapes))}"
