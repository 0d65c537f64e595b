"""Search spaces: all networks that a search may build, and how to go about in them."""

from __future__ import annotations

import abc
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_whole
from keras_nas.search.spaces.blocks import Block
from keras_nas.search.spaces.blueprints import Blueprint, build_model
from keras_nas.search.spaces.choosing import (
    Decide,
    Odometer,
    Recorder,
    Scope,
    as_in,
    by_chance,
    nearly_as_in,
)

# Name of a decision -> the option taken: plain JSON.
Architecture = Mapping[str, Any]

# So often `mutate` tries to come to another network.
_TRIES = 20


class SearchSpace(abc.ABC):
    """What strategies know of a space. Architectures are values of plain JSON."""

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator) -> Architecture:
        """Returns a random architecture."""

    @abc.abstractmethod
    def build(self, architecture: Architecture) -> keras.Model:
        """Returns a new Keras model, with the same layer names each time."""

    @abc.abstractmethod
    def canonical(self, architecture: Architecture) -> str:
        """Returns a text that is the same for architectures of equal networks."""

    @abc.abstractmethod
    def mutate(
        self, architecture: Architecture, rng: np.random.Generator
    ) -> Architecture:
        """Returns an architecture with another option for one decision."""

    @abc.abstractmethod
    def crossover(
        self, first: Architecture, second: Architecture, rng: np.random.Generator
    ) -> Architecture:
        """Returns an architecture with decisions of both."""

    @abc.abstractmethod
    def size(self) -> int:
        """Returns the number of architectures."""

    @abc.abstractmethod
    def enumerate(self) -> Iterator[Architecture]:
        """Yields all architectures, each once."""


