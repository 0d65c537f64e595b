"""Strategies by themselves: what they propose after what they were told."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest

from keras_nas.errors import InvalidRequestError
from keras_nas.search import (
    NSGA2,
    GeneticAlgorithm,
    Proposal,
    RandomSearch,
    RegularizedEvolution,
    Status,
    Trial,
)
from keras_nas.search.strategies import select_by_tournament, select_universally

STRATEGIES = [
    RandomSearch(3),
    RegularizedEvolution(4, 2),
    RegularizedEvolution(4, 2, batch_size=3),
    GeneticAlgorithm(6, elites=2),
    GeneticAlgorithm(5, elites=0, selection="universal", crossover=1.0),
    NSGA2(4),
]


def trial(number, *scores, failed=False):
    status = Status.FAILED if failed else Status.DONE
    return Trial(number, 0, Proposal(), status, tuple(map(float, scores)))


def rng(seed=0):
    return np.random.default_rng(seed)


def play(strategy, rounds, fitness):
    """Asks and tells; returns all proposals and the strategy afterwards."""
    strategy = copy.deepcopy(strategy)
    told, asked = 0, []
    for number in range(rounds):
        proposals = strategy.ask(rng(number))
        asked.append(proposals)
        strategy.tell([trial(told + i, fitness(told + i)) for i in range(len(proposals))])
        told += len(proposals)
    return asked, strategy


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: str(s.describe()))
def test_same_seed_proposes_the_same_and_asking_twice_changes_nothing(strategy):
    def fitness(number):
        return number * 7 % 5

    first, after = play(strategy, 6, fitness)
    assert play(strategy, 6, fitness)[0] == first
    before = after.ask(rng(99))
    after.ask(rng(98))
    assert after.ask(rng(99)) == before


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: str(s.describe()))
def test_parents_are_alive_when_they_are_proposed(strategy):
    strategy = copy.deepcopy(strategy)
    told = 0
    for number in range(8):
        proposals = strategy.ask(rng(number))
        for proposal in proposals:
            assert set(proposal.parents) <= strategy.live()
        strategy.tell([trial(told + i, told + i) for i in range(len(proposals))])
        told += len(proposals)


def test_random_search_proposes_only_draws():
    asked, strategy = play(RandomSearch(3), 2, float)
    assert asked == [[Proposal()] * 3] * 2
    assert strategy.live() == set()


def test_regularized_evolution_fills_and_then_mutates():
    asked, _ = play(RegularizedEvolution(4, 2), 7, float)
    assert asked[:4] == [[Proposal()]] * 4
    assert all(p.mutate and len(p.parents) == 1 for [p] in asked[4:])


def test_nobody_in_regularized_evolution_outlives_its_population():
    strategy = RegularizedEvolution(4, 4)
    for number in range(20):
        # The first one is the best of all, and must go all the same.
        strategy.tell([trial(number, 100 if number == 0 else 1)])
        assert strategy.live() == set(range(max(0, number - 3), number + 1))


def test_regularized_evolution_that_samples_all_takes_the_best():
    strategy = RegularizedEvolution(3, 3)
    strategy.tell([trial(0, 1), trial(1, 5), trial(2, 3)])
    assert {strategy.ask(rng(s))[0].parents for s in range(10)} == {(1,)}


def test_regularized_evolution_leaves_failures_out():
    strategy = RegularizedEvolution(2, 1)
    strategy.tell([trial(0, 1), trial(1, -np.inf, failed=True)])
    assert strategy.live() == {0}
    assert strategy.ask(rng()) == [Proposal()]


def test_genetic_algorithm_keeps_its_size_and_its_elite():
    strategy = GeneticAlgorithm(7, elites=2)
    strategy.tell([trial(number, number % 4) for number in range(7)])
    asked = strategy.ask(rng())
    assert len(asked) == 7
    assert asked[:2] == [Proposal((3,)), Proposal((2,))]


def test_genetic_algorithm_without_crossover_and_mutation_trains_on():
    strategy = GeneticAlgorithm(6, elites=1, crossover=0, mutation=0)
    strategy.tell([trial(number, number) for number in range(6)])
    assert all(p.is_continuation for p in strategy.ask(rng()))


def test_no_parent_trains_on_twice_in_one_generation():
    strategy = GeneticAlgorithm(8, elites=2, crossover=0, mutation=0.01)
    strategy.tell([trial(number, number == 3) for number in range(8)])
    for seed in range(10):
        on = [p.parents for p in strategy.ask(rng(seed)) if p.is_continuation]
        assert len(on) == len(set(on))


def test_genetic_algorithm_with_certain_crossover_and_mutation_does_both():
    strategy = GeneticAlgorithm(9, elites=1, crossover=1, mutation=1)
    strategy.tell([trial(number, 1) for number in range(9)])
    children = strategy.ask(rng())[1:]
    assert all(p.mutate for p in children)
    for first, second in zip(children[::2], children[1::2], strict=True):
        assert sorted(first.parents) == sorted(second.parents)
        crossed = len(first.parents) == 2
        assert first.parents == second.parents[::-1] if crossed else True
    assert any(len(p.parents) == 2 for p in children)


def test_genetic_algorithm_survives_a_generation_of_failures():
    strategy = GeneticAlgorithm(2, elites=1)
    strategy.tell([trial(0, 1), trial(1, 2)])
    strategy.tell([trial(2, -np.inf, failed=True), trial(3, -np.inf, failed=True)])
    assert strategy.live() == {0, 1}


def test_nsga_keeps_the_front_and_its_ends():
    strategy = NSGA2(3)
    points = [(0, 9), (9, 0), (5, 5), (5, 4), (1, 1), (4, 6)]
    strategy.tell([trial(number, *point) for number, point in enumerate(points)])
    assert strategy.live() >= {0, 1}
    assert strategy.live() <= {0, 1, 2, 5}
    strategy.tell([trial(6, 10, 10)])
    assert 6 in strategy.live()
    assert strategy.ask(rng())[0].parents


def test_nsga_counts_a_reused_candidate_once():
    strategy = NSGA2(4)
    strategy.tell([trial(0, 1, 2), trial(1, 2, 1)])
    again = Trial(2, 1, Proposal(), Status.REUSED, (1.0, 2.0), source=0)
    strategy.tell([again])
    assert strategy.live() == {0, 1}


def test_tournaments_take_everyone_once_before_anyone_twice():
    fitness = list(range(10))
    winners = select_by_tournament(fitness, 10, rng(), size=1)
    assert sorted(winners) == list(range(10))


def test_tournament_of_all_has_one_winner_and_probability_zero_the_loser():
    fitness = [3.0, 9.0, 1.0]
    assert select_by_tournament(fitness, 5, rng(), size=3) == [1] * 5
    assert select_by_tournament(fitness, 5, rng(), size=3, probability=0.0) == [2] * 5
    assert select_by_tournament(fitness, 2, rng(), size=8) == [1, 1]


def test_tournament_probability_is_how_often_the_best_wins():
    fitness = [0.0, 1.0]
    winners = select_by_tournament(fitness, 4000, rng(), size=2, probability=0.7)
    assert np.mean(winners) == pytest.approx(0.7, abs=0.03)


def test_universal_sampling_differs_from_proportion_by_less_than_one():
    fitness = [0.0, 1.0, 2.0, 5.0]
    for seed in range(20):
        counts = Counter(select_universally(fitness, 10, rng(seed)))
        for position, value in enumerate(fitness):
            assert abs(counts[position] - 10 * value / 8) < 1


def test_universal_sampling_of_equals_is_even():
    counts = Counter(select_universally([2.0] * 5, 10, rng()))
    assert counts == dict.fromkeys(range(5), 2)


@pytest.mark.parametrize("size", [0, 1, -3, 2.5, True, "8"])
def test_population_of_less_than_two_is_refused(size):
    with pytest.raises(InvalidRequestError, match=f"population size of {size!r}"):
        GeneticAlgorithm(size)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: GeneticAlgorithm(4, elites=4), "4 elites leave no place"),
        (lambda: GeneticAlgorithm(4, selection="best"), "no selection 'best'"),
        (lambda: GeneticAlgorithm(4, mutation=1.5), "probability of 1.5"),
        (lambda: RegularizedEvolution(4, 5), "population size of 4"),
        (lambda: RandomSearch(0), "batch size of 0"),
        (lambda: NSGA2(1), "population size of 1"),
    ],
)
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(InvalidRequestError, match=match):
        make()
