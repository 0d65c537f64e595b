"""From proposals to candidates, and from measurements to trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_nas.axes import MaybeNone
from keras_nas.errors import SearchError
from keras_nas.search.breeding import Candidate, Parent
from keras_nas.search.evaluation import (
    CandidateError,
    Outcome,
    describe,
    is_disk_full,
    save_model,
)
from keras_nas.search.files import Files
from keras_nas.search.objectives import is_within
from keras_nas.search.seeding import Purpose, generator
from keras_nas.search.state import Round, State
from keras_nas.search.strategies import Duplicates
from keras_nas.search.trial import Proposal, Status, Trial


@dataclass
class Place:
    """A candidate on its way to become a trial.

    Attributes:
        number: Of the trial.
        round: Its round.
        proposal: How it was made.
        candidate: What was made; None if that failed.
        costs: What it costs, where that is asked for.
        draws: How many were drawn.
        start: File with its model before training.
        twin: Number of the trial with an equal candidate, whose scores it gets.
        error: Why it could not be made.
    """

    number: int
    round: int
    proposal: Proposal
    candidate: Candidate | MaybeNone = None
    costs: Mapping[str, float] | MaybeNone = None
    draws: int = 1
    start: Path | None = None
    twin: int | MaybeNone = None
    error: str | None = None


def _exceeded(costs: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """Returns the costs that are above their limits."""
    return ", ".join(
        f"{costs[name]:g} {name}" for name in limits if costs[name] > limits[name]
    )


class Nursery:
    """Makes the candidates of one round.

    Whether a candidate is a duplicate depends on the trials with lower numbers only,
    those of the same round included, and not on which of them are done: so it comes
    out the same in every order of evaluation.

    Args:
        search: The `Search`, for its settings.
        state: What there is so far; trials that are added to it become visible.
        files: Of the run.
    """

    def __init__(self, search: Any, state: State, files: Files):
        self.search = search
        self.state = state
        self.files = files
        objectives = search.objectives
        self.needs_costs = bool(search.limits) or any(o.needs_costs for o in objectives)
        # A reused trial passes on its source, so that chains have length one.
        self._owners: dict[str, int] = {}
        for trial in state.trials:
            # A candidate that has failed gets another chance, but not in its round:
            # there, the others do not wait to see how it ends.
            is_fresh = state.open is not None and trial.number >= state.open.first
            if trial.status is Status.DONE or (is_fresh and trial.source is None):
                self._owners.setdefault(trial.key, trial.number)
        self._twins: list[Place] = []

    def make(self, entry: Round, number: int, proposal: Proposal) -> Place | None:
        """Makes the candidate of one proposal.

        Returns:
            What was made, with its file if the evaluator needs one; None if there
            seems to be no further architecture.
        """
        place = Place(number, entry.number, proposal)
        for draw in range(self.search.max_draws):
            place.draws = draw + 1
            try:
                rng = generator(self.search.seed, Purpose.BREED, number, draw)
                parents = [self._parent(n) for n in proposal.parents]
                place.candidate = self.search.breeder.breed(
                    proposal, parents, rng, number
                )
                place.costs = self._costs(place.candidate)
            except Exception as error:  # noqa: BLE001  Costs one trial, whatever it is.
                place.error = f"cannot be made: {describe(error)}"
                return place
            if self._is_too_large(place.costs) or self._is_stale(place):
                continue
            return self._settle(place)
        if self._is_too_large(place.costs):
            place.error = (
                f"none of {place.draws} draws kept the constraints; the last one has "
                f"{_exceeded(place.costs, self.search.limits)}"
            )
            return place
        # All children of these parents are known, but others may have new ones; where
        # even free draws give nothing new, there is nothing.
        return self._settle(place) if proposal.parents else None

    def _costs(self, candidate: Candidate) -> Mapping[str, float]:
        return dict(candidate.measure()) if self.needs_costs else {}

    def _is_too_large(self, costs: Mapping[str, float]) -> bool:
        return not is_within(costs, self.search.limits)

    def _is_stale(self, place: Place) -> bool:
        is_known = self._twin(place) is not None
        return is_known and self.search.duplicates is Duplicates.REDRAW

    def _twin(self, place: Place) -> int | None:
        """Number of the trial before this one with an equal candidate."""
        owner = self._owners.get(place.candidate.key)
        return owner if owner is not None and owner < place.number else None

    def _settle(self, place: Place) -> Place:
        key = place.candidate.key
        if self.search.duplicates is not Duplicates.EVALUATE:
            place.twin = self._twin(place)
            if place.twin is not None:
                self._twins.append(place)
                return place
        if place.number < self._owners.get(key, place.number + 1):
            self._owners[key] = place.number
        if self.search.evaluator.needs_model:
            self._write_start(place)
        return place

    def _write_start(self, place: Place) -> None:
        if place.candidate.file is not None:
            place.start = place.candidate.file
            return
        place.start = self.files.start(place.number)
        try:
            self._build(place.candidate, place.start)
        except CandidateError as error:
            place.error = str(error)

    def _build(self, candidate: Candidate, path: Path) -> None:
        """Writes the model of a candidate; a CandidateError if it has none."""
        try:
            save_model(candidate.build(), path)
        except Exception as error:
            if is_disk_full(error):
                raise SearchError(
                    f"The disk is full: {error}.\n\nMake room, then start the same run "
                    f"again: it goes on where it stopped. Received: "
                    f"{str(self.files.directory)!r}"
                ) from error
            raise CandidateError(f"cannot be built: {describe(error)}") from error

    def _parent(self, number: int) -> Parent:
        trial = self.state.trial(number)
        return Parent(trial, self.files.model(trial.owner))

    def make_again(self, trial: Trial, repeat: int) -> Path | None:
        """Writes the model with which a finalist is evaluated again.

        Raises:
            CandidateError: Its file is gone, or it cannot be built again.
            SearchError: The disk is full.
        """
        if not self.search.evaluator.needs_model:
            return None
        rng = generator(self.search.seed, Purpose.FINAL, trial.number, repeat)
        candidate = self.search.breeder.breed_again(self._parent(trial.number), rng)
        if candidate.file is not None:
            return candidate.file
        path = self.files.start(f"{trial.number:05d}-{repeat}")
        self._build(candidate, path)
        return path

    # --- afterwards ------------------------------------------------------------------

    def twins(self) -> list[Place]:
        """Returns the places whose twins were evaluated in this round or before.

        A twin that has not been evaluated, because the time was over, is left out.
        """
        done = {trial.number for trial in self.state.trials}
        return [place for place in self._twins if place.twin in done]

    def repeat(self, place: Place) -> Trial:
        """Returns the trial of a candidate that was evaluated before."""
        twin = self.state.trial(place.twin)
        status = Status.FAILED if twin.has_failed else Status.REUSED
        return self._trial(
            place,
            status=status,
            scores=twin.scores,
            metrics=twin.metrics,
            costs=twin.costs,
            source=None if twin.has_failed else twin.number,
            error=twin.error,
        )

    def judge(self, place: Place, outcome: Outcome) -> Trial:
        """Returns the trial of a candidate and what was measured."""
        costs = place.costs or {}
        scores = self.scores(outcome, costs)
        error = outcome.error
        if error is None and not all(map(math.isfinite, scores)):
            names = [objective.name for objective in self.search.objectives]
            error = f"a score is no number: {dict(outcome.metrics)} for {names}"
        if error is not None:
            scores = (-math.inf,) * len(self.search.objectives)
        elif self.search.smoothing and place.proposal.is_continuation:
            scores = self._smoothed(scores, place.proposal.parents[0])
        return self._trial(
            place,
            status=Status.DONE if error is None else Status.FAILED,
            scores=scores,
            metrics=dict(outcome.metrics),
            costs=costs,
            error=error,
            seconds=round(outcome.seconds, 3),
        )

    def scores(self, outcome: Outcome, costs: Mapping[str, float]) -> tuple[float, ...]:
        """Returns one number for each objective, of which more is better."""
        if outcome.error is not None:
            return (-math.inf,) * len(self.search.objectives)
        values = {"seconds": outcome.seconds, **costs, **outcome.metrics}
        return tuple(objective.score(values) for objective in self.search.objectives)

    def _smoothed(self, scores: tuple[float, ...], parent: int) -> tuple[float, ...]:
        """An exponentially weighted mean over the generations of one network."""
        weight = self.search.smoothing
        old = self.state.trial(parent).scores
        pairs = zip(scores, old, strict=True)
        return tuple((1 - weight) * new + weight * before for new, before in pairs)

    def _trial(self, place: Place, **values: Any) -> Trial:
        candidate = place.candidate or Candidate("", build=lambda: None)
        return Trial(
            number=place.number,
            round=place.round,
            proposal=place.proposal,
            key=candidate.key,
            architecture=candidate.architecture,
            training=candidate.training,
            description=candidate.description,
            draws=place.draws,
            **values,
        )
