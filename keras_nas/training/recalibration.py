"""New statistics of BatchNormalization, from data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Graph as Structure
from keras_nas.graph import flatten, keras_private
from keras_nas.importance.data import batches, check_data, find_layer, run_batches
from keras_nas.importance.wrapping import wrapped
from keras_nas.surgery import Graph

MODES = ("layers", "batches")


def recalibrate(
    model: Any,
    x: Any,
    *,
    batch_size: int = 32,
    mode: str = "layers",
    carry_optimizer: bool = False,
) -> Any:
    """Returns a new model whose BatchNormalization layers fit the given data.

    Cutting neurons or adding edges changes what normalization layers see, but not what
    they remember of it. A new model is a good one again, often before any training, if
    it remembers what it sees now. No other weight changes.

    ``mode="layers"`` is exact: in the model that is returned, run as in inference, mean
    and (biased) variance of what each layer reads over all data (of every call, and
    every position of every sample) *are* its moving mean and variance. Layers that read
    what others normalise come after them, so the data run through the model once for
    each normalization on the longest path; once in all, if they are a single batch.
    ``mode="batches"`` needs one pass: each batch is normalised by itself, as in
    training, and the statistics are those of all that was seen in this way.

    Args:
        model: A built functional or sequential `keras.Model`. Not changed.
        x: Inputs as ``model.fit`` takes them: arrays in the structure of the inputs, or
            something that yields batches (a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset``, a list). Targets are left aside.
        batch_size: Number of samples that run together, for arrays.
        mode: ``"layers"`` or ``"batches"``.
        carry_optimizer: As in `keras_nas.resize`.

    Returns:
        A new `keras.Model`.

    Raises:
        InvalidRequestError: There is no BatchNormalization, there are no data, or they
            do not fit the model; a setting does not exist.
        UnsupportedModelError: ``model`` is of another kind.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> norm = keras.layers.BatchNormalization(name="norm")
        >>> model = keras.Sequential([keras.Input((1,)), norm])
        >>> new = kn.recalibrate(model, np.array([[1.0], [3.0]]))
        >>> [float(v[0]) for v in new.get_layer("norm").non_trainable_variables]
        [2.0, 1.0]

    Source: for ``"batches"``, ``update_bn`` of PyTorch with a cumulative average; the
    need for it after cuts: Li 2020, "EagleEye" (arXiv 2007.02491).
    """
    if mode not in MODES:
        raise InvalidRequestError(
            f"There is no mode named {mode!r}.\n\nChoose one of "
            f"{', '.join(map(repr, MODES))}. Received: mode={mode!r}"
        )
    check_data(x, None, batch_size)
    graph = Graph.from_model(model)
    new = graph.build(carry_optimizer=carry_optimizer)
    norms = norm_layers(new)
    if not norms:
        raise InvalidRequestError(
            f"The model '{model.name}' has no BatchNormalization, so nothing in it "
            "depends on data.\n\nUse the model as it is. "
            f"Received: {model!r}"
        )
    groups, is_shared = _groups(graph, new, norms)
    if mode == "batches" or not (is_shared or _has_several_batches(x, batch_size)):
        _measure(new, norms, x, batch_size, by_itself=True)
        return new
    for group in groups:
        _measure(new, group, x, batch_size, by_itself=False)
    return new


def norm_layers(model: Any) -> list[Any]:
    """Returns all BatchNormalization layers of a model, wherever they are nested."""
    found = {
        id(layer): layer
        for layer, _ in keras_private.owners(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    return list(found.values())


def _has_several_batches(x: Any, batch_size: int) -> bool:
    """Whether data are more than one batch; what runs out is not looked at."""
    if isinstance(x, Iterator):
        return True
    found = batches(x, None, batch_size)
    return next(found, None) is not None and next(found, None) is not None


def _groups(
    graph: Structure, model: Any, norms: list[Any]
) -> tuple[list[list[Any]], bool]:
    """Returns the layers in groups, none of which reads what its group normalises.

    Also whether any is called more than once.
    """
    depths: dict[Any, int] = {}
    rank: dict[int, tuple[int, int]] = {}
    known, is_shared = {id(norm) for norm in norms}, False
    for call in flatten(graph).calls:
        depth = max((depths.get(ref.vertex, 0) for ref in call.reads), default=0)
        if not call.part.is_operation and not call.part.is_input:
            layer = find_layer(model, call.part.key)
            own = [one for one, _ in keras_private.owners(layer) if id(one) in known]
            # Of several in one layer nobody knows the order: each waits for the last.
            for number, norm in enumerate(own):
                is_shared |= id(norm) in rank
                rank[id(norm)] = max(rank.get(id(norm), (0, 0)), (depth, number))
            depth += bool(own)
        depths[call.path] = depth
    groups: dict[tuple[int, int], list[Any]] = {}
    for norm in norms:
        groups.setdefault(rank[id(norm)], []).append(norm)
    return [groups[key] for key in sorted(groups)], is_shared


def _measure(
    model: Any, norms: Sequence[Any], x: Any, batch_size: int, *, by_itself: bool
) -> None:
    """Gives some layers the statistics of what they read.

    Args:
        model: The model, which is changed.
        norms: The layers.
        x: The data.
        batch_size: Of arrays.
        by_itself: Whether each batch is normalised by its own statistics.
    """
    seen = {id(norm): _Statistics(norm) for norm in norms}

    def look(norm: Any, inputs: Any, mask: Any) -> None:
        own = _Statistics(norm) if by_itself else seen[id(norm)]
        own.add(inputs, mask)
        if by_itself:
            own.write()
            seen[id(norm)].merge(own)

    def step(inputs: Any, y: Any, sample_weight: Any) -> np.ndarray:
        model(inputs, training=False)
        return np.zeros(())

    with _watched(norms, look):
        for _ in run_batches(step, x, None, batch_size):
            pass
    for statistics in seen.values():
        statistics.write()


@contextmanager
def _watched(norms: Sequence[Any], look: Callable[[Any, Any, Any], None]) -> Iterator:
    """Shows what each layer is called on, before it is called."""

    def watch(norm: Any) -> Callable:
        def seen(call: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            look(norm, inputs, mask)
            return call(inputs, training=False, mask=mask)

        return seen

    with ExitStack() as scopes:
        for norm in norms:
            scopes.enter_context(wrapped(norm, "call", watch(norm)))
        yield


class _Statistics:
    """Count, mean and sum of squared distances from it, of one layer.

    Source: Chan 1979, "Updating formulae and a pairwise algorithm for computing sample
    variances", for joining those of several batches without loss.
    """

    def __init__(self, norm: Any):
        self._norm = norm
        self.count = 0.0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, inputs: Any, mask: Any) -> None:
        """Adds one batch of what the layer reads."""
        try:
            array = keras.ops.convert_to_numpy(inputs).astype(np.float64)
        except (TypeError, AttributeError, NotImplementedError) as error:
            raise InvalidRequestError(
                f"'{self._norm.name}' is called in a loop that the backend compiles, "
                "where nobody can look.\n\nTrain for some steps instead, with all "
                f"weights frozen. Received: {self._norm!r}"
            ) from error
        axis = self._norm.axis % array.ndim
        rows = np.moveaxis(array, axis, -1)
        if mask is not None:
            # As Keras does: masked steps do not count.
            mask = keras.ops.convert_to_numpy(mask).astype(bool)
            rows = rows[np.broadcast_to(mask, rows.shape[:-1])]
        rows = rows.reshape(-1, array.shape[axis])
        if not len(rows):
            return
        other = _Statistics(self._norm)
        other.count, other.mean = float(len(rows)), rows.mean(axis=0)
        other.squares = ((rows - other.mean) ** 2).sum(axis=0)
        self.merge(other)

    def merge(self, other: _Statistics) -> None:
        """Adds what another one has seen."""
        if not other.count:
            return
        total = self.count + other.count
        gap = other.mean - self.mean
        self.mean = self.mean + gap * (other.count / total)
        self.squares = self.squares + other.squares
        self.squares = self.squares + gap**2 * (self.count * other.count / total)
        self.count = total

    def write(self) -> None:
        """Gives the layer its statistics, if it has seen anything."""
        if not self.count:
            return
        variance = self.squares / self.count
        if not (np.isfinite(self.mean).all() and np.isfinite(variance).all()):
            raise InvalidRequestError(
                f"What '{self._norm.name}' reads is not finite.\n\nLook for NaN or "
                f"infinity in the data and the weights. Received: {self._norm!r}"
            )
        self._norm.moving_mean.assign(self.mean)
        self._norm.moving_variance.assign(variance)
