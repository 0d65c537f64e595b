"""Measures what each remedy after a cut is worth, and gradual against one-shot cuts.

python -m benchmarks.after_the_cut
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_nas as kn
from benchmarks.importance import digits, plain, residual
from benchmarks.measuring import RESULTS, header, markdown_table

COMMAND = "python -m benchmarks.after_the_cut"
SEEDS = (0, 1, 2)
EPOCHS = 12
SHARES = (0.8, 0.5)
TUNING = 4
SAMPLES = 400
TEXT = f"""\
The two small networks of `benchmarks/results/importance.md` learn the digits of
scikit-learn for {EPOCHS} epochs (so few steps that the moving statistics lag behind:
`recalibrate` brings them up to date before anything is cut), and are cut to a share of
their FLOPs in one call of `prune` (importance `l2`). Loss and accuracy are those on 449
digits that were never seen, means of {len(SEEDS)} seeds; "lower loss" counts the seeds
with a lower loss than that of the cut alone. Remedies look at {SAMPLES} training images
without their labels, and train nothing by gradients.

* nothing: the cut alone.
* fold: `fold_constants=True`.
* recalibrate: `recalibrate`, in batches of 100 (where there is BatchNormalization).
* reconstruct: `reconstruct`, with its defaults; both: `recalibrate` after it.

What neurons contributed on average is the best constant to put in their place as long
as the layers behind see much what they saw; after a deep cut of a network without
normalisation it does harm.

Then the cut network is trained for {TUNING} further epochs, with the optimizer carried
over (`carry_optimizer=True`) and with a fresh one: loss of training in the first epoch,
and accuracy on new digits after the last. At last `fit_pruned` spends the same {TUNING}
epochs with cuts on the way. Three seeds say little about differences of a few tenths of
a percent. Seconds are those of the processor."""


def trained(make: Callable[[], Any], seed: int) -> Any:
    """A network that has learned the digits."""
    (x, y), _ = digits()
    keras.utils.set_random_seed(seed)
    model = make()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=EPOCHS, batch_size=64, verbose=0)
    if has_norms(model):
        return kn.recalibrate(model, x, batch_size=len(x), carry_optimizer=True)
    return model


def has_norms(model: Any) -> bool:
    """Whether there are statistics to take anew."""
    norm = keras.layers.BatchNormalization
    return any(isinstance(layer, norm) for layer in model.layers)


def score(model: Any) -> np.ndarray:
    """Loss, and accuracy in percent."""
    _, (x, y) = digits()
    logits = keras.ops.convert_to_numpy(model(x, training=False)).astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    chances = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    right = logits.argmax(axis=1) == y
    return np.array([-chances[np.arange(len(y)), y].mean(), 100 * right.mean()])


def remedies(model: Any, share: float) -> dict[str, tuple[np.ndarray, float]]:
    """Returns name of a remedy -> score, and the seconds it took."""
    x = digits()[0][0][:SAMPLES]
    plan = kn.plan_prune(model, flops=share)
    folding = kn.plan_prune(model, flops=share, fold_constants=True, data=x)
    found: dict[str, tuple[np.ndarray, float]] = {}

    def take(name: str, make: Callable[[], Any]) -> Any:
        start = time.process_time()
        new = make()
        seconds = time.process_time() - start
        found[name] = score(new), seconds
        return new

    small = take("nothing", plan.apply)
    take("fold", folding.apply)
    if has_norms(model):
        take("recalibrate", lambda: kn.recalibrate(small, x, batch_size=100))
    new = take("reconstruct", lambda: kn.reconstruct(plan, x, batch_size=100))
    if has_norms(model):
        take("both", lambda: kn.recalibrate(new, x, batch_size=100))
    return found


def tuned(model: Any, share: float) -> dict[str, np.ndarray]:
    """Returns way of training -> loss in its first epoch, accuracy after the last."""
    (x, y), _ = digits()
    fit = {"batch_size": 64, "verbose": 0}
    found = {}
    for name, carries in (("carried", True), ("fresh", False)):
        keras.utils.set_random_seed(0)
        small = kn.prune(model, flops=share, carry_optimizer=carries)
        history = small.fit(x, y, epochs=TUNING, **fit).history
        found[name] = np.array([history["loss"][0], score(small)[1]])
    keras.utils.set_random_seed(0)
    result = kn.fit_pruned(model, x, y, epochs=TUNING, flops=share, **fit)
    first = result.history.history["loss"][0]
    found["fit_pruned"] = np.array([first, score(result.model)[1]])
    return found


def section(name: str, make: Callable[[], Any]) -> str:
    """Returns the tables of one network."""
    models = [trained(make, seed) for seed in SEEDS]
    before = np.mean([score(model) for model in models], axis=0)
    lines = [
        f"## {name}",
        "",
        f"Before the cut: loss {before[0]:.3f}, accuracy {before[1]:.1f} %.",
        "",
    ]
    rows, rows_tuned = [], []
    for share in SHARES:
        runs = [remedies(model, share) for model in models]
        for remedy in runs[0]:
            loss, accuracy = np.mean([run[remedy][0] for run in runs], axis=0)
            seconds = np.mean([run[remedy][1] for run in runs])
            wins = sum(run[remedy][0][0] < run["nothing"][0][0] for run in runs)
            better = "" if remedy == "nothing" else f"{wins} of {len(runs)}"
            numbers = f"{loss:.3f}", f"{accuracy:.1f}", better, f"{seconds:.1f}"
            rows.append((f"{share:.0%}", remedy, *numbers))
    for share in SHARES[-1:]:
        runs = [tuned(model, share) for model in models]
        for way in runs[0]:
            loss, accuracy = np.mean([run[way] for run in runs], axis=0)
            rows_tuned.append((f"{share:.0%}", way, f"{loss:.3f}", f"{accuracy:.1f}"))
    columns = "FLOPs left", "remedy", "loss", "accuracy %", "lower loss", "seconds"
    lines.append(markdown_table(columns, rows))
    lines += [f"After {TUNING} epochs of training:", ""]
    columns = "FLOPs left", "training", "loss in first epoch", "accuracy %"
    lines.append(markdown_table(columns, rows_tuned))
    return "\n".join(lines)


def main() -> None:
    """Writes the results."""
    parts = [header("After the cut", COMMAND, TEXT)]
    parts += [section("plain", plain), section("residual", residual)]
    text = "\n".join(parts)
    (RESULTS / "after_the_cut.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
