"""Accuracy of a residual network that was pruned to a budget of FLOPs.

python -m benchmarks.pruned_accuracy                both data sets, five seeds
python -m benchmarks.pruned_accuracy digits 0 1     one of them, these seeds
python -m benchmarks.pruned_accuracy tables         from the runs so far
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

import keras_nas as kn
from benchmarks.importance import accuracy, digits, recalibrate
from benchmarks.measuring import RESULTS, header, markdown_table, mean_and_interval
from benchmarks.pruning import greedy_keep
from keras_nas import importance as ki
from keras_nas.surgery.change import change_graph

COMMAND = "python -m benchmarks.pruned_accuracy"
RAW = RESULTS / "pruned_accuracy.json"
SEEDS = (0, 1, 2, 3, 4)
BUDGETS = (0.5, 0.25)
EPOCHS = {"digits": 20, "cluttered": 12}
TUNING_EPOCHS = 2
WIDTHS = (16, 32, 64)
TEXT = f"""\
A residual network (a stem, six residual blocks of widths {WIDTHS}, BatchNormalization
everywhere) learns a data set; then it loses 50 % or 75 % of its FLOPs in one cut. Each
criterion decides in two ways: *greedy* drops the least important neuron of the whole
network until the budget is kept, as other packages do it; *budget* is one call of
`prune(flops=...)`. Accuracy on images that were never seen, in percent, mean and 95 %
confidence interval of the mean (Student's t) over seeds of initial weights and order of
training. *Cut*: the statistics of BatchNormalization are taken anew on
training images, no weight is trained. *Tuned*: after {TUNING_EPOCHS} more epochs.
*Gain*: budget minus greedy of the same trained networks, seed by seed.

What the numbers say: a budget is spent well only if the importance of neurons in different
layers can be compared. `l2` and `bn_scale` (about 1 for a mean neuron of any layer) cannot:
there, spending by price empties the expensive layers, and greedy ranking, which ignores
prices, is better. `group_lamp` and `taylor` can. That is why `group_lamp` is the default of
budgets. After tuning, the good ways cannot be told apart on the plain digits. On the harder
images `group_lamp` within a budget has the highest mean of all ways right after the cut, and
at 75 % after tuning as well, where its interval still overlaps with those of the best greedy
ways; `taylor` ranked greedily does not recover."""
ABOUT = {
    "digits": f"""\
The 8 x 8 digits of scikit-learn, 1,348 to learn from and 449 to test, {EPOCHS["digits"]}
epochs.""",
    "cluttered": f"""\
24 x 24 images made from the digits: one twice as large at a random place, among four
fragments of others and noise; 3,000 to learn from and 1,000 to test, made from the same
two disjoint sets of digits; {EPOCHS["cluttered"]} epochs.""",
}


def cluttered() -> tuple[tuple, tuple]:
    """Images of one digit among fragments of others."""
    (x, y), (x_test, y_test) = digits()
    rng = np.random.default_rng(0)
    return _clutter(x, y, 3000, rng), _clutter(x_test, y_test, 1000, rng)


def _clutter(x: np.ndarray, y: np.ndarray, count: int, rng: Any) -> tuple:
    images = rng.uniform(0, 0.3, (count, 24, 24, 1)).astype("float32")
    chosen = rng.integers(len(x), size=count)
    for image, number in zip(images, chosen, strict=True):
        for _ in range(4):
            row, column = rng.integers(5, size=2)
            top, left = rng.integers(20, size=2)
            piece = x[rng.integers(len(x)), row : row + 4, column : column + 4]
            _paint(image, piece, top, left)
        top, left = rng.integers(9, size=2)
        _paint(image, x[number].repeat(2, axis=0).repeat(2, axis=1), top, left)
    return images, y[chosen]


def _paint(image: np.ndarray, piece: np.ndarray, top: int, left: int) -> None:
    part = image[top : top + piece.shape[0], left : left + piece.shape[1]]
    np.maximum(part, piece, out=part)


DATA = {"digits": digits, "cluttered": cluttered}


def residual_network(size: int) -> keras.Model:
    """A stem and two residual blocks of each width."""

    def normalized(x: Any, width: int, kernel: int, strides: int = 1) -> Any:
        convolution = layers.Conv2D(width, kernel, strides, "same", use_bias=False)
        # Networks trained for so few steps need statistics that follow quickly.
        return layers.BatchNormalization(momentum=0.9)(convolution(x))

    inputs = keras.Input((size, size, 1))
    x = layers.ReLU()(normalized(inputs, WIDTHS[0], 3))
    for stage, width in enumerate(WIDTHS):
        for block in range(2):
            strides = 2 if stage and not block else 1
            y = layers.ReLU()(normalized(x, width, 3, strides))
            y = normalized(y, width, 3)
            if strides > 1:
                x = normalized(x, width, 1, strides)
            x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x))


def fit(model: keras.Model, x: Any, y: Any, epochs: int, rate: float, seed: int):
    """Trains with a cosine from a learning rate to zero."""
    keras.utils.set_random_seed(seed)
    steps = epochs * math.ceil(len(x) / 32)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)


def run(data: str, seed: int) -> dict[str, Any]:
    """Trains one network and cuts it in all ways."""
    (x, y), (x_test, y_test) = DATA[data]()
    keras.utils.set_random_seed(seed)
    keras.backend.clear_session()
    model = residual_network(x.shape[1])
    fit(model, x, y, EPOCHS[data], 3e-3, seed)
    found: dict[str, Any] = {"whole": 100 * accuracy(model, x_test, y_test)}
    criteria = {
        "random": ki.Random(seed),
        "l2": "l2",
        "bn_scale": "bn_scale",
        "group_lamp": "group_lamp",
        "taylor": ki.Taylor(x[:256], y[:256], batch_size=32),
    }
    for budget in BUDGETS:
        for name, criterion in criteria.items():
            graph = kn.Graph.from_model(model)
            plan = graph.plan_prune(flops=budget, importance=criterion)
            load, _, keep = greedy_keep(plan)
            assert load <= 1, (name, load)
            ways = {
                "greedy": change_graph(graph, plan.analysis, keep, plan.options),
                "budget": plan.apply_to_graph(),
            }
            for way, cut in ways.items():
                cut = cut.build()
                recalibrate(cut, x[:1024])
                tested = [100 * accuracy(cut, x_test, y_test)]
                for norm in cut.layers:
                    if isinstance(norm, layers.BatchNormalization):
                        norm.momentum = 0.9
                fit(cut, x, y, TUNING_EPOCHS, 1e-3, seed)
                tested.append(100 * accuracy(cut, x_test, y_test))
                found[f"{budget} {name} {way}"] = tested
    return found


def table(data: str, runs: Sequence[dict]) -> str:
    rows = []
    keys = [key.removesuffix(" greedy") for key in runs[0] if key.endswith("greedy")]
    for key in keys:
        budget, name = key.split()
        cells: list[str] = [f"{1 - float(budget):.0%}", name]
        for stage in range(2):
            greedy, ours = (
                np.array([run[f"{key} {way}"][stage] for run in runs])
                for way in ("greedy", "budget")
            )
            cells += map(mean_and_interval, (greedy, ours, ours - greedy))
        rows.append(cells)
    whole = mean_and_interval([run["whole"] for run in runs])
    columns = ["fewer FLOPs", "criterion"]
    for stage in ("cut", "tuned"):
        columns += [f"{stage}: greedy", f"{stage}: budget", f"{stage}: gain"]
    return (
        f"\n## {data}\n\n{ABOUT[data]}\n\nAccuracy of the whole network: {whole} % "
        f"({len(runs)} seeds).\n\n" + markdown_table(columns, rows)
    )


def main(*arguments: str) -> None:
    names = [name for name in arguments if name in DATA] or list(DATA)
    if arguments == ("tables",):
        names = []
    seeds = [int(text) for text in arguments if text.isdigit()] or SEEDS
    raw = json.loads(RAW.read_text()) if RAW.exists() else {}
    for name in names:
        for seed in seeds:
            raw.setdefault(name, {})[str(seed)] = run(name, seed)
            print(name, seed, raw[name][str(seed)], flush=True)
            _write(RAW, json.dumps(raw, indent=1))
    tables = "".join(table(name, list(found.values())) for name, found in raw.items())
    text = header("Accuracy after pruning", COMMAND, TEXT) + tables
    (RESULTS / "pruned_accuracy.md").write_text(text, encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
