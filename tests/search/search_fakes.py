"""A search space, a breeder and an evaluator without Keras, for tests of the loop.

A "model" is a text file with a number in it, its weight. Training adds to the weight
what the architecture says, so that inherited weights matter and results can be told
apart to the last digit.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from keras_nas.search import Breeder, Candidate, Evaluator
from keras_nas.search.evaluation import CandidateError


class Bits:
    """Architectures are lists of bits; equal up to order, if asked for."""

    def __init__(self, length: int = 6, sort: bool = False):
        self.length = length
        self.sort = sort

    def sample(self, rng):
        return [int(x) for x in rng.integers(2, size=self.length)]

    def mutate(self, architecture, rng):
        child = list(architecture)
        position = int(rng.integers(self.length))
        child[position] = 1 - child[position]
        return child

    def crossover(self, first, second, rng):
        cut = int(rng.integers(1, self.length))
        return first[:cut] + second[cut:]

    def canonical(self, architecture):
        return sorted(architecture) if self.sort else architecture

    def costs(self, architecture):
        return {"params": 10 + sum(architecture), "flops": 1, "memory": 1}

    def settings(self):
        return {"length": self.length}


class TextModel:
    """A model with one weight."""

    def __init__(self, bits, weight: float):
        self.bits = bits
        self.weight = weight

    def save(self, path):
        Path(path).write_text(json.dumps([self.bits, self.weight]))

    @classmethod
    def load(cls, path):
        return cls(*json.loads(Path(path).read_text()))


class TextBreeder(Breeder):
    """Children inherit the weight of their (first) parent."""

    def __init__(self, space=None):
        self.space = space or Bits()

    def breed(self, proposal, parents, rng, number):
        if not parents:
            return self.candidate(self.space.sample(rng), float(rng.random()))
        models = [TextModel.load(parent.file) for parent in parents]
        bits = models[0].bits
        if len(models) == 2:
            bits = self.space.crossover(bits, models[1].bits, rng)
        if proposal.mutate:
            bits = self.space.mutate(bits, rng)
        made = self.candidate(bits, models[0].weight)
        return replace(made, file=parents[0].file) if proposal.is_continuation else made

    def breed_again(self, winner, rng):
        if not winner.file.is_file():
            raise CandidateError(f"its file '{winner.file.name}' is gone")
        return replace(
            self.candidate(TextModel.load(winner.file).bits, 0.0), file=winner.file
        )

    def candidate(self, bits, weight):
        return Candidate(
            key=str(bits),
            build=lambda: TextModel(bits, weight),
            measure=lambda: self.space.costs(bits),
            architecture=bits,
        )


class TextEvaluator(Evaluator):
    """Trains text models. `trouble` maps the number of a trial to what goes wrong."""

    def __init__(self, trouble=None):
        self.trouble = dict(trouble or {})

    def evaluate(self, job):
        trouble = self.trouble.get(job.trial)
        if trouble is not None:
            found = trouble(job) if callable(trouble) else trouble
            if found is not None:
                return {"val_accuracy": found}
        model = TextModel.load(job.start)
        model.weight += sum(model.bits) / 10 + job.seed % 1000 / 1e5
        if job.out is not None:
            half = Path(job.out).with_suffix(".half")
            model.save(half)
            os.replace(half, job.out)
        return {"val_accuracy": model.weight}


def comparable(trials):
    """Everything of trials but the time that they took."""
    return [replace(trial, seconds=0.0) for trial in trials]
