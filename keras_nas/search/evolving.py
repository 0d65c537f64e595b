"""Children that inherit the trained weights of their parents."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_nas.search.breeding import (
    Breeder,
    Candidate,
    Parent,
    build_seeded,
    graph_candidate,
    note_of,
)
from keras_nas.search.evaluation import CandidateError, load_model
from keras_nas.search.journal import plain
from keras_nas.search.trial import Proposal
from keras_nas.surgery import Graph


class GraphBreeder(Breeder):
    """Candidates are networks; a child is its parent after surgery.

    The first generation is drawn from a search space, or consists of a given model
    and mutations of it.

    Args:
        space: Where the first generation comes from.
        model: Or a model that all descend from, with its weights.
        mutate: ``mutate(graph, rng, context)``; returns a graph.
        crossover: ``crossover(first, second, rng)``; returns two graphs.
        mutate_training: ``mutate_training(settings, rng)``; returns settings.
        crossover_training: ``crossover_training(first, second, rng)``; returns two.
        training: The settings that candidates start with; empty if they do not evolve.
        context: Whatever the mutations want to know.
        inherits: Whether children keep weights. If not, every candidate starts with
            fresh ones, and survivors are not trained on: for comparisons.

    Source: NaiveGAflux (``AutoFlux``), without its copies of weights between edits.
    """

    def __init__(
        self,
        *,
        space: Any = None,
        model: Any = None,
        mutate: Callable[..., Graph] | None = None,
        crossover: Callable[..., tuple[Graph, Graph]] | None = None,
        mutate_training: Callable[..., Mapping] | None = None,
        crossover_training: Callable[..., tuple[Mapping, Mapping]] | None = None,
        training: Mapping[str, Any] | None = None,
        context: Any = None,
        inherits: bool = True,
    ):
        self.space = space
        self.start = None
        self._checksum: int | None = None
        if model is not None:
            # How candidates are trained evolves; their files hold no loss, which only
            # code could load.
            self.start = Graph.from_model(model).without_compilation()
            self._checksum = weights_checksum(model)
        self.mutate = mutate
        self.crossover = crossover
        self.mutate_training = mutate_training
        self.crossover_training = crossover_training
        self.training = plain(training or {})
        self.context = context
        self.inherits = inherits
        self._known: OrderedDict[int, Graph] = OrderedDict()

    def breed(
        self,
        proposal: Proposal,
        parents: Sequence[Parent],
        rng: np.random.Generator,
        number: int,
    ) -> Candidate:
        """Returns a network of the first generation, a child, or the parent again."""
        if not parents:
            graph, training = self._founder(number, rng)
            return self._candidate(graph, training, rng)
        first = parents[0].trial
        training = dict(first.training)
        if proposal.is_continuation:
            return self._same(parents[0])
        graph = self._graph(parents[0])
        if len(parents) == 2:
            graph = self._crossed(graph, self._graph(parents[1]), rng)
            training = self._crossed_training(training, parents[1].trial.training, rng)
        if proposal.mutate:
            graph, training = self._mutated(graph, training, rng)
        return self._candidate(graph, training, rng)

    def breed_again(self, winner: Parent, rng: np.random.Generator) -> Candidate:
        """Returns the trained network, to be trained on; or with fresh weights."""
        if self.inherits:
            return self._same(winner)
        return self._candidate(self._graph(winner), winner.trial.training, rng)

    def _founder(self, number: int, rng: np.random.Generator) -> tuple[Graph, dict]:
        if self.start is not None:
            # The model itself competes with what is made of it.
            if number == 0:
                return self.start, self.training
            return self._mutated(self.start, self.training, rng)
        architecture = self.space.sample(rng)
        model = build_seeded(self.space, architecture, int(rng.integers(2**31 - 1)))
        training = self._mutated_training(self.training, rng)
        return Graph.from_model(model), training

    def _same(self, parent: Parent) -> Candidate:
        trial = parent.trial
        if not parent.file.is_file():
            raise CandidateError(f"its file '{parent.file.name}' is gone")
        return Candidate(
            key=trial.key,
            build=lambda: load_model(parent.file),
            file=parent.file,
            measure=lambda: trial.costs,
            training=dict(trial.training),
            description=trial.description,
        )

    def _graph(self, parent: Parent) -> Graph:
        number = parent.trial.owner
        if number not in self._known:
            model = load_model(parent.file, with_optimizer=True)
            graph = Graph.from_model(model)
            # Momentum and moments go with the weights to the children.
            trained = getattr(graph.compile_state, "optimizer", None) is not None
            self._known[number] = graph.with_optimizer() if trained else graph
        return self._known[number]

    def _crossed(self, first: Graph, second: Graph, rng: np.random.Generator) -> Graph:
        if self.crossover is None:
            return first
        return _graph_of(self.crossover(first, second, rng)[0], "crossover")

    def _crossed_training(
        self, first: Mapping, second: Mapping, rng: np.random.Generator
    ) -> dict:
        if self.crossover_training is None or not first:
            return dict(first)
        return plain(self.crossover_training(first, second, rng)[0])

    def _mutated(
        self, graph: Graph, training: Mapping, rng: np.random.Generator
    ) -> tuple[Graph, dict]:
        child = graph
        if self.mutate is not None:
            child = _graph_of(self.mutate(graph, rng, self.context), "mutation")
        return child, self._mutated_training(training, rng)

    def _mutated_training(self, training: Mapping, rng: np.random.Generator) -> dict:
        if self.mutate_training is None or not training:
            return dict(training)
        # Numbers of numpy, which generators draw, are none for the journal.
        return plain(self.mutate_training(dict(training), rng))

    def _candidate(
        self, graph: Graph, training: Mapping, rng: np.random.Generator
    ) -> Candidate:
        made = graph_candidate(graph, training)
        seed = int(rng.integers(2**31 - 1))

        def build() -> Any:
            keras.utils.set_random_seed(seed)
            model = graph.build()
            return model if self.inherits else keras.models.clone_model(model)

        return Candidate(
            made.key, build, None, made.measure, None, made.training, made.description
        )

    def settings(self) -> dict[str, Any]:
        """Returns what the journal compares."""
        start = None if self.start is None else graph_candidate(self.start, {}).key
        return {
            "space": note_of(self.space),
            "model": start,
            "model_weights": self._checksum,
            "training": self.training,
            "inherits": self.inherits,
            "mutate": note_of(self.mutate),
            "crossover": note_of(self.crossover),
            "mutate_training": note_of(self.mutate_training),
            "context": note_of(self.context),
        }

    def forget(self, live: set[int]) -> None:
        """Drops the graphs of trials that cannot become parents any more."""
        for number in [number for number in self._known if number not in live]:
            del self._known[number]


def _graph_of(made: Any, maker: str) -> Graph:
    """Returns what a function of the user has made, if it is a graph."""
    if not isinstance(made, Graph):
        raise CandidateError(f"the {maker} returned a {type(made).__name__}, no graph")
    return made


def weights_checksum(model: Any) -> int:
    """Returns a number that is another one for other weights.

    Names of layers do not count, since Keras numbers those that were given none. Nor
    do states of random generators, which differ each time a network is made.
    """
    checksum = 0
    for weight in model.weights:
        value = keras.ops.convert_to_numpy(weight)
        head = f"{weight.name} {value.shape} {value.dtype}".encode()
        checksum = zlib.crc32(value.tobytes(), zlib.crc32(head, checksum))
    return checksum
