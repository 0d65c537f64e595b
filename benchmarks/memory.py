"""Measures the peak memory of ``resize`` against the size of the weights.

python -m benchmarks.memory
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.applications import warm_up
from benchmarks.measuring import (
    RESULTS,
    header,
    markdown_table,
    peak_bytes,
    weight_bytes,
)

COMMAND = "python -m benchmarks.memory"
NAMES = ("VGG16", "ResNet152", "EfficientNetB7")
KINDS = ("one layer, half", "all layers, half", "all layers, one neuron more")
COLUMNS = (
    "model",
    "request",
    "weights MB",
    "new weights MB",
    "peak MB",
    "peak / weights",
)
TEXT = """\
Growth of the process over the loaded model while `resize` runs, the new model included,
relative to the weights of the old model. All layers: one layer of each atom is asked for.
Weights that stay as they are share their memory with the old model until one of the two
is trained."""


def main() -> None:
    rows = [_run_apart(name, kind) for name in NAMES for kind in KINDS]
    RESULTS.mkdir(exist_ok=True)
    text = header("Peak memory", COMMAND, TEXT)
    (RESULTS / "memory.md").write_text(f"{text}\n{markdown_table(COLUMNS, rows)}")


def _run_apart(name: str, kind: str) -> list[Any]:
    """Runs one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", name, kind]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    print(result, flush=True)
    return result


def measure(name: str, kind: str) -> list[Any]:
    """Returns the row of one model and kind of request."""
    import keras

    import keras_nas as kn
    from benchmarks.speed import middle, one_layer_of_each_atom

    warm_up()
    model = getattr(keras.applications, name)(weights=None)
    if kind.startswith("one layer"):
        requests = dict([middle(model)])
    else:
        widths = one_layer_of_each_atom(kn.Graph.from_model(model))
        widths.pop(model.layers[-1].name)
        is_half = kind.endswith("half")
        requests = {
            path: max(1, size // 2) if is_half else size + 1
            for path, size in widths.items()
        }
    old, new = weight_bytes(model), []

    def resize() -> Any:
        resized = kn.resize(model, requests)
        new.append(weight_bytes(resized))
        return resized

    peak = peak_bytes(resize)
    megabytes = [f"{value / 1e6:.0f}" for value in (old, new[0], peak)]
    return [name, kind, *megabytes, f"{peak / old:.2f}"]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(*sys.argv[2:4])))
    else:
        main()
