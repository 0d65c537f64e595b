"""What goes wrong: killed processes, full disks, lost files, bad candidates."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import signal
import time
import warnings
from dataclasses import replace

import pytest
from search_fakes import TextBreeder, TextEvaluator, TextModel, comparable

from keras_nas.errors import SearchError
from keras_nas.search import (
    Budget,
    EvolverCallback,
    FunctionEvaluator,
    GeneticAlgorithm,
    ProcessRunner,
    RandomSearch,
    Search,
    SearchResult,
    Status,
    files,
    journal,
    processes,
)


def evolution(directory, **settings):
    settings.setdefault("evaluator", TextEvaluator())
    settings.setdefault("budget", Budget(generations=3))
    settings.setdefault("finalists", 2)
    settings.setdefault("final_repeats", 2)
    evaluator = settings.pop("evaluator")
    strategy = GeneticAlgorithm(4, elites=1)
    return Search(TextBreeder(), strategy, evaluator, directory=directory, **settings)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The result of a run that nothing happened to, and the weights of its models."""
    directory = tmp_path_factory.mktemp("unbroken")
    result = evolution(directory).run()
    return comparable(result.trials), result.final_means, models(directory)


def models(directory):
    return {
        path.name: path.read_text() for path in sorted((directory / "models").iterdir())
    }


