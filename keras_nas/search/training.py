"""Short trainings, made comparable."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_whole
from keras_nas.search.data import Split, batches
from keras_nas.search.evaluation import (
    CandidateError,
    Evaluator,
    Job,
    load_model,
    save_model,
)
from keras_nas.search.notes import compiled_note
from keras_nas.search.optimizers import (
    annealed,
    carried_optimizer,
    has_same_order,
    make_optimizer,
)
from keras_nas.search.statistics import merged, recalibrate

_CHUNK = 512
# Of so many candidates, one looks for all that can be freed.
_FREED_AT_ONCE = 25
DEFAULT_TRAINING = {"optimizer": "adam", "learning_rate": 0.003, "batch_size": 32}


class TrainingEvaluator(Evaluator):
    """Trains a candidate for some batches from the weights that it has, and scores it.

    All candidates of a round see the same samples in the same order. In each round the
    learning rate falls from that of the candidate to nearly nothing along a cosine, so
    that networks are compared by where they settle and not by where the last steps
    have thrown them. The state of the optimizer goes with inherited weights, through
    surgery too, as long as the optimizer is of the same kind. Before scoring,
    the statistics of BatchNormalization layers are measured anew on the last batches:
    a short training leaves them far behind the weights, so that candidates would be
    ranked by how fast their statistics converge.

    Training goes batch by batch in a plain loop: for networks that train for seconds,
    nearly all of the time is compiling, and ``fit`` compiles no less. The loop can stop
    in the middle for a time limit or a loss that is no number.

    Args:
        data: What to train with and what to score on.
        steps: Batches of one round.
        batch_size: Of the rounds; candidates with another one see as many samples.
        training: Defaults for the settings that a candidate does not have itself:
            ``optimizer``, ``learning_rate``, ``batch_size``, and whatever else the
            optimizer takes (``momentum``).
        loss: Anything that ``compile`` takes; by default cross-entropy that fits the
            labels and the outputs (logits or probabilities).
        metrics: Anything that ``compile`` takes; by default accuracy.
        functions: Name -> ``function(model, x_val, y_val)``, further numbers.
        seed: Of the order of the samples.
        inherits: Whether candidates come with trained weights.
        recalibration: Batches for the statistics; 0 leaves them as they are.
        annealing: Whether the learning rate falls within a round.

    Raises:
        InvalidRequestError: Steps, batch size or recalibration that are no counts.

    Source: Loshchilov, Hutter 2017, "SGDR: stochastic gradient descent with warm
    restarts", ICLR (arXiv 1608.03983), with a generation for a restart.
    """

    def __init__(
        self,
        data: Split | None,
        *,
        steps: int = 200,
        batch_size: int = 32,
        training: Mapping[str, Any] | None = None,
        loss: Any = None,
        metrics: Iterable[Any] | None = None,
        functions: Mapping[str, Callable[..., float]] | None = None,
        seed: int = 0,
        inherits: bool = True,
        recalibration: int = 10,
        annealing: bool = True,
    ):
        for name, value, least in (
            ("steps_per_generation", steps, 1),
            ("batch_size", batch_size, 1),
            ("recalibration", recalibration, 0),
        ):
            if not is_whole(value) or value < least:
                raise InvalidRequestError(
                    f"{value!r} is no number of samples or batches.\n\nGive a whole "
                    f"number of at least {least}. Received: {name}={value!r}"
                )
        self.steps = int(steps)
        self.batch_size = int(batch_size)
        self.training = {**DEFAULT_TRAINING, "batch_size": self.batch_size}
        self.training.update(training or {})
        self.loss = loss
        self.metrics = ["accuracy"] if metrics is None and loss is None else metrics
        self.functions = dict(functions or {})
        self.seed = seed
        self.inherits = inherits
        self.recalibration = recalibration
        self.annealing = annealing
        self._data = data
        self._directory: str | None = None

    @property
    def data(self) -> Split:
        """The data; in another process read from the directory of the run."""
        return _load_once(self._directory) if self._data is None else self._data

    def prepare(self, directory: Path) -> None:
        """Writes the data to where other processes find them."""
        self._directory = str(Path(directory) / "data")
        self.data.save(Path(self._directory))

    def __getstate__(self) -> dict:
        """Sends the place of the data to other processes, not the data."""
        state = dict(self.__dict__)
        if self._directory is not None:
            state["_data"] = None
        return state

    def settings(self) -> dict[str, Any]:
        """Returns all that the results depend on."""
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "training": self.training,
            "loss": compiled_note(self.loss),
            "metrics": compiled_note(list(self.metrics or ())),
            "functions": sorted(self.functions),
            "inherits": self.inherits,
            "recalibration": self.recalibration,
            "annealing": self.annealing,
            "data": self.data.fingerprint(),
        }

    def evaluate(self, job: Job) -> dict[str, float]:
        """Trains and scores one candidate, and saves it to ``job.out``.

        Raises:
            CandidateError: The loss is no number, or the time is over.
        """
        deadline = math.inf
        if job.time_limit_s is not None:
            deadline = time.monotonic() + job.time_limit_s
        keras.utils.set_random_seed(job.seed)
        model = load_model(cast(str, job.start), with_optimizer=self.inherits)
        with quiet_tensorflow():
            metrics = self.train_and_score(model, job, deadline)
        if job.out is not None:
            save_model(model, job.out)
        del model
        free_memory(everything=job.trial % _FREED_AT_ONCE == 0)
        return metrics

    def train_and_score(
        self, model: Any, job: Job, deadline: float = math.inf
    ) -> dict[str, float]:
        """Trains a model in place; returns its numbers."""
        training = {**self.training, **job.training}
        trainer = self.compile(model, training)
        used = list(self._batches(job.round, training["batch_size"]))
        metrics = self._train(trainer, used, deadline)
        if self.recalibration:
            last = merged(used[-self.recalibration :], self.data.x[0].size)
            recalibrate(trainer, self.data.x, last)
        metrics.update(self._score(model, trainer))
        return metrics

    def compile(self, model: Any, training: Mapping[str, Any]) -> Any:
        """Returns a compiled model that shares its layers with another one.

        The model itself gets the optimizer only, so that its file holds what a child
        goes on with, but no loss, which only code could load. It is not compiled where
        a child could not go on.
        """
        trainer = _bare(model)
        optimizer = make_optimizer(training)
        if self.inherits and has_same_order(model, trainer):
            model.compile(carried_optimizer(model, optimizer))
            # Wrapped by now if the loss is to be scaled; both have the same one.
            optimizer = model.optimizer
        else:
            # What it was trained with before must not be saved as if it still fitted.
            model.compiled, model.optimizer = False, None
        trainer.compile(
            optimizer,
            **self._measures(model),
            # XLA takes up to ten times as long to compile, which short trainings do
            # not earn back.
            jit_compile=False if keras.config.backend() == "tensorflow" else "auto",
        )
        self._make_variables(trainer)
        return trainer

    def _make_variables(self, trainer: Any) -> None:
        """Makes the variables of optimizer, loss and metrics.

        TensorFlow traces a function twice that makes variables when it is called
        first, and tracing is most of the time that a candidate takes.
        """
        x, y = self.data.x[:2], keras.ops.convert_to_tensor(self.data.y[:2])
        if not trainer.optimizer.built:
            trainer.optimizer.build(trainer.trainable_variables)
        outputs = trainer(x, training=False)
        trainer.compute_loss(x=x, y=y, y_pred=outputs)
        trainer.compute_metrics(x=x, y=y, y_pred=outputs, sample_weight=None)
        trainer.reset_metrics()

    def compile_winner(self, model: Any, training: Mapping[str, Any]) -> None:
        """Compiles a trained model for its user, who goes on where it stopped."""
        fresh = make_optimizer({**self.training, **training})
        model.compile(carried_optimizer(model, fresh), **self._measures(model))

    def _measures(self, model: Any) -> dict[str, Any]:
        """Loss and metrics as ``compile`` takes them."""
        metrics = [fresh_metric(metric) for metric in self.metrics or ()]
        return {"loss": self.loss_for(model), "metrics": metrics}

    def loss_for(self, model: Any) -> Any:
        """Returns the loss of a model: the one that was given, or cross-entropy."""
        return default_loss(model, self.data) if self.loss is None else self.loss

    def _batches(self, round_number: int, own_size: int) -> Iterator[np.ndarray]:
        count = len(self.data.x)
        return batches(
            count, self.steps, self.batch_size, self.seed, round_number, own_size
        )

    def _train(self, trainer: Any, used: list, deadline: float) -> dict[str, float]:
        x, y = self.data.x, self.data.y
        optimizer, rate = trainer.optimizer, float(trainer.optimizer.learning_rate)
        kept: dict[str, list[float]] = {}
        for step, positions in enumerate(used):
            if self.annealing:
                optimizer.learning_rate = rate * annealed(step / len(used))
            logs = trainer.train_on_batch(x[positions], y[positions], return_dict=True)
            if not math.isfinite(logs["loss"]):
                loss = logs["loss"]
                raise CandidateError(f"the loss is {loss} after step {step + 1}")
            if time.monotonic() > deadline:
                raise CandidateError(
                    f"the time was over after {step + 1} of {len(used)} batches"
                )
            if 2 * step >= len(used) - 1:  # The first half tells of the past.
                for name, value in logs.items():
                    kept.setdefault(name, []).append(float(value))
        optimizer.learning_rate = rate
        return {name: float(np.mean(values)) for name, values in kept.items()}

    def _score(self, model: Any, trainer: Any) -> dict[str, float]:
        x, y = self.data.x_val, self.data.y_val
        # Chunks of one size, as far as possible: another one is compiled for again.
        size = -(-len(x) // -(-len(x) // _CHUNK))
        logs = trainer.evaluate(x, y, batch_size=size, verbose=0, return_dict=True)
        scores = {f"val_{name}": float(value) for name, value in logs.items()}
        for name, function in self.functions.items():
            scores[name] = float(function(model, x, y))
        return scores


def free_memory(*, everything: bool) -> None:
    """Frees models that nobody needs any more: they go only with their cycles.

    What is left is set aside, since TensorFlow keeps so much of every model that
    looking through it again after each candidate would take longer than training.

    Args:
        everything: Whether to look through what was set aside before, too.
    """
    if everything:
        gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keeps TensorFlow from warning that every model is traced anew: each is new."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@functools.lru_cache(maxsize=2)
def _load_once(directory: str) -> Split:
    return Split.load(Path(directory))


def _bare(model: Any) -> Any:
    """Returns a model of the same layers that takes and gives plain arrays.

    A list or dict of one would make Keras warn of every array.
    """
    return keras.Model(*map(_only_or_all, (model.inputs, model.outputs)))


def _only_or_all(tensors: list) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def fresh_metric(metric: Any) -> Any:
    """Returns a metric without state: an object would be shared by all candidates."""
    if isinstance(metric, keras.metrics.Metric):
        return type(metric).from_config(metric.get_config())
    return metric


def default_loss(model: Any, data: Split) -> Any:
    """Returns the cross-entropy for the labels and the outputs of a model."""
    bare = _bare(model)
    outputs = keras.ops.convert_to_numpy(bare(data.x_val[:8], training=False))
    from_logits = not are_probabilities(outputs)
    if data.is_sparse:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    return keras.losses.CategoricalCrossentropy(from_logits=from_logits)


def are_probabilities(outputs: np.ndarray) -> bool:
    """Whether rows of outputs add up to 1, as those of a softmax do.

    What the model computes says more than which of many layers is the last one.
    """
    outputs = np.asarray(outputs, np.float64)
    return bool(outputs.min() >= 0 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-2))
