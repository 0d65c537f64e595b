"""A whole evolution: 30 generations of 20 candidates on digits, on two cores.

python -m benchmarks.long_evolution
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

import keras_nas as kn
from benchmarks.evolution import BATCH_SIZE, digits
from benchmarks.measuring import RESULTS, header, markdown_table

COMMAND = "python -m benchmarks.long_evolution"
COLUMNS = ["generation", "best so far", "mean of the generation", "failed", "seconds"]


def main() -> None:
    """Evolves, tests the winner, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--population", type=int, default=20)
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "long_evolution.md")
    options = parser.parse_args()
    data, x_test, y_test = digits(options.seed)
    evolver = kn.KerasEvolver(
        population_size=options.population,
        generations=options.generations,
        workers=options.workers,
        seed=options.seed,
        directory=tempfile.mkdtemp(),
        verbose=0,
    )
    start = time.perf_counter()
    result = evolver.fit(
        data.x,
        data.y,
        validation_data=(data.x_val, data.y_val),
        batch_size=BATCH_SIZE,
        steps_per_generation=options.steps,
    )
    seconds = time.perf_counter() - start
    used = sum(
        resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    model = evolver.best_model
    outputs = model.predict(x_test, verbose=0)
    accuracy = float(np.mean(np.argmax(outputs, 1) == y_test))
    best = result.best
    text = (
        f"Digits of scikit-learn (8 x 8): {len(data.x):,} images to learn from, "
        f"{len(data.x_val)} to compare candidates on, {len(y_test)} that only the winner "
        f"sees. {options.generations} generations of {options.population} candidates, "
        f"{options.steps} batches of {BATCH_SIZE} for each in every generation, "
        f"{options.workers} processes, all other settings as they are by default.\n\n"
        f"**{seconds / 60:.1f} minutes ({used / 60:.1f} of the processor), test accuracy "
        f"{accuracy:.2%}** "
        f"({round(accuracy * len(y_test))} of {len(y_test)}), with "
        f"{model.count_params():,} parameters: {best.description}. Validation accuracy "
        f"of the winner {best.metrics['val_accuracy']:.2%}. The machine was in use by "
        f"others as well."
    )
    history = result.history
    rows = [
        [
            number + 1,
            f"{history['best_so_far'][number]:.4f}",
            f"{history['mean'][number]:.4f}",
            history["failed"][number],
            f"{history['seconds'][number]:.0f}",
        ]
        for number in range(len(history["mean"]))
        if number % 5 == 4 or number == 0
    ]
    table = markdown_table(COLUMNS, rows)
    options.out.write_text(f"{header('A whole evolution', COMMAND, text)}\n{table}")
    evolver.plot(options.out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