def in_a_fork(function) -> int:
    """Runs a function in a copy of this process; returns the signal that ended it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Threads: none is used.
        pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Counter:
    """Kills the process, as kill -9 does, when something happens for the n-th time."""

    def __init__(self, fatal):
        self.count = 0
        self.fatal = fatal

    def tick(self, last_words=lambda: None):
        self.count += 1
        if self.count == self.fatal:
            last_words()
            os.kill(os.getpid(), signal.SIGKILL)


def killed_while_writing(directory, fatal):
    """At the n-th line of the journal, with half of it on the disk."""
    counter, write = Counter(fatal), journal.write_line

    def write_half(file, line):
        def half():
            file.write(line[: len(line) // 2])
            file.flush()

        counter.tick(half)
        write(file, line)

    journal.write_line = write_half
    evolution(directory).run()


def killed_after_writing(directory, fatal):
    """Right after the n-th line of the journal."""
    counter, write = Counter(fatal), journal.write_line

    def write_and_die(file, line):
        write(file, line)
        counter.tick()

    journal.write_line = write_and_die
    evolution(directory).run()


def killed_while_training(directory, fatal):
    """In the n-th evaluation, with a model half written."""
    counter = Counter(fatal)
    replaced = os.replace

    def replace_or_die(source, target):
        counter.tick()
        replaced(source, target)

    os.replace = replace_or_die
    evolution(directory).run()


def killed_while_sweeping(directory, fatal):
    """When the n-th model is to be deleted, at a change of generations."""
    counter, sweep = Counter(fatal), files.Files.sweep

    def sweep_and_die(self, kept):
        counter.tick()
        sweep(self, kept)

    files.Files.sweep = sweep_and_die
    evolution(directory).run()


@pytest.mark.parametrize(
    ("kill", "moments"),
    [
        (killed_while_writing, range(1, 24)),
        (killed_after_writing, range(1, 24)),
        (killed_while_training, range(1, 21)),
        (killed_while_sweeping, range(1, 5)),
    ],
)
def test_killed_run_resumes_to_the_same_end(kill, moments, tmp_path, unbroken):
    trials, means, weights = unbroken
    for moment in moments:
        directory = tmp_path / str(moment)
        code = in_a_fork(lambda d=directory, m=moment: kill(d, m))
        assert code == -signal.SIGKILL
        result = evolution(directory).run()
        assert comparable(result.trials) == trials, moment
        assert result.final_means == means
        assert models(directory) == weights


def test_run_killed_again_and_again_resumes_to_the_same_end(tmp_path, unbroken):
    for moment in (4, 3, 5, 2, 6):
        in_a_fork(lambda m=moment: killed_after_writing(tmp_path, m))
    assert comparable(evolution(tmp_path).run().trials) == unbroken[0]


def test_ctrl_c_returns_what_there_is_and_can_be_gone_on_with(tmp_path, unbroken):
    class Impatient(EvolverCallback):
        def on_candidate_end(self, trial):
            if trial.number == 5:
                raise KeyboardInterrupt

    result = evolution(tmp_path, callbacks=[Impatient()]).run()
    assert result.reason == "interrupted"
    assert comparable(result.trials) == unbroken[0][:6]
    assert result.best is not None
    assert comparable(evolution(tmp_path).run().trials) == unbroken[0]


def raising(job):
    raise RuntimeError("no such kernel")


def out_of_memory(job):
    raise MemoryError("7 GB")


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (math.nan, "a score is no number"),
        (-math.inf, "a score is no number"),
        (raising, "RuntimeError: no such kernel (test_search_faults.py:"),
        (out_of_memory, "MemoryError: 7 GB"),
    ],
)
def test_bad_candidate_costs_one_trial(tmp_path, trouble, error):
    result = evolution(tmp_path, evaluator=TextEvaluator({2: trouble})).run()
    bad = result.trials[2]
    assert bad.status is Status.FAILED
    assert bad.scores == (-math.inf,)
    assert bad.error.startswith(error)
    assert len(result.trials) == 12
    assert sum(trial.has_failed for trial in result.trials) == 1
    assert all(2 not in trial.parents for trial in result.trials)
    assert SearchResult.load(tmp_path).trials == result.trials


def test_hanging_candidate_is_interrupted(tmp_path):
    hang = {1: lambda job: time.sleep(60)}
    start = time.monotonic()
    result = evolution(tmp_path, evaluator=TextEvaluator(hang), time_limit_s=0.1).run()
    assert time.monotonic() - start < 30
    assert "no answer within 0.1 seconds" in result.trials[1].error
    assert sum(trial.has_failed for trial in result.trials) == 1


def test_search_in_which_nothing_works_ends_with_the_first_error(tmp_path):
    trouble = dict.fromkeys(range(100), raising)
    with pytest.raises(SearchError, match=r"All 8 candidates .* no such kernel"):
        evolution(tmp_path, evaluator=TextEvaluator(trouble)).run()
    assert len(SearchResult.load(tmp_path).trials) == 8


def test_search_of_few_candidates_that_all_fail_ends_with_the_first_error(tmp_path):
    trouble = TextEvaluator(dict.fromkeys(range(4), raising))
    few = {"evaluator": trouble, "budget": Budget(generations=1)}
    for _ in range(2):  # The second time from the journal alone.
        with pytest.raises(SearchError, match=r"All 4 candidates .* no such kernel"):
            evolution(tmp_path, **few).run()
    with pytest.raises(SearchError, match="with success; the first one: .*no such kernel"):
        SearchResult.load(tmp_path).best_model()


def test_deleted_file_of_a_parent_costs_its_children_only(tmp_path):
    class Vandal(EvolverCallback):
        def on_generation_end(self, generation, logs):
            if generation == 0:
                (self.search.directory / "models" / "00001.keras").unlink()

    result = evolution(tmp_path, callbacks=[Vandal()]).run()
    lost = [t for t in result.trials if t.round == 1 and 1 in t.parents]
    assert lost
    assert all(trial.has_failed for trial in lost)
    assert "00001.keras" in lost[0].error
    assert len(result.trials) == 12
    assert not any(t.has_failed for t in result.trials if t not in lost)


def test_deleted_file_of_the_best_is_named(tmp_path):
    result = evolution(tmp_path).run()
    (tmp_path / "models" / f"{result.best.number:05d}.keras").unlink()
    with pytest.raises(SearchError, match=f"trial {result.best.number} is not there"):
        result.best_model()


def full(job):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_in_an_evaluation_stops_and_can_be_gone_on_with(tmp_path, unbroken):
    with pytest.raises(SearchError, match="disk is full.*No space left"):
        evolution(tmp_path, evaluator=TextEvaluator({6: full})).run()
    assert len(SearchResult.load(tmp_path).trials) == 6
    assert comparable(evolution(tmp_path).run().trials) == unbroken[0]


def test_full_disk_when_a_child_is_written_stops_and_can_be_gone_on_with(
    tmp_path, unbroken, monkeypatch
):
    save, calls = TextModel.save, []

    def save_or_fail(self, path):
        calls.append(path)
        if len(calls) == 14:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(TextModel, "save", save_or_fail)
        with pytest.raises(SearchError, match="disk is full"):
            evolution(tmp_path).run()
    assert comparable(evolution(tmp_path).run().trials) == unbroken[0]


def test_full_disk_when_a_finalist_is_written_stops_and_can_be_gone_on_with(tmp_path):
    class Fresh(TextBreeder):
        """Finalists are written again, and for the second one there is no room."""

        room = 1

        def breed_again(self, winner, rng):
            made = replace(super().breed_again(winner, rng), file=None)
            self.room -= 1
            return made if self.room >= 0 else replace(made, build=lambda: full(None))

    def search(breeder):
        strategy = GeneticAlgorithm(4, elites=1)
        settings = {"budget": Budget(generations=2), "finalists": 2, "final_repeats": 1}
        return Search(breeder, strategy, TextEvaluator(), directory=tmp_path, **settings)

    with pytest.raises(SearchError, match="disk is full.*No space left"):
        search(Fresh()).run()
    roomy = Fresh()
    roomy.room = 9
    assert len(search(roomy).run().final_means) == 2


def test_full_disk_for_the_journal_stops_and_can_be_gone_on_with(
    tmp_path, unbroken, monkeypatch
):
    write, lines = journal.write_line, []

    def write_or_fail(file, line):
        lines.append(line)
        if len(lines) == 9:
            file.write(line[:7])
            file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, line)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_line", write_or_fail)
        with pytest.raises(SearchError, match="journal cannot be written"):
            evolution(tmp_path).run()
    assert comparable(evolution(tmp_path).run().trials) == unbroken[0]


def test_event_that_cannot_stand_there_is_refused_with_its_line(tmp_path):
    evolution(tmp_path).run()
    path = tmp_path / journal.NAME
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[8:]))
    with pytest.raises(ValueError, match="Line 4 of the journal is damaged"):
        evolution(tmp_path).run()


# --- processes -------------------------------------------------------------------------


def score_of(architecture, seed):
    """In a worker: hangs, dies, or tells the process that it is in."""
    if architecture == 1:
        time.sleep(600)
    if architecture == 2:
        os._exit(7)
    return {"val_accuracy": architecture, "process": os.getpid()}


class InTurn:
    """Gives 0, 1, 2, ... one after the other."""

    def __init__(self):
        self.next = iter(range(100))

    def sample(self, rng):
        return next(self.next)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_that_hang_or_die_cost_one_trial_and_are_replaced(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 1.0)
    runner = ProcessRunner(2, recycle=2)
    # Copies of this process start at once; `test_evolver` starts real ones.
    runner._context = multiprocessing.get_context("fork")
    result = Search(
        InTurn(),
        RandomSearch(7),
        FunctionEvaluator(score_of),
        budget=Budget(trials=7),
        executor=runner,
        time_limit_s=1.0,
    ).run()
    errors = {trial.number: trial.error for trial in result.trials}
    assert errors.pop(1) == "the process did not answer in time"
    assert errors.pop(2) == "the process died with exit code 7"
    assert set(errors.values()) == {None}
    done = [trial for trial in result.trials if not trial.has_failed]
    places = [trial.metrics["process"] for trial in done]
    assert os.getpid() not in places
    assert max(places.count(place) for place in places) <= 2
    assert len(set(places)) >= 3
