"""The blocks that spaces are made of: what can stand in one place of a network.

A block knows all ways to decide for something, and where each leads: to which grid.
So a decision that would end in a dead end (a pooling of a grid of one, a kernel larger
than the image) is never offered, and what is sampled is always valid.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_nas.errors import InvalidRequestError
from keras_nas.search.spaces.blueprints import NOTHING, Blueprint, LayerBlueprint
from keras_nas.search.spaces.choosing import Scope
from keras_nas.search.spaces.grids import Grid, grid_after

# Whether what comes behind a block can go on from a grid.
Accept = Callable[[Grid], bool]


class Block(abc.ABC):
    """A part of a search space.

    Subclasses say in `count` how many ways lead to which grid, and in `decide` choose
    one; both have to agree. Blocks never change.
    """

    def outcomes(self, grid: Grid) -> Mapping[Grid, int]:
        """Returns grid of the output -> number of different decisions that lead there.

        Args:
            grid: Spatial axes of the input: ``()`` for vectors.
        """
        known = self.__dict__.setdefault("_known_outcomes", {})
        if grid not in known:
            known[grid] = dict(self.count(grid))
        return known[grid]

    @abc.abstractmethod
    def count(self, grid: Grid) -> Mapping[Grid, int]:
        """Works out what `outcomes` returns."""

    @abc.abstractmethod
    def decide(
        self, scope: Scope, grid: Grid, accept: Accept
    ) -> tuple[Blueprint, Grid]:
        """Makes all decisions.

        Args:
            scope: Whom to ask.
            grid: Spatial axes of the input.
            accept: The grid of the output has to please it; some outcome does.

        Returns:
            What was decided for, and the grid of its output.
        """

    def leads(self, grid: Grid, accept: Accept) -> bool:
        """Whether some decisions lead from a grid to an accepted one."""
        return any(accept(end) for end, ways in self.outcomes(grid).items() if ways)


class Nothing(Block):
    """No layer at all."""

    def count(self, grid: Grid) -> Mapping[Grid, int]:
        """See `Block.count`."""
        return {grid: 1}

    def decide(
        self, scope: Scope, grid: Grid, accept: Accept
    ) -> tuple[Blueprint, Grid]:
        """See `Block.decide`."""
        return NOTHING, grid

    def __repr__(self) -> str:
        return "Nothing()"


class LayerSpace(Block):
    """A Keras layer, some of whose settings are to be decided.

    Args:
        kind: Name of a class in ``keras.layers``.
        name: Last word of the names of such layers; that of the class by default.
        **settings: Arguments of the class. A tuple lists options, anything else is
            fixed. Write an option that is a tuple itself as ``((3, 1), (1, 3))``.

    Raises:
        InvalidRequestError: Keras has no such layer, or a setting has no options.

    Example:
        >>> from keras_nas.search.spaces import LayerSpace
        >>> convolution = LayerSpace(
        ...     "Conv2D", filters=(16, 32), kernel_size=(1, 3, 5), padding="same"
        ... )
        >>> convolution.outcomes((8, 8))
        {(8, 8): 6}
        >>> LayerSpace("Conv2D", filters=(16, 32), kernel_size=(1, 3)).outcomes((2, 2))
        {(2, 2): 2}
    """

    def __init__(self, kind: str, name: str | None = None, **settings: Any):
        cls = getattr(keras.layers, kind, None) if isinstance(kind, str) else None
        if not (isinstance(cls, type) and issubclass(cls, keras.Layer)):
            raise InvalidRequestError(
                f"Keras has no layer {kind!r}.\n\nGive the name of a class in "
                f"keras.layers, such as 'Conv2D'. Received: kind={kind!r}"
            )
        self.kind = kind
        self.name = name or _short_name(kind)
        self.settings = dict(settings)
        self._options = {
            key: tuple(map(_plain, value)) if isinstance(value, tuple) else (value,)
            for key, value in settings.items()
        }
        for key, options in self._options.items():
            if not options:
                raise InvalidRequestError(
                    f"The setting '{key}' of {kind} has no options.\n\nList at least "
                    f"one. Received: {key}={settings[key]!r}"
                )

    def count(self, grid: Grid) -> Mapping[Grid, int]:
        """See `Block.count`."""
        found: dict[Grid, int] = {}
        for _, end in self._ways(grid):
            found[end] = found.get(end, 0) + 1
        return found

    def decide(
        self, scope: Scope, grid: Grid, accept: Accept
    ) -> tuple[Blueprint, Grid]:
        """See `Block.decide`."""
        ends = {end for end in self.outcomes(grid) if accept(end)}
        ways = [way for way in self._ways(grid) if way[1] in ends]
        for key, options in self._options.items():
            possible = [
                option
                for option in options
                if any(settings[key] == option for settings, _ in ways)
            ]
            taken = scope.choose(key, possible)
            ways = [way for way in ways if way[0][key] == taken]
        settings, end = ways[0]
        ordered = tuple(
            (key, _hashable(value)) for key, value in sorted(settings.items())
        )
        return LayerBlueprint(self.kind, ordered, scope.layer_name(self.name)), end

    def _ways(self, grid: Grid) -> list[tuple[dict[str, Any], Grid]]:
        """Returns all settings that are possible, each with the grid that it gives."""
        known = self.__dict__.setdefault("_known_ways", {})
        if grid in known:
            return known[grid]
        known[grid] = found = []
        for values in itertools.product(*self._options.values()):
            settings = dict(zip(self._options, values, strict=True))
            end = grid_after(self.kind, settings, grid)
            if end is not None:
                found.append((settings, end))
        return found

    def __repr__(self) -> str:
        settings = (f"{key}={value!r}" for key, value in self.settings.items())
        return f"LayerSpace({', '.join([repr(self.kind), *settings])})"


def _short_name(kind: str) -> str:
    """The last word of a layer's name: ``conv``, ``max_pooling``."""
    words = kind.removesuffix("1D").removesuffix("2D").removesuffix("3D")
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in words)
    return snake.strip("_")


def _plain(value: Any) -> Any:
    """An option as it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
