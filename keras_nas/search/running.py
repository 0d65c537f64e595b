"""One run of a search, from the journal's first line to its last."""

from __future__ import annotations

import copy
import gc
import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_nas.errors import InvalidRequestError, SearchError
from keras_nas.graph import names_anew
from keras_nas.search.evaluation import CandidateError, Job, Outcome
from keras_nas.search.executors import as_runner
from keras_nas.search.files import Files
from keras_nas.search.journal import Journal
from keras_nas.search.nursery import Nursery, Place
from keras_nas.search.result import SearchResult
from keras_nas.search.seeding import Purpose, generator, training_seed
from keras_nas.search.state import Round, State
from keras_nas.search.trial import Proposal, Status, Trial, best_first

# So many failures without a single success end a search.
_HOPELESS = 5


class Run:
    """One call of `Search.run`: what is open while it lasts.

    Args:
        search: The `Search`, for its settings and parts.

    Raises:
        JournalError: The directory holds another run, or a damaged one.
        SearchError: Another process is running it.
    """

    def __init__(self, search: Any):
        self.search = search
        self.runner = as_runner(search.executor, search.workers, search.recycle)
        self.runner.check(search.evaluator)
        versions = {"keras": keras.__version__, "python": platform.python_version()}
        versions["backend"] = keras.config.backend()
        self.journal = Journal.open(search.directory, search.settings(), versions)
        self.began = time.monotonic()
        try:
            self.state = State.replay(self.journal.events)
            self.spent_before = self.state.seconds
            self.files = Files(search.directory)
            self.files.sweep_halves()
            self.strategy = copy.deepcopy(search.strategy)
            for entry in self.state.closed:
                self.strategy.tell(entry.in_order())
        except BaseException:
            self.journal.close()
            raise

    def run(self) -> SearchResult:
        """Goes on until the budget is spent; see `Search.run`."""
        search = self.search
        try:
            if self.runner.is_remote:
                search.evaluator.prepare(search.directory)
            search.callbacks.on_search_begin(search, self.state)
            try:
                reason = self._rounds()
                self._refuse_failure(least=1)
                self._finals()
                self._sweep(self.state.open)
            except KeyboardInterrupt:
                reason = "interrupted"
        except BaseException as error:
            search.callbacks.on_search_error(error)
            raise
        finally:
            self.runner.close()
            self.journal.close()
            # Evaluators may have set aside what they looked through for garbage.
            gc.unfreeze()
        result = SearchResult(search.directory, self.state, reason, search.settings())
        search.callbacks.on_search_end(result)
        return result

    # --- rounds ----------------------------------------------------------------------

    def _rounds(self) -> str:
        """Goes on round by round; returns why it ended."""
        while True:
            reason = self._reason()
            if reason is not None:
                return reason
            entry = self.state.open or self._ask()
            if entry is None:
                return "the strategy proposes nothing more"
            self._sweep(entry)
            self.search.callbacks.on_generation_begin(entry.number)
            if not self._evaluate(entry):
                return self._reason() or "the search space is exhausted"
            self._close(entry)

    def _reason(self) -> str | None:
        """Why the budget is spent, or None. An open round is to be finished first."""
        budget = self.search.budget
        seconds = self._seconds()
        if self.state.open is not None:
            is_late = budget.is_late(seconds)
            return f"{seconds:.0f} seconds are over" if is_late else None
        best = self.state.best
        reached = best is not None and self._reaches_target(best)
        trials, rounds = self.state.num_trials, len(self.state.rounds)
        return budget.spent(trials, rounds, seconds, reached)

    def _reaches_target(self, best: Trial) -> bool:
        target, objective = self.search.budget.target, self.search.objectives[0]
        if target is None:
            return False
        values = {**best.metrics, **best.costs}
        value = values.get(objective.name, best.fitness)
        return value <= target if objective.is_minimised else value >= target

    def _seconds(self) -> float:
        return self.spent_before + time.monotonic() - self.began

    def _write(self, event: Mapping[str, Any]) -> None:
        event = {**event, "at": round(self._seconds(), 3)}
        # As the journal holds it, so that a resumed run knows exactly the same.
        self.state.apply(self.journal.append(event))

    def _ask(self) -> Round | None:
        """Begins a round; None if the strategy has nothing to propose."""
        number, first = len(self.state.rounds), self.state.num_trials
        rng = generator(self.search.seed, Purpose.ASK, number)
        proposals = self._proposals(rng)
        if not proposals:
            return None
        if self.search.budget.trials is not None:
            proposals = proposals[: self.search.budget.trials - first]
        rows = [proposal.to_json() for proposal in proposals]
        event = {"event": "ask", "round": number, "first": first}
        self._write({**event, "proposals": rows})
        return self.state.rounds[-1]

    def _proposals(self, rng: Any) -> list[Proposal]:
        given = self.strategy.ask(rng)
        is_list = isinstance(given, Sequence)
        if not is_list or not all(isinstance(one, Proposal) for one in given):
            raise InvalidRequestError(
                f"A {type(self.strategy).__name__} proposes what is no list of "
                f"proposals.\n\nReturn a list of Proposal objects from ask(rng). "
                f"Received: {given!r:.80}"
            )
        return list(given)

    def _close(self, entry: Round) -> None:
        self._write({"event": "close", "round": entry.number})
        self.strategy.tell(entry.in_order())
        self.search.callbacks.on_generation_end(entry.number, self.state)
        self._refuse_failure(least=_HOPELESS)

    def _refuse_failure(self, least: int) -> None:
        """Ends a search in which nothing works, after so many candidates."""
        failed = [trial for trial in self.state.trials if trial.has_failed]
        if len(failed) >= least and len(failed) == len(self.state.trials):
            raise SearchError(
                f"All {len(failed)} candidates so far have failed; the first one: "
                f"{failed[0].error}.\n\nLook into that one: the data, the loss or the "
                f"model may be wrong. Received: {str(self.search.directory)!r}"
            )

    def _refuse_unmakeable(self, places: Mapping[int, Place]) -> None:
        """Ends a search whose first candidates cannot even be made.

        Each may have taken many draws, and a round may have many candidates. They are
        made in the same order with any number of workers.
        """
        if all(place.error is not None for place in places.values()):
            self._refuse_failure(least=_HOPELESS)

    def _sweep(self, entry: Round | None) -> None:
        """Deletes all models that nobody needs any more."""
        live = set(self.strategy.live())
        if entry is not None:
            live |= {n for proposal in entry.proposals for n in proposal.parents}
            live |= set(entry.trials)
        kept = self.files.worth_keeping(self.state, live, self.search.keep)
        self.search.breeder.forget(kept)
        self.files.sweep(kept)

    # --- one round -------------------------------------------------------------------

    def _evaluate(self, entry: Round) -> bool:
        """Evaluates what is missing in a round; whether all of it is done."""
        nursery = Nursery(self.search, self.state, self.files)
        places: dict[int, Place] = {}
        for job, outcome in self.runner.run(
            self.search.evaluator, self._jobs(entry, nursery, places)
        ):
            self._refuse_full_disk(outcome)
            self._record(nursery.judge(places[job.trial], outcome))
            self.files.start(job.trial).unlink(missing_ok=True)
        for place in nursery.twins():
            self._record(nursery.repeat(place))
        return not entry.missing()

    def _jobs(
        self, entry: Round, nursery: Nursery, places: dict[int, Place]
    ) -> Iterator[Job]:
        """Makes candidates, one when a worker is free, and records what needs none."""
        for number, proposal in entry.missing():
            if self.search.budget.is_late(self._seconds()):
                return
            place = self._make(nursery, entry, number, proposal)
            if place is None:
                return
            places[number] = place
            if place.error is not None:
                self._record(nursery.judge(place, Outcome({}, place.error)))
                self._refuse_unmakeable(places)
            elif place.twin is None:
                yield self._job(place)

    def _make(
        self, nursery: Nursery, entry: Round, number: int, proposal: Proposal
    ) -> Place | None:
        # The same names in every process, so that the same mutations find them.
        with names_anew():
            return nursery.make(entry, number, proposal)

    def _job(self, place: Place) -> Job:
        search, number = self.search, place.number
        needs_model = search.evaluator.needs_model
        return Job(
            trial=number,
            round=place.round,
            seed=training_seed(search.seed, number),
            architecture=place.candidate.architecture,
            training=place.candidate.training,
            start=str(place.start) if needs_model else None,
            out=str(self.files.model(number)) if needs_model else None,
            time_limit_s=search.time_limit_s,
        )

    def _record(self, trial: Trial) -> None:
        before = self.state.best
        self._write(trial.to_json())
        self.search.callbacks.on_candidate_end(trial)
        if trial.status is Status.DONE and (
            before is None or trial.fitness > before.fitness
        ):
            self.search.callbacks.on_new_best(trial)

    def _refuse_full_disk(self, outcome: Outcome) -> None:
        if outcome.is_disk_full:
            raise SearchError(
                f"The disk is full: {outcome.error}.\n\nMake room, then start the same "
                f"run again: it goes on where it stopped. Received: "
                f"{str(self.search.directory)!r}"
            )

    # --- finalists -------------------------------------------------------------------

    def _finals(self) -> None:
        """Evaluates the best few again, with fresh seeds."""
        search = self.search
        if not search.finalists:
            return
        able = best_first(t for t in self.state.trials if t.status is Status.DONE)
        nursery = Nursery(search, self.state, self.files)
        jobs: dict[int, Any] = {}
        places = search.finalists
        for trial in able:
            if not places:
                break
            try:
                made = self._made_again(nursery, trial)
            except CandidateError:
                # With more finalists than the run had before, the models of some good
                # trials have been deleted since: the next ones take their places.
                continue
            places -= 1
            jobs.update(enumerate(made, len(jobs)))
        queue = (
            Job(
                # A number that no trial has.
                trial=-1 - number,
                # Batches that no round has seen, the same for all finalists.
                round=len(self.state.rounds) + repeat,
                seed=training_seed(search.seed, trial.number, repeat + 1),
                architecture=trial.architecture,
                training=trial.training,
                start=None if start is None else str(start),
                time_limit_s=search.time_limit_s,
            )
            for number, (trial, repeat, start) in jobs.items()
        )
        for job, outcome in self.runner.run(search.evaluator, queue):
            trial, repeat, _ = jobs[-1 - job.trial]
            score = nursery.scores(outcome, trial.costs)[0]
            event = {"event": "final", "trial": trial.number, "repeat": repeat}
            self._write({**event, "score": score if math.isfinite(score) else None})
        self.files.sweep_halves()

    def _made_again(self, nursery: Nursery, trial: Trial) -> list[tuple]:
        """Returns trial, repeat and file for each evaluation that a finalist lacks."""
        made = []
        for repeat in range(self.search.final_repeats):
            if repeat not in self.state.finals.get(trial.number, {}):
                with names_anew():
                    start = nursery.make_again(trial, repeat)
                made.append((trial, repeat, start))
        return made
