"""What the commands do: load, ask the library, print, save."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_nas.cli.files import (
    check_target,
    load_model,
    read_table,
    save_model,
    write_text,
)
from keras_nas.errors import InvalidRequestError
from keras_nas.search.journal import plain


def summary(options: argparse.Namespace) -> None:
    """Prints the widths of a model."""
    import keras_nas as kn
    from keras_nas.graph import analyze
    from keras_nas.surgery import overview

    model = _load(options, options.model)
    if options.json:
        analysis = analyze(kn.Graph.from_model(model))
        _print_json({"vertices": [asdict(view) for view in overview(analysis)]})
    else:
        print(kn.summary(model))


def explain(options: argparse.Namespace) -> None:
    """Prints what ties the neurons of a layer."""
    import keras_nas as kn

    text = kn.explain(_load(options, options.model), options.layer)
    if options.json:
        _print_json({"layer": options.layer, "text": text.splitlines()})
    else:
        print(text)


def count(options: argparse.Namespace) -> None:
    """Prints what a model costs."""
    import keras_nas as kn

    counts = kn.count(_load(options, options.model))
    if options.json:
        _print_json(_totals(counts))
    else:
        print(counts)


def verify(options: argparse.Namespace) -> bool:
    """Compares two models on random inputs; returns whether they are equal."""
    import keras_nas as kn
    from keras_nas.surgery import compare_models

    first, second = _load(options, options.first), _load(options, options.second)
    verification = compare_models(first, second)
    if options.json:
        outputs = [asdict(check) for check in verification.outputs]
        _print_json({"is_equal": verification.is_equal, "outputs": outputs})
        return verification.is_equal
    print(verification)
    if not verification.is_equal:
        raise kn.InvalidRequestError(
            "The models are not the same function.\n\nThat is so after neurons that "
            "did something were dropped, or after training. "
            f"Received: {options.first!r} and {options.second!r}"
        )
    return True


def plot(options: argparse.Namespace) -> None:
    """Draws a model."""
    from keras_nas.plots import plot as draw

    endings = (".svg", ".png", ".pdf", ".dot")
    target = check_target(options.output, endings, force=options.force)
    draw(_load(options, options.model), target)
    options.say.result(f"Written: {target}")


def resize(options: argparse.Namespace) -> None:
    """Changes sizes."""
    requests = dict(options.requests)
    if len(requests) < len(options.requests):
        raise InvalidRequestError(
            "One layer has two sizes.\n\nGive each layer once. "
            f"Received: {[key for key, _ in options.requests]!r}"
        )
    given = {"free_outputs": options.free_outputs, "locked": options.locked}
    _change(options, lambda graph, keywords: graph.plan(requests, **given, **keywords))


def prune(options: argparse.Namespace) -> None:
    """Drops neurons until a budget is kept."""
    names = ("params", "flops", "memory", "latency", "sparsity")
    budgets = {name: getattr(options, name) for name in names}
    budgets = {name: value for name, value in budgets.items() if value is not None}
    if not budgets:
        raise InvalidRequestError(
            "Nothing says how much has to go.\n\nGive --flops 0.5, --params, --memory, "
            "--latency or --sparsity. Received: no budget"
        )
    budgets["ignore"] = tuple(options.ignore)
    if options.latency_table is not None:
        budgets["latency_table"] = read_table(options.latency_table)

    def make_plan(graph: Any, keywords: dict[str, Any]) -> Any:
        if "latency" in budgets and "latency_table" not in budgets:
            budgets["latency_table"] = _measured(options, graph, 1)
            options.say.step("Planning")
        return graph.plan_prune(**budgets, **keywords)

    _change(options, make_plan)


def latency(options: argparse.Namespace) -> None:
    """Measures how long every layer takes."""
    target = None
    if options.output is not None:
        target = check_target(options.output, (".json",), force=options.force)
    table = _measured(options, _load(options, options.model), options.batch_size)
    if target is not None:
        write_text(table.to_json(), target)
    if options.json:
        _print_json(json.loads(table.to_json()))
    else:
        print(table)
    if target is not None:
        options.say.result(f"Written: {target}")


def remove(options: argparse.Namespace) -> None:
    """Takes layers out."""
    import keras_nas as kn

    target = _target(options)
    graph = kn.Graph.from_model(_load(options, options.model))
    options.say.step("Removing")
    new = graph.remove(options.layers)
    before, after = kn.count(graph), kn.count(new)
    if target is not None:
        options.say.step("Building the new model")
        save_model(new.build(), target)
    if options.json:
        values = {"before": _totals(before), "after": _totals(after)}
        _print_json({**values, "output": None if target is None else str(target)})
    else:
        print(f"parameters: {before.params:,} -> {after.params:,}")
    if target is not None:
        options.say.result(f"Written: {target}")


def demo(options: argparse.Namespace) -> None:
    """Shows what the package does, on digits."""
    from keras_nas.demo import run_demo

    run_demo(options.epochs, options.seed)


def _change(options: argparse.Namespace, make_plan: Callable[..., Any]) -> None:
    """Loads a model, plans, and writes the new one."""
    import keras_nas as kn

    target = _target(options)
    keywords = {"importance": options.importance, "multiple_of": options.multiple_of}
    keywords = {key: value for key, value in keywords.items() if value is not None}
    graph = kn.Graph.from_model(_load(options, options.model))
    options.say.step("Planning")
    plan = make_plan(graph, keywords)
    if target is not None:
        options.say.step("Building the new model")
        save_model(plan.apply(), target)
    if options.json:
        _print_json(_plan_values(plan, target))
    else:
        print(plan)
    if target is not None:
        options.say.result(f"Written: {target}")


def _target(options: argparse.Namespace) -> Path | None:
    """Returns where the new model goes; None if nothing is written."""
    if options.dry_run:
        return None
    if options.output is None:
        raise InvalidRequestError(
            "Nobody said where the new model goes.\n\nGive -o OUT.keras, or --dry-run "
            "to see what would happen. Received: no output"
        )
    return check_target(options.output, (".keras",), force=options.force)


def _load(options: argparse.Namespace, path: str) -> Any:
    """Loads a model, and says so."""
    options.say.step(f"Loading {path}")
    return load_model(path, unsafe=options.unsafe)


def _measured(options: argparse.Namespace, model: Any, batch_size: int) -> Any:
    """Returns a new latency table; takes a while, and says so."""
    import keras_nas as kn

    options.say.step("Measuring every layer at several widths; this takes a minute")
    return kn.measure_latency(model, batch_size=batch_size)


def _plan_values(plan: Any, target: Any) -> dict[str, Any]:
    """Returns what a plan changes, for other programs."""
    sizes = [
        {"vertex": key, "axis": None, "old": plan.old_sizes[key], "new": size}
        if isinstance(key, str)
        else {"vertex": key[0], "axis": key[1], "old": plan.old_sizes[key], "new": size}
        for key, size in plan.sizes.items()
        if size != plan.old_sizes[key]
    ]
    values = {
        "sizes": sizes,
        "exact": plan.exact,
        "notes": list(plan.notes),
        "output": None if target is None else str(target),
    }
    if hasattr(plan, "counts"):
        values["before"] = _totals(plan.old_counts)
        values["after"] = _totals(plan.counts)
    return values


def _totals(counts: Any) -> dict[str, int]:
    names = ("params", "macs", "flops", "weight_bytes", "activation_bytes", "memory")
    return {name: int(getattr(counts, name)) for name in names}


def _print_json(values: dict[str, Any]) -> None:
    # NaN and infinity are no JSON.
    print(json.dumps(plain(values), indent=2))

