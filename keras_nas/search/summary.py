"""Rows and lines for people."""

from __future__ import annotations

from typing import Any

from keras_nas.search.state import Round, State
from keras_nas.search.trial import Trial, best_first, best_of
from keras_nas.surgery.tables import table

HISTORY = ("generation", "best", "mean", "best_so_far", "trials", "failed", "seconds")


def history_row(entry: Round, best: Trial | None) -> dict[str, Any]:
    """Returns the numbers of one generation.

    Args:
        entry: The round.
        best: The best trial up to its end.
    """
    trials = entry.in_order()
    scores = [trial.fitness for trial in trials if not trial.has_failed]
    return {
        "generation": entry.number,
        "best": max(scores, default=None),
        "mean": sum(scores) / len(scores) if scores else None,
        "best_so_far": None if best is None else best.fitness,
        "trials": len(trials),
        "failed": sum(trial.has_failed for trial in trials),
        "seconds": round(sum(trial.seconds for trial in trials), 3),
    }


def history(state: State) -> dict[str, list]:
    """Returns the numbers of all generations, name -> list."""
    rows, seen = [], []
    for entry in state.rounds:
        if not entry.trials:
            continue
        seen += entry.in_order()
        rows.append(history_row(entry, best_of(seen)))
    return {name: [row[name] for row in rows] for name in HISTORY}


def leaderboard_rows(state: State, count: int) -> list[dict[str, Any]]:
    """Returns the best trials, best first, as flat rows; finalists before others."""
    means = state.final_means()
    able = [t for t in state.trials if not t.has_failed and t.source is None]
    others = best_first(trial for trial in able if trial.number not in means)
    ranked = [*state.finalists(), *others]
    return [
        {
            "rank": rank,
            "trial": trial.number,
            "generation": trial.round,
            "fitness": trial.fitness,
            **({"final_mean": means.get(trial.number)} if means else {}),
            **trial.metrics,
            **trial.costs,
            **trial.training,
            "seconds": trial.seconds,
            "parents": list(trial.parents),
            "description": trial.description,
        }
        for rank, trial in enumerate(ranked[:count], 1)
    ]


class Leaderboard(list):
    """Rows of the best candidates, as dicts; ``print`` it for a table.

    `pandas.DataFrame` takes it as it is.
    """

    def __str__(self) -> str:
        if not self:
            return "No candidate has been evaluated."
        columns = [key for key in self[0] if key != "parents"]
        cells = [[_cell(row.get(key)) for key in columns] for row in self]
        return table(columns, cells)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def clock(seconds: float) -> str:
    """Returns a duration.

    Example:
        >>> clock(3725)
        '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
