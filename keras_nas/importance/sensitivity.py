"""How the loss on some data changes without a neuron: Taylor, Fisher and Hessian."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Graph
from keras_nas.importance.combining import normalize_each
from keras_nas.importance.contributions import Contributions
from keras_nas.importance.data import Copy, copy_to_run, run_batches
from keras_nas.importance.gradients import compile_gradients
from keras_nas.importance.measured import Measured
from keras_nas.importance.scores import Scores


class _Sensitivity(Measured):
    """What Taylor, Fisher and Hessian have in common: the gradients of the loss."""

    _kind = ""

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        loss: Any = None,
        batch_size: int = 1,
        aggregation: str = "sum",
        normalization: str = "none",
    ):
        self.loss = loss
        super().__init__(
            x, y, batch_size, aggregation=aggregation, normalization=normalization
        )

    def _measure(self, graph: Graph) -> Scores:
        copy = copy_to_run(graph)
        contributions = Contributions(
            copy.graph, copy.analysis, copy.variables, self._kind, self.aggregation
        )
        if not contributions.atoms:
            return Scores(copy.graph, copy.analysis, {})
        step = self._step(copy, contributions)
        total, count = np.zeros(contributions.size), 0
        for numbers in run_batches(step, self._x, self._y, self.batch_size):
            total, count = total + numbers, count + 1
        means = contributions.split(total / count)
        values = normalize_each(self.normalization, means)
        return Scores(copy.graph, copy.analysis, values)

    def _step(self, copy: Copy, contributions: Contributions) -> Any:
        model = copy.model
        _prepare(model, self.loss, contributions.variables)

        def loss(x: Any, y: Any, sample_weight: Any) -> Any:
            predicted = model(x, training=False)
            return model.compute_loss(
                x=x, y=y, y_pred=predicted, sample_weight=sample_weight
            )

        return compile_gradients(
            model, contributions.variables, loss, contributions.reduce
        )


def _prepare(model: Any, loss: Any, variables: list) -> None:
    """Gives a copy of a model its loss, which is all that is differentiated."""
    if loss is not None:
        try:
            model.compile(loss=loss)
        except (TypeError, ValueError) as error:
            raise InvalidRequestError(
                f"There is no such loss: {error}\n\nGive what `model.compile` takes. "
                f"Received: loss={loss!r}"
            ) from error
    if not model.compiled or getattr(model, "loss", None) is None:
        raise InvalidRequestError(
            "The model has no loss, so nothing tells how well it does.\n\nCompile it "
            f"with one, or give `loss=`. Received: loss={loss!r}"
        )
    for variable in variables:
        variable.trainable = True  # PyTorch gives no gradient of frozen weights.
    for variable in model.variables:
        variable.regularizer = None  # Says nothing about the data.


class Taylor(_Sensitivity):
    """First-order change of the loss without a neuron: activation times gradient.

    The mean over batches of ``abs(sum over readers of weight * gradient)``, where the
    readers are all weights that read the neuron: what the activations contribute,
    summed over positions and samples of one batch.

    Args:
        x: Inputs: arrays in the structure that the model takes, or an iterable of
            batches ``(x, y)`` (a ``tf.data.Dataset``, a ``PyDataset``, a list).
        y: Targets: arrays; None if ``x`` brings them.
        loss: As ``model.compile`` takes it; None for the one the model is compiled
            with. Penalties on weights do not count.
        batch_size: Number of samples whose contributions may cancel. 1 is the
            criterion of 2017, more is faster and that of 2019 (and chose a little
            worse in ``benchmarks/results/importance.md``). Iterables have their own.
        aggregation: ``"sum"``: all readers at once. ``"mean"``, ``"max"``: over what
            the layers that read say one by one.
        normalization: Of each width: ``"none"`` (changes of the loss, comparable over
            the network), ``"mean"``, ``"max"``, ``"sum"`` or ``"gaussian"``.

    Raises:
        InvalidRequestError: The data do not fit each other, or (when used) the model;
            no loss.

    Source: Molchanov 2017, "Pruning convolutional neural networks for resource
    efficient inference", ICLR (arXiv 1611.06440); Molchanov 2019, "Importance
    estimation for neural network pruning", CVPR (arXiv 1906.10771).

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, name="a"),
        ...     keras.layers.Dense(1, name="b"),
        ... ])
        >>> _ = model.get_layer("b").kernel.assign([[1.0], [0.0], [2.0]])
        >>> x, y = np.ones((4, 2)), np.zeros((4, 1))
        >>> _ = model.get_layer("a").bias.assign([9.0, 9.0, 9.0])
        >>> taylor = kn.importance.Taylor(x, y, loss="mse")
        >>> kn.plan(model, "a", 2, importance=taylor).keep["a"]
        array([0, 2])
    """

    _kind = "taylor"


class Fisher(_Sensitivity):
    """Second-order change of the loss without a neuron, by the Fisher information.

    Half the mean over batches of ``(sum over readers of weight * gradient) ** 2``;
    the Hessian is taken to be the mean square of the gradient, which holds for a
    likelihood near its optimum, sample by sample: so leave ``batch_size`` at 1.

    Args:
        x: See `Taylor`, as all others.
        y: Targets.
        loss: A negative log-likelihood, such as cross-entropy.
        batch_size: Number of samples whose contributions may cancel.
        aggregation: Over the layers that read.
        normalization: Of each width.

    Raises:
        InvalidRequestError: As `Taylor`.

    Source: Theis 2018, "Faster gaze prediction with dense networks and Fisher
    pruning" (arXiv 1801.05787).

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, name="a"),
        ...     keras.layers.Dense(1, name="b"),
        ... ])
        >>> model.compile(loss="mse")
        >>> fisher = kn.importance.Fisher(np.ones((4, 2)), np.zeros((4, 1)))
        >>> kn.resize(model, "a", 2, importance=fisher).count_params()
        9
    """

    _kind = "fisher"


class Hessian(_Sensitivity):
    """Optimal brain damage: the loss grows with the curvature along each weight.

    Half the sum over readers of ``weight ** 2 * h``, where ``h``, the diagonal of the
    Hessian, is the mean over batches of the squared gradient. Unlike `Fisher`, the
    weights of one neuron cannot cancel.

    Args:
        x: See `Taylor`, as all others.
        y: Targets.
        loss: A negative log-likelihood, such as cross-entropy.
        batch_size: Number of samples whose gradients may cancel.
        aggregation: Over the layers that read; ``"sum"`` adds up here.
        normalization: Of each width.

    Raises:
        InvalidRequestError: As `Taylor`.

    Source: LeCun 1990, "Optimal brain damage", NIPS, who has the second derivatives;
    the squared gradients in their place as in Torch-Pruning.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, name="a"),
        ...     keras.layers.Dense(1, name="b"),
        ... ])
        >>> model.compile(loss="mse")
        >>> damage = kn.importance.Hessian(np.ones((4, 2)), np.zeros((4, 1)))
        >>> kn.resize(model, "a", 2, importance=damage).count_params()
        9
    """

    _kind = "hessian"