class NetworkSpace(SearchSpace):
    """All networks that a block describes, from images or vectors of one shape.

    Args:
        input_shape: Shape of one sample, channels last.
        block: The network. `Series` of other blocks, usually; with its head.
        name: Name of the models; made up by Keras by default.
        input_name: Name of the input of the models.
        output_rank: Number of axes of the output of one sample; 1 for classification.
            None for any.

    Raises:
        InvalidRequestError: No network of the space takes such inputs.

    Example:
        >>> import numpy as np
        >>> from keras_nas.search.spaces import LayerSpace, NetworkSpace, Repeat, Series
        >>> space = NetworkSpace((4,), Series(
        ...     hidden=Repeat(LayerSpace("Dense", units=(8, 16)), (1, 2)),
        ...     head=LayerSpace("Dense", units=3),
        ... ))
        >>> space.size()
        6
        >>> architecture = space.sample(np.random.default_rng(0))
        >>> architecture
        {'hidden/times': 2, 'hidden/0/units': 16, 'hidden/1/units': 16}
        >>> [layer.name for layer in space.build(architecture).layers]
        ['input', 'hidden_0_dense', 'hidden_1_dense', 'head_dense']
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        block: Block,
        *,
        name: str | None = None,
        input_name: str = "input",
        output_rank: int | None = 1,
    ):
        self.input_shape = check_shape(input_shape)
        if not isinstance(block, Block):
            raise InvalidRequestError(
                f"A space is made of blocks, not of a {type(block).__name__}.\n\nGive "
                f"a Series of blocks, for example. Received: {block!r}"
            )
        self.block = block
        self.name = name
        self.input_name = input_name
        self.output_rank = output_rank
        if not block.leads(self._grid, self._accepts):
            raise InvalidRequestError(
                f"No network of this space takes inputs of the shape "
                f"{self.input_shape}"
                + ("" if output_rank is None else f" and gives {output_rank} axes")
                + ".\n\nAllow fewer reductions of the grid, or use larger images. "
                f"Received: input_shape={input_shape!r}"
            )

    @property
    def _grid(self) -> tuple[int, ...]:
        return self.input_shape[:-1]

    def _accepts(self, grid: tuple[int, ...]) -> bool:
        return self.output_rank is None or len(grid) + 1 == self.output_rank

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Returns a random architecture: each decision uniform over its options."""
        return self._decided(by_chance(rng))

    def blueprint(self, architecture: Architecture) -> Blueprint:
        """Returns the network of an architecture, not built.

        Raises:
            InvalidRequestError: It is no architecture of this space.
        """
        _check_architecture(architecture)
        recorder = Recorder(as_in(architecture))
        found = self._decide(recorder)
        more = architecture.keys() - recorder.made.keys()
        if more:
            raise InvalidRequestError(
                f"The architecture decides {sorted(more)!r}, which are not asked for."
                "\n\nTake an architecture that this space has sampled. "
                f"Received: {dict(architecture)!r}"
            )
        return found

    def build(self, architecture: Architecture) -> keras.Model:
        """See `SearchSpace.build`. Not compiled."""
        return build_model(
            self.blueprint(architecture),
            self.input_shape,
            name=self.name,
            input_name=self.input_name,
        )

    def canonical(self, architecture: Architecture) -> str:
        """See `SearchSpace.canonical`."""
        return str(self.blueprint(architecture))

    def mutate(
        self, architecture: Architecture, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Returns an architecture with another option for one decision.

        What it decides beyond that (inside of a block that was not there before) is
        random. The network is another one wherever a few tries find that.

        Source: the mutation of Real 2019, "Regularized evolution for image classifier
        architecture search", AAAI (arXiv 1802.01548), for any space.
        """
        recorder = Recorder(as_in(architecture))
        before = str(self._decide(recorder))
        open_keys = sorted(recorder.options)
        if not open_keys:
            return dict(architecture)
        child = dict(architecture)
        for _ in range(_TRIES):
            key = open_keys[int(rng.integers(len(open_keys)))]
            others = [x for x in recorder.options[key] if x != architecture[key]]
            change = {key: others[int(rng.integers(len(others)))]}
            decide = nearly_as_in(change, architecture, otherwise=by_chance(rng))
            child = self._decided(decide)
            if self.canonical(child) != before:
                break
        return child

    def crossover(
        self, first: Architecture, second: Architecture, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Returns an architecture with decisions of both.

        Decisions of the same place (all that have the same first two words in their
        names) come from one parent together.
        """
        _check_architecture(first)
        _check_architecture(second)
        parents: dict[str, tuple[Architecture, Architecture]] = {}
        random = by_chance(rng)

        def decide(key: str, options: Sequence[Any]) -> Any:
            place = "/".join(key.split("/")[:2])
            if place not in parents:
                swap = bool(rng.integers(2))
                parents[place] = (second, first) if swap else (first, second)
            return nearly_as_in(*parents[place], otherwise=random)(key, options)

        return self._decided(decide)

    def size(self) -> int:
        """Returns the number of architectures; several may have equal networks."""
        outcomes = self.block.outcomes(self._grid)
        return sum(ways for grid, ways in outcomes.items() if self._accepts(grid))

    def enumerate(self) -> Iterator[dict[str, Any]]:
        """Yields all architectures, each once, in the order of their options."""
        odometer = Odometer()
        while odometer.goes_on:
            yield self._decided(odometer)
            odometer.advance()

    def _decided(self, decide: Decide) -> dict[str, Any]:
        recorder = Recorder(decide)
        self._decide(recorder)
        return recorder.made

    def _decide(self, decide: Decide) -> Blueprint:
        return self.block.decide(Scope(decide), self._grid, self._accepts)[0]

    def __repr__(self) -> str:
        size = self.size()
        count = f"{size} architectures" if size < 10**6 else f"about {size:.0e}"
        return f"NetworkSpace({self.input_shape}, {self.block!r})  # {count}"


def check_shape(shape: Any) -> tuple[int, ...]:
    """Returns the shape of one sample as a tuple.

    Raises:
        InvalidRequestError: It is none.
    """
    found = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    sizes = [int(size) if is_whole(size) else 0 for size in found]
    if not sizes or min(sizes) < 1:
        raise InvalidRequestError(
            "The shape of the inputs lists whole numbers of at least 1, without the "
            f"batch.\n\nGive one such as (28, 28, 1). Received: {shape!r}"
        )
    return tuple(sizes)


def _check_architecture(architecture: Any) -> None:
    try:
        if isinstance(architecture, Mapping):
            json.dumps(dict(architecture))
            return
    except TypeError:
        pass
    raise InvalidRequestError(
        f"An architecture is a dict of plain values, not a "
        f"{type(architecture).__name__}.\n\nTake one that the space has sampled. "
        f"Received: {architecture!r}"
    )
