"""What an optimizer remembers: read from a trained model, given to a new one.

A *slot* is what it remembers of one variable: momentum, moments, averages. Slots go
with the weight of that variable (`Weight.slots`) through every edit, and are selected
by the same recipe; all else (iterations, learning rate, loss scale) stays as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_nas.graph import keras_private
from keras_nas.graph.copying import Recipe
from keras_nas.graph.weight import Gather, Weight

Key = Hashable


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """What an optimizer remembers apart from its slots.

    Attributes:
        scalars: Path of an attribute -> value: iterations, learning rate, loss scale.
        rest: Values whose meaning is unknown, in order; kept only while no weight
            changes.
        weights: The weights that were trained, in the order of the optimizer.
    """

    scalars: Mapping[Key, Weight]
    rest: tuple[Weight, ...]
    weights: tuple[Weight, ...]


def is_built(model: Any) -> bool:
    """Whether a model has an optimizer with a state."""
    optimizer = getattr(model, "optimizer", None)
    return isinstance(optimizer, keras.Optimizer) and bool(optimizer.built)


def read_slots(model: Any) -> dict[int, dict[Key, Weight]]:
    """Returns identity of a variable -> what the optimizer remembers of it."""
    found: dict[int, dict[Key, Weight]] = {}
    if is_built(model):
        for slot in keras_private.optimizer_slots(model.optimizer):
            kept = Weight.of_variable(slot.state, slot.state.name)
            found.setdefault(id(slot.variable), {})[slot.key] = kept
    return found


def read_state(model: Any, weights: Mapping[int, Weight]) -> OptimizerState | None:
    """Returns the rest of the state, None if there is no optimizer that was built.

    Args:
        model: The model.
        weights: Identity of a variable -> the weight that stands for it.
    """
    if not is_built(model):
        return None
    optimizer = model.optimizer
    trained = keras_private.trained_variables(optimizer)
    return OptimizerState(
        {
            key: Weight.of_variable(variable, variable.name)
            for key, variable in keras_private.optimizer_scalars(optimizer)
        },
        tuple(
            Weight.of_variable(variable, variable.name)
            for variable in keras_private.optimizer_rest(optimizer)
        ),
        tuple(weights[id(v)] for v in trained if id(v) in weights),
    )


def restore_state(
    model: Any, state: OptimizerState, weights: Mapping[int, Weight]
) -> None:
    """Builds the optimizer of a new model and gives it what the old one remembered.

    New positions start as the optimizer starts them: mostly at zero, since no step has
    seen them. What cannot be told starts afresh, with a `UserWarning`.

    Args:
        model: A model with an optimizer that was not built.
        state: Apart from the slots.
        weights: Identity of a variable of the model -> the weight it was made from.
    """
    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    for key, variable in keras_private.optimizer_scalars(optimizer):
        kept = state.scalars.get(key)
        if kept is not None and kept.shape == tuple(variable.shape):
            _assign(variable, kept.tensor())
    _restore_slots(optimizer, weights)
    _restore_rest(optimizer, state, weights)


def _restore_slots(optimizer: Any, weights: Mapping[int, Weight]) -> None:
    axes = _SlotAxes(optimizer)
    lost: dict[str, None] = {}
    for slot in keras_private.optimizer_slots(optimizer):
        weight = weights.get(id(slot.variable))
        if weight is None:
            continue
        start = slot.variable if slot.starts_as_variable else slot.state
        kept = carried(weight, slot.key, tuple(slot.state.shape), axes, start)
        if kept is None:
            lost[f"'{slot.key[-1]}' of '{slot.variable.path}'"] = None
        else:
            _assign(slot.state, kept)
    if lost:
        _warn(optimizer, ", ".join(lost), "it does not follow the axes of the weight")


def _restore_rest(
    optimizer: Any, state: OptimizerState, weights: Mapping[int, Weight]
) -> None:
    """Gives back what nobody can tell the meaning of, if no weight has changed."""
    rest = keras_private.optimizer_rest(optimizer)
    if not rest and not state.rest:
        return
    variables = keras_private.trained_variables(optimizer)
    trained = [weights.get(id(v)) for v in variables]
    shapes = [tuple(variable.shape) for variable in rest]
    is_same = len(trained) == len(state.weights) and all(
        new is old for new, old in zip(trained, state.weights)
    )
    if is_same and shapes == [kept.shape for kept in state.rest]:
        for variable, kept in zip(rest, state.rest):
            _assign(variable, kept.tensor())
        return
    names = ", ".join(f"'{kept.name}'" for kept in state.rest or rest)
    _warn(optimizer, names, "nothing says which weights it belongs to")


def _warn(optimizer: Any, what: str, why: str) -> None:
    warnings.warn(
        f"A part of the state of the optimizer {type(optimizer).__name__} starts "
        f"afresh, since {why}: {what}.",
        UserWarning,
        stacklevel=2,
    )


def _assign(variable: Any, value: Any) -> None:
    variable.assign(keras_private.own_memory(value))


# --- slots through edits -------------------------------------------------------------


def carried(
    weight: Weight, key: Key, shape: tuple[int, ...], axes: Any, start: Any
) -> Any:
    """Returns a slot with the selections that were made of its weight.

    Args:
        weight: The weight of the new model.
        key: Of the slot.
        shape: Of the slot in the new model.
        axes: ``(key, rank) -> `` axes of the weight that the slot has.
        start: Variable with the values of new positions.

    Returns:
        The values; None if they cannot be told.
    """
    if not weight.sources and key in weight.slots:
        kept = weight.slots[key]
        return kept.tensor() if kept.shape == shape else None
    if shape == weight.shape:
        values, is_known = _selected(weight, key)
        if is_known.all():
            return values
    elif not shape:
        return _scalar(weight, key)
    else:
        found = _selected_along(weight, key, axes(key, len(weight.shape)))
        if found is None or found[0].shape != shape:
            return None
        values, is_known = found
    fresh = keras_private.to_numpy(keras_private.snapshot(start)(), start.dtype)
    return np.where(is_known, values, fresh)


def _selected(weight: Weight, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """Returns a slot of the shape of its weight, and which positions are known."""
    if not weight.sources:
        kept = weight.slots.get(key)
        if kept is None or kept.shape != weight.shape:
            return np.zeros(weight.shape), np.zeros(weight.shape, bool)
        return kept.value(), np.ones(weight.shape, bool)
    parts = [_selected(source, key) for source in weight.sources]
    if weight.selection is not None:
        ((values, is_known),) = parts
        return weight.selection(values), weight.selection(is_known)
    origins = weight.origins()
    values, is_known = (
        np.concatenate([np.zeros(1, own[0].dtype), *map(np.ravel, own)])[origins]
        for own in zip(*parts)
    )
    return values, is_known


def _scalar(weight: Weight, key: Key) -> Any:
    """Returns the one number that an optimizer has of a variable."""
    found = _roots(weight)
    values = [root.slots[key] for root in found if key in root.slots]
    if len(values) == 1 and values[0].shape == ():
        return values[0].value()
    return None


def _roots(weight: Weight) -> list[Weight]:
    """Returns the snapshots that a weight comes from."""
    pending, found = [weight], {}
    while pending:
        one = pending.pop()
        if one.sources:
            pending.extend(one.sources)
        else:
            found[id(one)] = one
    return list(found.values())


def _selected_along(
    weight: Weight, key: Key, axes: Sequence[int] | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The same for a slot that has only some axes of the weight."""
    if axes is None:
        return None
    if not weight.sources:
        kept = weight.slots.get(key)
        shape = tuple(weight.shape[axis] for axis in axes)
        if kept is None:
            return np.zeros(shape), np.zeros(shape, bool)
        return (kept.value(), np.ones(shape, bool)) if kept.shape == shape else None
    indices = _indices_along(weight)
    if indices is None or any(indices[1][axis] is None for axis in axes):
        return None
    source, along = indices
    found = _selected_along(source, key, axes)
    if found is None:
        return None
    taken: list[Any] = [along[axis] for axis in axes]
    values, is_known = (Gather([np.maximum(t, 0) for t in taken])(f) for f in found)
    old = np.ix_(*(index >= 0 for index in taken)) if taken else ()
    is_old = np.zeros(is_known.shape, bool)
    is_old[old] = True
    return values, is_known & is_old


