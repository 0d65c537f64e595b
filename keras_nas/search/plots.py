"""A run as a picture; takes matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_nas.charts import new_figure, save_figure
from keras_nas.charts.figures import BLUE, DARK_GREY, VERMILION
from keras_nas.errors import KerasNasError
from keras_nas.search.pareto import pareto_front
from keras_nas.search.trial import Trial

_BEST, _OTHERS, _FRONT = VERMILION, DARK_GREY, BLUE


@dataclass(frozen=True)
class Shown:
    """How a fitness is shown: as the number that the user asked for.

    Attributes:
        label: What it is.
        is_minimised: Whether less is better; the fitness is the negative number then.
    """

    label: str
    is_minimised: bool

    @classmethod
    def of(cls, result: Any) -> Shown:
        """Returns how the first objective of a run is shown."""
        objectives = result.settings.get("objectives") or [{"name": "fitness"}]
        first = objectives[0]
        is_minimised = first.get("direction") == "min"
        if first.get("digits") is None:
            return cls(first["name"], is_minimised)
        sign = "-" if is_minimised else "+"
        return cls(f"{first['name']} {sign} bonus for size", is_minimised)

    def value(self, fitness: float | None) -> float:
        """Returns the number of a fitness; NaN for None, where nothing succeeded."""
        if fitness is None:
            return math.nan
        return 0.0 - fitness if self.is_minimised else fitness

    def values(self, fitness: Iterable[float | None]) -> list[float]:
        """Returns the numbers of several."""
        return [self.value(each) for each in fitness]

    @property
    def corner(self) -> str:
        """Where a legend hides the least: among the worst of the later ones."""
        return "upper right" if self.is_minimised else "lower right"

    def range_of(self, fitness: Sequence[float]) -> tuple[float, float]:
        """Returns the limits of an axis, from below."""
        low, high = sorted(self.values(_range_of(fitness)))
        return low, high


def plot_result(result: Any, path: str | Path | None = None) -> Any:
    """Draws fitness over generations, size against fitness, and the winner's family.

    Args:
        result: A `SearchResult`.
        path: Image file; its ending says which kind (png, svg, pdf). None by default.

    Returns:
        A matplotlib figure, which a notebook shows.

    Raises:
        KerasNasError: matplotlib is not installed, nothing has been evaluated, or the
            file cannot be written.
    """
    trials = [trial for trial in result.trials if not trial.has_failed]
    if not trials:
        raise KerasNasError(
            "No candidate has been evaluated with success: there is nothing to draw."
            f"\n\nRun the search first. Received: {len(result.trials)} trials"
        )
    figure = new_figure(15, 4.6)
    left, middle, right = figure.subplots(1, 3)
    shown = Shown.of(result)
    draw_generations(left, result, trials, shown)
    draw_sizes(middle, result, trials, shown)
    draw_family(right, result, shown)
    save_figure(figure, path)
    return figure


def draw_generations(
    axes: Any, result: Any, trials: Sequence[Trial], shown: Shown
) -> None:
    """Draws every candidate, the mean and the best of each generation."""
    from matplotlib.ticker import MaxNLocator

    fitness = [trial.fitness for trial in trials]
    values = shown.values(fitness)
    rounds = [trial.round for trial in trials]
    axes.scatter(rounds, values, s=9, color=_OTHERS, alpha=0.5, label="candidates")
    numbers = result.history["generation"]
    mean = shown.values(result.history["mean"])
    # With marks, since a single generation makes no line.
    axes.plot(numbers, mean, ".-", color=_OTHERS, label="mean")
    best = shown.values(result.history["best_so_far"])
    axes.step(numbers, best, ".-", color=_BEST, where="post", label="best so far")
    axes.set(title="Generations", xlabel="generation", ylabel=shown.label)
    axes.set_xlim(-0.5, numbers[-1] + 0.5)
    axes.set_ylim(*shown.range_of(fitness))
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.legend(loc=shown.corner, frameon=False)


def _range_of(values: Sequence[float]) -> tuple[float, float]:
    """The upper three quarters and a margin: a few hopeless ones would hide others."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 4], ordered[-1]
    margin = 0.08 * (high - low) or 0.01
    return max(low - 2 * (high - low), ordered[0]) - margin, high + margin


