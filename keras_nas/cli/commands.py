"""What the commands do: load, ask the library, print, save."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from keras_nas.cli.files import check_target, load_model, save_model
from keras_nas.errors import InvalidRequestError


def summary(options: argparse.Namespace) -> None:
    """Prints the widths of a model."""
    import keras_nas as kn
    from keras_nas.graph import analyze
    from keras_nas.surgery import overview

    model = load_model(options.model)
    if options.json:
        analysis = analyze(kn.Graph.from_model(model))
        _print_json({"vertices": [asdict(view) for view in overview(analysis)]})
    else:
        print(kn.summary(model))


def explain(options: argparse.Namespace) -> None:
    """Prints what ties the neurons of a layer."""
    import keras_nas as kn

    text = kn.explain(load_model(options.model), options.layer)
    if options.json:
        _print_json({"layer": options.layer, "text": text.splitlines()})
    else:
        print(text)


def count(options: argparse.Namespace) -> None:
    """Prints what a model costs."""
    import keras_nas as kn

    counts = kn.count(load_model(options.model))
    if options.json:
        _print_json(_totals(counts))
    else:
        print(counts)


def verify(options: argparse.Namespace) -> None:
    """Compares two models on random inputs."""
    import keras_nas as kn
    from keras_nas.surgery import compare_models

    first, second = load_model(options.first), load_model(options.second)
    verification = compare_models(first, second)
    if options.json:
        outputs = [asdict(check) for check in verification.outputs]
        _print_json({"is_equal": verification.is_equal, "outputs": outputs})
    else:
        print(verification)
    if not verification.is_equal:
        raise kn.InvalidRequestError(
            "The models are not the same function.\n\nThat is so after neurons that "
            "did something were dropped, or after training. "
            f"Received: {options.first!r} and {options.second!r}"
        )


def plot(options: argparse.Namespace) -> None:
    """Draws a model."""
    from keras_nas.plots import plot as draw

    endings = (".svg", ".png", ".pdf", ".dot")
    target = check_target(options.output, endings, force=options.force)
    draw(load_model(options.model), target)
    _say(f"Written: {target}")


def resize(options: argparse.Namespace) -> None:
    """Changes sizes."""
    requests = dict(options.requests)
    if len(requests) < len(options.requests):
        raise InvalidRequestError(
            "One layer has two sizes.\n\nGive each layer once. "
            f"Received: {[key for key, _ in options.requests]!r}"
        )
    _change(options, lambda graph, keywords: graph.plan(requests, **keywords))


def prune(options: argparse.Namespace) -> None:
    """Drops neurons until a budget is kept."""
    names = ("params", "flops", "memory", "sparsity")
    budgets = {name: getattr(options, name) for name in names}
    budgets = {name: value for name, value in budgets.items() if value is not None}
    if not budgets:
        raise InvalidRequestError(
            "Nothing says how much has to go.\n\nGive --flops 0.5, --params, --memory "
            "or --sparsity. Received: no budget"
        )
    budgets["ignore"] = tuple(options.ignore)
    _change(options, lambda graph, kw: graph.plan_prune(**budgets, **kw))


def demo(options: argparse.Namespace) -> None:
    """Shows what the package does, on digits."""
    from keras_nas.demo import run_demo

    run_demo(options.epochs, options.seed)


def _change(options: argparse.Namespace, make_plan: Any) -> None:
    """Loads a model, plans, and writes the new one."""
    import keras_nas as kn

    target = None
    if not options.dry_run:
        if options.output is None:
            raise InvalidRequestError(
                "Nobody said where the new model goes.\n\nGive -o OUT.keras, or "
                "--dry-run to see the plan alone. Received: no output"
            )
        target = check_target(options.output, (".keras",), force=options.force)
    keywords = {"importance": options.importance, "multiple_of": options.multiple_of}
    keywords = {key: value for key, value in keywords.items() if value is not None}
    _say(f"Loading {options.model}")
    graph = kn.Graph.from_model(load_model(options.model))
    _say("Planning")
    plan = make_plan(graph, keywords)
    if target is not None:
        _say("Building the new model")
        save_model(plan.apply(), target)
    if options.json:
        _print_json(_plan_values(plan, target))
    else:
        print(plan)
    if target is not None:
        _say(f"Written: {target}")


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
    print(json.dumps(values, indent=2))


def _say(text: str) -> None:
    """Tells how far the work is, apart from its result."""
    print(text, file=sys.stderr, flush=True)
