"""What the callbacks have in common that collect importance while `fit` runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nas.axes import Atom
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Graph
from keras_nas.importance.combining import (
    Values,
    check_choice,
    check_combining,
    check_decay,
)
from keras_nas.importance.criterion import Criterion
from keras_nas.importance.scores import Scores


class Listening(keras.callbacks.Callback, Criterion):
    """A callback and a criterion: what it has heard says which neurons matter.

    Args:
        kind: What is collected.
        kinds: What could be.
        decay: How much of what was collected stays with each batch; None for a plain
            mean.
        aggregation: ``"sum"``, ``"mean"`` or ``"max"`` over what speaks for a neuron.
        normalization: As in `Combined`.

    Raises:
        InvalidRequestError: A setting that does not exist.
    """

    # It listens to one model; `fit_pruned` asks.
    restarts_at_cuts = True

    def __init__(
        self,
        kind: str,
        kinds: Iterable[str],
        decay: float | None,
        aggregation: str,
        normalization: str,
    ):
        super().__init__()
        check_choice("kind", kind, kinds)
        check_combining(aggregation, normalization)
        check_decay(decay)
        self.kind = kind
        self.decay = decay
        self.aggregation = aggregation
        self.normalization = normalization
        self._scores: Scores | None = None
        # Moving average over the batches, and the sum of their weights.
        self._total: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kind={self.kind!r}, decay={self.decay})"

    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """See `Criterion.utilities`."""
        if self._scores is None:
            raise InvalidRequestError(
                "The callback has seen no batch yet.\n\nTrain with `model.fit(..., "
                f"callbacks=[callback])` first. Received: importance={self!r}"
            )
        return self._scores.utilities(graph, analysis, atoms)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps what was collected so far."""
        self._read()

    def on_train_end(self, logs: Any = None) -> None:
        """Keeps what was collected and leaves the model as it was."""
        self._read()
        self._stop()

    def _average(self, total: Any, new: Any) -> None:
        """Adds the numbers of one batch to a moving average.

        Args:
            total: Variable of one entry more, the sum of the weights of all batches.
            new: Float32 tensor. Not finite, as where a loss in half precision leaves
                its range, the batch is left out.
        """
        new = ops.concatenate([new, ops.ones((1,), "float32")], axis=0)
        keep, share = (1.0, 1.0) if self.decay is None else (self.decay, 1 - self.decay)
        is_finite = ops.all(ops.isfinite(new))
        old = ops.convert_to_tensor(total)
        new = ops.where(is_finite, keep * old + share * new, old)
        total.assign(ops.stop_gradient(new))

    def _mean(self) -> np.ndarray | None:
        """Returns the average so far, None before the first batch."""
        if self._total is None:
            return None
        _ = self.model  # Asking for the model brings its variables up to date on JAX.
        *numbers, weight = ops.convert_to_numpy(self._total).astype(np.float64)
        return np.array(numbers) / weight if weight else None

    @abstractmethod
    def _read(self) -> None:
        """Makes scores of what was collected."""

    @abstractmethod
    def _stop(self) -> None:
        """Leaves the model as it was."""
