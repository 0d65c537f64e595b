"""What a strategy proposes, and what becomes of it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from keras_nas.numeric import is_whole
from keras_nas.records import Record

_NOTHING: Mapping[str, Any] = {}


class Status(str, enum.Enum):
    """How a trial ended."""

    #: Evaluated, and has scores.
    DONE = "done"
    #: The same candidate was evaluated before; has the scores of that trial.
    REUSED = "reused"
    #: Not a number, an exception, out of time or memory; has the worst scores.
    FAILED = "failed"


@dataclass(frozen=True)
class Proposal:
    """How a candidate is to be made, decided by a strategy.

    Without parents and architecture it is drawn from the search space. With one parent
    it is its child: mutated, or the same network trained on. With two it is the first
    child of their crossover, mutated or not.

    Attributes:
        parents: Numbers of at most two trials.
        mutate: Whether the child is mutated.
        architecture: JSON-able; the candidate itself, where a strategy builds it.
    """

    parents: tuple[int, ...] = ()
    mutate: bool = False
    architecture: Any = None

    def to_json(self) -> dict:
        """Returns what the journal holds; leaves out what is as usual."""
        row: dict[str, Any] = {}
        if self.parents:
            row["parents"] = list(self.parents)
        if self.mutate:
            row["mutate"] = True
        if self.architecture is not None:
            row["architecture"] = self.architecture
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Proposal:
        """Returns the proposal of a line of the journal."""
        record = Record(row, "proposal")
        parents = record.values("parents") if "parents" in record else []
        if len(parents) > 2 or not all(map(_is_number, parents)):
            record.refuse("has other parents than at most two numbers", parents)
        mutate = record.truth("mutate") if "mutate" in record else False
        return cls(tuple(parents), mutate, row.get("architecture"))

    @property
    def is_continuation(self) -> bool:
        """Whether it is the very network of its parent."""
        return len(self.parents) == 1 and not self.mutate


@dataclass(frozen=True)
class Trial:
    """One evaluated candidate: a row of the journal.

    Attributes:
        number: From 0, in the order of the proposals.
        round: Which round of the strategy it belongs to; a generation.
        proposal: How it was made.
        status: How it ended.
        scores: One number for each objective, of which more is better; -inf throughout
            for a failure.
        metrics: Name -> number: what the evaluator measured.
        costs: Name -> number: ``params``, ``flops``, ``memory``.
        key: Equal for equal candidates.
        architecture: JSON-able, where the search space has such a form.
        training: Optimizer, learning rate, batch size, where they evolve.
        description: For people.
        source: Number of the trial whose model and scores this one shares, if reused.
        error: Why it failed.
        seconds: Of the evaluation.
        draws: How many candidates were drawn for it; the others were rejected.
    """

    number: int
    round: int
    proposal: Proposal
    status: Status
    scores: tuple[float, ...]
    metrics: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    costs: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    key: str = ""
    architecture: Any = None
    training: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    description: str = ""
    source: int | None = None
    error: str | None = None
    seconds: float = 0.0
    draws: int = 1

    @property
    def fitness(self) -> float:
        """The first score."""
        return self.scores[0]

    @property
    def has_failed(self) -> bool:
        """Whether it has no scores of its own."""
        return self.status is Status.FAILED

    @property
    def parents(self) -> tuple[int, ...]:
        """Numbers of the trials that it was made from."""
        return self.proposal.parents

    @property
    def owner(self) -> int:
        """Number of the trial that has the model."""
        return self.number if self.source is None else self.source

    def to_json(self) -> dict:
        """Returns what the journal holds."""
        row = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        row["proposal"] = self.proposal.to_json()
        row["status"] = self.status.value
        row["scores"] = list(self.scores)
        return {"event": "trial", **row}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Trial:
        """Returns the trial of a line of the journal."""
        record = Record(row, "trial")
        scores = [score_of(each, record) for each in record.values("scores")]
        if not scores:
            record.refuse("has no scores", row)
        source, error = row["source"], row["error"]
        return cls(
            number=record.integer("number", 0),
            round=record.integer("round", 0),
            proposal=Proposal.from_json(row["proposal"]),
            status=Status(record.text("status")),
            scores=tuple(scores),
            metrics=_numbers(record, "metrics"),
            costs=_numbers(record, "costs"),
            key=record.text("key"),
            architecture=row["architecture"],
            training=dict(record.record("training").items()),
            description=record.text("description"),
            source=None if source is None else record.integer("source", 0),
            error=None if error is None else record.text("error"),
            seconds=record.number("seconds"),
            draws=record.integer("draws", 0),
        )


def score_of(value: Any, record: Record) -> float:
    """Returns a score as the journal holds it; null is the worst one."""
    if value is None:
        return -float("inf")
    return Record({"score": value}, f"{record.what} with scores").number("score", None)


def _numbers(record: Record, name: str) -> dict[str, Any]:
    """Takes an object of numbers, of which some may be null."""
    inner = record.record(name)
    for key, value in inner.items():
        if value is not None and not isinstance(value, bool):
            inner.number(key, None)
    return dict(inner.items())


def _is_number(value: Any) -> bool:
    return is_whole(value) and value >= 0


def best_first(trials: Iterable[Trial]) -> list[Trial]:
    """Returns trials by their first score, the earlier of equals before the later."""
    return sorted(trials, key=lambda trial: (-trial.fitness, trial.number))


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Returns the best trial by its first score, the earlier of equals; None if none.

    A reused trial is never the best: the one that it was copied from is as good.
    """
    able = [trial for trial in trials if trial.status is Status.DONE]
    return max(able, key=lambda trial: (trial.fitness, -trial.number), default=None)
