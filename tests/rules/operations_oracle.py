"""Runs a real Keras operation to see whether its rule told the truth.

A rule is right if this holds for every choice of kept neurons: the operation with its
settings and arguments rewritten, run on the kept part of the inputs, gives the kept
part of what the original operation gives. `check` tries some choices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_nas.axes import (
    Expression,
    Fixed,
    Unifier,
    index_of,
    product,
    size_of,
    total,
)
from keras_nas.rules import (
    AxisTensor,
    Computed,
    Relation,
    RuleCall,
    SizeOf,
    Sliced,
    find_rule,
    leaves,
    map_leaves,
    positional_names,
)

UNKNOWN = 3  # Size that an axis of unknown size has at run time.


@dataclass(frozen=True)
class Node:
    """One call of an operation, as a functional model records it."""

    operation: Any
    args: tuple
    kwargs: dict
    inputs: list
    outputs: list


@dataclass(frozen=True)
class Described:
    """A node together with what its rule says about it."""

    node: Node
    unifier: Unifier
    tensors: list[AxisTensor]
    relation: Relation

    def free_axes(self) -> list[str]:
        """Numbers of the axes of each input that can change, as strings of digits."""
        return [
            "".join(
                str(number)
                for number, axis in enumerate(tensor.axes)
                if self.unifier.resolve(axis).atoms
            )
            for tensor in self.tensors
        ]


def record(shapes: str, build: Callable, dtype: str = "float32") -> Node:
    """Calls one operation on symbolic inputs.

    Args:
        shapes: Shapes with commas between them; ``b`` is an unknown size.
        build: ``(*inputs) -> outputs``, one operation.
        dtype: Of the inputs.
    """
    inputs = [
        keras.Input(
            batch_shape=[None if size == "b" else int(size) for size in shape.split()],
            dtype=dtype,
        )
        for shape in shapes.split(",")
    ]
    outputs = keras.tree.flatten(build(*inputs))
    history = outputs[0]._keras_history
    arguments = history.operation._inbound_nodes[history.node_index].arguments
    assert all(any(t is x for x in inputs) for t in arguments.keras_tensors), "one node"
    return Node(history.operation, arguments.args, arguments.kwargs, inputs, outputs)


def describe(node: Node, rng: np.random.Generator | None = None) -> Described:
    """Asks the rule; with ``rng``, the axes of the inputs are sums and products."""
    unifier = Unifier()
    tensors = [
        AxisTensor(tuple(_axis(unifier, size, rng) for size in tensor.shape))
        for tensor in node.inputs
    ]

    def with_axes(leaf):
        numbers = [n for n, tensor in enumerate(node.inputs) if tensor is leaf]
        return tensors[numbers[0]] if numbers else leaf

    cls = type(node.operation)
    call = RuleCall(
        unifier,
        cls,
        "op",
        _config(node),
        {},
        map_leaves(with_axes, tuple(node.args)),
        map_leaves(with_axes, dict(node.kwargs)),
        [output.shape for output in node.outputs],
    )
    relation = find_rule(cls, is_operation=True)(call)
    return Described(node, unifier, tensors, relation)


def _config(node: Node) -> dict:
    """Settings; none for an operation whose settings Keras cannot write."""
    try:
        return node.operation.get_config()
    except NotImplementedError:
        return {}


def check(described: Described, rng: np.random.Generator) -> None:
    """Compares the operation on kept neurons with the kept part of its result.

    Where the rule says that the function mixes neurons, only the shapes can agree;
    with those neurons unchanged, the values must agree as well.
    """
    relation, resolve = described.relation, described.unifier.resolve
    mixed = {atom for axis, _ in relation.mixes for atom in resolve(axis).atoms}
    keep = _choose(described, rng)
    _compare(described, keep, rng, has_equal_values=not mixed)
    if mixed:
        keep = {atom: kept for atom, kept in keep.items() if atom not in mixed}
        _compare(described, keep, rng, has_equal_values=True)


def _axis(unifier: Unifier, size: int | None, rng) -> Expression:
    if size is None:
        return Fixed(None)
    form = (
        "atom" if rng is None or size == 1 else rng.choice(["atom", "sum", "product"])
    )
    if form == "sum":
        first = int(rng.integers(1, size))
        return total((unifier.atom(first), unifier.atom(size - first)))
    divisors = [d for d in range(2, size) if size % d == 0]
    if form == "product" and divisors:
        first = int(rng.choice(divisors))
        head = Fixed(first) if rng.random() < 0.5 else unifier.atom(first)
        return product((head, unifier.atom(size // first)))
    return unifier.atom(size)


def _choose(described: Described, rng: np.random.Generator) -> dict:
    """Keeps some neurons of every atom and adds some, as far as sizes are not tied."""
    relation, resolve = described.relation, described.unifier.resolve
    axes = [axis for t in (*described.tensors, *relation.outputs) for axis in t.axes]
    for leaf in leaves((relation.config, relation.arguments)):
        axes += [leaf.axis] if isinstance(leaf, SizeOf) else getattr(leaf, "axes", ())
    atoms = {atom for axis in axes for atom in resolve(axis).atoms}
    tied = {
        a for group in relation.equal for axis in group for a in resolve(axis).atoms
    }
    counts: dict[int, int] = {}
    keep = {}
    for atom in sorted(atoms, key=lambda atom: atom.serial):
        num_kept = int(rng.integers(1, atom.size + 1))
        if atom in tied:
            num_kept = counts.setdefault(atom.size, num_kept)
        num_new = 0 if atom in tied else int(rng.integers(0, 3))
        kept = np.sort(rng.choice(atom.size, num_kept, replace=False))
        keep[atom] = np.concatenate([kept, np.full(num_new, -1, dtype=int)])
    sizes = {atom: len(kept) for atom, kept in keep.items()}
    for group in relation.equal:
        if len({size_of(resolve(axis), sizes) for axis in group}) > 1:
            return {atom: kept for atom, kept in keep.items() if atom not in tied}
    return keep


def _compare(described: Described, keep: dict, rng, has_equal_values: bool) -> None:
    node, relation = described.node, described.relation
    old_inputs = [_values(tensor, rng) for tensor in node.inputs]
    new_inputs = [
        _gather(old, _indices(described, tensor.axes, keep, old.shape), rng)
        for old, tensor in zip(old_inputs, described.tensors, strict=True)
    ]
    old_outputs = _run(node, {}, {}, old_inputs)
    config, arguments = (
        map_leaves(lambda leaf: fill_in(described, leaf, keep), part)
        for part in (relation.config, relation.arguments)
    )
    new_outputs = _run(node, config, arguments, new_inputs)
    assert len(relation.outputs) == len(old_outputs) == len(new_outputs)
    for tensor, old, new in zip(
        relation.outputs, old_outputs, new_outputs, strict=True
    ):
        indices = _indices(described, tensor.axes, keep, old.shape)
        assert new.shape == tuple(map(len, indices))
        if has_equal_values:
            kept = np.ix_(*(np.flatnonzero(index >= 0) for index in indices))
            expected = old[np.ix_(*(index[index >= 0] for index in indices))]
            np.testing.assert_allclose(new[kept], expected, rtol=1e-5, atol=1e-6)


def _values(tensor, rng) -> np.ndarray:
    shape = [UNKNOWN if size is None else size for size in tensor.shape]
    if tensor.dtype.startswith("int"):
        return rng.integers(0, 4, shape).astype(tensor.dtype)
    return rng.uniform(0.1, 0.9, shape).astype(tensor.dtype)


def _indices(described, axes, keep, shape) -> list[np.ndarray]:
    assert len(axes) == len(shape)
    indices = []
    for axis, size in zip(axes, shape, strict=True):
        assert axis.size in (None, size)
        is_known = axis.size is not None
        axis = described.unifier.resolve(axis)
        indices.append(index_of(axis, keep) if is_known else np.arange(size))
    return indices


def _gather(values: np.ndarray, indices, rng) -> np.ndarray:
    """Keeps positions; new ones are random."""
    result = values
    for number, index in enumerate(indices):
        result = np.take(result, np.maximum(index, 0), axis=number)
        is_new = np.reshape(index < 0, [-1] + [1] * (result.ndim - number - 1))
        new = rng.permutation(result.reshape(-1)).reshape(result.shape)
        result = np.where(is_new, new, result)
    return result


def fill_in(described: Described, leaf: Any, keep: dict) -> Any:
    """Replaces a placeholder in a setting or argument."""
    sizes = {atom: len(kept) for atom, kept in keep.items()}
    resolve = described.unifier.resolve
    if isinstance(leaf, SizeOf):
        return size_of(resolve(leaf.axis), sizes)
    if isinstance(leaf, Computed):
        return leaf.function(*(size_of(resolve(axis), sizes) for axis in leaf.axes))
    if isinstance(leaf, Sliced):
        value = np.asarray(leaf.value)
        for number, axis in enumerate(leaf.axes):
            index = index_of(resolve(axis), keep)
            index = np.maximum.accumulate(np.maximum(index, 0))
            value = np.take(value, index, axis=number)
        return value
    return leaf


def _run(node: Node, config: dict, arguments: dict, values: list) -> list[np.ndarray]:
    def with_values(leaf):
        numbers = [n for n, tensor in enumerate(node.inputs) if tensor is leaf]
        return values[numbers[0]] if numbers else leaf

    settings = {**node.operation.get_config(), **config}
    operation = type(node.operation).from_config(settings)
    names = positional_names(type(operation))
    args = list(map_leaves(with_values, tuple(node.args)))
    kwargs = map_leaves(with_values, dict(node.kwargs))
    for name, value in arguments.items():
        if name in names and names.index(name) < len(args):
            args[names.index(name)] = value
        else:
            kwargs[name] = value
    args = [keras.ops.convert_to_tensor(a) if _is_array(a) else a for a in args]
    outputs = keras.tree.flatten(operation(*args, **kwargs))
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
