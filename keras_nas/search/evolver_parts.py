"""What `KerasEvolver` is made of where its user says nothing, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import names_kept
from keras_nas.search.data import Split
from keras_nas.search.data_checks import check_class_count
from keras_nas.search.mutations import Context, crossover
from keras_nas.search.strategies import NSGA2, Duplicates, GeneticAlgorithm, Strategy
from keras_nas.search.strategies.base import check_count
from keras_nas.surgery import Graph


@dataclass(frozen=True)
class DefaultCrossover:
    """The crossover of keras_nas, with the shields and limits of a run."""

    context: Context

    def __call__(self, first: Graph, second: Graph, rng: Any) -> tuple[Graph, Graph]:
        """Returns two children."""
        return crossover(first, second, rng, self.context)


def default_strategy(
    num_objectives: int,
    population_size: int,
    elites: int | None,
    crossover: float,
    mutation: float,
    inherits: bool,
) -> Strategy:
    """Returns the genetic algorithm, or NSGA-II for several objectives.

    Raises:
        InvalidRequestError: A population below 2, or other settings out of range.
    """
    population_size = check_count("population_size", population_size, 2)
    duplicates = Duplicates.EVALUATE if inherits else Duplicates.REUSE
    if num_objectives > 1:
        return NSGA2(population_size, crossover, mutation, duplicates)
    # Two elites of 50 are few; two of 3 leave hardly a place for children.
    wanted = min(2, max(1, population_size // 4)) if elites is None else elites
    return GeneticAlgorithm(
        population_size,
        elites=wanted,
        crossover=crossover,
        mutation=mutation,
        duplicates=duplicates,
    )


def input_shape(model: Any, space: Any) -> tuple | None:
    """Returns the shape of one sample that a model or a space takes; None if any image.

    Raises:
        InvalidRequestError: A model with several inputs or outputs, or none.
    """
    if model is None:
        shape = getattr(space, "input_shape", None)
        return None if shape is None else tuple(shape)
    inputs = getattr(model, "inputs", None)
    outputs = getattr(model, "outputs", None)
    if not inputs or not outputs or len(inputs) > 1 or len(outputs) > 1:
        raise InvalidRequestError(
            "The model has not exactly one input and one output.\n\nGive a built "
            f"functional or sequential model that has. Received: model={model!r:.60}"
        )
    return tuple(inputs[0].shape[1:])


def check_classes(model: Any, data: Split, space: Any = None) -> None:
    """Refuses a model or space whose outputs do not fit the labels.

    Raises:
        InvalidRequestError: There are fewer outputs than classes, or such that are no
            classes.
    """
    if model is None:
        model = _some_model(space)
    if model is None:
        return
    shape = tuple(model.outputs[0].shape)
    wanted = data.num_classes
    if len(shape) != 2:
        raise InvalidRequestError(
            f"Outputs of shape {shape} are no classes of samples, which have the shape "
            f"(n, {wanted}).\n\nLet the model end with pooling or Flatten and a Dense "
            f"of {wanted} units, or give another task with loss=... . Received: labels "
            f"of shape {data.y.shape}"
        )
    if shape[-1] == wanted or (data.is_sparse and (shape[-1] or 0) > wanted):
        return
    if data.is_sparse:
        check_class_count(wanted, len(data.y))
    name = model.layers[-1].name
    call = f"keras_nas.resize(model, '{name}', {wanted})"
    advice = f"Give the model a head of that size: {call}"
    if space is not None:
        advice = "Give the space a head of that size"
    if data.is_sparse and (shape[-1], wanted) == (1, 2):
        advice = (
            "Give the model two outputs, or keep the one, the probability of the "
            "second class, and give loss='binary_crossentropy', metrics=['accuracy']"
        )
    raise InvalidRequestError(
        f"Outputs of shape {shape} do not fit {wanted} classes.\n\n{advice}. "
        f"Received: labels of shape {data.y.shape}"
    )


def _some_model(space: Any) -> Any:
    """Returns a model of a space; None if it gives none, which its trials will tell."""
    try:
        with names_kept():
            model = space.build(space.sample(np.random.default_rng(0)))
        return model if len(model.outputs) == 1 else None
    except Exception:  # noqa: BLE001  Of the user.
        return None

