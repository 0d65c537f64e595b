"""Importance that is collected while a model is trained."""

from __future__ import annotations

from functools import wraps
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nas.graph import analyze, keras_private
from keras_nas.graph.wrap import wrap_with_variables
from keras_nas.importance.combining import (
    Values,
    normalize,
)
from keras_nas.importance.contributions import KINDS, Contributions
from keras_nas.importance.gradients import dense, step_variable
from keras_nas.importance.listening import Listening
from keras_nas.importance.scores import Scores


class Contribution(Listening):
    """Collects `Taylor`, `Fisher` or `Hessian` importance during ``fit``, for nothing.

    The gradients that train the model are looked at on their way to the optimizer, so
    no further pass over the data is needed. They are means over batches (contributions
    of samples may cancel, as with ``Taylor(batch_size=...)``), include penalties on
    weights, and come from the model as it is trained, dropout included. Frozen weights
    have none: neurons that only frozen weights touch count 0.

    Of the batches an exponentially weighted moving average is kept, without bias
    toward its start at 0, since what a neuron did many steps ago says little. On JAX
    the optimizer has one more variable until training ends, which a checkpoint that is
    saved meanwhile holds as well.

    Args:
        kind: ``"taylor"``, ``"fisher"`` or ``"hessian"``.
        decay: What the average keeps from one batch to the next, in [0, 1); None for
            the plain mean over all batches.
        aggregation: As in `Taylor`.
        normalization: As in `Taylor`.

    Raises:
        InvalidRequestError: A setting that does not exist, or (when used) no batch was
            seen, or another model.

    Source: the ActivationContribution with Ewma of NaiveNASflux.jl, after Molchanov
    2017 (arXiv 1611.06440). There the absolute value is taken of each sample.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, name="a"),
        ...     keras.layers.Dense(1, name="b"),
        ... ])
        >>> model.compile("sgd", "mse")
        >>> contribution = kn.importance.Contribution()
        >>> x, y = np.ones((8, 2)), np.zeros((8, 1))
        >>> _ = model.fit(x, y, verbose=0, callbacks=[contribution])
        >>> kn.resize(model, "a", 2, importance=contribution).count_params()
        9
    """

    def __init__(
        self,
        kind: str = "taylor",
        *,
        decay: float | None = 0.95,
        aggregation: str = "sum",
        normalization: str = "none",
    ):
        super().__init__(kind, KINDS, decay, aggregation, normalization)
        self._total: Any = None
        self._optimizer: Any = None
        self._contributions: Any = None

    # --- what Keras calls ---------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts to listen to the optimizer."""
        self._stop()
        model = self.model
        self._graph, weights = wrap_with_variables(model)
        self._analysis = analyze(self._graph)
        trained = list(model.trainable_variables)
        variables = {id(weights[id(v)]): v for v in trained if id(v) in weights}
        self._contributions = Contributions(
            self._graph, self._analysis, variables, self.kind, self.aggregation
        )
        if self._contributions.atoms:
            self._listen(model, trained)

    # --- in the optimizer ---------------------------------------------------------

    def _listen(self, model: Any, trained: list) -> None:
        """Makes the optimizer show its gradients."""
        # One that scales the loss passes the true gradients on to another.
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        number = {id(variable): n for n, variable in enumerate(trained)}
        order = [number[id(variable)] for variable in self._contributions.variables]
        # The last entry is the sum of the weights of all batches so far.
        total = step_variable(optimizer, self._contributions.size + 1)
        apply = optimizer.apply

        @wraps(apply)
        def listening(grads: Any, trainable_variables: Any = None) -> Any:
            self._add(total, trained, order, list(grads), optimizer)
            return apply(grads, trainable_variables)

        optimizer.apply = listening
        self._total, self._optimizer = total, optimizer
        model.make_train_function(force=True)

    def _add(
        self, total: Any, trained: list, order: list, grads: list, optimizer: Any
    ) -> None:
        scale = optimizer.loss_scale_factor
        values = [ops.convert_to_tensor(trained[n]) for n in order]
        gradients = [dense(grads[n]) for n in order]
        if scale is not None:
            gradients = [None if g is None else g / scale for g in gradients]
        new = self._contributions.reduce(values, gradients)
        new = ops.concatenate([new, ops.ones((1,), "float32")], axis=0)
        keep, share = (1.0, 1.0) if self.decay is None else (self.decay, 1 - self.decay)
        # Steps with a loss out of range, as in half precision, are left out.
        is_finite = ops.all(ops.isfinite(new))
        old = ops.convert_to_tensor(total)
        new = ops.where(is_finite, keep * old + share * new, old)
        total.assign(ops.stop_gradient(new))

    def _read(self) -> None:
        if self._total is None:
            return
        _ = self.model  # Asking for the model brings its variables up to date on JAX.
        *numbers, weight = keras.ops.convert_to_numpy(self._total).astype(np.float64)
        if weight == 0:
            return
        values: Values = {}
        for atom, own in self._contributions.split(np.array(numbers) / weight).items():
            values.update(normalize(self.normalization, {atom: own}))
        self._scores = Scores(self._graph, self._analysis, values)

    def _stop(self) -> None:
        if self._optimizer is None:
            return
        del self._optimizer.apply
        keras_private.forget_variable(self._optimizer, self._total)
        self._total = self._optimizer = None
        if self.model is not None:
            self.model.make_train_function(force=True)
