"""Training that cuts a model on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import keras

from keras_nas.errors import InvalidRequestError
from keras_nas.graph.optimizer_state import is_built
from keras_nas.surgery import Graph, PrunePlan, plan_prune
from keras_nas.surgery.targets import COSTS
from keras_nas.training.relay import Phase, read_callbacks, relay
from keras_nas.training.schedule import PruningSchedule, check_epochs

# Where only sizes matter.
_CHEAP: dict[str, Any] = {"importance": None}


class Cut(NamedTuple):
    """One cut of `fit_pruned`.

    Attributes:
        epoch: Number of the epoch before which it was made, from 0.
        share: How much of the way to the budget was made, up to 1.
        params: Parameters after it.
        flops: Floating point operations after it.
        memory: Bytes of weights and activations after it.
    """

    epoch: int
    share: float
    params: int
    flops: int
    memory: int


@dataclass(frozen=True)
class PrunedFit:
    """What `fit_pruned` returns; unpacks as ``model, history``.

    Attributes:
        model: The trained model within its budget, compiled, optimizer included.
        history: A `keras.callbacks.History` of all epochs.
        cuts: The cuts that were made, in order.
    """

    model: Any
    history: Any
    cuts: tuple[Cut, ...]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.history))


def fit_pruned(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    schedule: Any = "cubic",
    epochs: int = 1,
    initial_epoch: int = 0,
    sparsity: float | None = None,
    params: float | None = None,
    flops: float | None = None,
    memory: float | None = None,
    importance: Any = "auto",
    min_fraction: Any = None,
    pruning: Mapping[str, Any] | None = None,
    callbacks: Any = None,
    **fit: Any,
) -> PrunedFit:
    """Trains a model and prunes it on the way, down to a budget.

    A Keras model cannot change its shape inside ``fit``, so ``fit`` is called once for
    each model between two cuts. It looks like one call: epochs are numbered through,
    there is one progress display and one history, and ordinary callbacks keep working:
    they see training begin and end once, and get each new model by ``set_model``. What
    compares a model with its own past starts anew at each cut (`EarlyStopping`,
    `ReduceLROnPlateau`, the best value of a `ModelCheckpoint`, `Contribution`, and any
    callback with an attribute ``restarts_at_cuts = True``). A callback that stops the
    training brings the next cut forward, and ends the training after the last one, so
    the budget is always reached.

    The optimizer goes on over the cuts, momentum and all; see ``carry_optimizer`` in
    `keras_nas.resize`. Each budget on the way is a share of what the *original* model
    costs, and the last one is exactly what was asked for.

    Args:
        model: A compiled functional or sequential `keras.Model`. Not changed.
        x: As in ``fit``.
        y: As in ``fit``.
        schedule: A `PruningSchedule`, or the name of its kind.
        epochs: Number of the epoch that training ends before, as in ``fit``.
        initial_epoch: Number of the first epoch, as in ``fit``.
        sparsity: Fraction of the removable neurons of the original to drop.
        params: Most parameters that may be left at the end, as in `keras_nas.prune`.
        flops: The same for floating point operations.
        memory: The same for bytes.
        importance: As in `keras_nas.prune`; measured anew at each cut.
        min_fraction: As in `keras_nas.prune`, of the neurons of the original.
        pruning: Further keywords of `keras_nas.prune`: ``{"multiple_of": 8}``.
        callbacks: Ordinary Keras callbacks.
        **fit: All further keywords of ``fit``: ``batch_size``, ``validation_data``, ...

    Returns:
        A `PrunedFit`: ``model, history = fit_pruned(...)``.

    Raises:
        InvalidRequestError: The model is not compiled, the schedule does not fit into
            the epochs, or nothing says how much to prune.
        InfeasibleError: The budget cannot be reached; before any training.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(20, activation="relu", name="hidden"),
        ...     keras.layers.Dense(1, name="head"),
        ... ])
        >>> model.compile("adam", "mse")
        >>> x, y = np.ones((8, 4)), np.ones((8, 1))
        >>> small, history = kn.fit_pruned(
        ...     model, x, y, epochs=3, params=0.5, schedule="linear", verbose=0
        ... )
        >>> small.get_layer("hidden").units, history.epoch
        (9, [0, 1, 2])

    Source: Zhu 2017, "To prune, or not to prune" (arXiv 1710.01878); training between
    cuts: Han 2015, "Learning both weights and connections" (arXiv 1506.02626).
    """
    _check(model, epochs, initial_epoch, pruning)
    budgets = {
        "sparsity": sparsity,
        "params": params,
        "flops": flops,
        "memory": memory,
    }
    shares = PruningSchedule.read(schedule).cuts(epochs)
    keywords = {"importance": importance, **(pruning or {})}
    way = _Way(model, budgets, min_fraction, keywords)
    current = Graph.from_model(model).build(carry_optimizer=is_built(model))
    run = _Run(read_callbacks(callbacks), epochs, {"x": x, "y": y, **fit})
    pending = sorted(shares.items())
    cuts, epoch = [], initial_epoch
    while True:
        # Cuts that lie before the first epoch are made at once, in one.
        while pending and (run.was_stopped or pending[0][0] <= epoch):
            share = pending.pop(0)[1]
            if pending and pending[0][0] <= epoch:
                continue
            run.was_stopped = False
            current, plan = way.cut(current, share)
            counts = plan.counts
            cuts.append(
                Cut(epoch, share, counts.params, counts.flops, counts.memory)
            )
        end = pending[0][0] if pending else epochs
        if epoch >= epochs or (run.was_stopped and not pending):
            break
        epoch = run.train(current, epoch, end, is_last=not pending)
    return PrunedFit(current, run.history, tuple(cuts))


def _check(model: Any, epochs: Any, initial_epoch: Any, pruning: Any) -> None:
    if not getattr(model, "compiled", False):
        raise InvalidRequestError(
            f"The model {getattr(model, 'name', model)!r} is not compiled, so it "
            "cannot be trained.\n\nCall `model.compile` first. "
            f"Received: model={model!r}"
        )
    check_epochs("initial_epoch", initial_epoch, 0)
    check_epochs("epochs", epochs, 1)
    if epochs <= initial_epoch:
        raise InvalidRequestError(
            f"Training would end before epoch {epochs} and begin with epoch "
            f"{initial_epoch}.\n\nLet `epochs` be larger. Received: epochs={epochs}, "
            f"initial_epoch={initial_epoch}"
        )
    if pruning is not None and not isinstance(pruning, Mapping):
        raise InvalidRequestError(
            f"Keywords of `prune` cannot be a {type(pruning).__name__}.\n\nGive a "
            f"dict. Received: pruning={pruning!r}"
        )
    wrong = {"threshold", "carry_optimizer"} & set(pruning or {})
    if wrong:
        raise InvalidRequestError(
            f"A schedule has no use for {sorted(wrong)}: it goes to a budget in steps, "
            "and carries the optimizer.\n\nGive sparsity, params, flops or memory. "
            f"Received: pruning={pruning!r}"
        )


class _Way:
    """The way from a model to its budget.

    Args:
        model: The original.
        budgets: What is asked for at the end; None where nothing is.
        min_fraction: Of the neurons of the original.
        keywords: All further keywords of `prune`.
    """

    def __init__(
        self,
        model: Any,
        budgets: Mapping[str, Any],
        min_fraction: Any,
        keywords: Mapping[str, Any],
    ):
        self._keywords = keywords
        self._min_fraction = min_fraction
        # The whole way at once says whether there is one, and what all is counted in.
        # Weights alone say that; data need not be run for it.
        plan = plan_prune(
            model, **budgets, min_fraction=min_fraction, **{**keywords, **_CHEAP}
        )
        self._sizes = dict(plan.old_sizes)
        self._neurons = plan.removable
        self._ends: dict[str, tuple[int, int]] = {}
        for name in COSTS:
            if budgets[name] is not None:
                start = getattr(plan.old_counts, name)
                self._ends[name] = start, min(plan.targets[name], start)
        self._dropped = None
        if budgets["sparsity"] is not None:
            self._dropped = round(budgets["sparsity"] * self._neurons)

    def cut(self, model: Any, share: float) -> tuple[Any, PrunePlan]:
        """Returns the model cut to a share of the way, and the plan."""
        graph = Graph.from_model(model)
        targets: dict[str, Any] = {
            name: start - math.floor(share * (start - end) + 1e-9)
            for name, (start, end) in self._ends.items()
        }
        if self._dropped is not None:
            now = plan_prune(graph, sparsity=0.0, **{**self._keywords, **_CHEAP})
            left = self._neurons - math.floor(share * self._dropped + 1e-9)
            dropped = max(0, now.removable - left)
            targets["sparsity"] = dropped / max(now.removable, 1)
        plan = graph.plan_prune(
            **targets,
            min_fraction=self._fractions(graph),
            carry_optimizer=is_built(model),
            **self._keywords,
        )
        return plan.apply(), plan

    def _fractions(self, graph: Graph) -> Any:
        """The least fractions of the neurons that are left so far."""
        wanted = self._min_fraction
        if wanted is None:
            return None
        sizes = graph.plan_prune(sparsity=0.0, **_CHEAP).old_sizes
        names = [name for name in self._sizes if isinstance(name, str)]
        if isinstance(wanted, Real):
            wanted = dict.fromkeys(names, wanted)
        return {
            name: min(1.0, math.ceil(fraction * self._sizes[name] - 1e-9) / sizes[name])
            for name, fraction in wanted.items()
        }


class _Run:
    """Calls of ``fit`` that look like one.

    Args:
        callbacks: Of the user.
        epochs: Of all calls.
        fit: Further keywords of ``fit``.
    """

    def __init__(self, callbacks: list[Any], epochs: int, fit: Mapping[str, Any]):
        self._relays = [relay(callback) for callback in callbacks]
        self._epochs = epochs
        self._fit = fit
        self.history = keras.callbacks.History()
        self.history.epoch = []
        self.was_stopped = False

    def train(self, model: Any, start: int, end: int, *, is_last: bool) -> int:
        """Trains one model; returns the number of the epoch that comes next."""
        phase = Phase(end - 1)
        for each in self._relays:
            each.is_last = is_last
        with _without_final_values(model, is_last):
            found = model.fit(
                **self._fit,
                epochs=self._epochs,
                initial_epoch=start,
                callbacks=[*self._relays, phase],
            )
        for each in self._relays:
            each.is_first = False
        self.was_stopped = phase.was_stopped
        self._merge(found, model)
        return phase.epoch

    def _merge(self, found: Any, model: Any) -> None:
        for name, values in found.history.items():
            self.history.history.setdefault(name, []).extend(values)
        self.history.epoch.extend(found.epoch)
        self.history.set_params(found.params)
        self.history.set_model(model)
        model.history = self.history


@contextmanager
def _without_final_values(model: Any, is_last: bool) -> Iterator[None]:
    """Leaves weights as they are until the end of all training.

    Optimizers that average weights write the average into them when ``fit`` ends.
    """
    if is_last:
        yield
        return
    optimizer = model.optimizer
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
