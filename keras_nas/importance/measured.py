"""What the criteria have in common that run a model on data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

from keras_nas.axes import Atom
from keras_nas.graph import Analysis, Graph, wrap
from keras_nas.importance.combined import Combined
from keras_nas.importance.combining import Values
from keras_nas.importance.data import check_data
from keras_nas.importance.scores import Scores


class Measured(Combined):
    """A criterion that runs the model on data.

    Args:
        x: Inputs, or an iterable of batches.
        y: Targets, or None.
        batch_size: Number of samples that run together.
        **combining: Of `Combined`.
    """

    def __init__(self, x: Any, y: Any, batch_size: int, **combining: Any):
        check_data(x, y, batch_size)
        self._x, self._y = x, y
        self.batch_size = int(batch_size)
        super().__init__(**combining)
        # An edit asks several times; its graph never changes.
        self._known: WeakKeyDictionary[Graph, Scores] = WeakKeyDictionary()

    def measure(self, model: Any) -> Scores:
        """Returns the importance of all neurons of a model, to be used many times.

        The model is not changed.

        Args:
            model: A built functional or sequential `keras.Model`.

        Raises:
            InvalidRequestError: The data do not fit the model.
        """
        return self._measure(wrap(model))

    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """See `Criterion.utilities`. Looks at the data once for each graph."""
        if graph not in self._known:
            self._known[graph] = self._measure(graph)
        return self._known[graph].utilities(graph, analysis, atoms)

    @abstractmethod
    def _measure(self, graph: Graph) -> Scores:
        """Looks at the data."""
