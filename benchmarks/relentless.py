"""Edits networks at random for as long as it takes to break them.

    python -m benchmarks.relentless            1,000 edits on each of 8 networks
    python -m benchmarks.relentless 200 2      200 edits on each of 2

The same chains of edits, shorter, are part of the tests.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks.measuring import RESULTS, header, markdown_table

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


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
