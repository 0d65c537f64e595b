"""Importance that is collected while a model is trained."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from keras import ops

from keras_nas.graph import analyze, keras_private
from keras_nas.graph.wrap import wrap_with_variables
from keras_nas.importance.combining import normalize_each
from keras_nas.importance.contributions import KINDS, Contributions
from keras_nas.importance.gradients import dense, step_variable
from keras_nas.importance.listening import Listening
from keras_nas.importance.scores import Scores
from keras_nas.importance.wrapping import wrapped


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
        self._listening: ExitStack | None = None
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
        # One entry more: see `_average`.
        total = step_variable(optimizer, self._contributions.size + 1)

        def listening(apply: Any, grads: Any, trainable_variables: Any = None) -> Any:
            grads = list(grads)
            self._add(total, trained, order, grads, optimizer)
            return apply(grads, trainable_variables)

        self._listening = ExitStack()
        self._listening.enter_context(wrapped(optimizer, "apply", listening))
        self._listening.callback(keras_private.forget_variable, optimizer, total)
        self._total = total
        model.make_train_function(force=True)

    def _add(
        self, total: Any, trained: list, order: list, grads: list, optimizer: Any
    ) -> None:
        scale = optimizer.loss_scale_factor
        values = [ops.convert_to_tensor(trained[n]) for n in order]
        gradients = [dense(grads[n]) for n in order]
        if scale is not None:
            gradients = [None if g is None else g / scale for g in gradients]
        self._average(total, self._contributions.reduce(values, gradients))

    def _read(self) -> None:
        numbers = self._mean()
        if numbers is None:
            return
        means = self._contributions.split(numbers)
        values = normalize_each(self.normalization, means)
        self._scores = Scores(self._graph, self._analysis, values)

    def _stop(self) -> None:
        if self._listening is None:
            return
        self._listening.close()
        self._total = self._listening = None
        if self.model is not None:
            self.model.make_train_function(force=True)
