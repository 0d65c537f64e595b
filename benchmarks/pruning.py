"""Prunes networks to budgets, and compares with greedy global ranking.

python -m benchmarks.pruning                all networks
python -m benchmarks.pruning ResNet50 ...   some of them
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.measuring import RESULTS, header, markdown_table

COMMAND = "python -m benchmarks.pruning"
APPLICATIONS = ("ResNet50", "MobileNetV2", "EfficientNetB0", "DenseNet121")
LARGE = ("ResNet152", "DenseNet201", "EfficientNetB7", "NASNetLarge")
BUDGETS = ({"params": 0.5}, {"flops": 0.5}, {"params": 0.5, "flops": 0.5})
COLUMNS = (
    "model",
    "budget",
    "importance",
    "used %",
    "importance kept %",
    "greedy: used %",
    "greedy: kept %",
    "plan s",
)
COUNT_COLUMNS = ("model", "parameters", "as Keras", "GMACs", "activations MB")
TEXT = """\
Each model is pruned to half of its parameters, half of its FLOPs, and both at once, in
one call. *Used* is the cost of the result as a fraction of its budget (the larger of
two); it must be 99 to 100 %. *Importance kept* is a fraction of that of all neurons
that can be removed. *Greedy* drops the least important neuron of the whole model, but
never the last one of a layer, until the budgets are kept: global ranking as other
packages do it, with the amount searched for. Importance is the L2 norm of the random
initial weights (`l2`: all neurons much alike), or drawn for each layer from a log-normal
distribution (`spread`: as in trained networks, few neurons matter much). Plan: analysis,
importance and search on a graph that is wrapped already."""
LARGE_TEXT = """\
## The largest models

The same for the models that take longest; `prune` is the whole call, building the new
model included."""
LARGE_COLUMNS = ("model", "budget", "used %", "plan s", "prune s")
COUNT_TEXT = """\
## What the models cost before

