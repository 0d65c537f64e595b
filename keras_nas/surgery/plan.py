"""A plan: what will happen to every layer, decided and checked, not yet done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.axes import Atom, Expression, index_of, is_unchanged, size_of
from keras_nas.charts import save_figure
from keras_nas.errors import KerasNasError
from keras_nas.graph import Analysis, Graph, build
from keras_nas.milp import Status
from keras_nas.surgery.change import change_graph
from keras_nas.surgery.changes import Change, changes_of
from keras_nas.surgery.folding import fold, fold_notes
from keras_nas.surgery.names import Names
from keras_nas.surgery.options import Options
from keras_nas.surgery.plan_bars import plan_bars
from keras_nas.surgery.plan_table import plan_table
from keras_nas.surgery.requests import Request


class Lookup(Mapping):
    """A read-only mapping from vertex names whose values are computed on demand."""

    def __init__(self, names: Names, keys: list, compute: Callable[[Any], Any]):
        self._names = names
        self._keys = keys
        self._known = set(keys)
        self._compute = compute

    def __getitem__(self, key: Any) -> Any:
        return self._compute(self._find(key))

    def __contains__(self, key: Any) -> bool:
        try:
            self._find(key)
        except (KeyError, KerasNasError):
            return False
        return True

    def _find(self, key: Any) -> Any:
        if key in self._known:
            return key
        if isinstance(key, tuple) and len(key) == 2:
            key = (self._names.find(key[0]), key[1])
        else:
            key = self._names.find(key)
        if key not in self._known:
            raise KeyError(key)
        return key

    def __iter__(self) -> Iterator:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True, eq=False)
class Plan:
    """New sizes and kept neurons of every vertex. Frozen; touches no weights.

    Printing a plan shows a table of the layers that change and why.

    Attributes:
        graph: The graph that the plan is for.
        analysis: Its axes.
        requests: What was asked for.
        options: The shared keywords.
        atom_keep: Keep array of each atom that changes: old neurons in their order,
            -1 for new ones.
        status: How the solver ended.
        names: Names of the graph.
        reason: Why layers change that nobody asked for, for the table.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(4, name="hidden"),
        ...     keras.layers.Dense(2, name="head"),
        ... ])
        >>> plan = kn.plan(model, {"hidden": 6})
        >>> plan.sizes["hidden"], plan.keep["hidden"].tolist()
        (6, [0, 1, 2, 3, -1, -1])
    """

    graph: Graph
    analysis: Analysis
    requests: tuple[Request, ...]
    options: Options
    atom_keep: Mapping[Atom, np.ndarray]
    status: Status
    names: Names
    reason: str = "less important"

    @cached_property
    def sizes(self) -> Mapping[Any, int]:
        """Vertex name, or ``(name, axis)`` for a further width, -> new size."""
        return Lookup(self.names, self._width_keys, lambda key: self._size(key))

    @cached_property
    def old_sizes(self) -> Mapping[Any, int]:
        """The same for the graph before."""
        return Lookup(self.names, self._width_keys, lambda key: self._axis(key).size)

    @cached_property
    def keep(self) -> Mapping[Any, np.ndarray]:
        """Like `sizes`: int array of shape ``(new_size,)``.

        Old positions, 0-based, in their new order; -1 for a new neuron.
        """
        return Lookup(
            self.names,
            self._width_keys,
            lambda key: index_of(self._axis(key), self.atom_keep),
        )

    @cached_property
    def input_sizes(self) -> Mapping[str, list[int | None]]:
        """Vertex name -> new size of the channel axis of each of its inputs."""
        keys = [call.path for call in self.analysis.flat.calls]
        return Lookup(self.names, keys, self._sizes_of_inputs)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Why the new model cannot be the same function on the kept part."""
        return tuple(dict.fromkeys(self._notes()))

    @property
    def exact(self) -> bool:
        """Whether the new model is the same function on the kept part."""
        return not self.notes

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not self.atom_keep

    def apply_to_graph(self, graph: Graph | None = None) -> Graph:
        """Returns the new graph; gathers no weights, and builds no Keras layer.

        With ``fold_constants`` the old model is built and run on the data.

        Args:
            graph: A graph of the same architecture with other weights; by default the
                one that the plan was made for.
        """
        graph = self.graph if graph is None else graph
        if self.options.fold_constants:
            graph = fold(graph, self.analysis, self.atom_keep, self.options.data)
        new = change_graph(graph, self.analysis, self.atom_keep, self.options)
        return new.with_optimizer() if self.options.carry_optimizer else new

    def apply(self, *, carry_optimizer: bool | None = None) -> Any:
        """Returns the new ``keras.Model``.

        Args:
            carry_optimizer: Whether it goes on with the state of the optimizer; by
                default what the plan was made with.

        Raises:
            InvalidRequestError: There is no such state.
        """
        graph = self.apply_to_graph()
        if carry_optimizer is not None:
            graph = graph.with_optimizer(carry_optimizer)
        return build(graph)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draws kept, dropped and new neurons of the layers that change.

        Args:
            path: Where to write the picture; nowhere by default.

        Returns:
            A matplotlib figure, which a notebook shows.

        Raises:
            UnsupportedModelError: matplotlib is not installed.
            InvalidRequestError: Nothing changes, or the file cannot be written.
        """
        figure = plan_bars(self.graph, self.analysis, self._changes())
        save_figure(figure, path)
        return figure

    def is_changed(self, axis: Expression) -> bool:
        """Whether an axis loses or gains neurons."""
        return not is_unchanged(self.analysis.resolve(axis), self.atom_keep)

    def grows(self, axis: Expression) -> bool:
        """Whether an axis gains new neurons."""
        index = index_of(self.analysis.resolve(axis), self.atom_keep)
        return bool((index < 0).any())

    def __str__(self) -> str:
        return plan_table(
            self.graph,
            self.analysis,
            self.names,
            self.requests,
            self._changes(),
            self.notes,
            self.reason,
        )

    def __repr__(self) -> str:
        return str(self)

    def _changes(self) -> Iterator[Change]:
        return changes_of(self.keep, self.old_sizes)

    @cached_property
    def atom_sizes(self) -> dict[Atom, int]:
        """New size of each atom that changes."""
        return {atom: len(index) for atom, index in self.atom_keep.items()}

    @cached_property
    def _width_keys(self) -> list:
        keys: list = []
        for path in self.names.paths:
            ref = self.analysis.output_of(path)
            if ref in self.analysis.tensors:
                axis = self.analysis.channel_of(ref)
                if axis is not None and axis.size is not None:
                    keys.append(path)
            keys.extend((path, name) for name in self.names.further_widths(path))
        return keys

    def _axis(self, key: Any) -> Expression:
        path, axis_name = key if isinstance(key, tuple) else (key, None)
        return self.names.width(path, axis_name)

    def _size(self, key: Any) -> int:
        return size_of(self._axis(key), self.atom_sizes)

    def _sizes_of_inputs(self, path: str) -> list[int | None]:
        return [
            None if axis is None else size_of(axis, self.atom_sizes)
            for axis in self.names.input_axes(path)
        ]

    def _notes(self) -> Iterator[str]:
        if self.options.fold_constants:
            has_data = self.options.data is not None
            yield from fold_notes(
                self.graph, self.analysis, self.atom_keep, has_data
            )
        for path, relation in self.analysis.relations.items():
            for axis, sentence in relation.mixes:
                if self.is_changed(axis):
                    yield (
                        f"'{path}' sees other neurons than before: {sentence}, so its "
                        "output differs from the old one on the kept neurons, too."
                    )
            for axis, sentence in relation.partial:
                if self.is_changed(axis) and self.grows(axis):
                    yield (
                        f"'{path}' may be undefined on new neurons: {sentence}. Check "
                        "the outputs with `keras_nas.verify`."
                    )
