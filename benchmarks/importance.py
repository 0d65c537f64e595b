"""Measures how well each criterion chooses the neurons to cut, without fine-tuning.

python -m benchmarks.importance
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

import keras_nas as kn
from benchmarks.measuring import RESULTS, header, markdown_table
from keras_nas import importance as ki

COMMAND = "python -m benchmarks.importance"
SEEDS = (0, 1, 2)
EPOCHS = 15
SHARES = (0.25, 0.5)
TEXT = f"""\
Two small networks learn the 8 x 8 digits of scikit-learn for {EPOCHS} epochs. Then every
hidden width loses 25 % or 50 % of its neurons at once (one call of `resize`), and the
accuracy on 449 digits that were never seen is taken without fine-tuning. Mean and range
of {len(SEEDS)} seeds (of the initial weights and the order of training). Data-driven
criteria look at 256 training samples, except `Contribution`, which listened to all of the
training. Seconds: what the first resize with the criterion took, at 25 %, build included,
on two CPU cores that were in use by others as well.

* plain: three convolutions and a dense layer, no normalisation (`bn_scale` is `l2` there).
* residual: four convolutions with BatchNormalization, one residual sum, a dense layer.
  The statistics of BatchNormalization are taken anew after the cut, on the training images
  without their labels; no weight is trained. Without that, every criterion, random
  included, falls to between 10 and 17 % at 50 % (measured in a first version of this
  benchmark, after 12 epochs): statistics of other neurons say nothing about a criterion.

Seeds are few and the ranges wide: differences of a few points mean nothing. Where sizes
are given, only the order of the neurons of one width counts: so `lamp` is `l2` wherever no
two layers are tied. `apoz` was made for layers of ReLU whose readers see zeros; after a
residual sum or a normalisation it says little."""


def digits() -> tuple[tuple, tuple]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = (data.images / 16.0).astype("float32")[..., None]
    x, x_test, y, y_test = train_test_split(
        images, data.target, test_size=449, random_state=0, stratify=data.target
    )
    return (x, y), (x_test, y_test)


def plain() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="first"),
            layers.Conv2D(32, 3, 2, padding="same", activation="relu", name="second"),
            layers.Conv2D(32, 3, 2, padding="same", activation="relu", name="third"),
            layers.Flatten(),
            layers.Dense(48, activation="relu", name="hidden"),
            layers.Dense(10, name="logits"),
        ]
    )


def residual() -> keras.Model:
    def block(x: Any, width: int, name: str, strides: int = 1) -> Any:
        x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False, name=name)(
            x
        )
        return layers.BatchNormalization(name=f"{name}_norm")(x)

    source = keras.Input((8, 8, 1))
    stem = layers.ReLU()(block(source, 24, "stem"))
    x = layers.ReLU()(block(stem, 32, "inner"))
    x = layers.ReLU()(layers.Add()([stem, block(x, 24, "outer")]))
    x = layers.ReLU()(block(x, 32, "down", 2))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(32, activation="relu", name="hidden")(x)
    return keras.Model(source, layers.Dense(10, name="logits")(x))


NETWORKS = {
    "plain": (plain, {"first": 16, "second": 32, "third": 32, "hidden": 48}),
    "residual": (residual, {"stem": 24, "inner": 32, "down": 32, "hidden": 32}),
}


def recalibrate(model: keras.Model, x: np.ndarray) -> None:
    """Takes the statistics of BatchNormalization anew, layer after layer."""
    norms = [n for n in model.layers if isinstance(n, layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    if norms:
        model(x, training=True)


def criteria(x: np.ndarray, y: np.ndarray, heard: Any) -> dict[str, Callable]:
    """Name in the table -> what makes the criterion."""
    x, y = x[:256], y[:256]
    return {
        "random": lambda: "random",
        "l1": lambda: "l1",
        "l2 (default)": lambda: "l2",
        "group_l1": lambda: "group_l1",
        "group_l2": lambda: "group_l2",
        "bn_scale": lambda: "bn_scale",
        "lamp": lambda: "lamp",
        "fpgm": lambda: "fpgm",
        "Activation mean": lambda: ki.Activation(x),
        "Activation variance": lambda: ki.Activation(x, "variance"),
        "Activation apoz": lambda: ki.Activation(x, "apoz"),
        "Taylor, batch 1": lambda: ki.Taylor(x, y),
        "Taylor, batch 32": lambda: ki.Taylor(x, y, batch_size=32),
        "Fisher, batch 1": lambda: ki.Fisher(x, y),
        "Hessian, batch 1": lambda: ki.Hessian(x, y),
        "Contribution (taylor, in fit)": lambda: heard,
    }


def accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    logits = keras.ops.convert_to_numpy(model(x, training=False))
    return float((logits.argmax(axis=1) == y).mean())


def run(kind: str, seed: int) -> tuple[float, dict[str, list[float]]]:
    """Trains once and cuts by every criterion.

    Returns:
        The accuracy before, and for each criterion those after each cut, and seconds.
    """
    (x, y), (x_test, y_test) = digits()
    make_network, widths = NETWORKS[kind]
    keras.utils.set_random_seed(seed)
    model, heard = make_network(), ki.Contribution()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(x, y, batch_size=32, epochs=EPOCHS, verbose=0, callbacks=[heard])
    before = accuracy(model, x_test, y_test)
    graph = kn.Graph.from_model(model)
    results: dict[str, list[float]] = {}
    for name, make in criteria(x, y, heard).items():
        importance = ki.Random(seed) if name == "random" else make()
        results[name], seconds = [], []
        for share in SHARES:
            sizes = {layer: round(n * (1 - share)) for layer, n in widths.items()}
            start = time.perf_counter()
            cut = graph.resize(sizes, importance=importance).build()
            seconds.append(time.perf_counter() - start)
            recalibrate(cut, x)
            results[name].append(100 * accuracy(cut, x_test, y_test))
        results[name].append(seconds[0])
    return 100 * before, results


def table(kind: str) -> str:
    runs = [run(kind, seed) for seed in SEEDS]
    rows = []
    for name in runs[0][1]:
        cells: list[Any] = [name]
        for number in range(len(SHARES)):
            found = [results[name][number] for _, results in runs]
            cells.append(f"{np.mean(found):.1f}")
            cells.append(f"{min(found):.1f} to {max(found):.1f}")
        cells.append(f"{np.median([results[name][-1] for _, results in runs]):.2f}")
        rows.append(cells)
    rows.sort(key=lambda cells: -float(cells[3]))
    columns = ["criterion"]
    for share in SHARES:
        columns += [f"{share:.0%} cut: accuracy %", "range"]
    whole = ", ".join(f"{before:.1f}" for before, _ in runs)
    return (
        f"\n## {kind}\n\nAccuracy before the cut, seed by seed: {whole} %.\n\n"
        + markdown_table([*columns, "seconds"], rows)
    )


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    text = header("Importance", COMMAND, TEXT) + "".join(map(table, NETWORKS))
    (RESULTS / "importance.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
