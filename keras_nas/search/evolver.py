"""Image data in, a good network out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

from keras_nas.errors import InvalidRequestError, SearchError
from keras_nas.search import journal
from keras_nas.search.budget import Budget
from keras_nas.search.callbacks import EvolverCallback
from keras_nas.search.data import Split
from keras_nas.search.data_checks import prepare
from keras_nas.search.evolver_checks import (
    check_callbacks,
    check_functions,
    check_loss,
    check_measured,
    check_metrics,
    check_names,
    check_space,
    check_strategy,
    check_training,
)
from keras_nas.search.evolver_parts import (
    DefaultCrossover,
    check_classes,
    default_strategy,
    input_shape,
)
from keras_nas.search.evolving import GraphBreeder
from keras_nas.search.mutations import (
    Context,
    crossover_training,
    default_mutation,
)
from keras_nas.search.mutations import mutate_training as default_mutate_training
from keras_nas.search.objectives import as_objectives
from keras_nas.search.progress import Progress
from keras_nas.search.result import SearchResult
from keras_nas.search.running import Run
from keras_nas.search.search import Search
from keras_nas.search.setting_checks import (
    check_directory,
    check_seed,
    check_settings,
)
from keras_nas.search.spaces import image_space
from keras_nas.search.start_model import check_start
from keras_nas.search.strategies import Duplicates, Strategy
from keras_nas.search.summary import Leaderboard
from keras_nas.search.training import DEFAULT_TRAINING, TrainingEvaluator
from keras_nas.search.trial import Trial

# Accuracies that agree to so many digits are equal; then the smaller network wins.
_DIGITS = 3


class KerasEvolver:
    """Evolves networks that inherit the trained weights of their parents.

    A population of networks is trained for some batches and scored, generation by
    generation. The best few go on; the others make place for children: parents cut and
    joined by surgery that keeps trained weights wherever the new network still has
    them, so that no child starts from nothing. Optimizer, learning rate and batch size
    evolve along.

    Everything random follows from `seed`, on any number of workers. A run that is
    stopped or killed goes on when the same call is made again with the same
    `directory`.

    Args:
        model: A built Keras model that the first generation descends from, a
            pretrained one for example, or a search space (an object with ``sample``
            and ``build``). By default a space that fits the images.
        space: The same for a search space, by its name.
        population_size: Candidates of a generation.
        generations: How many.
        objective: What counts: the name of a metric (``"val_accuracy"``,
            ``"val_loss"``), of a cost (``"params"``, ``"flops"``, ``"memory"``), a
            function ``(model, x, y)`` on the validation data, or several of these: then
            the evolution keeps a Pareto front. Of two candidates with the same value of
            a single objective, to three digits, the smaller one is better.
        directory: Of the journal and the models; by default a temporary one, and a
            further one for each call of `fit` that asks for something else.
        workers: 1 evaluates in this process, more in as many processes. TensorFlow
            keeps 7 to 13 MB for every model: for many hundreds of candidates take
            processes, which are replaced now and then.
        executor: ``"processes"`` even for one worker, or any executor of
            `concurrent.futures`; see `keras_nas.search.executors`.
        seed: Fixes everything; 0 is a seed.
        callbacks: `EvolverCallback` objects.
        elites: How many go on unchanged.
        crossover_probability: For each pair of parents.
        mutation_probability: For each child.
        mutation: ``mutation(graph, rng, context)``, instead of the default ones.
        crossover: ``crossover(first, second, rng)``, instead of the default one.
        shields: Names of layers, or patterns, that no mutation changes.
        importance: What mutations and resizing call important; see
            `keras_nas.resize`.
        training: Settings to start with: ``optimizer``, ``learning_rate``,
            ``batch_size``.
        mutate_training: ``mutate_training(settings, rng)``; None keeps the settings of
            `training` for all.
        strategy: A `Strategy`, instead of the genetic algorithm.
        constraints: Upper limits of ``params``, ``flops``, ``memory``.
        max_seconds: The search ends when they are over.
        target: The search ends when the objective is as good as this.
        time_limit_s: Seconds for one candidate of one generation.
        loss: Anything that ``compile`` takes; by default cross-entropy.
        metrics: Anything that ``compile`` takes; by default accuracy.
        smoothing: How much of a survivor's old fitness stays in its new one.
        inherit: Whether children keep weights; False is for comparisons.
        finalists: How many of the best are evaluated again in the end, with fresh
            seeds, since the best of many is often a lucky one: they are trained for one
            more generation, or from fresh weights without inheritance. The one with the
            best mean is the winner; its model stays the one that was found.
        final_repeats: How often each of them.
        keep: How many of the best models stay on the disk.
        verbose: 0 for silence.

    Raises:
        InvalidRequestError: Settings that no evolution can have.

    Example:
        >>> import numpy as np
        >>> import keras, keras_nas as kn
        >>> x = np.random.default_rng(0).normal(size=(40, 4))
        >>> y = (x[:, 0] > 0).astype(int)
        >>> layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(2)]
        >>> model = keras.Sequential([keras.Input((4,)), *layers])
        >>> evolver = kn.KerasEvolver(
        ...     model, population_size=2, generations=1, verbose=0)
        >>> result = evolver.fit(x, y, validation_split=0.5, steps_per_generation=2)
        >>> len(result.trials)
        2

    Source: the evolution is that of NaiveGAflux (``AutoFlux``).
    """

    def __init__(
        self,
        model: Any = None,
        *,
        space: Any = None,
        population_size: int = 50,
        generations: int = 100,
        objective: Any = "val_accuracy",
        directory: str | Path | None = None,
        workers: int = 1,
        executor: Any = None,
        seed: int = 0,
        callbacks: Sequence[EvolverCallback] = (),
        elites: int | None = None,
        crossover_probability: float = 0.3,
        mutation_probability: float = 0.8,
        mutation: Callable | None = None,
        crossover: Callable | None = None,
        shields: Sequence[str] = (),
        importance: Any = None,
        training: Mapping[str, Any] | None = None,
        mutate_training: Callable | str | None = "default",
        strategy: Strategy | None = None,
        constraints: Mapping[str, float] | None = None,
        max_seconds: float | None = None,
        target: float | None = None,
        time_limit_s: float | None = None,
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
        smoothing: float = 0.0,
        inherit: bool = True,
        finalists: int = 0,
        final_repeats: int = 3,
        keep: int = 3,
        verbose: int = 1,
    ):
        if space is None and hasattr(model, "sample"):
            model, space = None, model
        if space is not None and model is not None:
            raise InvalidRequestError(
                "A first generation descends from a model or from a space.\n\nGive one "
                f"of both. Received: model={model!r:.40}, space={space!r:.40}"
            )
        check_space(space)
        check_names(model, shields, importance)
        check_functions(
            mutation=mutation, crossover=crossover, mutate_training=mutate_training
        )
        check_strategy(strategy)
        callbacks = check_callbacks(callbacks)
        training = check_training(training)
        check_loss(loss)
        metrics = check_metrics(metrics)
        check_measured(objective, loss, metrics)
        self._settings: dict[str, Any] = {
            "workers": workers,
            "executor": executor,
            "constraints": constraints,
            "time_limit_s": time_limit_s,
            "smoothing": smoothing,
            "finalists": finalists,
            "final_repeats": final_repeats,
            "keep": keep,
        }
        check_settings(**self._settings)
        self.model = model
        self.space = space
        self.seed = check_seed(seed)
        self.objectives = as_objectives(objective, _DIGITS)
        self.directory = check_directory(directory)
        self._is_own_directory = directory is None
        self.budget = Budget(
            generations=generations, seconds=max_seconds, target=target
        )
        self.strategy = strategy or default_strategy(
            len(self.objectives),
            population_size,
            elites,
            crossover_probability,
            mutation_probability,
            inherit,
        )
        self.mutation = mutation or default_mutation()
        max_params = (constraints or {}).get("params")
        self.context = Context(
            shields=cast(tuple[str, ...], shields),
            importance=importance,
            max_params=None if max_params is None else int(max_params),
        )
        self.crossover = crossover or DefaultCrossover(self.context)
        self.training = training
        self.mutate_training = mutate_training
        self.loss = loss
        self.metrics = metrics
        self.inherit = inherit
        self.callbacks = [*([Progress()] if verbose else []), *callbacks]
        self._search: Search | None = None
        self._result: SearchResult | None = None
        self._evaluator: TrainingEvaluator | None = None
        self._best_model: Any = None

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        validation_split: float = 0.1,
        validation_data: Any = None,
        batch_size: int = 32,
        steps_per_generation: int = 200,
    ) -> SearchResult:
        """Evolves networks on some data; goes on with the run in the directory.

        Args:
            x: Images `(n, height, width, channels)` or whatever the model takes, a
                `tf.data.Dataset`, or a `PyDataset`. Scale images to about -1 to 1.
            y: Integer labels `(n,)` or one-hot ones `(n, classes)`; None for datasets.
            validation_split: Part of the samples, of each class alike, that candidates
                are compared on and not trained with.
            validation_data: ``(x, y)`` or a dataset, instead of a split. What the
                winner is worth is measured on data that are neither.
            batch_size: Candidates whose own batch size has evolved to another one see
                as many samples.
            steps_per_generation: Batches that every candidate is trained with in each
                generation, the same for all.

        Returns:
            What was found. After Ctrl-C, what there is.

        Raises:
            InvalidRequestError: Something is wrong with the data, or the model cannot
                be saved and loaded; says what.
            JournalError: The directory holds another run, or a damaged one.
            SearchError: The disk is full, or all candidates fail.
        """
        shape = input_shape(self.model, self.space)
        data = prepare(
            x,
            y,
            validation_split=validation_split,
            validation_data=validation_data,
            seed=self.seed,
            wants_labels=self.loss is None,
            input_shape=shape,
        )
        if self.loss is None:
            check_classes(self.model, data, self.space)
        breeder = self._make_breeder(data, batch_size)
        if breeder.start is not None and not journal.is_there(self.directory):
            check_start(breeder.start)  # A run that has begun has been through it.
        if self.directory is None:
            self.directory = Path(mkdtemp(prefix="keras_nas_"))
        evaluator = self._make_evaluator(data, batch_size, steps_per_generation)
        search = Search(
            breeder,
            self.strategy,
            evaluator,
            objective=self.objectives,
            budget=self.budget,
            directory=self.directory,
            seed=self.seed,
            callbacks=self.callbacks,
            # With other weights, the same network is another candidate.
            duplicates=Duplicates.EVALUATE if self.inherit else None,
            **self._settings,
        )
        self._leave_other_run(search)
        # Refuses the directory of another run before anything changes here.
        run = Run(search)
        self._search, self._evaluator = search, evaluator
        self._result = self._best_model = None
        self._result = run.run()
        return self._result

    def _leave_other_run(self, search: Search) -> None:
        """Takes a new temporary directory where the last call had another task.

        The same call again goes on with its run, as after Ctrl-C.
        """
        if not self._is_own_directory:
            return
        if journal.is_of_another_run(search.directory, search.settings()):
            search.directory = Path(mkdtemp(prefix="keras_nas_"))
            self.directory = search.directory

    def _make_evaluator(
        self, data: Split, batch_size: int, steps: int
    ) -> TrainingEvaluator:
        functions = {o.name: o.function for o in self.objectives if o.function}
        return TrainingEvaluator(
            data,
            steps=steps,
            batch_size=batch_size,
            training=self.training,
            loss=self.loss,
            metrics=self.metrics,
            functions=functions,
            seed=self.seed,
            inherits=self.inherit,
        )

    def _make_breeder(self, data: Split, batch_size: int) -> GraphBreeder:
        space = self.space
        if self.model is None and space is None:
            space = image_space(data.x.shape[1:], data.num_classes)
        given: Any = self.mutate_training
        evolves, is_default = given is not None, given == "default"
        return GraphBreeder(
            space=space,
            model=self.model,
            mutate=self.mutation,
            crossover=self.crossover,
            mutate_training=default_mutate_training if is_default else given,
            crossover_training=crossover_training if evolves else None,
            context=self.context,
            training={**DEFAULT_TRAINING, "batch_size": batch_size, **self.training},
            inherits=self.inherit,
        )

    @property
    def result(self) -> SearchResult:
        """What `fit` has found, or what the directory of an earlier run holds.

        Raises:
            SearchError: There is neither.
        """
        if self._result is None and self.directory is not None:
            self._result = SearchResult.load(self.directory)
        if self._result is None:
            raise SearchError(
                "Nothing has evolved yet.\n\nCall fit(x, y), or give the directory of "
                "an earlier run. Received: directory=None"
            )
        return self._result

    @property
    def best_model(self) -> Any:
        """The best network, trained; compiled if it was found by this object.

        Its optimizer remembers the training, so that ``fit`` goes on. It is the same
        object until the next call of `fit` of this evolver.
        """
        if self._best_model is None:
            self._best_model = self._load_best()
        return self._best_model

    def _load_best(self) -> Any:
        if self._evaluator is None:
            return self.result.best_model()
        model = self.result.best_model(with_optimizer=True)
        best = cast(Trial, self.result.best)
        self._evaluator.compile_winner(model, best.training)
        return model

    @property
    def history(self) -> dict[str, list]:
        """Name -> one number for each generation; see `SearchResult.history`."""
        return self.result.history

    def leaderboard(self, count: int = 10) -> Leaderboard:
        """Returns the best trials as rows, best first; ``print`` it for a table."""
        return self.result.leaderboard(count)

    def pareto(self) -> list:
        """Returns the trials that no other one beats in all objectives."""
        return self.result.pareto()

    def plot(self, path: str | Path | None = None) -> Any:
        """Draws the run; see `SearchResult.plot`."""
        return self.result.plot(path)
