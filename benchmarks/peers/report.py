"""The page with the results, from the raw numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from benchmarks.measuring import markdown_table
from benchmarks.peers.common import (
    FRACTION,
    HARD,
    HARD_RATIO,
    HELD,
    NETS,
    ORACLE_IMAGE,
    RATIO,
    STEPS,
)

SIDES = {"torch": "Torch-Pruning", "keras": "keras_nas"}
# Relative difference up to which two float64 models count as the same function.
EQUAL = 1e-6
TEXT = """\
The same nets in Keras and in torch, cut by keras_nas and by
[Torch-Pruning](https://github.com/VainF/Torch-Pruning), on CPU, one thread, random
weights. Torch's convolutional nets and ViT-B/16 are those of torchvision, Keras's those of
`keras.applications` and a ViT-B/16 written with `MultiHeadAttention` (its class token and
positions are custom layers without a rule). Each number is that of one run in a process
of its own; a tiny model is cut before, so that imports and starts are in no number. The
machine was busy with other work, more at some times than at others: seconds are those of
the processor; the wall seconds in brackets say as much about that work.

    python -m benchmarks.peers
"""
ABOUT = {
    "ratio": f"""\
## One cut

{RATIO:.0%} of the channels of the whole net, the least important by the L2 norm of their
group. Torch-Pruning: `BasePruner(global_pruning=True, pruning_ratio={RATIO})`, classifier
ignored. keras_nas: `plan_prune(sparsity={RATIO}, importance="group_l2")`. *Analyse*: the
dependency graph and all groups (torch); wrapping the model and its axes (Keras). *Plan*:
which channels go. *Cut*: slicing the weights in place (torch); building a new Keras
model, the old one stays (Keras; its plan analyses a second time, which is counted).
*MACs left*: as each package counts them; nobody asked for a number here. *Peak*: growth
of the process over the loaded model; what it kept from making that model is used again
first, so it is less than all that was needed. ResNets have more parameters in Keras
because their convolutions have biases; only trainable ones are counted.""",
    "budget": f"""\
## A budget: {FRACTION:.0%} of the operations

keras_nas: one call, `prune(flops={FRACTION})`. Torch-Pruning has no budgets, users loop:
its own recipe (`progressive_pruning` in `reproduce/main.py`) takes small steps, here
{STEPS} for all channels, and counts after each until little enough is left. Fewer and
larger steps would take less time and miss the budget by more. *Unused*: how
much of the budget the result does not use, in percent of the budget; a loop that was
stopped after {{limit:.0f}} s of the processor did not reach it.""",
    "exact": f"""\
## Is the result the same function?

In float64, with random statistics, scales and shifts, images of {ORACLE_IMAGE} pixels
(ViT: 224). Where a package drops a channel, its weights, bias, gamma and beta are set to
zero in a copy of the whole net; the cut net must then compute the same. Largest
difference of the logits, relative to the largest logit. LayerNormalization averages over
the channels of a ViT's residual stream, so no cut of that stream can pass; the last row
holds it: in torch nothing is left but the first Dense of each MLP (attention is one
module), in Keras heads and their sizes may go as well. Where keys get smaller, the
difference left is that Keras rounds one over the root of their size to float32.""",
    "hard": f"""\
## Hard nets

Nets of a few layers, each picked because it is hard: gaps, not a rate of failure on
real models. Default options, {HARD_RATIO:.0%} of the channels of every layer, output layer
ignored, the same oracle in float64 (equal: relative difference at most {EQUAL:.0e}).
Torch-Pruning has options (`customized_pruners`, `unwrapped_parameters`, `num_heads`) with
which a user who knows the answer can help in some of these; a few cannot be solved in
torch, where sizes are constants in the code of `forward`.""",
    "others": """\
## Other packages

Installed from the registry into environments of their own beside Keras 3.15 and
TensorFlow 2.21, then the one call that they are there for. None of them cuts a model of
Keras 3.""",
}


def page(found: Mapping[str, Any]) -> str:
    """Returns the whole page; sections without results are left out."""
    parts = ["# Peers side by side\n", TEXT, *_versions(found)]
    tables: dict[str, Callable[[Mapping], str]] = {
        "ratio": _ratio_table,
        "budget": _budget_table,
        "exact": _exact_table,
        "hard": _hard_table,
        "others": _others_table,
    }
    about = ABOUT | {"budget": ABOUT["budget"].format(limit=_limit(found))}
    readings = {"ratio": _one_cut, "budget": partial(_less, memory=False), "hard": _tally}
    for kind, table in tables.items():
        if results := found.get(kind):
            parts += [f"{about[kind]}\n", table(results)]
            parts += [f"{readings[kind](results)}\n"] if kind in readings else []
    return "\n".join(parts)


def _versions(found: Mapping[str, Any]) -> Iterator[str]:
    for side, versions in found.get("versions", {}).items():
        yield f"{SIDES[side]}: {', '.join(f'{k} {v}' for k, v in versions.items())}.\n"


def _limit(found: Mapping[str, Any]) -> float:
    runs = [run for pair in found.get("budget", {}).values() for run in pair.values()]
    return max([run.get("stopped_s", 0.0) for run in runs] or [0.0])


def failure(run: Mapping[str, Any] | None) -> str | None:
    """Returns why a measurement has no numbers, if so."""
    if run is None:
        return "not measured"
    if "timeout_s" in run:
        return f"never ends: stopped after {run['timeout_s']:.0f} s of the processor"
    return run.get("error")


def _total(run: Mapping[str, Any], key: str = "cpu") -> float:
    return sum(run[key].values())


def _pairs(results: Mapping, names: Iterable[str]) -> Iterator[tuple]:
    for name in names:
        if name in results:
            yield name, results[name].get("torch"), results[name].get("keras")


def _ratio_table(results: Mapping) -> str:
    columns = ["net", "package", "parameters", "analyse", "plan", "cut"]
    columns += ["all: CPU s (wall)", "peak MB", "MACs left"]
    rows = []
    for name, *runs in _pairs(results, NETS):
        for side, run in zip(SIDES.values(), runs, strict=True):
            if failure(run):
                rows.append([name, side, failure(run), *[""] * 6])
                continue
            phases = [f"{run['cpu'][key]:.2f}" for key in ("analyse", "plan", "cut")]
            rows.append([name, side, f"{run['params']:,}", *phases, *_cost(run)])
            rows[-1].append(f"{run['left']:.1%}")
    return markdown_table(columns, rows)


def _cost(run: Mapping[str, Any]) -> list[str]:
    seconds = f"{_total(run):.1f} ({_total(run, 'wall'):.1f})"
    return [seconds, f"{run['peak_mb']:.0f}"]


def _budget_table(results: Mapping) -> str:
    columns = ["net", "package", "steps", "all: CPU s (wall)", "MACs left", "unused"]
    rows = []
    for name, *runs in _pairs(results, NETS):
        for side, run in zip(SIDES.values(), runs, strict=True):
            if failure(run):
                rows.append([name, side, failure(run), *[""] * 3])
                continue
            unused = f"{1 - run['left'] / FRACTION:.2%}"
            if run["left"] > FRACTION:
                unused = "stopped" if "stopped_s" in run else "not reached"
            left = f"{run['left']:.2%}"
            rows.append([name, side, run["steps"], _cost(run)[0], left, unused])
    return markdown_table(columns, rows)


def _one_cut(results: Mapping) -> str:
    """Says who needs less, and what keras_nas needs most of its time for."""
    runs = [pair["keras"] for pair in results.values() if not failure(pair.get("keras"))]
    shares = [run["cpu"]["cut"] / _total(run) for run in runs]
    text = _less(results, memory=True)
    if shares:
        text += (
            f" Building the new Keras model is {min(shares):.0%} to {max(shares):.0%} of "
            "what keras_nas takes; slicing tensors in place is all that torch needs."
        )
    return text


def _less(results: Mapping, *, memory: bool) -> str:
    """Says who needs less time, and maybe memory, on which nets."""
    times, memories = [], []
    for name, torch, keras in _pairs(results, NETS):
        if failure(torch) or failure(keras):
            continue
        # A loop that was stopped needs at least what it took so far.
        more = "more than " if "stopped_s" in torch else ""
        times.append((name, _total(torch) / _total(keras), more))
        if memory:
            memories.append((name, torch["peak_mb"] / keras["peak_mb"], ""))
    return " ".join(
        [*_sentences("processor time", times), *_sentences("peak memory", memories)]
    )


def _sentences(what: str, ratios: list[tuple[str, float, str]]) -> Iterator[str]:
    for side, wins in (
        ("Torch-Pruning", [(n, 1 / r, m) for n, r, m in ratios if r < 1 and not m]),
        ("keras_nas", [(n, r, m) for n, r, m in ratios if r >= 1]),
    ):
        if wins:
            names = ", ".join(f"{n} ({more}{r:.1f} times)" for n, r, more in wins)
            yield f"Less {what} with {side}: {names}."


def verdict(run: Mapping[str, Any] | None, *, may_differ: bool = False) -> str:
    """Returns what the oracle says about one cut, in words."""
    if failure(run):
        return _escaped(failure(run))
    if "run_error" in run:
        return _escaped(f"the result does not run: {run['run_error']}")
    if not run["removed"]:
        return "refuses: nothing removed"
    if run["difference"] is None:
        return "the outputs have another shape"
    size = f"{run['difference']:.0e}" if run["difference"] else "0"
    if run["difference"] > EQUAL:
        if may_differ:
            return f"runs; differs by {size}, as it must"
        return f"**wrong numbers**: off by {size}"
    if not run["ties"]:
        return f"equal ({size}), but the tie is broken: two weights now"
    return f"equal ({size})"


def _escaped(text: str) -> str:
    text = text.replace("|", "\\|")
    return text if len(text) <= 110 else f"{text[:107]}..."


def _exact_table(results: Mapping) -> str:
    rows = []
    for name, *runs in _pairs(results, (*NETS, HELD)):
        cells = [name]
        for run in runs:
            cells.append(verdict(run, may_differ=name == "ViT-B/16"))
            cells.append("" if not run or failure(run) else f"{run['removed']:.0%}")
        rows.append(cells)
    columns = ["net", "Torch-Pruning", "parameters removed"]
    return markdown_table([*columns, "keras_nas", "parameters removed"], rows)


def _hard_table(results: Mapping) -> str:
    rows = [
        [HARD[name], *map(verdict, runs)] for name, *runs in _pairs(results, HARD)
    ]
    return markdown_table(["what", *SIDES.values()], rows)


def _tally(results: Mapping) -> str:
    texts = []
    for side, title in SIDES.items():
        verdicts = [verdict(pair.get(side)) for pair in results.values()]
        good = sum(v.startswith("equal") and "tie" not in v for v in verdicts)
        texts.append(f"{title}: {good} of {len(verdicts)} equal")
    return f"{'; '.join(texts)}."


def _others_table(results: Mapping) -> str:
    rows = [[name, run["version"], run["outcome"]] for name, run in results.items()]
    return markdown_table(["package", "version", "what happens"], rows)
