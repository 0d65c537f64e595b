"""The loop: budgets, duplicates, constraints, workers, finalists, callbacks."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from search_fakes import Bits, TextBreeder, TextEvaluator, comparable

from keras_nas.errors import InvalidRequestError, JournalError, SearchError
from keras_nas.search import (
    NSGA2,
    Budget,
    EvolverCallback,
    FunctionEvaluator,
    GeneticAlgorithm,
    Objective,
    ProcessRunner,
    RandomSearch,
    RegularizedEvolution,
    Search,
    SearchResult,
    Status,
)


def total(architecture, seed):
    return {"val_accuracy": sum(architecture)}


def search(strategy=None, evaluator=None, space=None, **settings):
    settings.setdefault("budget", Budget(trials=12))
    return Search(
        space or Bits(),
        strategy or RandomSearch(4),
        evaluator or FunctionEvaluator(total),
        **settings,
    )


def evolution(directory, **settings):
    """An evolution in which weights are inherited."""
    evaluator = settings.pop("evaluator", TextEvaluator())
    settings.setdefault("budget", Budget(generations=4))
    strategy = settings.pop("strategy", GeneticAlgorithm(5, elites=1))
    return Search(TextBreeder(), strategy, evaluator, directory=directory, **settings)


def test_trials_are_numbered_and_scored():
    result = search().run()
    assert [trial.number for trial in result.trials] == list(range(12))
    assert all(trial.scores == (sum(trial.architecture),) for trial in result.trials)
    assert result.reason == "12 trials are done"
    assert result.best.fitness == max(sum(t.architecture) for t in result.trials)


def test_seed_fixes_everything_and_zero_is_a_seed():
    runs = [
        comparable(search(RegularizedEvolution(4, 2), seed=seed).run().trials)
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_random_search_never_evaluates_twice_and_ends_when_all_is_seen():
    result = search(space=Bits(3), budget=Budget(trials=50)).run()
    seen = [tuple(trial.architecture) for trial in result.trials]
    assert sorted(seen) == sorted({(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)})
    assert result.reason == "the search space is exhausted"


def test_duplicates_are_reused_and_not_evaluated():
    calls = []

    def count(architecture, seed):
        calls.append(architecture)
        return total(architecture, seed)

    result = search(
        RegularizedEvolution(3, 2),
        FunctionEvaluator(count),
        Bits(3, sort=True),
        budget=Budget(trials=40),
    ).run()
    done = [trial for trial in result.trials if trial.status is Status.DONE]
    reused = [trial for trial in result.trials if trial.status is Status.REUSED]
    assert len(calls) == len(done) <= 4
    assert len(done) + len(reused) == 40
    for trial in reused:
        source = result.trials[trial.source]
        assert source.status is Status.DONE
        assert trial.scores == source.scores
        assert sum(trial.architecture) == sum(source.architecture)


def test_duplicates_are_evaluated_where_asked_for():
    result = search(RandomSearch(), space=Bits(1), duplicates="evaluate").run()
    assert {trial.status for trial in result.trials} == {Status.DONE}


def test_twins_of_one_round_are_evaluated_once_with_any_number_of_workers():
    strategy = RegularizedEvolution(8, 2, batch_size=8)
    settings = {"space": Bits(2), "budget": Budget(trials=24)}
    inline = search(strategy, **settings).run()
    with ThreadPoolExecutor(3) as pool:
        threads = search(strategy, executor=pool, **settings).run()
    assert comparable(threads.trials) == comparable(inline.trials)
    assert sum(trial.status is Status.DONE for trial in inline.trials) <= 4


def test_constraints_are_kept_and_cost_nothing():
    result = search(constraints={"params": 12}).run()
    assert len(result.trials) == 12
    assert all(sum(trial.architecture) <= 2 for trial in result.trials)
    assert all(trial.costs["params"] <= 12 for trial in result.trials)
    assert sum(trial.draws for trial in result.trials) > 12
    assert not any(trial.has_failed for trial in result.trials)


def test_constraint_that_nothing_keeps_ends_the_search():
    match = "none of 7 draws kept the constraints; the last one has 1[0-6] params"
    with pytest.raises(SearchError, match=match):
        search(constraints={"params": 1}, max_draws=7).run()


@pytest.mark.parametrize("workers", [1, 3])
def test_first_candidates_that_cannot_be_made_end_the_search_at_once(workers):
    executor = ThreadPoolExecutor(workers)
    limits = {"constraints": {"params": 1}, "budget": Budget(trials=50)}
    with pytest.raises(SearchError, match="All 5 candidates so far have failed"):
        search(RandomSearch(50), executor=executor, **limits).run()
    executor.shutdown()


def test_numbers_of_numpy_can_be_searched():
    class Drawn(Bits):
        def sample(self, rng):
            return {"bits": rng.integers(2, size=3), "width": rng.choice([4, 8])}

    number = FunctionEvaluator(lambda made, seed: {"val_accuracy": made["width"]})
    settings = {"seed": np.int64(3), "constraints": None, "workers": np.int64(1)}
    result = search(None, number, Drawn(), budget=Budget(trials=8), **settings).run()
    assert not any(trial.has_failed for trial in result.trials)
    assert result.best_architecture["width"] == 8
    assert type(result.best_architecture["bits"]) is list


def test_strategy_without_further_proposals_ends_the_search():
    class Once(RandomSearch):
        def ask(self, rng):
            done, self.done = getattr(self, "done", False), True
            return [] if done else super().ask(rng)

    result = search(Once(4), budget=Budget(trials=12)).run()
    assert len(result.trials) == 4
    assert result.reason == "the strategy proposes nothing more"


def test_strategy_that_proposes_something_else_is_refused():
    class Wrong(RandomSearch):
        def ask(self, rng):
            return [0]

    with pytest.raises(InvalidRequestError, match=r"no list of proposals(?s:.*): \[0\]"):
        search(Wrong()).run()


def test_costs_are_objectives_and_fronts_are_right():
    result = search(
        NSGA2(6),
        objective=["val_accuracy", "params"],
        budget=Budget(generations=4),
    ).run()
    front = result.pareto()
    sums = [sum(trial.architecture) for trial in front]
    assert len(set(sums)) >= 4  # More ones are better, and cost more: all are optimal.
    assert all(trial.scores == (s, -10 - s) for trial, s in zip(front, sums, strict=True))


def test_nsga_finds_more_of_the_front_than_random_search():
    def found(strategy, seed):
        result = search(
            strategy,
            space=Bits(16),
            objective=["val_accuracy", "params"],
            budget=Budget(trials=160),
            seed=seed,
        ).run()
        return len({sum(trial.architecture) for trial in result.trials})

    for seed in range(3):
        assert found(NSGA2(16), seed) > found(RandomSearch(16), seed)


def test_smaller_one_of_equals_wins():
    result = search(
        RandomSearch(),
        FunctionEvaluator(lambda a, seed: {"val_accuracy": 0.5 + sum(a) / 1e5}),
        objective=Objective("val_accuracy", digits=2),
        budget=Budget(trials=60),
    ).run()
    assert sum(result.best_architecture) == min(sum(t.architecture) for t in result.trials)


def test_loss_is_minimised_and_target_ends_the_search():
    result = search(
        RandomSearch(1),
        FunctionEvaluator(lambda a, seed: {"val_loss": 1.0 - sum(a) / 10}),
        objective="val_loss",
        budget=Budget(target=0.6, trials=60),
    ).run()
    assert result.reason == "the target 0.6 is reached"
    assert sum(result.best_architecture) >= 4
    assert all(sum(trial.architecture) < 4 for trial in result.trials[:-1])


def test_time_ends_the_search_and_is_counted_over_all_parts(tmp_path):
    budget = Budget(seconds=1e-6)
    first = evolution(tmp_path, budget=budget).run()
    assert first.trials == []
    assert first.reason.endswith("seconds are over")
    assert evolution(tmp_path).run().reason == "4 generations are done"


def test_larger_budget_goes_on_as_if_it_had_been_given_at_once(tmp_path):
    evolution(tmp_path / "a", budget=Budget(generations=2)).run()
    continued = evolution(tmp_path / "a", budget=Budget(generations=5)).run()
    whole = evolution(tmp_path / "b", budget=Budget(generations=5)).run()
    assert comparable(continued.trials) == comparable(whole.trials)


def test_spent_budget_evaluates_nothing_again(tmp_path):
    evolution(tmp_path).run()
    journal = (tmp_path / "journal.jsonl").read_bytes()
    again = evolution(tmp_path).run()
    assert len(again.trials) == 20
    assert (tmp_path / "journal.jsonl").read_bytes() == journal


def test_same_result_with_processes_threads_and_inline(tmp_path):
    inline = evolution(tmp_path / "a").run()
    with ThreadPoolExecutor(2) as pool:
        threads = evolution(tmp_path / "b", executor=pool).run()
    assert comparable(threads.trials) == comparable(inline.trials)
    weights = {trial.metrics["val_accuracy"] for trial in inline.trials}
    assert len(weights) == len(inline.trials)


def test_other_settings_are_refused(tmp_path):
    evolution(tmp_path).run()
    with pytest.raises(JournalError, match="population_size: 5 in the journal, 6 now"):
        evolution(tmp_path, strategy=GeneticAlgorithm(6, elites=1)).run()
    with pytest.raises(JournalError, match="seed: 0 in the journal, 3 now"):
        evolution(tmp_path, seed=3).run()


def test_disk_holds_the_best_and_the_living_only(tmp_path):
    result = evolution(tmp_path, keep=2, budget=Budget(generations=6)).run()
    numbers = {int(path.stem) for path in (tmp_path / "models").iterdir()}
    ranked = sorted(result.trials, key=lambda trial: -trial.fitness)
    last = {trial.number for trial in result.trials[-5:]}
    assert numbers == last | {trial.number for trial in ranked[:2]}


def test_finalists_are_evaluated_again_and_the_best_mean_wins():
    luck = {0: 1.0, 1: 0.9, 2: 0.8}
    first = []

    def score(architecture, seed):
        key = architecture[0]
        if len(first) < 3:
            first.append(key)
            return {"val_accuracy": luck[key]}
        return {"val_accuracy": {0: 0.1, 1: 0.7, 2: 0.75}[key]}

    class Three:
        def sample(self, rng):
            return [int(rng.integers(3))]

        def build(self, architecture):
            raise AssertionError("no model is needed")

    result = search(
        RandomSearch(1),
        FunctionEvaluator(score),
        Three(),
        budget=Budget(trials=3),
        finalists=2,
        final_repeats=3,
    ).run()
    assert sorted(first) == [0, 1, 2]
    assert result.best_architecture == [1]  # The third was no finalist.
    assert sorted(result.final_means.values()) == pytest.approx([0.1, 0.7])
    rows = result.leaderboard()
    assert [row["fitness"] for row in rows] == [0.9, 1.0, 0.8]
    assert rows[0]["trial"] == result.best.number
    assert [row["final_mean"] for row in rows] == [pytest.approx(0.7), pytest.approx(0.1), None]


def test_equal_finalists_stand_in_the_leaderboard_as_the_winner_is_chosen():
    first = []

    def score(architecture, seed):
        first.append(architecture)
        return {"val_accuracy": 0.1 * len(first) if len(first) < 3 else 0.5}

    class Letters:
        def sample(self, rng):
            return [float(rng.random())]

        def build(self, architecture):
            raise AssertionError("no model is needed")

    result = search(
        RandomSearch(1),
        FunctionEvaluator(score),
        Letters(),
        budget=Budget(trials=2),
        finalists=2,
        final_repeats=1,
    ).run()
    assert [row["fitness"] for row in result.leaderboard()] == pytest.approx([0.1, 0.2])
    assert result.leaderboard()[0]["trial"] == result.best.number == 0


def test_finalists_whose_models_are_gone_leave_their_places_to_the_next(tmp_path):
    found = evolution(tmp_path, strategy=GeneticAlgorithm(3, elites=1), keep=1).run()
    there = {int(path.stem) for path in (tmp_path / "models").iterdir()}
    strategy = GeneticAlgorithm(3, elites=1)
    result = evolution(tmp_path, strategy=strategy, finalists=6, final_repeats=2).run()
    ranked = sorted(found.trials, key=lambda trial: (-trial.fitness, trial.number))
    assert not there.issuperset(trial.number for trial in ranked[:6])
    assert set(result.final_means) == there
    assert result.best.number in there


def test_smoothing_mixes_the_score_of_the_parent_in(tmp_path):
    strategy = GeneticAlgorithm(2, elites=1, crossover=0, mutation=0)
    result = evolution(tmp_path, strategy=strategy, smoothing=0.25).run()
    for trial in result.trials[2:]:
        [parent] = trial.parents
        mixed = 0.75 * trial.metrics["val_accuracy"] + 0.25 * result.trials[parent].fitness
        assert trial.fitness == pytest.approx(mixed)


class Notes(EvolverCallback):
    def __init__(self):
        self.seen = []

    def on_search_begin(self, search, state):
        self.seen.append("begin")

    def on_generation_begin(self, generation):
        self.seen.append(("generation", generation))

    def on_candidate_end(self, trial):
        self.seen.append(trial.number)

    def on_new_best(self, trial):
        self.seen.append(("best", trial.number))

    def on_generation_end(self, generation, logs):
        self.seen.append(("end", generation, logs["trials"], logs["best_so_far"]))

    def on_search_end(self, result):
        self.seen.append(result.reason)


def test_callbacks_are_told_in_order(tmp_path):
    notes = Notes()
    scores = iter([3, 1, 4, 1])
    search(
        RandomSearch(2),
        FunctionEvaluator(lambda a, seed: {"val_accuracy": next(scores)}),
        budget=Budget(generations=2),
        directory=tmp_path,
        callbacks=[notes],
    ).run()
    assert notes.seen == [
        "begin",
        ("generation", 0),
        0,
        ("best", 0),
        1,
        ("end", 0, 2, 3.0),
        ("generation", 1),
        2,
        ("best", 2),
        3,
        ("end", 1, 2, 4.0),
        "2 generations are done",
    ]


def test_result_comes_back_from_its_directory_and_from_a_copy(tmp_path):
    result = evolution(tmp_path / "a").run()
    result.save(tmp_path / "b")
    for directory in (tmp_path / "a", tmp_path / "b"):
        loaded = SearchResult.load(directory)
        assert loaded.trials == result.trials
        assert loaded.history == result.history
        assert loaded.leaderboard() == result.leaderboard()
        assert (directory / "models" / f"{result.best.number:05d}.keras").is_file()
    with pytest.raises(SearchError, match="is not empty"):
        result.save(tmp_path / "b")
    with pytest.raises(SearchError, match="is a file"):
        result.save(tmp_path / "b" / "journal.jsonl")
    for wrong in (lambda: result.save(None), lambda: SearchResult.load(5)):
        with pytest.raises(InvalidRequestError, match="(?s)is no directory.*Received: "):
            wrong()
    with pytest.raises(InvalidRequestError, match="trial='a'"):
        result.model("a")
    with pytest.raises(InvalidRequestError, match="count=-1"):
        result.leaderboard(-1)


def test_history_and_leaderboard_tell_what_happened(tmp_path):
    result = evolution(tmp_path).run()
    history = result.history
    assert history["generation"] == [0, 1, 2, 3]
    assert history["trials"] == [5] * 4
    by_round = [[t.fitness for t in result.trials if t.round == r] for r in range(4)]
    assert history["best"] == [max(scores) for scores in by_round]
    assert history["best_so_far"][-1] == result.best.fitness
    rows = result.leaderboard(3)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert rows[0]["trial"] == result.best.number
    json.dumps(rows)
    assert str(rows).splitlines()[0].startswith("rank  trial  generation")


def test_space_that_cannot_mutate_is_refused_by_evolution():
    class Flat:
        def sample(self, rng):
            return 1

    with pytest.raises(InvalidRequestError, match="cannot mutate"):
        search(RegularizedEvolution(2, 1), space=Flat())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"budget": Budget()}, "would never end"),
        ({"seed": None}, "None is no seed"),
        ({"seed": -1}, "-1 is no seed"),
        ({"workers": 0}, "0 is no number of workers"),
        ({"executor": "cloud"}, "'cloud' is no executor"),
        ({"objective": []}, "no task"),
        ({"objective": ["params", "params"]}, "no task"),
        ({"objective": 3}, "3 is no objective"),
        ({"constraints": {"size": 3}}, "limited to 3 'size'"),
        ({"constraints": {"params": 0}}, "limited to 0 'params'"),
        ({"smoothing": 1}, "of the old score cannot stay"),
        ({"smoothing": "half"}, "'half' of the old score cannot stay"),
        ({"constraints": 3}, "3 are no limits"),
        ({"finalists": 2.5}, "at least 0. Received: finalists=2.5"),
        ({"finalists": -1}, "Received: finalists=-1"),
        ({"final_repeats": 0}, "at least 1. Received: final_repeats=0"),
        ({"keep": True}, "Received: keep=True"),
        ({"max_draws": 0}, "Received: max_draws=0"),
        ({"time_limit_s": 0}, "cannot take 0 seconds"),
        ({"time_limit_s": float("nan")}, "cannot take nan seconds"),
        ({"directory": 3}, "3 is no directory"),
        ({"directory": __file__}, "is a file, and no directory"),
        ({"callbacks": [print]}, "no callback of a search"),
        ({"space": 3}, "no search space"),
    ],
)
def test_impossible_settings_are_refused(settings, match):
    with pytest.raises(InvalidRequestError, match=match):
        search(**settings)


@pytest.mark.parametrize(
    "limit", [{"trials": 0}, {"generations": 1.5}, {"seconds": -1}, {"target": float("nan")}]
)
def test_impossible_budgets_are_refused(limit):
    [(name, value)] = limit.items()
    with pytest.raises(InvalidRequestError, match=f"Received: {name}={value}"):
        Budget(**limit)


def test_unknown_objective_names_those_that_there_are():
    with pytest.raises(InvalidRequestError, match=r"Use one of \['seconds', 'val_accuracy'\]"):
        search(objective="accuracy").run()


def test_what_no_process_can_be_sent_is_refused_before_the_run_begins(tmp_path):
    local = FunctionEvaluator(lambda architecture, seed: {"val_accuracy": 0.0})
    match = r"cannot be sent to another process.*<lambda>.*\n\n.*Received: Function"
    with pytest.raises(InvalidRequestError, match=f"(?s){match}"):
        search(None, local, workers=2, directory=tmp_path).run()
    assert not list(tmp_path.iterdir())


def test_process_runner_needs_workers():
    with pytest.raises(InvalidRequestError, match="0 is no number of workers"):
        ProcessRunner(0)
