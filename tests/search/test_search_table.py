"""Strategies on a table of real trainings (`benchmarks/make_table.py` makes it)."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from keras_nas.search import (
    Budget,
    FunctionEvaluator,
    RandomSearch,
    RegularizedEvolution,
    Search,
)

PATH = Path(__file__).parent / "data" / "digits_table.json"
REPEATS = 100
EVALUATIONS = 40


@cache
def table():
    """Architecture -> the accuracies of its two trainings, and the number of weights."""
    content = json.loads(PATH.read_text())
    return content["settings"], {
        tuple(row["architecture"]): (row["val_accuracy"], row["params"])
        for row in content["rows"]
    }


class TableSpace:
    """Four decisions out of four operations."""

    def __init__(self):
        self.operations = table()[0]["operations"]

    def sample(self, rng):
        return [self.operations[i] for i in rng.integers(4, size=4)]

    def mutate(self, architecture, rng):
        child = list(architecture)
        position = int(rng.integers(4))
        others = [kind for kind in self.operations if kind != child[position]]
        child[position] = others[int(rng.integers(3))]
        return child

    def crossover(self, first, second, rng):
        return [(a, b)[int(rng.integers(2))] for a, b in zip(first, second, strict=True)]

    def costs(self, architecture):
        return {"params": table()[1][tuple(architecture)][1]}


def look_up(architecture, seed):
    """One of the two trainings, by chance: as noisy as training it now."""
    return {"val_accuracy": table()[1][tuple(architecture)][0][seed % 2]}


def regret(strategy, seed):
    """How much worse than the best is what a strategy takes for the best?"""
    result = Search(
        TableSpace(),
        strategy,
        FunctionEvaluator(look_up),
        budget=Budget(trials=EVALUATIONS),
        seed=seed,
        directory=None,
    ).run()
    means = {key: np.mean(scores) for key, (scores, _) in table()[1].items()}
    return max(means.values()) - means[tuple(result.best_architecture)]


def test_table_holds_every_architecture_with_two_trainings():
    settings, rows = table()
    assert set(rows) == set(product(settings["operations"], repeat=4))
    scores = np.array([accuracies for accuracies, _ in rows.values()])
    assert scores.shape == (256, 2)
    assert 0 < scores.min() < 0.3
    assert 0.8 < scores.max() < 1
    # Trainings with other seeds agree on the whole, or there would be nothing to find.
    assert np.corrcoef(scores.T)[0, 1] > 0.8


@pytest.fixture
def fast_journal(monkeypatch):
    """Lines are written, but not waited for: two hundred searches are short of time."""
    from keras_nas.search import journal

    monkeypatch.setattr(journal, "write_line", lambda file, line: file.write(line))


def test_regularized_evolution_beats_random_search(fast_journal):
    random = [regret(RandomSearch(10), seed) for seed in range(REPEATS)]
    evolved = [regret(RegularizedEvolution(10, 4), seed) for seed in range(REPEATS)]
    gain = np.array(random) - np.array(evolved)
    low = gain.mean() - 1.96 * gain.std(ddof=1) / REPEATS**0.5
    assert low > 0, (np.mean(random), np.mean(evolved), low)


def test_random_search_is_as_good_as_drawing_without_replacement(fast_journal):
    seeds = range(REPEATS)
    found = [best_score(RandomSearch(10), seed) for seed in seeds]
    rng = np.random.default_rng(0)
    scores = np.array([scores for scores, _ in table()[1].values()])
    drawn = [
        max(scores[i, rng.integers(2)] for i in rng.permutation(256)[:EVALUATIONS])
        for _ in range(2000)
    ]
    error = np.std(drawn) / REPEATS**0.5
    assert np.mean(found) == pytest.approx(np.mean(drawn), abs=3.5 * error)


def best_score(strategy, seed):
    return (
        Search(
            TableSpace(),
            strategy,
            FunctionEvaluator(look_up),
            budget=Budget(trials=EVALUATIONS),
            seed=seed,
        )
        .run()
        .best.fitness
    )
