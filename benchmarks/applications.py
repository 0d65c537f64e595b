"""Checks and measures every model of ``keras.applications``.

    python -m benchmarks.applications              all that have no row yet
    python -m benchmarks.applications ResNet50     these, again

Each model runs in a process of its own, since Keras never gives all memory back. Its
row goes into ``results/applications.md`` at once, so that a stopped run can go on.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.measuring import (
    RESULTS,
    fastest,
    header,
    markdown_table,
    peak_bytes,
    timed,
    weight_bytes,
)

FILE = RESULTS / "applications.md"
COMMAND = "python -m benchmarks.applications"
COLUMNS = (
    "model",
    "image",
    "layers",
    "free atoms",
    "neurons",
    "rebuild equal",
    "requests",
    "exact",
    "infeasible",
    "growth: max error",
    "dead neurons: max error",
    "inexact",
    "wrap s",
    "plan s (median)",
    "plan s (max)",
    "solve s (max)",
    "clone s",
    "resize / clone",
    "peak memory / weights",
)
# Where one rounding error of the images moves the outputs further, float64 is used.
CHAOTIC = 1e-5
TEXT = """\
Weights random, statistics and gammas too. Requests: a smaller and a larger size for
every Dense, Conv2D, DepthwiseConv2D and SeparableConv2D. Each gets exactly that size, or
an InfeasibleError whose nearest sizes were checked. A few layers of each model are really
changed and run. Growth: outputs against those before. Dead neurons: nobody reads them,
then they are dropped, outputs against those before. Both relative to the largest output.
Deep models whose random weights amplify rounding errors a hundred times or more are
checked in float64. Inexact: growths that say themselves that a LayerNormalization sees
other channels.

Times in seconds. A plan is that of a wrapped graph, analysis included; the part of it
that Pyomo and HiGHS take is "solve", without garbage collection; both are processor
times. Resize: the layer half way through, to half its size. Peak memory: growth of the
process during that resize, new model included; weights that stay as they are share their
memory with the old model."""
# Layers of each model that are really changed, for each kind of change.
NUM_CHANGED = 2


def main(names: list[str]) -> None:
    """Runs the models named, or all that have no row yet."""
    from tests.application_checks import application_names

    rows = {} if not FILE.exists() else _read_rows()
    wanted = names or [name for name in application_names() if name not in rows]
    for name in wanted:
        values = _run_apart(name)
        print(json.dumps(values), flush=True)
        if "failure" in values:
            continue
        rows = _read_rows() if FILE.exists() else {}
        rows[name] = [str(values[column]) for column in COLUMNS]
        _write_rows(rows)


def _run_apart(name: str) -> dict[str, Any]:
    """Measures one model in a new process."""
    command = [sys.executable, "-m", "benchmarks.applications", "--one", name]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return {"model": name, "failure": f"exit status {done.returncode}"}
    return json.loads(lines[-1])


def measure(name: str) -> dict[str, Any]:
    """Returns the row of one model, by column."""
    from tests.application_checks import Subject

    warm_up()
    subject = Subject.make(name)
    values: dict[str, Any] = {"model": name, "image": subject.model.input_shape[1]}
    return values | _costs(subject) | _checks(name, subject)


def warm_up() -> None:
    """Resizes a tiny model: imports and starts of Pyomo and of Keras happen here."""
    import keras

    import keras_nas as kn

    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    kn.resize(model, "conv", 3)
    keras.models.clone_model(model)


def middle_layer(subject: Any) -> tuple[str, int]:
    """Returns the layer half way through a model, and half its size."""
    path = subject.sample(len(subject.sized), "middle")
    free = [name for name in subject.sized if name in path]
    middle = free[len(free) // 2]
    return middle, max(1, subject.axis(middle).size // 2)


def _costs(subject: Any) -> dict[str, Any]:
    import keras

    import keras_nas as kn

    model = subject.model
    path, size = middle_layer(subject)
    del subject.graph, subject.analysis
    # Memory first: what others free could be used again without being seen.
    peak = peak_bytes(lambda: kn.resize(model, path, size))
    clone, resize = fastest(
        lambda: keras.models.clone_model(model), lambda: kn.resize(model, path, size)
    )
    (wrap,) = fastest(lambda: kn.Graph.from_model(model))
    return {
        "layers": len(model.layers),
        "wrap s": f"{wrap:.2f}",
        "clone s": f"{clone:.2f}",
        "resize / clone": f"{resize / clone:.2f}",
        "peak memory / weights": f"{peak / weight_bytes(model):.2f}",
    }


def _checks(name: str, subject: Any) -> dict[str, Any]:
    from keras_nas.surgery import planning
    from tests.application_checks import (
        Subject,
        check_dead,
        check_growth,
        check_rebuild,
        check_requests,
    )

    check_rebuild(subject)
    solves: list[float] = []
    gc.collect()
    gc.freeze()  # What Keras holds is not looked through while plans are timed.
    with timed(planning, "solve", solves):
        requests = check_requests(subject, list(subject.sized))
    exact = subject
    if subject.sensitivity > CHAOTIC:
        exact = Subject.make(name, "float64")
    grown = [check_growth(exact, p) for p in exact.sample(NUM_CHANGED, "grow")]
    dead = _some_known(lambda p: check_dead(exact, p), exact, "shrink")
    atoms = {
        atom
        for axis in subject.analysis.all_axes()
        for atom in axis.atoms
        if not atom.is_filler
    }
    return {
        "free atoms": len(atoms),
        "neurons": sum(atom.size for atom in atoms),
        "rebuild equal": "yes",
        "requests": requests.exact + requests.infeasible,
        "exact": requests.exact,
        "infeasible": requests.infeasible,
        "growth: max error": _largest(grown),
        "dead neurons: max error": _largest(dead),
        "inexact": sum(error is None for error in grown),
        "plan s (median)": f"{statistics.median(requests.seconds):.3f}",
        "plan s (max)": f"{max(requests.seconds):.3f}",
        "solve s (max)": f"{max(solves):.3f}",
    }


def _some_known(check: Any, subject: Any, salt: str) -> list[float]:
    """Checks layers until some of them had a plan that is exact."""
    known: list[float] = []
    for path in subject.sample(len(subject.sized), salt):
        error = check(path)
        known += [] if error is None else [error]
        if len(known) == NUM_CHANGED:
            break
    return known


def _largest(errors: list[float | None]) -> str:
    known = [error for error in errors if error is not None]
    return f"{max(known):.1e}" if known else ""


def _read_rows() -> dict[str, list[str]]:
    """Returns the rows that are there, by model."""
    lines = FILE.read_text().splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| ")
    ]
    return {row[0]: row for row in cells[2:]}


def _write_rows(rows: dict[str, list[str]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    ordered = [rows[name] for name in sorted(rows)]
    title = "All models of keras.applications"
    text = header(title, COMMAND, TEXT)
    FILE.write_text(f"{text}\n{markdown_table(COLUMNS, ordered)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:])
