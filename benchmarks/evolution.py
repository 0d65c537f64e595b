"""Evolution with inherited weights against searches that train from scratch.

python -m benchmarks.evolution                        10 seeds, hours on two cores
python -m benchmarks.evolution --seeds 2 --population 6 --generations 4 --steps 30
python -m benchmarks.evolution --methods evolver random --out mine.md

All methods spend the same number of training batches on scikit-learn's digits. Rows of
finished runs are appended to a file beside the result, so that a long benchmark can be
stopped and started again. Keras Tuner is compared where it is installed.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

import keras_nas as kn
from benchmarks.measuring import RESULTS, header, markdown_table, mean_and_interval
from keras_nas.search import GeneticAlgorithm, Job, RandomSearch, TrainingEvaluator
from keras_nas.search.data import Split
from keras_nas.search.data_checks import prepare
from keras_nas.search.spaces import image_space
from keras_nas.search.spaces.choosing import Scope
from keras_nas.search.trial import Trial, best_first

COMMAND = "python -m benchmarks.evolution"
NAMES = {
    "evolver": "KerasEvolver",
    "scratch": "the same without inheritance",
    "random": "random search",
    "tuner-random": "Keras Tuner, random",
    "tuner-bayes": "Keras Tuner, Bayesian",
}
FINDINGS = """\
What the numbers say: no method finds a network that is better on unseen images than those of
the others; all intervals overlap, and so do those of the gains with zero. Digits are too easy
to tell networks of `image_space` apart after so few batches: a single good draw is enough.
KerasEvolver reaches the highest validation accuracy, but it has looked a hundred times where
the others look twenty times, and on unseen images nothing of that is left. Training from
scratch is ahead for the first batches, since its first networks are trained to the end; Keras
Tuner starts low because a decision that it meets for the first time gets its first choice, the
smallest, and its 96 decisions take some trials to be met. What
inheritance does without a doubt: a candidate costs a fifth of the batches, and a population of
five times as many networks comes out as well."""
BATCH_SIZE = 32
# Of the differences that SciPy takes for derivatives.
STEP = float(np.sqrt(np.finfo(float).eps))
SHARES = (0.25, 0.5, 1.0)


def digits(seed: int) -> tuple[Split, np.ndarray, np.ndarray]:
    """Data to search with, and 360 images that only the winner sees."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    x = (images[order].reshape(-1, 8, 8, 1) / 16.0).astype("float32")
    y = labels[order].astype("int32")
    data = prepare(x[360:], y[360:], validation_split=0.2, seed=seed)
    return data, x[:360], y[:360]


