"""A run as a picture; takes matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_nas.charts import new_figure, save_figure
from keras_nas.errors import KerasNasError
from keras_nas.search.pareto import pareto_front
from keras_nas.search.trial import Trial

_BEST, _OTHERS, _FRONT = "#c0392b", "#7f8c8d", "#2471a3"


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
    draw_generations(left, result)
    draw_sizes(middle, result, trials)
    draw_family(right, result)
    save_figure(figure, path)
    return figure


def draw_generations(axes: Any, result: Any) -> None:
    """Draws every candidate, the mean and the best of each generation."""
    trials = [trial for trial in result.trials if not trial.has_failed]
    fitness = [trial.fitness for trial in trials]
    rounds = [trial.round for trial in trials]
    axes.scatter(rounds, fitness, s=9, color=_OTHERS, alpha=0.5, label="candidates")
    history = result.history
    axes.plot(history["generation"], history["mean"], color=_OTHERS, label="mean")
    best = history["best_so_far"]
    axes.step(
        history["generation"], best, color=_BEST, where="post", label="best so far"
    )
    axes.set(title="Fitness", xlabel="generation", ylabel=_objective(result))
    axes.set_ylim(*_range_of(fitness))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="lower right", frameon=False)


def _range_of(values: Sequence[float]) -> tuple[float, float]:
    """The upper three quarters and a margin: a few hopeless ones would hide others."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 4], ordered[-1]
    margin = 0.08 * (high - low) or 0.01
    return max(low - 2 * (high - low), ordered[0]) - margin, high + margin


def draw_sizes(axes: Any, result: Any, trials: Sequence[Trial]) -> None:
    """Draws fitness over the number of weights, and the Pareto front of both."""
    from matplotlib.ticker import MaxNLocator

    known = [trial for trial in trials if "params" in trial.costs]
    axes.set(title="Size", xlabel="parameters", ylabel=_objective(result))
    if not known:
        middle = {"ha": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "sizes are not known", **middle)
        return
    sizes = [trial.costs["params"] for trial in known]
    fitness = [trial.fitness for trial in known]
    rounds = [trial.round for trial in known]
    dots = axes.scatter(sizes, fitness, s=14, c=rounds, cmap="viridis", alpha=0.8)
    if max(rounds) > 0:
        bar = axes.figure.colorbar(dots, ax=axes, label="generation")
        bar.ax.yaxis.get_major_locator().set_params(integer=True)
    front = sorted((t.costs["params"], t.fitness) for t in small_and_good(known))
    axes.plot(*zip(*front, strict=True), color=_FRONT, lw=1.2, label="Pareto front")
    if result.best is not None and "params" in result.best.costs:
        best = (result.best.costs["params"], result.best.fitness)
        axes.scatter(*best, s=110, marker="*", color=_BEST, zorder=3, label="best")
    if max(sizes) > 30 * min(sizes):
        axes.set_xscale("log")
        axes.tick_params(axis="x", which="minor", labelbottom=False)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(*_range_of(fitness))
    axes.legend(loc="lower right", frameon=False)


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


def draw_family(axes: Any, result: Any) -> None:
    """Draws the winner and its ancestors, generation by generation."""
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
            fitness = f"{trials[number].fitness:.3f}"
            axes.annotate(fitness, (x, y), (7, -3), textcoords="offset points", size=8)
    axes.set(title="Family of the best", ylabel="generation", xlim=(0, 1))
    axes.set_xlabel("solid: mutated   dashed: crossed   dotted: trained on")
    axes.set_xticks([])
    axes.yaxis.get_major_locator().set_params(integer=True)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _line_style(trial: Trial) -> str:
    if trial.proposal.is_continuation:
        return ":"
    return "--" if len(trial.parents) == 2 else "-"


def _objective(result: Any) -> str:
    objectives = result.settings.get("objectives") or [{"name": "fitness"}]
    return objectives[0]["name"]
