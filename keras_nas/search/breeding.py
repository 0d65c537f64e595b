"""How a proposal becomes a candidate.

A `Breeder` makes candidates; it is the only one that knows what they consist of. What
it makes is a function of the proposal, of the models of the parents, and of the
generator of that event, so that it can be made again.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.search.identity import describe_graph, graph_key, text_key
from keras_nas.search.trial import Proposal, Trial
from keras_nas.surgery import Graph, count


@dataclass(frozen=True)
class Candidate:
    """What is to be evaluated.

    Attributes:
        key: Equal for equal candidates.
        build: Makes the model; not called where no model is needed.
        file: A file that holds the model already, instead.
        measure: Counts what it costs; not called where nothing asks for it.
        architecture: JSON-able, where there is such a form.
        training: Optimizer, learning rate, batch size, where they evolve.
        description: For people.
    """

    key: str
    build: Callable[[], Any]
    file: Path | None = None
    measure: Callable[[], Mapping[str, float]] = dict
    architecture: Any = None
    training: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class Parent:
    """A trial that others are made from.

    Attributes:
        trial: Its row.
        file: Where its trained model is; it may be gone.
    """

    trial: Trial
    file: Path


class Breeder(abc.ABC):
    """Makes candidates."""

    @abc.abstractmethod
    def breed(
        self,
        proposal: Proposal,
        parents: Sequence[Parent],
        rng: np.random.Generator,
        number: int,
    ) -> Candidate:
        """Returns the candidate of a proposal.

        Args:
            proposal: How it is to be made.
            parents: The trials that the proposal names.
            rng: The only source of chance.
            number: Of the trial that it will be.

        Raises:
            CandidateError: It cannot be made; costs one trial.
        """

    @abc.abstractmethod
    def breed_again(self, winner: Parent, rng: np.random.Generator) -> Candidate:
        """Returns a candidate with which a good one is evaluated once more."""

    def settings(self) -> dict[str, Any]:
        """Returns JSON-able settings, for the journal."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Returns the settings with the name of the class."""
        return {"breeder": type(self).__name__, **self.settings()}

    def check(self, needs: Sequence[str]) -> None:
        """Refuses a strategy that needs what this breeder cannot do.

        Args:
            needs: ``"mutate"``, ``"crossover"``.

        Raises:
            InvalidRequestError: One of them is missing.
        """

    def forget(self, live: set[int]) -> None:
        """Drops what is remembered of trials that cannot become parents any more."""


class SpaceBreeder(Breeder):
    """Candidates are architectures of a search space, each built from scratch.

    Args:
        space: Has ``sample(rng)``, ``build(architecture)``, and for evolution
            ``mutate(architecture, rng)`` and ``crossover(first, second, rng)``; with
            ``canonical(architecture)``, equal networks are known as equal.

    Raises:
        InvalidRequestError: It cannot sample.
    """

    def __init__(self, space: Any):
        if not callable(getattr(space, "sample", None)):
            raise InvalidRequestError(
                f"{space!r:.80} is no search space: it cannot sample.\n\n"
                f"Give one of keras_nas.search.spaces, or an object with sample(rng) "
                f"and build(architecture). Received: {space!r:.80}"
            )
        self.space = space

    def breed(
        self,
        proposal: Proposal,
        parents: Sequence[Parent],
        rng: np.random.Generator,
        number: int,
    ) -> Candidate:
        """Returns a sampled, crossed or mutated architecture."""
        return self._candidate(self._architecture(proposal, parents, rng), rng)

    def breed_again(self, winner: Parent, rng: np.random.Generator) -> Candidate:
        """Returns the same architecture with fresh weights."""
        return self._candidate(winner.trial.architecture, rng)

    def _architecture(
        self, proposal: Proposal, parents: Sequence[Parent], rng: np.random.Generator
    ) -> Any:
        if proposal.architecture is not None:
            return proposal.architecture
        known = [parent.trial.architecture for parent in parents]
        if not known:
            return self.space.sample(rng)
        child = known[0]
        if len(known) == 2:
            child = self.space.crossover(known[0], known[1], rng)
        return self.space.mutate(child, rng) if proposal.mutate else child

    def check(self, needs: Sequence[str]) -> None:
        """Refuses a strategy that needs what the space cannot do."""
        for name in needs:
            if not callable(getattr(self.space, name, None)):
                raise InvalidRequestError(
                    f"The search space cannot {name}, which this strategy needs.\n\n"
                    f"Use RandomSearch, or give the space a method '{name}'. Received: "
                    f"a {type(self.space).__name__}"
                )

    def _candidate(self, architecture: Any, rng: np.random.Generator) -> Candidate:
        architecture = _without_numpy(architecture)
        canonical = getattr(self.space, "canonical", lambda same: same)
        seed = int(rng.integers(2**31 - 1))
        return Candidate(
            key=text_key(canonical(architecture)),
            build=lambda: build_seeded(self.space, architecture, seed),
            measure=lambda: self._measure(architecture),
            architecture=architecture,
            description=str(architecture),
        )

    def _measure(self, architecture: Any) -> Mapping[str, float]:
        own = getattr(self.space, "costs", None)
        if own is not None:
            return own(architecture)
        return costs_of(self.space.build(architecture))

    def settings(self) -> dict[str, Any]:
        """Returns what the space says of itself."""
        return {"space": note_of(self.space)}


def _without_numpy(value: Any) -> Any:
    """Exchanges numbers and arrays of numpy, which generators draw and JSON lacks."""
    if isinstance(value, Mapping):
        return {key: _without_numpy(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_without_numpy, value))
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def note_of(thing: Any) -> Any:
    """Returns what a journal remembers of an object.

    That is what its method ``settings`` returns, or its text; only its class if the
    text names a place in memory.
    """
    if thing is None:
        return None
    own = getattr(thing, "settings", None)
    if callable(own):
        return own()
    name = getattr(thing, "__qualname__", type(thing).__name__)
    text = repr(thing)
    return name if " at 0x" in text else text


def build_seeded(space: Any, architecture: Any, seed: int) -> Any:
    """Builds an architecture with weights that depend on a seed only."""
    import keras

    keras.utils.set_random_seed(seed)
    return space.build(architecture)


def costs_of(model: Any) -> dict[str, float]:
    """Returns parameters, FLOPs and memory of a model or a graph."""
    counts = count(model)
    return {
        "params": counts.params,
        "flops": counts.flops,
        "memory": counts.memory,
    }


def graph_candidate(graph: Graph, training: Mapping[str, Any]) -> Candidate:
    """Returns the candidate of an edited network that keeps its weights."""
    return Candidate(
        key=text_key([graph_key(graph), dict(sorted(training.items()))]),
        build=graph.build,
        measure=lambda: costs_of(graph),
        training=dict(training),
        description=describe_graph(graph),
    )
