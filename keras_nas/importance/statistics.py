"""What neurons do, collected while a model is trained."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nas.axes import Expression, MaybeNone
from keras_nas.graph import TensorRef, analyze, keras_private
from keras_nas.graph.wrap import wrap_with_variables
from keras_nas.importance.activation import KINDS, Probes, combine
from keras_nas.importance.along import positions
from keras_nas.importance.combining import Values
from keras_nas.importance.data import Copy
from keras_nas.importance.listening import Listening
from keras_nas.importance.scores import Scores
from keras_nas.importance.wrapping import wrapped
from keras_nas.rules import map_leaves

_SIZE_OF_UNKNOWN = 32


class ActivationStatistics(Listening):
    """Collects `Activation` importance during ``fit``, without a further pass.

    What the layers read and make is looked at inside the training step, as it is
    compiled. It comes from the model as it is trained, dropout included; validation
    does not count. Of the batches an exponentially weighted moving average is kept,
    without bias toward its start at 0, since what a neuron did many steps ago says
    little.

    The variance is that within a batch, over samples and positions; differences
    between batches are left out. What happens inside of recurrent layers and wrappers,
    which loop, is not seen: their outputs are. On JAX the model has one more variable
    until training ends, which a checkpoint that is saved meanwhile holds as well.

    Args:
        kind: ``"mean"``, ``"variance"`` or ``"apoz"``, as in `Activation`.
        decay: What the average keeps from one batch to the next, in [0, 1); None for
            the plain mean over all batches.
        aggregation: As in `Activation`.
        normalization: As in `Activation`.

    Raises:
        InvalidRequestError: A setting that does not exist, or (when used) no batch was
            seen, or another model.

    Source: as `Activation`; the average as in `Contribution`.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, activation="relu", name="a"),
        ...     keras.layers.Dense(1, name="b"),
        ... ])
        >>> _ = model.get_layer("a").bias.assign([9.0, -9.0, 9.0])
        >>> model.compile("sgd", "mse")
        >>> zeros = kn.importance.ActivationStatistics("apoz")
        >>> x, y = np.ones((8, 2)), np.zeros((8, 1))
        >>> _ = model.fit(x, y, verbose=0, callbacks=[zeros])
        >>> kn.plan(model, "a", 2, importance=zeros).keep["a"]
        array([0, 2])
    """

    def __init__(
        self,
        kind: str = "mean",
        *,
        decay: float | None = 0.95,
        aggregation: str = "sum",
        normalization: str = "mean",
    ):
        super().__init__(kind, KINDS, decay, aggregation, normalization)
        self._listening: ExitStack | MaybeNone = None
        self._is_on = False

    # --- what Keras calls ---------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts to look at the layers."""
        self._stop()
        model = self.model
        self._graph, _ = wrap_with_variables(model)
        self._analysis = analyze(self._graph)
        copy = Copy(model, self._graph, self._analysis, {})
        self._probes = Probes(copy, self._new_sink, in_loops=False)
        self._listening = ExitStack()
        self._listening.enter_context(self._probes.attached())
        # One run shows which tensors there are; its numbers do not count.
        self._run_once(model)
        self._sinks = [sink for each in self._probes.ranked() for sink in each]
        if not self._sinks:
            return
        # One entry more: see `_average`.
        size = sum(sink.size for sink in self._sinks) + 1
        self._total = keras.Variable(
            initializer="zeros",
            shape=(size,),
            dtype="float32",
            trainable=False,
            name="activation_statistics",
        )
        if keras.backend.backend() == "jax":
            keras_private.track_variable(model, self._total)
            self._listening.callback(
                keras_private.untrack_variable, model, self._total
            )
        self._watch(model)
        model.make_train_function(force=True)

    # --- in the model -------------------------------------------------------------

    def _new_sink(self, axis: Expression) -> _Sink:
        return _Sink(axis, self)

    def _run_once(self, model: Any) -> None:
        specs = self._analysis.flat.specs

        def sample(leaf: Any) -> Any:
            if not isinstance(leaf, TensorRef):
                return leaf
            shape = tuple(specs[leaf].shape)
            known = [_SIZE_OF_UNKNOWN if n is None else n for n in shape[1:]]
            first = 1 if shape[0] is None else shape[0]
            return ops.zeros((first, *known), dtype=specs[leaf].dtype)

        model(map_leaves(sample, self._graph.body.inputs), training=False)

    def _watch(self, model: Any) -> None:
        """Lets each call of the model in training add to the total."""

        def watched(call: Any, *args: Any, **kwargs: Any) -> Any:
            self._is_on = bool(kwargs.get("training"))
            for sink in self._sinks:
                sink.found = []
            try:
                outputs = call(*args, **kwargs)
                if self._is_on:
                    self._add()
            finally:
                self._is_on = False
            return outputs

        self._listening.enter_context(wrapped(model, "call", watched))

    def _add(self) -> None:
        rows = [sink.statistics for sink in self._sinks]
        self._average(self._total, ops.concatenate(rows, axis=0))

    def _read(self) -> None:
        numbers = self._mean()
        if numbers is None:
            return
        ends = np.cumsum([sink.size for sink in self._sinks])[:-1]
        parts = np.split(numbers, ends)
        told = {
            id(s): s.of_atoms(part) for s, part in zip(self._sinks, parts, strict=True)
        }
        said = [
            [told[id(sink)] for sink in each if id(sink) in told]
            for each in self._probes.ranked()
        ]
        values = combine(
            said, self._probes.atoms, self.aggregation, self.normalization
        )
        self._scores = Scores(self._graph, self._analysis, values)

    def _stop(self) -> None:
        if self._listening is None:
            return
        self._listening.close()
        self._total = self._listening = None
        if self.model is not None:
            self.model.make_train_function(force=True)


class _Sink:
    """What one axis of one tensor says in one step."""

    def __init__(self, axis: Expression, owner: ActivationStatistics):
        self._axis, self._owner = axis, owner
        self._kind = owner.kind
        # Of the variance, the means of the positions are needed, too.
        self._num_rows = 2 if self._kind == "variance" else 1
        self.size = axis.size * self._num_rows
        self.found: list = []

    def add(self, tensor: Any, number: int) -> None:
        """Notes the statistics of a tensor, in training."""
        if self._owner._is_on:
            others = tuple(n for n in range(len(tensor.shape)) if n != number)
            self.found.append(self._reduce(ops.cast(tensor, "float32"), others))

    @property
    def statistics(self) -> Any:
        """The mean over all calls of a shared layer, of shape ``(size,)``."""
        if not self.found:
            return ops.zeros((self.size,), "float32")
        return sum(self.found[1:], self.found[0]) / len(self.found)

    def _reduce(self, tensor: Any, others: tuple) -> Any:
        if self._kind == "mean":
            return ops.mean(ops.abs(tensor), axis=others)
        if self._kind == "apoz":
            return ops.mean(ops.cast(ops.not_equal(tensor, 0), "float32"), axis=others)
        mean, variance = ops.moments(tensor, axes=others)
        return ops.concatenate([variance, mean], axis=0)

    def of_atoms(self, numbers: np.ndarray) -> Values:
        """Returns a statistic of each neuron over all its positions."""
        rows = numbers.reshape(self._num_rows, -1)
        found = {}
        for atom, where in positions(self._axis).items():
            found[atom] = rows[0][where].mean(axis=1)
            if self._num_rows == 2:
                found[atom] = found[atom] + rows[1][where].var(axis=1)
        return found