`kn.count` next to `count_params()`, at the default image size."""


def main(*names: str) -> None:
    import keras

    models = [*APPLICATIONS, "vit", "digits"] if not names else list(names)
    rows, counted = [], []
    for name in models:
        keras.backend.clear_session()
        model = make(name)
        counted.append(count_row(name, model))
        for importance in ("l2", "spread"):
            for budget in BUDGETS:
                rows.append(compare(name, model, budget, importance))
                print(*rows[-1], flush=True)
    large = [] if names else [row for name in LARGE for row in time_rows(name)]
    if names:
        return
    RESULTS.mkdir(exist_ok=True)
    text = "\n".join(
        (
            header("Pruning to budgets", COMMAND, TEXT),
            markdown_table(COLUMNS, rows),
            f"{LARGE_TEXT}\n",
            markdown_table(LARGE_COLUMNS, large),
            f"{COUNT_TEXT}\n",
            markdown_table(COUNT_COLUMNS, counted),
        )
    )
    (RESULTS / "pruning.md").write_text(text)


def make(name: str) -> Any:
    """Returns a model with random weights."""
    import keras

    from keras_nas.demo import build_network

    keras.utils.set_random_seed(0)
    if name == "vit":
        return vision_transformer()
    if name == "digits":
        return build_network()
    return getattr(keras.applications, name)(weights=None)


def vision_transformer(width: int = 192, depth: int = 6, heads: int = 3) -> Any:
    """A vision transformer of the size "tiny", of half the depth."""
    import keras
    from keras import layers

    inputs = keras.Input((224, 224, 3))
    x = layers.Conv2D(width, 16, 16, name="patches")(inputs)
    x = layers.Reshape((196, width))(x)
    for number in range(depth):
        y = layers.LayerNormalization()(x)
        y = layers.MultiHeadAttention(heads, width // heads, name=f"heads{number}")(
            y, y
        )
        x = layers.Add()([x, y])
        y = layers.LayerNormalization()(x)
        y = layers.Dense(4 * width, activation="gelu", name=f"up{number}")(y)
        x = layers.Add()([x, layers.Dense(width, name=f"down{number}")(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(1000, name="head")(x), name="vit")


def spread(layer: Any) -> np.ndarray:
    """Log-normal importance, the same in every run."""
    rng = np.random.default_rng(zlib.crc32(str(layer).encode()))
    return rng.lognormal(0, 1) * rng.lognormal(0, 1, layer.size)


def compare(name: str, model: Any, budget: Mapping[str, float], kind: str) -> tuple:
    """Returns one row: our plan beside that of greedy ranking."""
    import keras_nas as kn

    importance = "l2" if kind == "l2" else spread
    graph = kn.Graph.from_model(model)
    start = time.perf_counter()
    plan = graph.plan_prune(importance=importance, **budget)
    seconds = time.perf_counter() - start
    load = used(plan)
    greedy_load, greedy_kept = greedy(plan)
    assert 0.99 <= load <= 1, (name, budget, load)
    assert plan.kept_importance >= greedy_kept - 1e-9, (name, budget)
    return (
        name,
        " and ".join(f"{key} {value}" for key, value in budget.items()),
        kind,
        f"{100 * load:.3f}",
        f"{100 * plan.kept_importance:.3f}",
        f"{100 * greedy_load:.3f}",
        f"{100 * greedy_kept:.3f}",
        f"{seconds:.2f}",
    )


def used(plan: Any) -> float:
    """The largest part of a budget that a plan uses."""
    return max(getattr(plan.counts, key) / most for key, most in plan.targets.items())


def greedy(plan: Any) -> tuple[float, float]:
    """Returns the load and the importance that `greedy_keep` leaves."""
    load, kept, _ = greedy_keep(plan)
    return load, kept


def greedy_keep(plan: Any) -> tuple[float, float, dict]:
    """Drops the least important neurons of the whole model until budgets are kept.

    Returns:
        The largest part of a budget that is used, the importance kept, and the keep
        arrays of the atoms that change.
    """
    from keras_nas.importance import atom_utilities
    from keras_nas.surgery.pruning import cost_of
    from keras_nas.surgery.system import Job

    job = Job(plan.graph, plan.analysis, plan.names, (), plan.options)
    atoms = [a for a in job.atoms if a not in job.locks and not a.is_filler]
    utilities = atom_utilities(plan.graph, plan.analysis, job.importance, set(atoms))
    values = np.concatenate([utilities[atom] for atom in atoms])
    owner = np.repeat(np.arange(len(atoms)), [atom.size for atom in atoms])
    place = np.concatenate([np.arange(atom.size) for atom in atoms])
    order = np.argsort(values, kind="stable")
    # The most important neuron of each atom stays.
    best = {max(np.flatnonzero(owner == n), key=values.__getitem__) for n in set(owner)}
    order = np.array([number for number in order if number not in best])
    keys = list(job.atoms)
    place_of = [keys.index(atom) for atom in atoms]
    costs = [
        (cost_of(plan.analysis, k, keys), most) for k, most in plan.targets.items()
    ]

    def load(dropped: int) -> float:
        sizes = np.array([key.size for key in keys])
        gone = np.bincount(owner[order[:dropped]], minlength=len(atoms))
        sizes[place_of] -= gone
        return max(cost.value(sizes) / most for cost, most in costs)

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if load(middle) <= 1 else (middle + 1, high)
    gone = order[:low]
    keep = {
        atom: np.delete(np.arange(atom.size), place[gone[owner[gone] == number]])
        for number, atom in enumerate(atoms)
        if (owner[gone] == number).any()
    }
    return load(low), 1 - values[gone].sum() / values.sum(), keep


def count_row(name: str, model: Any) -> tuple:
    import keras_nas as kn

    counts = kn.count(model)
    return (
        name,
        counts.params,
        model.count_params(),
        f"{counts.macs / 1e9:.3f}",
        f"{counts.activation_bytes / 1e6:.1f}",
    )


def time_rows(name: str) -> list[tuple]:
    """Times the plan and the whole call for a large model."""
    import keras

    import keras_nas as kn

    keras.backend.clear_session()
    model, rows = make(name), []
    for budget in BUDGETS[:2]:
        graph = kn.Graph.from_model(model)
        start = time.perf_counter()
        plan = graph.plan_prune(**budget)
        middle = time.perf_counter()
        kn.prune(model, **budget)
        end = time.perf_counter()
        ((key, value),) = budget.items()
        times = f"{middle - start:.2f}", f"{end - middle:.2f}"
        rows.append((name, f"{key} {value}", f"{100 * used(plan):.3f}", *times))
        print(*rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