def _indices_along(weight: Weight) -> tuple[Weight, list[np.ndarray | None]] | None:
    """Returns the one source of a weight and old positions along each of its axes.

    Of an axis None, if its positions depend on those along another, as the inputs of a
    grouped convolution do. None as a whole, if there are several sources.
    """
    origins = weight.origins()
    start, sources = 1, []
    for source in weight.sources:
        size = int(np.prod(source.shape, dtype=np.int64))
        own = (origins >= start) & (origins < start + size)
        if (own.any() and source.slots) or source.sources:
            sources.append((source, np.where(own, origins - start, -1)))
        start += size
    if len(sources) != 1:
        return None
    ((source, flat),) = sources
    where = np.unravel_index(np.maximum(flat, 0), source.shape)
    indices = []
    for axis, old in enumerate(where):
        rows = np.moveaxis(np.where(flat < 0, -1, old), axis, 0)
        rows = rows.reshape(rows.shape[0], -1)
        index = rows.max(axis=1)
        is_mixed = ((rows >= 0) & (rows != index[:, None])).any()
        indices.append(None if is_mixed else index)
    return source, indices


class _SlotAxes:
    """Finds which axes of a variable the slots of an optimizer have.

    Another optimizer of the same settings is built for a variable whose axes all have
    different sizes.
    """

    def __init__(self, optimizer: Any):
        self._optimizer = optimizer
        self._known: dict[int, dict[Key, tuple[int, ...] | None]] = {}

    def __call__(self, key: Key, rank: int) -> tuple[int, ...] | None:
        if rank not in self._known:
            self._known[rank] = self._probe(rank)
        return self._known[rank].get(key)

    def _probe(self, rank: int) -> dict[Key, tuple[int, ...] | None]:
        sizes = tuple(range(2, rank + 2))
        with keras_private.names_kept():
            variable = keras.Variable(np.zeros(sizes, "float32"), name="probe")
            twin = Recipe.of(self._optimizer).create()
            twin.build([variable])
        return {
            slot.key: _axes_with(sizes, tuple(slot.state.shape))
            for slot in keras_private.optimizer_slots(twin)
        }


def _axes_with(sizes: tuple[int, ...], shape: tuple[int, ...]) -> tuple | None:
    if not set(shape) <= set(sizes):
        return None
    return tuple(sizes.index(size) for size in shape)
