"""What happens to an axis when its atoms lose and gain neurons.

A *keep array* of an atom lists its old neurons in their new order, ``-1`` for each new
neuron. From the keep arrays of the atoms follow the index array and the size of every
axis, and in the other direction the importance of an atom follows from values along
an axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import cast

import numpy as np

from keras_nas.axes.expressions import (
    Atom,
    Expression,
    Fixed,
    MaybeNone,
    Product,
    Sum,
)


def size_of(expression: Expression, sizes: Mapping[Atom, int]) -> int | MaybeNone:
    """Returns the size of an axis for given sizes of atoms.

    Args:
        expression: A resolved expression.
        sizes: New size of each atom that changes; the others keep theirs.

    Returns:
        Number of positions, or None where the expression has unknown size.
    """
    if isinstance(expression, Fixed):
        return expression.size
    if isinstance(expression, Atom):
        return sizes.get(expression, expression.size)
    if isinstance(expression, Sum):
        return sum(size_of(part, sizes) for part in expression.parts)
    parts = cast(Product, expression).parts
    return prod(size_of(part, sizes) for part in parts)


def index_of(expression: Expression, keep: Mapping[Atom, np.ndarray]) -> np.ndarray:
    """Returns the index array of an axis for given keep arrays of atoms.

    A sum concatenates with offsets; a product is the row-major outer combination, and
    any new neuron in it makes a new position.

    Args:
        expression: A resolved expression of known size.
        keep: Keep array of each atom that changes; the others keep all neurons.

    Returns:
        Int array of shape ``(new_size,)``: old positions, -1 for new ones.
    """
    if isinstance(expression, Atom) and expression in keep:
        return np.asarray(keep[expression], dtype=np.int64)
    if keep.keys().isdisjoint(expression.atoms):
        return np.arange(expression.size, dtype=np.int64)
    if isinstance(expression, Sum):
        return _concatenate(expression, keep)
    return _combine(cast(Product, expression), keep)


def keep_for(expression: Expression, index: np.ndarray) -> dict[Atom, np.ndarray]:
    """Returns keep arrays with which an axis has a given index array.

    The inverse of `index_of`. New positions belong to the neurons before them.

    Args:
        expression: A resolved expression of known size.
        index: Int array: old positions, -1 for new ones.

    Raises:
        ValueError: No choice of neurons gives this index.
    """
    index = np.asarray(index, dtype=np.int64)
    keep: dict[Atom, np.ndarray] = {}
    _collect_keep(expression, index, keep)
    if not np.array_equal(index_of(expression, keep), index):
        raise ValueError("No choice of neurons gives these positions.")
    return keep


def is_unchanged(expression: Expression, keep: Mapping[Atom, np.ndarray]) -> bool:
    """Whether an axis keeps all its positions in order and gains none."""
    if keep.keys().isdisjoint(expression.atoms):
        return True
    index = index_of(expression, keep)
    return np.array_equal(index, np.arange(expression.size))


def scatter(expression: Expression, values: np.ndarray) -> dict[Atom, np.ndarray]:
    """Adds up values along an axis for the atoms that it is made of.

    Args:
        expression: A resolved expression of known size.
        values: Float array of shape ``(size,)``, one value for each position.

    Returns:
        Atom -> float array of shape ``(atom.size,)``: for each neuron the sum over
        all positions that it stands for, so over the other factors of a product too.
    """
    result: dict[Atom, np.ndarray] = {}
    stack = [(expression, np.asarray(values, dtype=np.float64))]
    while stack:
        part, numbers = stack.pop()
        if isinstance(part, Atom):
            result[part] = result.get(part, 0.0) + numbers
        elif isinstance(part, Sum):
            ends = np.cumsum([term.size for term in part.parts])[:-1]
            stack.extend(zip(part.parts, np.split(numbers, ends), strict=True))
        elif isinstance(part, Product):
            for factor in part.parts:
                table = numbers.reshape(factor.size, -1)
                stack.append((factor, table.sum(axis=1)))
                numbers = table.sum(axis=0)
    return result


def _collect_keep(
    expression: Expression, index: np.ndarray, keep: dict[Atom, np.ndarray]
) -> None:
    """Guesses keep arrays; `keep_for` makes sure that they give the index."""
    if isinstance(expression, Atom):
        if expression in keep and not np.array_equal(keep[expression], index):
            raise ValueError("One neuron would have to stay and go.")
        keep[expression] = index
    elif isinstance(expression, Sum):
        _collect_from_sum(expression, index, keep)
    elif isinstance(expression, Product):
        _collect_from_product(expression, index, keep)


def _collect_from_sum(
    expression: Sum, index: np.ndarray, keep: dict[Atom, np.ndarray]
) -> None:
    ends = np.cumsum([term.size for term in expression.parts])
    terms = np.searchsorted(ends, index, side="right")
    terms[index < 0] = 0
    # A new position goes with the last old one before it.
    terms = np.maximum.accumulate(terms)
    for number, (term, end) in enumerate(zip(expression.parts, ends, strict=True)):
        part = index[terms == number]
        start = end - term.size
        _collect_keep(term, np.where(part < 0, -1, part - start), keep)


def _collect_from_product(
    expression: Product, index: np.ndarray, keep: dict[Atom, np.ndarray]
) -> None:
    """Finds the one factor that changes while all others stay as they are."""
    sizes = [factor.size for factor in expression.parts]
    for number, factor in enumerate(expression.parts):
        inner = prod(sizes[number + 1 :])
        others = prod(sizes) // factor.size
        if not factor.atoms or len(index) % others:
            continue
        table = index.reshape(prod(sizes[:number]), -1, inner)
        own = table[0, :, 0] if table.size else np.zeros(0, dtype=np.int64)
        trial = dict(keep)
        try:
            _collect_keep(factor, np.where(own < 0, -1, own // inner), trial)
        except ValueError:
            continue
        if np.array_equal(index_of(expression, trial), index):
            keep.update(trial)
            return
    raise ValueError("No factor of a product gives these positions.")


def _concatenate(expression: Sum, keep: Mapping[Atom, np.ndarray]) -> np.ndarray:
    pieces, offset = [], 0
    for term in expression.parts:
        index = index_of(term, keep)
        pieces.append(np.where(index < 0, -1, index + offset))
        offset += term.size
    return np.concatenate(pieces)


def _combine(expression: Product, keep: Mapping[Atom, np.ndarray]) -> np.ndarray:
    """Combines the factors from the last to the first, so without recursion."""
    *heads, last = expression.parts
    tail, old_size = index_of(last, keep), last.size
    for factor in reversed(heads):
        head = index_of(factor, keep)
        combined = head[:, None] * old_size + tail[None, :]
        is_new = (head < 0)[:, None] | (tail < 0)[None, :]
        tail = np.where(is_new, -1, combined).reshape(-1)
        old_size *= factor.size
    return tail
