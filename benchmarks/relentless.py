"""Edits networks at random for as long as it takes to break them.

    python -m benchmarks.relentless            1,000 edits on each of 8 networks
    python -m benchmarks.relentless 200 2      200 edits on each of 2

The same chains of edits, shorter, are part of the tests.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import RESULTS, header, markdown_table, timed

COMMAND = "python -m benchmarks.relentless"
COLUMNS = (
    "seed",
    "vertices at the start",
    "edits survived",
    "refused with a reason",
    "built, saved, loaded",
    "kept the function",
    "largest error",
    "failures",
)
TIME_COLUMNS = ("vertices", "edits", "median ms", "95 % below ms")
TEXT = """\
Each row is one network and one chain of random edits: insert (also as the identity),
remove (also blocks), connect, disconnect, replace and resize, at random places, inside
nested models too. Every graph is checked; every tenth is built, run, saved, loaded and
run again. Edits that promise to keep the function are built before and after, and the
outputs compared: the largest error is relative to the largest output. An edit that is
impossible has to say so: these count as refused."""
TIME_TEXT = """\
Processor time of an edit, solver included, by the size of the graph."""
SPEED_COLUMNS = ("edit", "ms", "of it solver ms", "analysis of the whole graph ms")
SPEED_TEXT = """\
One edit in the middle of a network of 1,023 vertices (residual blocks with normalization,
a concatenation and a projection every 100): processor time, the best of five. The last
column is the time that one analysis of the whole graph takes in the same run."""


def main(edits: int = 1000, networks: int = 8) -> None:
    tests = Path(__file__).resolve().parents[1] / "tests"
    sys.path[:0] = [str(tests), str(tests / "surgery")]
    import keras
    from random_edits import chain_of_edits, network

    rows, seconds = [], []
    for seed in range(networks):
        keras.backend.clear_session()
        model = network(seed, blocks=4 + 8 * (seed % 4))
        size, failures = len(model.layers), 0
        record = chain_of_edits(
            model, edits, seed, max_vertices=40 * 2 ** (seed % 4), check_every=10
        )
        seconds += record.seconds
        done, refused = record.done.total(), record.refused.total()
        error = f"{record.error:.1e}"
        row = (seed, size, done, refused, record.checked, record.unchanged, error)
        rows.append((*row, failures))
        print(rows[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    text = header("Relentless editing", COMMAND, TEXT)
    tables = markdown_table(COLUMNS, rows), markdown_table(TIME_COLUMNS, _times(seconds))
    text = f"{text}\n{tables[0]}\n{TIME_TEXT}\n\n{tables[1]}"
    text = f"{text}\n{SPEED_TEXT}\n\n{markdown_table(SPEED_COLUMNS, speed())}"
    (RESULTS / "relentless.md").write_text(text)


def _times(seconds: list[tuple[int, float]]) -> list[tuple]:
    """Returns rows of time by size, in classes of doubling size."""
    rows, low = [], 1
    largest = max(size for size, _ in seconds)
    while low <= largest:
        spent = sorted(1000 * s for size, s in seconds if low <= size < 2 * low)
        if spent:
            median, high = statistics.median(spent), spent[int(0.95 * len(spent))]
            label = f"{low} to {2 * low - 1}"
            rows.append((label, len(spent), f"{median:.0f}", f"{high:.0f}"))
        low *= 2
    return rows


def speed() -> list[tuple]:
    """Returns a row for each kind of edit of a large network."""
    import keras
    from keras import layers

    import keras_nas as kn
    from keras_nas.graph import analyze
    from keras_nas.surgery import planning

    graph = kn.Graph.from_model(_large_network())
    edits = {
        "remove an activation": lambda: graph.remove("relu400"),
        "insert an activation": lambda: graph.insert(layers.ReLU(), "norm400"),
        "insert a convolution": lambda: graph.insert(layers.Conv2D(5, 1), "relu400"),
        "remove a projection": lambda: graph.remove("project400"),
        "connect to a concatenation": lambda: graph.connect("relu388", "joined400"),
        "disconnect from it": lambda: graph.disconnect("relu400", "joined400"),
        "replace a kernel": lambda: graph.replace(
            "conv400", layers.Conv2D(8, 5, padding="same")
        ),
        "resize": lambda: graph.resize("project400", 6),
    }
    whole, _ = _best(lambda: analyze(graph), planning)
    rows = []
    for label, edit in edits.items():
        spent, solver = _best(edit, planning)
        rows.append((label, f"{spent:.0f}", f"{solver:.0f}", f"{whole:.0f}"))
        print(rows[-1], flush=True)
    keras.backend.clear_session()
    return rows


def _best(function: Callable[[], Any], module: Any) -> tuple[float, float]:
    """Returns the milliseconds of the best of five calls, and of solving in it."""
    found = []
    for _ in range(5):
        solver: list[float] = []
        gc.collect()
        gc.disable()
        start = time.process_time()
        with timed(module, "solve", solver):
            function()
        found.append((1000 * (time.process_time() - start), 1000 * sum(solver)))
        gc.enable()
    return min(found)


def _large_network() -> Any:
    import keras
    from keras import layers

    inputs = x = keras.Input((16, 16, 8))
    for number in range(4, 1001, 4):
        y = layers.Conv2D(8, 3, padding="same", name=f"conv{number}")(x)
        y = layers.BatchNormalization(name=f"norm{number}")(y)
        y = layers.ReLU(name=f"relu{number}")(y)
        x = layers.Add(name=f"add{number}")([x, y])
        if number % 100 == 0:
            x = layers.Concatenate(name=f"joined{number}")([x, y])
            x = layers.Conv2D(8, 1, name=f"project{number}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3)(x))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
