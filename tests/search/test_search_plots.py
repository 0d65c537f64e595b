"""Pictures of runs: that their numbers are those the user asked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from keras_nas.search.plots import plot_result
from keras_nas.search.trial import Proposal, Status, Trial


def trial(number: int, fitness: float, params: int, parents=()) -> Trial:
    proposal = Proposal(parents, bool(parents))
    costs = {"params": params}
    generation = 1 if parents else 0
    return Trial(number, generation, proposal, Status.DONE, (fitness,), costs=costs)


def run(trials, direction: str, digits: int | None = None) -> SimpleNamespace:
    """What a picture reads of a run, of two generations."""
    name = "val_loss" if direction == "min" else "val_accuracy"
    objective = {"name": name, "direction": direction, "digits": digits}
    best = max(trials, key=lambda each: each.fitness)
    number = 1 + max(each.round for each in trials)
    history = {
        "generation": list(range(number)),
        "mean": [-2.0, None][:number],
        "best_so_far": [-1.5, -1.25][:number],
    }
    settings = {"objectives": [objective]}
    return SimpleNamespace(
        trials=trials, best=best, history=history, settings=settings
    )


LOSSES = [trial(0, -2.5, 62), trial(1, -1.5, 68), trial(2, -1.25, 65, (1,))]


def test_loss_is_drawn_with_its_own_sign():
    generations, sizes, family, *_ = plot_result(run(LOSSES, "min")).axes
    assert generations.get_ylabel() == sizes.get_ylabel() == "val_loss"
    dots = [list(axes.collections[0].get_offsets()[:, 1]) for axes in (generations, sizes)]
    assert dots == [[2.5, 1.5, 1.25]] * 2
    mean, best = (list(line.get_ydata()) for line in generations.lines)
    assert mean[0] == 2.0 and mean[1] != mean[1] and best == [1.5, 1.25]
    assert 0 < generations.get_ylim()[0] < 1.25 < generations.get_ylim()[1]
    [front] = sizes.lines
    assert front.get_xydata().tolist() == [[62, 2.5], [65, 1.25]]
    assert {text.get_text() for text in family.texts} == {"1.500", "1.250"}


@pytest.mark.parametrize(
    ("direction", "digits", "label"),
    [
        ("max", None, "val_accuracy"),
        ("max", 2, "val_accuracy + bonus for size"),
        ("min", 2, "val_loss - bonus for size"),
    ],
)
def test_label_says_what_is_drawn(direction, digits, label):
    axes = plot_result(run(LOSSES, direction, digits)).axes[0]
    assert axes.get_ylabel() == label
    sign = -1 if direction == "min" else 1
    assert axes.collections[0].get_offsets()[0, 1] == sign * -2.5


def test_whole_numbers_have_ticks_at_whole_numbers():
    figure = plot_result(run(LOSSES[:2], "max"))
    figure.draw_without_rendering()
    generations, sizes, family = figure.axes
    assert family.get_ylim() == (-0.5, 0.5)
    assert [tick for tick in family.get_yticks() if -0.5 < tick < 0.5] == [0]
    assert [tick for tick in generations.get_xticks() if -0.5 < tick < 0.5] == [0]
    labels = [label.get_text() for label in sizes.get_xticklabels()]
    assert len(labels) > 2 and len(set(labels)) == len(labels)
