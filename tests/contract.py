"""What must hold for every model, whatever its layers: `check_model`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_nas as kn
from keras_nas.axes import index_of
from keras_nas.graph import Weight, analyze
from keras_nas.importance import blocks_of

# JAX compiles each operation for each shape; a model at once takes half the time. Its
# numbers are compared until each axis of each weight has been shorter and longer.
IS_COMPILED = keras.backend.backend() == "jax"
# A model with more widths than this is not asked for each of them.
MANY = 20


def check_model(
    model: keras.Model, inputs: Any, *, trains: bool = True, runs: bool = True
) -> list[kn.Plan]:
    """Puts a model through the contract.

    Args:
        model: A built model whose weights are random. Not modified.
        inputs: Data for it.
        trains: Whether gradients reach every weight that has new positions.
        runs: Whether it can run here; if not, only sizes are checked.

    Returns:
        The plans that were carried out.
    """
    graph = kn.Graph.from_model(model)
    before = _snapshot(model)
    inputs = inputs if runs else None
    check_rebuild(graph, model, inputs)
    plans: list[kn.Plan] = []
    touched: set[tuple] = set()
    for key, old in _widths(graph):
        check_present_size(graph, key, old)
        for wanted in dict.fromkeys((max(1, old // 2), old + 2)):
            plan = check_request(graph, key, wanted) if wanted != old else None
            if plan is not None and not _seen(plans, plan):
                is_new = not _touched(plan) <= touched
                check_plan(plan, model, inputs if is_new or not IS_COMPILED else None)
                touched |= _touched(plan)
                plans.append(plan)
    if runs:
        _check_last(plans, inputs, trains)
    _assert_same_arrays(before, _snapshot(model))
    return plans


def check_rebuild(graph: kn.Graph, model: keras.Model, inputs: Any) -> None:
    """An unedited graph builds the same model, bit for bit."""
    rebuilt = graph.build()
    _assert_same_arrays(_snapshot(model), _snapshot(rebuilt))
    if inputs is not None:
        _assert_same_arrays(run(model, inputs), run(rebuilt, inputs))


def check_present_size(graph: kn.Graph, key: Any, old: int) -> None:
    """Asking for the present size changes nothing."""
    plan = graph.plan({key: old})
    assert plan.is_empty and plan.exact, key
    assert plan.apply_to_graph().parts == graph.parts


def check_request(graph: kn.Graph, key: Any, wanted: int) -> kn.Plan | None:
    """Either the size is planned, or the error names the nearest that work."""
    try:
        plan = graph.plan({key: wanted})
    except kn.InfeasibleError as error:
        _check_nearest(graph, key, wanted, error)
        return None
    assert plan.sizes[key] == wanted
    again = graph.plan({key: wanted})
    assert dict(plan.sizes) == dict(again.sizes)
    for other in plan.keep:
        np.testing.assert_array_equal(plan.keep[other], again.keep[other])
    return plan


def check_plan(plan: kn.Plan, model: keras.Model, inputs: Any) -> None:
    """The built model has the sizes of the plan and computes what it promises."""
    changed = plan.apply_to_graph()
    new = changed.build()
    check_sizes(plan, changed, new)
    assert plan.exact == (not plan.notes)
    if inputs is None:
        return
    results = run(new, inputs)
    if plan.exact:
        expected = run(zeroed(plan).build(), inputs)
        for axes, old_values, values in zip(
            _output_axes(plan), expected, results, strict=True
        ):
            assert_kept_part_equal(plan, axes, old_values, values)


def check_sizes(plan: kn.Plan, changed: kn.Graph, new: keras.Model) -> None:
    """Every vertex of the real model has the size that the plan says."""
    real = {call.path: call for call in analyze(kn.Graph.from_model(new)).flat.calls}
    planned = {call.path: call for call in analyze(changed).flat.calls}
    assert list(real) == list(planned)
    for path, call in real.items():
        shapes = [spec.shape for spec in call.outputs]
        for shape, spec in zip(shapes, planned[path].outputs, strict=True):
            _assert_agree(shape, spec.shape, path)
        if path in plan.sizes:
            tensor = plan.analysis.tensors[plan.analysis.output_of(path)]
            assert shapes[0][tensor.channel] == plan.sizes[path], path
    for key, size in plan.sizes.items():
        keep = plan.keep[key]
        kept = keep[keep >= 0]
        assert len(keep) == size, key
        assert len(set(kept.tolist())) == len(kept), key
        assert (kept < plan.old_sizes[key]).all(), key


def zeroed(plan: kn.Plan) -> kn.Graph:
    """The old graph, in which whatever reads a dropped neuron reads it with zeros.

    The new model must compute the same on all that is kept: the oracle of this file.
    """
    parts = {}
    for key, part in plan.graph.parts.items():
        relation = plan.analysis.parts.get(key)
        if relation is None:
            continue
        weights = tuple(
            Weight.derived(weight, weight.shape, partial(_zero_reads, plan, axes))
            if (axes := relation.weights.get(weight.name)) is not None and axes.reads
            else weight
            for weight in part.weights
        )
        parts[key] = replace(part, weights=weights)
    return plan.graph.replace_parts(parts)


def assert_kept_part_equal(plan: kn.Plan, axes, old, new, rtol: float = 1e-4) -> None:
    """Compares an output where it was there before."""
    old_part, new_part = old, new
    for number, axis in enumerate(axes):
        if axis.size is None:
            continue
        index = index_of(axis, plan.atom_keep)
        new_part = np.take(new_part, np.flatnonzero(index >= 0), number)
        old_part = np.take(old_part, index[index >= 0], number)
    scale = np.abs(old_part).max(initial=1e-3)
    np.testing.assert_allclose(new_part / scale, old_part / scale, rtol, atol=1e-5)


def run(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    """Returns the flat outputs of a model as arrays."""
    outputs = keras.tree.flatten(outputs_of(model, inputs))
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def outputs_of(model: keras.Model, inputs: Any) -> Any:
    """Returns the outputs of a model in their structure."""
    if IS_COMPILED:
        return model.predict_on_batch(inputs)
    return model(inputs, training=False)


def check_saving(model: keras.Model, inputs: Any) -> None:
    """A plain Keras reads back what was saved."""
    classes = {type(layer).__name__: type(layer) for layer in model.layers}
    with (
        tempfile.TemporaryDirectory() as folder,
        keras.saving.custom_object_scope(classes),
    ):
        path = Path(folder, "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
    _assert_same_arrays(run(model, inputs), run(loaded, inputs))


def check_training(plan: kn.Plan, inputs: Any) -> None:
    """Two steps of training run, and move every new neuron in every weight."""
    changed = plan.apply_to_graph()
    new = changed.build()
    new.compile(keras.optimizers.SGD(0.1), loss="mse", run_eagerly=not IS_COMPILED)
    targets = keras.tree.map_structure(
        lambda y: keras.ops.convert_to_numpy(y) + 1, outputs_of(new, inputs)
    )
    for _ in range(2):
        new.train_on_batch(inputs, targets)
    trained = kn.Graph.from_model(new)
    for key, part in changed.parts.items():
        for before, after in zip(part.weights, trained.parts[key].weights, strict=True):
            if before.trainable:
                has_moved = before.value() != after.value()
                _assert_new_moved(plan, key, before.name, has_moved)


def _assert_new_moved(plan: kn.Plan, key: str, name: str, has_moved) -> None:
    axes = plan.analysis.parts[key].weights.get(name)
    if axes is None or len(axes.blocks) > 1:
        return
    for number, axis in enumerate(axes.blocks[0]):
        index = index_of(plan.analysis.resolve(axis), plan.atom_keep)
        for position in np.flatnonzero(index < 0):
            moved = np.take(has_moved, position, axis=number).any()
            assert moved, (key, name, number, position)


def _check_last(plans: list, inputs: Any, trains: bool) -> None:
    """Saves and trains one grown model, or the last one; each takes long."""
    grown = [plan for plan in plans if _grows(plan)]
    if not plans:
        return
    plan = (grown or plans)[-1]
    check_saving(plan.apply(), inputs)
    if trains:
        check_training(plan, inputs)


def _grows(plan: kn.Plan) -> bool:
    return any((index < 0).any() for index in plan.atom_keep.values())


def _check_nearest(graph, key, wanted: int, error: kn.InfeasibleError) -> None:
    """What the error offers works, and nothing nearer does."""
    assert str(wanted) in str(error) and "Received" in str(error)
    offered = error.nearest[key]
    offered = offered if isinstance(offered, tuple) else (offered,)
    below = [size for size in offered if size < wanted]
    above = [size for size in offered if size > wanted]
    assert len(below) <= 1 and len(above) <= 1 and below + above == list(offered)
    for size in offered:
        assert graph.plan({key: size}).sizes[key] == size
    low, high = (*below, 0)[0], (*above, wanted + 4)[0]
    for size in range(low + 1, high):
        with contextlib.suppress(kn.InfeasibleError):
            graph.plan({key: size})
            raise AssertionError(f"{size} works for {key!r}; {offered} was offered")


def _widths(graph: kn.Graph) -> Iterator[tuple[Any, int]]:
    """Yields a request key for each width of the model, and its size.

    Two vertices with one axis make one problem, unless one is an output of the model
    (which is released by its name), so only the first of them is asked for.
    """
    analysis = analyze(graph)
    outputs = set(analysis.flat.outputs)
    sizes = graph.plan({analysis.flat.calls[0].path: kn.near(1)}).old_sizes
    seen = set()
    is_wide = len(sizes) > MANY
    for key, size in sizes.items():
        if isinstance(key, tuple):
            axis = analysis.resolve(analysis.relations[key[0]].widths[key[1]])
            group = (axis, False)
        else:
            ref = analysis.output_of(key)
            group = (analysis.channel_of(ref), ref in outputs)
        if is_wide and group[0] is not None:
            # Many views of the same neurons: one request for each set will do.
            group = (group[0].atoms, group[1])
        if group not in seen:
            seen.add(group)
            yield key, size


def _touched(plan: kn.Plan) -> set[tuple]:
    """Returns which axes of weights of which classes become shorter, or longer."""
    found = set()
    for key, part in plan.graph.parts.items():
        relation = plan.analysis.parts.get(key)
        for name, axes in relation.weights.items() if relation else ():
            for block in axes.blocks:
                for number, axis in enumerate(map(plan.analysis.resolve, block)):
                    change = len(index_of(axis, plan.atom_keep)) - axis.size
                    if change:
                        found.add((part.cls, name, number, change > 0))
    return found


def _seen(plans: list, plan: kn.Plan) -> bool:
    return any(
        dict(plan.sizes) == dict(other.sizes)
        and all(np.array_equal(plan.keep[key], other.keep[key]) for key in plan.keep)
        for other in plans
    )


def _output_axes(plan: kn.Plan) -> list:
    analysis = plan.analysis
    return [analysis.axes_of(ref) for ref in analysis.flat.outputs]


def _zero_reads(plan: kn.Plan, axes, array: np.ndarray) -> np.ndarray:
    blocks = [np.array(block) for block in blocks_of(axes, array)]
    for block, expressions in zip(blocks, axes.blocks, strict=True):
        for number in axes.reads:
            axis = plan.analysis.resolve(expressions[number])
            index = index_of(axis, plan.atom_keep)
            dropped = np.setdiff1d(np.arange(axis.size), index)
            block[(slice(None),) * number + (dropped,)] = 0
    joined = axes.joined if len(blocks) > 1 else 0
    return np.concatenate(blocks, axis=joined)


def _assert_agree(real, planned, path: str) -> None:
    """Shapes are equal; Keras may know less about the real one."""
    assert len(real) == len(planned), path
    assert all(a in (None, b) for a, b in zip(real, planned, strict=True)), path


def _snapshot(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def _assert_same_arrays(left: list, right: list) -> None:
    for old, new in zip(left, right, strict=True):
        np.testing.assert_array_equal(old, new)