def draw_sizes(
    axes: Any, result: Any, trials: Sequence[Trial], shown: Shown
) -> None:
    """Draws fitness over the number of weights, and the Pareto front of both."""
    from matplotlib.ticker import MaxNLocator

    known = [trial for trial in trials if "params" in trial.costs]
    axes.set(title="Size", xlabel="parameters", ylabel=shown.label)
    if not known:
        middle = {"ha": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "sizes are not known", **middle)
        return
    sizes = [trial.costs["params"] for trial in known]
    fitness = [trial.fitness for trial in known]
    rounds = [trial.round for trial in known]
    values = shown.values(fitness)
    dots = axes.scatter(sizes, values, s=14, c=rounds, cmap="viridis", alpha=0.8)
    if max(rounds) > 0:
        bar = axes.figure.colorbar(dots, ax=axes, label="generation")
        bar.ax.yaxis.get_major_locator().set_params(integer=True)
    best_ones = small_and_good(known)
    front = sorted((t.costs["params"], shown.value(t.fitness)) for t in best_ones)
    axes.plot(*zip(*front, strict=True), color=_FRONT, lw=1.2, label="Pareto front")
    if result.best is not None and "params" in result.best.costs:
        best = (result.best.costs["params"], shown.value(result.best.fitness))
        axes.scatter(*best, s=110, marker="*", color=_BEST, zorder=3, label="best")
    if max(sizes) > 30 * min(sizes):
        axes.set_xscale("log")
        axes.tick_params(axis="x", which="minor", labelbottom=False)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(*shown.range_of(fitness))
    axes.legend(loc=shown.corner, frameon=False)


def small_and_good(trials: Sequence[Trial]) -> list[Trial]:
    """Returns the trials that no other one beats in both size and fitness."""
    points = [(trial.fitness, -trial.costs["params"]) for trial in trials]
    return [trials[position] for position in pareto_front(points)]


def ancestors(result: Any) -> dict[int, tuple[int, ...]]:
    """Returns number -> parents of the winner and of all its ancestors."""
    if result.best is None:
        return {}
    trials = {trial.number: trial for trial in result.trials}
    found: dict[int, tuple[int, ...]] = {}
    todo = [result.best.number]
    while todo:
        number = todo.pop()
        if number not in found:
            found[number] = trials[number].parents
            todo.extend(trials[number].parents)
    return found


def draw_family(axes: Any, result: Any, shown: Shown) -> None:
    """Draws the winner and its ancestors, generation by generation."""
    from matplotlib.ticker import MaxNLocator

    family = ancestors(result)
    trials = {trial.number: trial for trial in result.trials}
    rows: dict[int, list[int]] = {}
    for number in sorted(family):
        rows.setdefault(trials[number].round, []).append(number)
    places = {
        number: ((position + 1) / (len(row) + 1), trials[number].round)
        for row in rows.values()
        for position, number in enumerate(row)
    }
    for child, parents in family.items():
        for parent in parents:
            style = _line_style(trials[child])
            (x0, y0), (x1, y1) = places[parent], places[child]
            axes.plot([x0, x1], [y0, y1], color=_OTHERS, lw=1.3, ls=style, zorder=1)
    sparse = len(rows) <= 25
    for number, (x, y) in places.items():
        color = _BEST if number == result.best.number else _FRONT
        axes.scatter(x, y, s=45 if sparse else 14, color=color, zorder=2)
        if sparse and len(rows[y]) <= 6:
            value = f"{shown.value(trials[number].fitness):.3f}"
            axes.annotate(value, (x, y), (7, -3), textcoords="offset points", size=8)
    axes.set(title="Family of the best", ylabel="generation", xlim=(0, 1))
    axes.set_xlabel("solid: mutated   dashed: crossed   dotted: trained on")
    axes.set_xticks([])
    axes.set_ylim(-0.5, max(rows, default=0) + 0.5)
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _line_style(trial: Trial) -> str:
    if trial.proposal.is_continuation:
        return ":"
    return "--" if len(trial.parents) == 2 else "-"
