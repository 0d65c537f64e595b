"""Measures what wrapping and planning cost against the depth of a network.

python -m benchmarks.depth
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.applications import warm_up
from benchmarks.measuring import RESULTS, header, markdown_table

COMMAND = "python -m benchmarks.depth"
SIZES = (100, 1_000, 10_000)
COLUMNS = (
    "network",
    "vertices",
    "wrap s",
    "plan s",
    "new graph s",
    "microseconds per vertex",
    "against n log n",
)
TEXT = """\
Wrapping, planning (analysis included) and the new graph of one request in the middle, by
the number of vertices: a chain, residual connections nested as deep as they go, and a
stack of residual blocks whose branch is a concatenation. Processor seconds, the best of
three. The last column: cost over n log2 n, relative to the smallest network of its kind;
1 or less is n log n at worst. The recursion limit of Python is its default of 1,000 while
these steps run; only the constructor of Keras needs more, and `build` sees to that."""


def main() -> None:
    import keras

    from tests.deep_models import MODELS

    warm_up()
    rows = []
    for kind, make in MODELS.items():
        base = None
        for size in SIZES:
            keras.backend.clear_session()
            cells, cost = measure(make(size))
            base = base or cost
            rows.append((kind, *cells, f"{cost / base:.2f}"))
            print(rows[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    text = header("Cost against depth", COMMAND, TEXT)
    (RESULTS / "depth.md").write_text(f"{text}\n{markdown_table(COLUMNS, rows)}")


def measure(model: Any) -> tuple[tuple[str, ...], float]:
    """Returns the cells of a row, and the cost over n log n."""
    import keras_nas as kn

    assert sys.getrecursionlimit() <= 1_000
    middle = [x.name for x in model.layers if x.name.startswith("middle_")]
    name = middle[len(middle) // 2]
    wrap, graph = _best(lambda: kn.Graph.from_model(model))
    plan, planned = _best(lambda: kn.plan(graph, name, 3))
    change, _ = _best(planned.apply_to_graph)
    assert planned.sizes[name] == 3
    count = len(graph.body.vertices)
    cost = (wrap + plan) / (count * math.log2(count))
    seconds = (f"{wrap:.3f}", f"{plan:.3f}", f"{change:.3f}")
    return (count, *seconds, f"{1e6 * (wrap + plan) / count:.0f}"), cost


def _best(function: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the processor seconds of the best of three calls, and a result."""
    spent = []
    for _ in range(3):
        gc.collect()
        start = time.process_time()
        result = function()
        spent.append(time.process_time() - start)
    return min(spent), result


if __name__ == "__main__":
    main()
