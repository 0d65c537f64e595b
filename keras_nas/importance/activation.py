"""Importance by what the neurons do on data, whatever the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

from keras_nas.axes import Atom, Expression
from keras_nas.graph import Analysis, Call, Graph, TensorRef, keras_private
from keras_nas.importance.along import Along, axes_with_neurons, positions
from keras_nas.importance.combining import (
    Aggregation,
    Values,
    check_choice,
    normalize,
)
from keras_nas.importance.data import Copy, copy_to_run, find_layer, run_batches
from keras_nas.importance.measured import Measured
from keras_nas.importance.scores import Scores
from keras_nas.importance.wrapping import wrapped
from keras_nas.rules import leaves, split_masks

KINDS = ("mean", "variance", "apoz")
_LOOPS = (keras.layers.RNN, keras.layers.Wrapper)


class Activation(Measured):
    """Mean, variance or share of zeros of the activations, on data without targets.

    They are taken where the next layers read a neuron, so after normalisation and
    activation functions; for neurons that no weight reads, where they are made; for
    those inside a layer, such as heads, at the inputs and outputs of its projections.

    Args:
        x: Inputs: arrays in the structure that the model takes, or an iterable of
            batches, whose targets are left aside.
        kind: ``"mean"``: of absolute values. ``"variance"``: a neuron that is always
            the same can be replaced by a constant. ``"apoz"``: one minus the average
            percentage of zeros; for activation functions that give zeros.
        batch_size: Number of samples that run together; makes no other difference.
        aggregation: ``"sum"``, ``"mean"`` or ``"max"`` over the tensors that carry a
            neuron to different readers.
        normalization: Of each tensor: ``"mean"``, ``"max"``, ``"sum"``,
            ``"gaussian"`` or ``"none"``.

    Raises:
        InvalidRequestError: A setting that does not exist, or (when used) the data do
            not fit the model.

    Source: Hu 2016, "Network trimming" (arXiv 1607.03250), for zeros; Polyak 2015,
    "Channel-level acceleration of deep face representations", IEEE Access, for the
    variance.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, activation="relu", name="a"),
        ...     keras.layers.Dense(1, name="b"),
        ... ])
        >>> _ = model.get_layer("a").bias.assign([9.0, -9.0, 9.0])
        >>> zeros = kn.importance.Activation(np.ones((4, 2)), kind="apoz")
        >>> kn.plan(model, "a", 2, importance=zeros).keep["a"]
        array([0, 2])
    """

    def __init__(
        self,
        x: Any,
        kind: str = "mean",
        *,
        batch_size: int = 32,
        aggregation: str = "sum",
        normalization: str = "mean",
    ):
        check_choice("kind", kind, KINDS)
        self.kind = kind
        super().__init__(
            x, None, batch_size, aggregation=aggregation, normalization=normalization
        )

    def _measure(self, graph: Graph) -> Scores:
        copy = copy_to_run(graph)
        probes = Probes(copy, _Moments)

        def step(x: Any, y: Any, sample_weight: Any) -> Any:
            copy.model(x, training=False)
            return probes.check()

        with probes.attached():
            for _ in run_batches(step, self._x, None, self.batch_size):
                pass
        said = [[m.of_atoms(self.kind) for m in each] for each in probes.ranked()]
        found = combine(said, probes.atoms, self.aggregation, self.normalization)
        return Scores(copy.graph, copy.analysis, found)


def combine(
    ranked: Iterable[Iterable[Values]],
    atoms: Iterable[Atom],
    aggregation: str,
    normalization: str,
) -> Values:
    """Puts together what tensors say; worse ones speak where better are silent.

    Args:
        ranked: What each tensor says, the best kind of tensors first.
        atoms: The atoms.
        aggregation: Over the tensors of one kind.
        normalization: Of each tensor.
    """
    combined = Aggregation(aggregation, atoms)
    for sources in ranked:
        silent = combined.silent
        for said in sources:
            values = {a: v for a, v in said.items() if a in silent}
            combined.add(normalize(normalization, values))
    return combined.result()


class _Moments:
    """Sums over all positions of one axis of a tensor."""

    def __init__(self, axis: Expression):
        self._axis = axis
        self._count = 0
        # Arrays, one number for each position, as soon as there is a first tensor.
        self._absolute: Any = 0.0
        self._sum: Any = 0.0
        self._square: Any = 0.0
        self._active: Any = 0.0
        self._shift: Any = None

    def add(self, tensor: Any, number: int) -> None:
        array = _array(tensor)
        if array is None:
            return
        rows = np.moveaxis(array, number, 0).reshape(array.shape[number], -1)
        rows = rows.astype(np.float64)
        if self._shift is None:
            # The variance of what is far from zero would drown in rounding.
            self._shift = rows.mean(axis=1, keepdims=True)
        moved = rows - self._shift
        self._count += rows.shape[1]
        self._absolute = self._absolute + np.abs(rows).sum(axis=1)
        self._active = self._active + (rows != 0).sum(axis=1)
        self._sum = self._sum + moved.sum(axis=1)
        self._square = self._square + (moved * moved).sum(axis=1)

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self._absolute).all())

    def of_atoms(self, kind: str) -> Values:
        """Returns a statistic of each neuron over all its positions and samples."""
        if not self._count:
            return {}
        return {
            atom: self._statistic(kind, where)
            for atom, where in positions(self._axis).items()
        }

    def _statistic(self, kind: str, where: np.ndarray) -> np.ndarray:
        count = self._count * where.shape[1]
        if kind == "mean":
            return self._absolute[where].sum(axis=1) / count
        if kind == "apoz":
            return self._active[where].sum(axis=1) / count
        # Each position has a shift of its own, which is added again between them.
        means = self._sum[where] / self._count + self._shift[:, 0][where]
        inside = self._square[where] / self._count
        inside = inside - (self._sum[where] / self._count) ** 2
        return inside.mean(axis=1) + means.var(axis=1)


class Probes:
    """Looks at what goes into and comes out of the layers of a model.

    Args:
        copy: The model, with its graph.
        make: Makes what gathers an axis of a tensor, with ``add(tensor, number)``.
        in_loops: Whether to look inside of layers that run others in a loop, whose
            tensors nobody outside can have once they are compiled.

    Attributes:
        atoms: All atoms that some weight has.
    """

    def __init__(
        self, copy: Copy, make: Callable[[Expression], Any], *, in_loops: bool = True
    ):
        self._make, self._in_loops = make, in_loops
        self._analysis: Analysis = copy.analysis
        self._model = copy.model
        self._calls: dict[str, Call] = {}
        for call in copy.analysis.flat.calls:
            if call.part.weights:
                self._calls.setdefault(call.part.key, call)
        self._read: dict[Any, Any] = {}
        self._made: dict[Any, Any] = {}
        self._inside: dict[Any, Any] = {}
        parts = [call.part for call in self._calls.values()]
        self._axes: dict[str, list[Along]] = {part.key: [] for part in parts}
        self.atoms: dict[Atom, None] = {}
        for along in axes_with_neurons(copy.analysis, parts):
            self._axes[along.part].append(along)
            self.atoms.update(dict.fromkeys(along.axis.atoms))

    def ranked(self) -> Iterator[list]:
        """Yields the sources, best first; worse ones speak where better are silent."""
        for source in (self._read, self._made, self._inside):
            yield list(source.values())

    def check(self) -> np.ndarray:
        """Returns something that is finite if all activations are."""
        sources = (*self._read.values(), *self._made.values(), *self._inside.values())
        return np.array(0.0 if all(s.is_finite for s in sources) else np.nan)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Looks at every call inside the scope."""
        with ExitStack() as changed:
            for key, call in self._calls.items():
                layer = find_layer(self._model, key)
                changed.enter_context(_watched(layer, self._on_call(call)))
                hidden = self._hidden(call)
                if isinstance(layer, _LOOPS) and not self._in_loops:
                    continue
                for owner, prefix in keras_private.owners(layer) if hidden else ():
                    kernels = self._kernels(call, prefix) if prefix else []
                    if kernels:
                        changed.enter_context(_watched(owner, self._on_inner(kernels)))
            yield

    def _on_call(self, call: Call) -> Any:
        data, _ = split_masks(call.part.cls, call.args, call.kwargs)
        inputs = [leaf for leaf in leaves(data) if isinstance(leaf, TensorRef)]
        output = TensorRef(call.path)
        own = self._axes[call.part.key]
        read = frozenset().union(*(a.axis.atoms for a in own if a.reads))
        made = frozenset().union(*(a.axis.atoms for a in own if not a.reads))

        def look(arguments: Any, outputs: Any) -> None:
            arrays = keras.tree.flatten(arguments)
            tensors = [a for a in arrays if hasattr(a, "shape") and hasattr(a, "dtype")]
            for ref, tensor in zip(inputs, tensors):
                self._add(self._read, ref, tensor, read)
            first = keras.tree.flatten(outputs)[0]
            self._add(self._made, output, first, made)

        return look

    def _add(
        self, store: dict, ref: TensorRef, tensor: Any, atoms: frozenset[Atom]
    ) -> None:
        axes = self._analysis.axes_of(ref)
        if len(axes) != len(tensor.shape):
            return
        for number, axis in enumerate(axes):
            if axis.atoms & atoms and axis.size == tensor.shape[number]:
                self._note(store, (ref, number), axis, tensor, number)

    def _note(
        self, store: dict, key: Any, axis: Expression, tensor: Any, number: int
    ) -> None:
        if key not in store:
            store[key] = self._make(axis)
        store[key].add(tensor, number)

    def _hidden(self, call: Call) -> frozenset[Atom]:
        """Neurons that a layer has inside only, such as its heads."""
        own = [along.axis.atoms for along in self._axes[call.part.key]]
        refs = [x for x in leaves((call.args, call.kwargs)) if isinstance(x, TensorRef)]
        refs += [TensorRef(call.path, n) for n in range(len(call.outputs))]
        seen = [axis.atoms for ref in refs for axis in self._analysis.axes_of(ref)]
        return frozenset().union(*own) - frozenset().union(*seen)

    def _kernels(self, call: Call, prefix: str) -> list[tuple[Any, tuple]]:
        """Returns the names and axes of the kernels of one inner layer."""
        resolve = self._analysis.resolve
        return [
            ((call.part.key, name), tuple(map(resolve, axes.blocks[0])))
            for name, axes in self._analysis.parts[call.part.key].weights.items()
            if name.rpartition("/")[0] == prefix.rstrip("/") and len(axes.blocks) == 1
        ]

    def _on_inner(self, kernels: list) -> Any:
        """A projection's kernel starts with axes of its input, ends with the output's.

        How many of them is what fits the tensors, at least one on each side.
        """

        def look(arguments: Any, outputs: Any) -> None:
            tensors = [a for a in keras.tree.flatten(arguments) if hasattr(a, "shape")]
            for key, axes in kernels:
                if len(axes) < 2 or not tensors:
                    continue
                sides = ((tensors[0], axes, True), (outputs, axes, False))
                for tensor, expressions, is_input in sides:
                    self._add_inner(key, tensor, expressions, is_input)

        return look

    def _add_inner(self, key: Any, tensor: Any, axes: tuple, is_input: bool) -> None:
        if not hasattr(tensor, "shape"):
            return
        shape = tuple(tensor.shape)
        for count in range(len(axes) - 1, 0, -1):
            fitting = axes[:count] if is_input else axes[-count:]
            if shape[len(shape) - count :] == tuple(a.size for a in fitting):
                for offset, axis in enumerate(fitting):
                    number = len(shape) - count + offset
                    if axis.atoms:
                        place = (key, is_input, number)
                        self._note(self._inside, place, axis, tensor, number)
                return


def _watched(layer: Any, look: Callable[[Any, Any], None]) -> AbstractContextManager:
    """Shows what each call of a layer is given, and gives."""

    def watched(call: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = call(*args, **kwargs)
        look((args, kwargs), outputs)
        return outputs

    return wrapped(layer, "call", watched)


def _array(tensor: Any) -> np.ndarray | None:
    """Returns the values of a tensor, or None inside a loop that is compiled."""
    try:
        return np.asarray(keras.ops.convert_to_numpy(tensor))
    except (TypeError, AttributeError, NotImplementedError):
        return None
