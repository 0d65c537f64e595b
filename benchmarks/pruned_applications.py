"""Prunes every model of ``keras.applications`` to half, and times some before and after.

    python -m benchmarks.pruned_applications              all that have no row yet
    python -m benchmarks.pruned_applications ResNet50     these, again
    python -m benchmarks.pruned_applications latency      forward passes

Each model runs in a process of its own, since Keras never gives all memory back. Its
rows go into the results at once, so that a stopped run can go on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.measuring import RESULTS, header, markdown_table

COMMAND = "python -m benchmarks.pruned_applications"
RAW = RESULTS / "pruned_applications.json"
BUDGETS = ("params", "flops")
LATENCY = ("ResNet50", "MobileNetV2")
TEXT = """\
Each model of `keras.applications`, with random weights and at its default image size (224
where it has none), is pruned to half of its parameters and to half of its FLOPs, each in one call of
`prune(model, params=0.5)` or `prune(model, flops=0.5)` with the default importance.
*Used* is the cost of the result as a fraction of the budget, counted on the new Keras
model from scratch. *CPU s* are the processor seconds of the whole call: wrapping,
analysis, search and building the new Keras model. They do not depend on what else the
machine does."""
LATENCY_TEXT = """\
## Forward passes before and after

Models pruned to half of their FLOPs: seconds of a compiled forward pass on CPU, median of
{times} calls of each model in turns in one process, one image of 224 x 224 and eight. With
`multiple_of=8`, every width that changes is a multiple of eight, as fast kernels like it."""
TIMES = 15


def main(*names: str) -> None:
    from tests.application_checks import application_names

    raw = json.loads(RAW.read_text()) if RAW.exists() else {}
    if names[:1] == ("latency",):
        wanted = [("latency", name) for name in names[1:] or LATENCY]
    else:
        missing = [n for n in application_names() if n not in raw.get("prune", {})]
        wanted = [("prune", name) for name in names or missing]
    for kind, name in wanted:
        command = [sys.executable, "-m", "benchmarks.pruned_applications"]
        done = subprocess.run(
            [*command, "--one", kind, name], stdout=subprocess.PIPE, text=True, check=True
        )
        raw.setdefault(kind, {})[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, raw[kind][name], flush=True)
        RAW.write_text(json.dumps(raw, indent=1), encoding="utf-8")
        _write(raw)


def _write(raw: dict[str, Any]) -> None:
    columns = ["model", "million parameters", "GFLOPs"]
    for budget in BUDGETS:
        columns += [f"{budget} 0.5: used %", "CPU s"]
    text = header("Pruned applications", COMMAND, TEXT) + "\n"
    text += markdown_table(columns, [[n, *r] for n, r in raw.get("prune", {}).items()])
    if "latency" in raw:
        columns = ["model", "images", "whole s", "pruned s", "multiple of 8: s"]
        rows = [[n, *row] for n, found in raw["latency"].items() for row in found]
        text += "\n" + LATENCY_TEXT.format(times=TIMES) + "\n\n"
        text += markdown_table(columns, rows)
    (RESULTS / "pruned_applications.md").write_text(text, encoding="utf-8")


def prune_row(name: str) -> list[str]:
    """Prunes one model to both budgets."""
    import keras

    import keras_nas as kn
    from benchmarks.applications import warm_up

    warm_up()
    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, name)
    model = make(weights=None)
    if None in model.input_shape[1:]:
        # FLOPs are those of images of some size.
        model = make(weights=None, input_shape=(224, 224, 3))
    whole = kn.count(model)
    row = [f"{whole.params / 1e6:.2f}", f"{whole.flops / 1e9:.2f}"]
    for budget in BUDGETS:
        start = time.process_time()
        new = kn.prune(model, **{budget: 0.5})
        seconds = time.process_time() - start
        most = int(getattr(whole, budget) * 0.5)
        used = getattr(kn.count(new), budget) / most
        assert 0.99 <= used <= 1, (name, budget, used)
        row += [f"{100 * used:.3f}", f"{seconds:.1f}"]
        del new
    return row


def latency_rows(name: str) -> list[list[str]]:
    """Times forward passes of one model, whole and pruned."""
    import keras
    import tensorflow as tf

    import keras_nas as kn

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None)
    models = [model, kn.prune(model, flops=0.5)]
    models.append(kn.prune(model, flops=0.5, multiple_of=8))
    rows = []
    for images in (1, 8):
        x = np.random.default_rng(0).normal(size=(images, 224, 224, 3))
        x = tf.constant(x, "float32")
        calls = [tf.function(lambda x, m=m: m(x, training=False)) for m in models]
        rows.append([str(images), *(f"{s:.4f}" for s in _in_turns(calls, x))])
    return rows


def _in_turns(functions: Sequence[Any], x: Any) -> list[float]:
    spent: list[list[float]] = [[] for _ in functions]
    for turn in range(TIMES + 2):
        for function, found in zip(functions, spent, strict=True):
            start = time.perf_counter()
            np.asarray(function(x))
            if turn > 1:
                found.append(time.perf_counter() - start)
    return [float(np.median(found)) for found in spent]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        kind, name = sys.argv[2:]
        print(json.dumps({"prune": prune_row, "latency": latency_rows}[kind](name)))
    else:
        main(*sys.argv[1:])