def run(method: str, seed: int, options: Any) -> dict[str, Any]:
    """Runs one method with one seed; returns a row of numbers."""
    data, x_test, y_test = digits(seed)
    directory = Path(tempfile.mkdtemp())
    start = time.perf_counter()
    try:
        model, curve = RUNNERS[method](method, seed, data, directory, options)
        outputs = model.predict(x_test, verbose=0)
        return {
            "method": method,
            "seed": seed,
            "test": float(np.mean(np.argmax(outputs, 1) == y_test)),
            "params": model.count_params(),
            "candidates": len(curve),
            "curve": curve,
            "seconds": round(time.perf_counter() - start),
        }
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run_random(
    method: str, seed: int, data: Split, directory: Path, options: Any
) -> tuple[Any, list[float]]:
    """Random search of keras_nas; returns the winner and all scores."""
    evaluator = TrainingEvaluator(
        data, steps=options.scratch_steps, batch_size=BATCH_SIZE, seed=seed, inherits=False
    )
    result = kn.Search(
        image_space(data.x.shape[1:], data.num_classes),
        RandomSearch(4),
        evaluator,
        budget=kn.Budget(trials=batches(options) // options.scratch_steps),
        directory=directory,
        seed=seed,
        workers=options.workers,
    ).run()
    return result.best_model(), scores_of(trained(result))


def run_evolution(
    method: str, seed: int, data: Split, directory: Path, options: Any
) -> tuple[Any, list[float]]:
    """KerasEvolver, with or without inheritance; returns the winner and all scores."""
    inherits = method == "evolver"
    steps = options.steps if inherits else options.scratch_steps
    trials = batches(options) // steps
    size = options.population if inherits else max(4, trials // 5)
    generations = trials // size
    while True:
        result = kn.KerasEvolver(
            strategy=GeneticAlgorithm(
                size,
                elites=min(2, size // 4),
                duplicates="evaluate" if inherits else "redraw",
            ),
            generations=generations,
            mutate_training=None,
            inherit=inherits,
            keep=trials,
            verbose=0,
            directory=directory,
            seed=seed,
            workers=options.workers,
        ).fit(
            data.x,
            data.y,
            validation_data=(data.x_val, data.y_val),
            batch_size=BATCH_SIZE,
            steps_per_generation=steps,
        )
        spent = trained(result)[:trials]
        if len(spent) == trials:
            return result.model(best_first(spent)[0]), scores_of(spent)
        # An elite that inherits nothing is not trained again: a further generation
        # spends what is left.
        generations += 1


def batches(options: Any) -> int:
    """What each method may spend."""
    return options.population * options.generations * options.steps


def trained(result: Any) -> list[Trial]:
    """All trials that cost batches, in their order."""
    return [trial for trial in result.trials if trial.source is None]


def scores_of(trials: Sequence[Trial]) -> list[float]:
    """Validation accuracy of each; 0 for a failure."""
    return [trial.metrics.get("val_accuracy") or 0.0 for trial in trials]


def run_tuner(
    method: str, seed: int, data: Split, directory: Path, options: Any
) -> tuple[Any, list[float]]:
    """Keras Tuner on the same space, with the same training."""
    import keras_tuner

    steps = options.scratch_steps
    space = image_space(data.x.shape[1:], data.num_classes)
    evaluator = TrainingEvaluator(
        data, steps=steps, batch_size=BATCH_SIZE, seed=seed, inherits=False
    )
    scores: list[float] = []

    def build(hp: Any) -> Any:
        def decide(key: str, choices: Any) -> Any:
            # The choices of one decision may depend on others; Keras Tuner wants one
            # range for one name.
            return choices[hp.Int(f"{key}/{len(choices)}", 0, len(choices) - 1)]

        made: dict[str, Any] = {}

        def note(key: str, choices: Any) -> Any:
            made[key] = decide(key, choices)
            return made[key]

        space.block.decide(Scope(note), space.input_shape[:-1], lambda grid: not grid)
        return space.build(made)

    base = {
        "tuner-random": keras_tuner.RandomSearch,
        "tuner-bayes": keras_tuner.BayesianOptimization,
    }[method]

    class Tuner(base):
        def run_trial(self, trial: Any, *args: Any, **keywords: Any) -> dict[str, float]:
            keras.utils.set_random_seed(seed * 1000 + len(scores))
            model = self.hypermodel.build(trial.hyperparameters)
            job = Job(trial=len(scores), round=0, seed=seed)
            numbers = evaluator.train_and_score(model, job)
            if numbers["val_accuracy"] > max(scores, default=-1.0):
                model.save(directory / "best.keras")
            scores.append(numbers["val_accuracy"])
            return {"val_accuracy": numbers["val_accuracy"]}

    if method == "tuner-bayes":
        optimize = SimpleNamespace(minimize=minimize_in_batches)
        keras_tuner.src.tuners.bayesian.scipy = SimpleNamespace(optimize=optimize)
    tuner = Tuner(
        build,
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=batches(options) // steps,
        seed=seed + 1,  # Keras Tuner takes 0 for no seed.
        # By default it draws three times as many at random as there are decisions, more
        # than all its trials here.
        **({"num_initial_points": 5} if method == "tuner-bayes" else {}),
        directory=directory / "tuner",
        overwrite=True,
    )
    tuner.search(verbose=0)
    return keras.saving.load_model(directory / "best.keras"), scores


def minimize_in_batches(function: Any, x0: Any, bounds: Any, method: str) -> Any:
    """Stands in for SciPy's ``minimize`` in Keras Tuner's Bayesian search.

    It minimizes over as many dimensions as there are decisions, with differences in
    place of derivatives: a hundred calls for one gradient, minutes for one trial. Here
    all differences of a gradient come from one call; nothing else changes.
    """
    import scipy

    oracle = inspect.getclosurevars(function).nonlocals["self"]

    def values(points: np.ndarray) -> np.ndarray:
        mean, deviation = oracle.gpr.predict(points, return_std=True)
        return mean - oracle.beta * deviation

    def gradient(x: np.ndarray) -> np.ndarray:
        steps = np.where(x + STEP > np.asarray(bounds)[:, 1], -STEP, STEP)
        first, *others = values(np.vstack([x, x + np.diag(steps)]))
        return (np.array(others) - first) / steps

    return scipy.optimize.minimize(
        lambda x: float(values(x[None])[0]),
        x0=x0,
        jac=gradient,
        bounds=bounds,
        method=method,
    )


RUNNERS = {
    "evolver": run_evolution,
    "scratch": run_evolution,
    "random": run_random,
    "tuner-random": run_tuner,
    "tuner-bayes": run_tuner,
}


def percent(shares: Sequence[float]) -> str:
    """Mean and 95 % confidence interval in percent."""
    return mean_and_interval([100 * share for share in shares])


def gain(rows: list[dict], own: list[dict]) -> str:
    """By how much KerasEvolver's winners are better than those of a method."""
    ours = {row["seed"]: row["test"] for row in rows if row["method"] == "evolver"}
    pairs = [(ours[row["seed"]], row["test"]) for row in own if row["seed"] in ours]
    if not pairs or own[0]["method"] == "evolver":
        return ""
    return percent([ours - theirs for ours, theirs in pairs])


def draw(rows: list[dict], options: Any, path: Path) -> None:
    """Draws the best validation accuracy so far over the batches spent."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for (method, name), marker in zip(NAMES.items(), "os^Dv", strict=True):
        own = [row["curve"] for row in rows if row["method"] == method]
        if not own:
            continue
        means = 100 * np.mean([np.maximum.accumulate(curve) for curve in own], axis=0)
        spent = batches(options) * np.arange(1, len(means) + 1) / len(means)
        axes.plot(spent, means, marker=marker, markevery=0.1, ms=4, label=name)
    axes.set(
        xlabel="batches trained",
        ylabel="best validation accuracy so far, %",
        ylim=(94, 100),
        title=f"Mean over {1 + max(row['seed'] for row in rows)} seeds",
    )
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def report(rows: list[dict], options: Any) -> str:
    """Returns the result as Markdown."""
    lines = []
    for method in options.methods:
        own = [row for row in rows if row["method"] == method]
        if not own:
            lines.append([NAMES[method], *["not run"] * (len(SHARES) + 6)])
            continue
        curves = [np.maximum.accumulate(row["curve"]) for row in own]
        reached = [
            percent([curve[max(1, round(share * len(curve))) - 1] for curve in curves])
            for share in SHARES
        ]
        lines.append(
            [
                NAMES[method],
                len(own),
                own[0]["candidates"],
                *reached,
                percent([row["test"] for row in own]),
                gain(rows, own),
                f"{np.median([row['params'] for row in own]):,.0f}",
                f"{np.mean([row['seconds'] for row in own]):.0f}",
            ]
        )
    columns = ["method", "seeds", "trainings"]
    columns += [f"val. at {share:.0%}" for share in SHARES]
    columns += ["test", "gain of KerasEvolver", "parameters", "seconds"]
    text = (
        f"Digits of scikit-learn (8 x 8), 360 images to test, the others split 80 : 20 "
        f"into training and validation. Every method trains {batches(options):,} batches of "
        f"{BATCH_SIZE} in all, with Adam at 0.003, and statistics of BatchNormalization "
        f"measured anew before scoring. KerasEvolver: {options.population} candidates, "
        f"{options.generations} generations of {options.steps} batches each; the others "
        f"train every candidate from scratch for {options.scratch_steps} batches. All "
        f"draw from `image_space`. *Val.*: the best validation accuracy so far, after "
        f"that part of the batches, in percent; *test*: of the winner; *gain*: how much "
        f"better that of KerasEvolver is, seed by seed. Mean and 95 % "
        f"confidence interval over seeds (of data, networks, and search); medians of "
        f"the number of parameters. Seconds say little: the machine was in use by "
        f"others.\n\n{FINDINGS}\n\n![Validation accuracy over batches](evolution.png)"
    )
    return f"{header('Evolution', COMMAND, text)}\n{markdown_table(columns, lines)}"


def main() -> None:
    """Runs what is missing, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--population", type=int, default=10)
    parser.add_argument("--generations", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--scratch-steps", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=tuple(NAMES), default=tuple(NAMES))
    parser.add_argument("--out", type=Path, default=RESULTS / "evolution.md")
    options = parser.parse_args()
    setup = {
        name: getattr(options, name)
        for name in ("population", "generations", "steps", "scratch_steps")
    }
    path = options.out.with_suffix(".jsonl")
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [row for row in map(json.loads, lines) if row.pop("setup") == setup]
    done = {(row["method"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for method in options.methods:
            if (method, seed) in done:
                continue
            try:
                row = run(method, seed, options)
            except ImportError as error:
                print(f"{NAMES[method]}: {error}")
                continue
            rows.append(row)
            with path.open("a") as file:
                file.write(json.dumps({**row, "setup": setup}) + "\n")
            print(method, seed, row["test"], row["seconds"], "s", flush=True)
            options.out.write_text(report(rows, options))
    rows = [row for row in rows if row["seed"] < options.seeds]
    options.out.write_text(report(rows, options))
    draw(rows, options, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
