"""Whether a layer does what the rules of its operations say, found by running it.

Permuting neurons must permute the results, and dropping or adding some must leave the
results of the others as they are. A layer with weights is made anew for the new sizes,
which shows whether its weights follow its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_nas.axes import Atom, Expression, index_of
from keras_nas.graph.tracing import Subject
from keras_nas.rules import AxisTensor, WeightAxes, blocks_of

Keep = Mapping[Atom, np.ndarray]
Resolve = Callable[[Expression], Expression]

_BATCH, _UNKNOWN = 3, 5


@dataclass
class Trials:
    """A layer and what is believed about it.

    Attributes:
        subject: The layer.
        resolve: Says what an axis turned out to be.
        inputs: Axes of each tensor that it is called on.
        outputs: Axes of what it returns.
        weights: Axes of each weight; None for a state without neurons.
        mixed: Atoms with which the results are expected to change.
    """

    subject: Subject
    resolve: Resolve
    inputs: Sequence[AxisTensor]
    outputs: Sequence[AxisTensor]
    weights: Sequence[WeightAxes | None]
    mixed: frozenset[Atom]

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._arrays = [self._sample(x, n) for n, x in enumerate(self.inputs)]
        # Of the weights that have neurons.
        self._axes = {
            n: axes for n, axes in enumerate(self.weights) if axes is not None
        }
        # Positive, so that a variance is one; far from what initializers like.
        self._values = {
            number: self._rng.uniform(0.1, 0.8, axes.shape).astype("float32")
            for number, axes in self._axes.items()
        }

    def failing(self, atoms: Iterable[Atom]) -> list[Atom]:
        """Returns the atoms along which the layer does something else.

        Raises:
            Exception: It does not run, or not the same twice.
        """
        self.check({})
        return [atom for atom in atoms if not self._follows(atom)]

    def check(self, keep: Keep) -> None:
        """Raises unless the results follow the neurons."""
        old, _ = self.subject.run(self._arrays, self._old_weights(keep))
        changed = [self._changed(n, keep) for n in range(len(self._arrays))]
        new, recorded = self.subject.run(changed, self._new_weights(keep))
        # A mean over other neurons is another mean; over permuted ones, the same.
        compares = all(
            atom not in self.mixed or sorted(index) == list(range(atom.size))
            for atom, index in keep.items()
        )
        if len(recorded) != len(new):
            raise ValueError(f"Keras records {len(recorded)} outputs for {len(new)}")
        for tensor, a, b, shape in zip(self.outputs, old, new, recorded, strict=True):
            indices = self._indices(tensor.axes, keep, a.shape)
            expected = tuple(map(len, indices))
            known = all(s in (None, n) for s, n in zip(shape, expected, strict=True))
            if not known or b.shape != expected:
                raise ValueError(f"it gives the shape {b.shape} for {list(keep)}")
            if compares:
                _assert_kept_equal(a, b, indices)

    def _follows(self, atom: Atom) -> bool:
        trials = (
            self._rng.permutation(atom.size),
            fewer(atom),
            np.arange(0, atom.size, 2),
            np.concatenate([np.arange(atom.size), [-1, -1, -1]]),
        )
        try:
            for index in trials:
                self.check({atom: index})
        except Exception:  # noqa: BLE001  A user's call may fail in any way.
            return False
        return True

    # --- weights --------------------------------------------------------------

    def _old_weights(self, keep: Keep) -> dict[int, np.ndarray]:
        """The weights, with zeros where they read a neuron that is dropped."""
        result = {}
        for number, value in self._values.items():
            axes = self._axes[number]
            blocks = []
            for block, piece in zip(axes.blocks, blocks_of(axes, value), strict=True):
                piece = np.array(piece)
                indices = self._indices(block, keep, piece.shape)
                for place in axes.reads:
                    dropped = np.setdiff1d(
                        np.arange(piece.shape[place]), indices[place]
                    )
                    piece[(slice(None),) * place + (dropped,)] = 0
                blocks.append(piece)
            result[number] = _put_together(axes, blocks)
        return result

    def _new_weights(self, keep: Keep) -> dict[int, np.ndarray]:
        """The weights as slicing would make them; what is new is random."""
        result = {}
        for number, value in self._values.items():
            axes = self._axes[number]
            blocks = []
            for block, piece in zip(axes.blocks, blocks_of(axes, value), strict=True):
                indices = self._indices(block, keep, piece.shape)
                fresh = self._rng.uniform(0.1, 0.8, tuple(map(len, indices)))
                piece = _gathered(piece, indices, fresh)
                for place in axes.reads:
                    new = np.flatnonzero(indices[place] < 0)
                    piece[(slice(None),) * place + (new,)] = 0
                blocks.append(piece)
            result[number] = _put_together(axes, blocks).astype("float32")
        return result

    # --- tensors --------------------------------------------------------------

    def _changed(self, number: int, keep: Keep) -> np.ndarray:
        """Keeps the neurons of an input; new ones are random."""
        array = self._arrays[number]
        indices = self._indices(self.inputs[number].axes, keep, array.shape)
        fresh = self._random(tuple(map(len, indices)), number)
        return _gathered(array, indices, fresh)

    def _indices(
        self, axes: Sequence[Expression], keep: Keep, shape: Sequence[int]
    ) -> list[np.ndarray]:
        return [
            np.arange(size)
            if axis.size is None or keep.keys().isdisjoint(axis.atoms)
            else index_of(axis, keep)
            for axis, size in zip(map(self.resolve, axes), shape, strict=True)
        ]

    def _sample(self, tensor: AxisTensor, number: int) -> np.ndarray:
        shape = tuple(
            size if size is not None else (_UNKNOWN if place else _BATCH)
            for place, size in enumerate(tensor.shape)
        )
        return self._random(shape, number)

    def _random(self, shape: tuple[int, ...], number: int) -> np.ndarray:
        dtype = self.subject.specs[number][1]
        if dtype == "bool" or "int" in dtype:
            return self._rng.integers(0, 2, shape).astype(dtype)
        # Most values are small, some are large: code may treat them apart.
        scale = self._rng.choice([0.1, 1, 10], shape)
        return (self._rng.normal(size=shape) * scale).astype(dtype)


def fewer(atom: Atom) -> np.ndarray:
    """All neurons but the first; a single one stays."""
    return np.arange(min(1, atom.size - 1), atom.size)


def _gathered(array: np.ndarray, indices: Sequence, fresh: np.ndarray) -> np.ndarray:
    """Takes positions of an array; where an index is -1, what is fresh."""
    taken = array[np.ix_(*(np.maximum(index, 0) for index in indices))]
    is_new = np.zeros(taken.shape, bool)
    for place, index in enumerate(indices):
        shape = [1] * taken.ndim
        shape[place] = -1
        is_new |= (index < 0).reshape(shape)
    return np.where(is_new, fresh, taken).astype(array.dtype)


def _put_together(axes: WeightAxes, blocks: list[np.ndarray]) -> np.ndarray:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axes.joined)


def _assert_kept_equal(
    old: np.ndarray, new: np.ndarray, indices: Sequence[np.ndarray]
) -> None:
    for place, index in enumerate(indices):
        new = np.take(new, np.flatnonzero(index >= 0), place)
        old = np.take(old, index[index >= 0], place)
    if old.dtype.itemsize == 2 and old.dtype.kind in "fV":
        old, new = old.astype("float32"), new.astype("float32")
        coarse = 0.03 * np.nanmax(np.abs(old), initial=1)
        np.testing.assert_allclose(new, old, rtol=0.03, atol=coarse)
    elif old.dtype.kind in "fc":
        if np.isfinite(old).sum() * 4 < old.size:
            raise ValueError("it gives no numbers")
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(new, old)
