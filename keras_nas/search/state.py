"""What a run has come to: a function of its journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_nas.errors import JournalError
from keras_nas.records import Record
from keras_nas.search.trial import Proposal, Trial, best_of, score_of


@dataclass
class Round:
    """Proposals that are evaluated independently of each other.

    Attributes:
        number: From 0.
        first: Number of its first trial.
        proposals: In the order of their trials.
        trials: Number -> trial, as far as they are done.
        is_closed: Whether the strategy may know of it.
    """

    number: int
    first: int
    proposals: list[Proposal]
    trials: dict[int, Trial] = field(default_factory=dict)
    is_closed: bool = False

    def missing(self) -> list[tuple[int, Proposal]]:
        """Returns what is still to be evaluated, with its number."""
        numbered = enumerate(self.proposals, self.first)
        return [(n, proposal) for n, proposal in numbered if n not in self.trials]

    def in_order(self) -> list[Trial]:
        """Returns its trials by number."""
        return [self.trials[number] for number in sorted(self.trials)]


@dataclass
class State:
    """All rounds, and what was measured beside them.

    Attributes:
        rounds: In order; only the last one may be open.
        finals: Number of a trial -> repeat -> its first score.
        seconds: Spent in all parts of the run together.
    """

    rounds: list[Round] = field(default_factory=list)
    finals: dict[int, dict[int, float]] = field(default_factory=dict)
    seconds: float = 0.0
    _best: Trial | None = None

    @classmethod
    def replay(cls, events: Iterable[Mapping[str, Any]]) -> State:
        """Returns the state after some events of a journal.

        Raises:
            JournalError: An event that does not follow from those before it.
        """
        state = cls()
        for number, event in enumerate(events, 2):
            try:
                state.apply(event)
            except (KeyError, IndexError, ValueError, TypeError) as error:
                reason = str(error).partition("\n")[0]
                raise JournalError(
                    f"Line {number} of the journal is damaged: a {event['event']!r} "
                    f"cannot stand there ({type(error).__name__}: {reason}).\n\n"
                    f"Restore the file from a copy, or delete the lines from number "
                    f"{number} on to repeat what they told. Received: {str(event)[:80]}"
                ) from error
        return state

    def apply(self, event: Mapping[str, Any]) -> None:
        """Takes in one event."""
        kind = event["event"]
        record = Record(event, "event")
        if "at" in record:
            self.seconds = max(self.seconds, record.number("at"))
        if kind == "ask":
            proposals = [Proposal.from_json(row) for row in record.values("proposals")]
            if event["round"] != len(self.rounds) or event["first"] != self.num_trials:
                raise ValueError("a round is missing before it")
            self.rounds.append(Round(event["round"], event["first"], proposals))
        elif kind == "trial":
            trial = Trial.from_json(event)
            entry = self.rounds[trial.round]
            if not 0 <= trial.number - entry.first < len(entry.proposals):
                raise ValueError("nobody asked for it")
            entry.trials[trial.number] = trial
            known = [trial] if self._best is None else [self._best, trial]
            self._best = best_of(known)
        elif kind == "close":
            self.rounds[record.integer("round", 0)].is_closed = True
        elif kind == "final":
            trial = self.trial(record.integer("trial", 0))
            scores = self.finals.setdefault(trial.number, {})
            scores[record.integer("repeat", 0)] = score_of(event["score"], record)

    @property
    def num_trials(self) -> int:
        """Number of all proposals so far."""
        return sum(len(entry.proposals) for entry in self.rounds)

    @property
    def closed(self) -> list[Round]:
        """All rounds that the strategy knows of."""
        return [entry for entry in self.rounds if entry.is_closed]

    @property
    def open(self) -> Round | None:
        """The round that is under way, or None."""
        last = self.rounds[-1] if self.rounds else None
        return last if last is not None and not last.is_closed else None

    @property
    def trials(self) -> list[Trial]:
        """All trials that are done, by number."""
        return [trial for entry in self.rounds for trial in entry.in_order()]

    def trial(self, number: int) -> Trial:
        """Returns one of them."""
        for entry in reversed(self.rounds):
            if number >= entry.first:
                return entry.trials[number]
        raise KeyError(number)

    @property
    def best(self) -> Trial | None:
        """The best trial so far: by repeated evaluation where there was one."""
        return next(iter(self.finalists()), self._best)

    def finalists(self) -> list[Trial]:
        """Returns what was evaluated again, the best mean first."""
        means = self.final_means()
        numbers = sorted(means, key=lambda number: (-means[number], number))
        return [self.trial(number) for number in numbers]

    def final_means(self) -> dict[int, float]:
        """Returns the mean score of every finalist over its repeats."""
        return {
            number: sum(scores.values()) / len(scores)
            for number, scores in self.finals.items()
        }
