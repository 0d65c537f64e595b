"""What dropped neurons contributed on average, added to what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

from keras_nas.graph import Analysis, Graph, Weight, exchange_weights
from keras_nas.importance.data import copy_to_run, find_layer, run_batches
from keras_nas.importance.wrapping import wrapped
from keras_nas.surgery.constants import constant_shifts
from keras_nas.surgery.readers import Keep, Reader, find_readers, without_activation

Shifts = Mapping[str, np.ndarray]


def fold(
    graph: Graph, analysis: Analysis, keep: Keep, data: Any, batch_size: int = 32
) -> Graph:
    """Returns a graph whose layers expect the neurons that a plan drops to be missing.

    Each layer that reads them gets the mean of what they added to its output, over all
    data and positions, on its bias; one without a bias has the normalization behind it
    expect that much less. What is at the border of an image counts as it is, padding
    and all. The kept neurons are not touched, so the plan can be carried out on the
    result.

    Args:
        graph: The old graph.
        analysis: Its axes.
        keep: Keep arrays of the plan.
        data: Inputs; None to add only what is certain without any.
        batch_size: Of arrays.
    """
    readers = [r for r in find_readers(analysis, keep) if r.problem is None]
    if not readers:
        return graph
    if data is None:
        shifts = constant_shifts(graph, analysis, readers)
    else:
        shifts = measure(graph, readers, data, batch_size)
    return _shifted(graph, [r for r in readers if r.key in shifts], shifts)


def measure(
    graph: Graph, readers: Sequence[Reader], data: Any, batch_size: int
) -> dict[str, np.ndarray]:
    """Returns key of a reader -> mean of what dropped neurons add to its output."""
    copy = copy_to_run(graph)
    sums: dict[str, Any] = {reader.key: 0.0 for reader in readers}
    counts = dict.fromkeys(sums, 0)

    def look(reader: Reader, linear: Callable[[Any], Any], inputs: Any) -> None:
        gap = linear(inputs) - linear(reader.keep(inputs))
        gap = keras.ops.convert_to_numpy(gap).astype(np.float64)
        others = tuple(n for n in range(gap.ndim) if n not in reader.axes)
        means = reader.in_order_of_the_weight(gap.sum(axis=others))
        sums[reader.key] = sums[reader.key] + means
        counts[reader.key] += gap.size // max(means.size, 1)

    def step(x: Any, y: Any, sample_weight: Any) -> np.ndarray:
        copy.model(x, training=False)
        return np.array([float(np.sum(total)) for total in sums.values()])

    with watched(copy.model, readers, look):
        for _ in run_batches(step, data, None, batch_size):
            pass
    return {key: sums[key] / max(counts[key], 1) for key in sums}


@contextmanager
def watched(
    model: Any,
    readers: Sequence[Reader],
    look: Callable[[Reader, Callable[[Any], Any], Any], None],
) -> Iterator[None]:
    """Shows what some layers of a model read.

    Args:
        model: The model.
        readers: The layers.
        look: Called with a reader, a function that computes what the layer does without
            its activation, and what the layer reads.
    """

    def watch(reader: Reader, layer: Any) -> Callable:
        def seen(call: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            def linear(inputs: Any) -> Any:
                with without_activation(layer):
                    return call(inputs)

            look(reader, linear, inputs)
            return call(inputs, *args, **kwargs)

        return seen

    with ExitStack() as scopes:
        for reader in readers:
            layer = find_layer(model, reader.key)
            scopes.enter_context(wrapped(layer, "call", watch(reader, layer)))
        yield


def _shifted(graph: Graph, readers: Sequence[Reader], shifts: Shifts) -> Graph:
    """Returns the graph with the shifts added to the weights that take them."""
    changed: dict[int, Weight] = {}
    for reader in readers:
        for (key, name), sign in reader.shifted.items():
            weight = dict(graph.parts[key].named_weights)[name]
            known = changed.get(id(weight), weight)
            changed[id(weight)] = _plus(known, sign * shifts[reader.key])
    return exchange_weights(graph, changed)


def _plus(weight: Weight, shift: np.ndarray) -> Weight:
    def plus(values: np.ndarray) -> np.ndarray:
        return values + shift.reshape(values.shape)

    return Weight.derived(weight, weight.shape, plus, origins=lambda where: where)


def fold_notes(
    graph: Graph, analysis: Analysis, keep: Keep, has_data: bool
) -> Iterator[str]:
    """Says where folding changes the function, and where it cannot."""
    readers = find_readers(analysis, keep)
    able = [reader for reader in readers if reader.problem is None]
    if not has_data:
        certain = constant_shifts(graph, analysis, able)
        able = [reader for reader in able if reader.key in certain]
    inputs = "inputs" if has_data else "constant inputs"
    for reader in able:
        yield (
            f"'{reader.path}' goes on with what its dropped {inputs} contributed on "
            "average, as fold_constants asks for, so its output differs from that of "
            "the old model without them."
        )
    for reader in readers:
        if reader.problem is not None:
            yield (
                f"'{reader.path}' loses what its dropped inputs contributed on "
                f"average: {reader.problem}."
            )
