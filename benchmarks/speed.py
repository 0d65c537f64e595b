"""Measures what planning and resizing cost against ``keras.models.clone_model``.

python -m benchmarks.speed
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.applications import warm_up
from benchmarks.measuring import RESULTS, header, markdown_table, timed

COMMAND = "python -m benchmarks.speed"
NAMES = ("ResNet152", "NASNetLarge", "EfficientNetB7")
ROUNDS = 3
COLUMNS = (
    "model",
    "layers",
    "clone s",
    "wrap s",
    "plan s",
    "resize s",
    "(wrap + plan) / clone",
    "resize / clone",
)
TEXT = f"""\
One layer, half way through, gets half its size. Medians of {ROUNDS} rounds; a round times
`clone_model`, wrap, plan (analysis included) and the whole `resize` one after the other.
Full image sizes, weights=None. Before, a tiny model is resized and cloned once, so that
the import of Pyomo and the start of Keras are in none of the numbers."""
ALL_COLUMNS = (
    "request",
    "atoms",
    "neurons before",
    "neurons after",
    "plan s",
    "solve s",
)
ALL_TEXT = """\

## All layers of ResNet152 at once

Every atom of the network but the head is asked for by one layer that has it. Plan:
analysis, importance and solver; the graph is wrapped already. Solve: the part of Pyomo
and HiGHS.
"""


def main() -> None:
    rows = [_run_apart(name) for name in NAMES]
    everything = _run_apart("all")
    RESULTS.mkdir(exist_ok=True)
    text = header("Speed", COMMAND, TEXT)
    (RESULTS / "speed.md").write_text(
        f"{text}\n{markdown_table(COLUMNS, rows)}"
        f"{ALL_TEXT}\n{markdown_table(ALL_COLUMNS, everything)}"
    )


def _run_apart(what: str) -> Any:
    """Runs one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed", "--one", what]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    print(result, flush=True)
    return result


def measure(name: str) -> list[Any]:
    """Returns the row of one model."""
    import keras

    import keras_nas as kn

    warm_up()
    model = getattr(keras.applications, name)(weights=None)
    layer, size = middle(model)
    clone, wrap, plan, resize = [], [], [], []
    for _ in range(ROUNDS):
        _timed(clone, lambda: keras.models.clone_model(model))
        graph = _timed(wrap, lambda: kn.Graph.from_model(model))
        _timed(plan, lambda graph=graph: kn.plan(graph, layer, size))
        _timed(resize, lambda: kn.resize(model, layer, size))
    times = [median(spent) for spent in (clone, wrap, plan, resize)]
    ratios = [(times[1] + times[2]) / times[0], times[3] / times[0]]
    return [name, len(model.layers), *(f"{value:.2f}" for value in [*times, *ratios])]


def measure_all() -> list[list[Any]]:
    """Returns a row for each kind of request for all layers of ResNet152."""
    import keras

    import keras_nas as kn
    from keras_nas.surgery import planning

    warm_up()
    graph = kn.Graph.from_model(keras.applications.ResNet152(weights=None))
    widths = one_layer_of_each_atom(graph)
    del widths["predictions"]
    kinds: dict[str, Callable[[int], Any]] = {
        "near half": lambda size: kn.near(size // 2),
        "exactly half": lambda size: size // 2,
        "near 5/8, multiples of 16": lambda size: kn.near(5 * size // 8),
        "exactly one and a half": lambda size: 3 * size // 2,
    }
    rows = []
    for kind, wanted in kinds.items():
        requests = {name: wanted(size) for name, size in widths.items()}
        multiple_of = 16 if "multiples" in kind else None
        plans, solves = [], []
        with timed(planning, "solve", solves):
            plan = _timed(
                plans,
                lambda r=requests, m=multiple_of: kn.plan(graph, r, multiple_of=m),
            )
        after = sum(plan.sizes[name] for name in widths)
        seconds = (f"{plans[0]:.2f}", f"{sum(solves):.2f}")
        rows.append([kind, len(widths), sum(widths.values()), after, *seconds])
    return rows


def one_layer_of_each_atom(graph: Any) -> dict[str, int]:
    """Returns layer -> size, one layer for each atom that may change."""
    from keras_nas.graph import analyze
    from keras_nas.importance import sized_layers

    analysis = analyze(graph)
    widths, seen = {}, set()
    for path in sized_layers(graph, analysis):
        axis = analysis.channel_of(analysis.output_of(path))
        if axis.atoms and axis not in seen:
            seen.add(axis)
            widths[path] = axis.size
    return widths


def middle(model: Any) -> tuple[str, int]:
    """Returns the layer with a kernel half way through a model, and half its size."""
    names = [x.name for x in model.layers if hasattr(x, "filters")]
    name = names[len(names) // 2]
    return name, model.get_layer(name).filters // 2


def _timed(spent: list[float], function: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = function()
    spent.append(time.perf_counter() - start)
    return result


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        what = sys.argv[2]
        print(json.dumps(measure_all() if what == "all" else measure(what)))
    else:
        main()
