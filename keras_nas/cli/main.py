"""The command line: ``keras-nas``, or ``python -m keras_nas``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from keras_nas.cli import commands
from keras_nas.cli.evolve import evolve
from keras_nas.cli.reading import fraction_or_count, layer_size, positive
from keras_nas.errors import KerasNasError

EPILOG = """\
Models are .keras files, as model.save('name.keras') writes them. Nothing is ever
overwritten without --force, and code inside of a file is never run. Exit status: 0 if
all went well, 1 after a mistake, which is printed, 2 for a command that cannot be read.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, or 1 after a mistake, which it prints.

    Args:
        arguments: Words of the command; those of the process by default.
    """
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        options.run(options)
    except KerasNasError as error:
        if getattr(options, "json", False):
            kind = type(error).__name__
            print(json.dumps({"error": {"type": kind, "message": str(error)}}))
        else:
            print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-nas",
        description="Change the architecture of trained Keras networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    every = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_looking(every)
    _add_resize(every)
    _add_prune(every)
    _add_evolve(every)
    _add_demo(every)
    return parser


def _add(every, name: str, run, text: str, *, json_too: bool = True):
    """Adds a command with its first line of help."""
    command = every.add_parser(name, help=text, description=text[0].upper() + text[1:])
    if json_too:
        command.add_argument(
            "--json", action="store_true", help="print JSON, for other programs"
        )
    command.set_defaults(run=run)
    return command


def _add_looking(every) -> None:
    summary = _add(every, "summary", commands.summary, "list the widths of a model")
    summary.add_argument("model", metavar="MODEL.keras")
    explain = _add(
        every,
        "explain",
        commands.explain,
        "say what ties the neurons of a layer, and what stops them",
    )
    explain.add_argument("model", metavar="MODEL.keras")
    explain.add_argument("layer", metavar="LAYER")
    count = _add(
        every, "count", commands.count, "count parameters, FLOPs and memory by layer"
    )
    count.add_argument("model", metavar="MODEL.keras")
    verify = _add(
        every,
        "verify",
        commands.verify,
        "run two models on the same random inputs and compare their outputs; exit "
        "status 1 if they differ",
    )
    verify.add_argument("first", metavar="A.keras")
    verify.add_argument("second", metavar="B.keras")
    plot = _add(
        every,
        "plot",
        commands.plot,
        "draw a model with its families of tied sizes",
        json_too=False,
    )
    plot.add_argument("model", metavar="MODEL.keras")
    _add_output(plot, "GRAPH.svg", "the picture: .svg, .png, .pdf or .dot")


def _add_resize(every) -> None:
    text = "change the number of neurons of layers"
    resize = _add(every, "resize", commands.resize, text)
    resize.add_argument("model", metavar="MODEL.keras")
    resize.add_argument(
        "requests",
        metavar="LAYER=N",
        nargs="+",
        type=layer_size,
        help="new size; LAYER:AXIS=N for a further width such as num_heads, LAYER=~N "
        "for the nearest possible size",
    )
    _add_choosing(resize)


def _add_prune(every) -> None:
    text = "drop the least important neurons until a budget is kept"
    prune = _add(every, "prune", commands.prune, text)
    prune.add_argument("model", metavar="MODEL.keras")
    for name, meaning in (
        ("params", "parameters that are left"),
        ("flops", "floating point operations that are left"),
        ("memory", "bytes of weights and activations that are left"),
    ):
        prune.add_argument(
            f"--{name}",
            type=fraction_or_count,
            metavar="X",
            help=f"{meaning}: 0.5 for half, a whole number for that many",
        )
    prune.add_argument(
        "--sparsity", type=float, metavar="X", help="fraction of neurons that go"
    )
    prune.add_argument(
        "--ignore", nargs="+", default=(), metavar="LAYER", help="layers to leave alone"
    )
    _add_choosing(prune)


def _add_evolve(every) -> None:
    text = "evolve a network for images; goes on with a run that was stopped"
    command = _add(every, "evolve", evolve, text)
    command.add_argument(
        "--data",
        required=True,
        metavar="digits|FILE.npz",
        help="the digits of scikit-learn, or a numpy file with arrays x and y",
    )
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FOLDER",
        help="of the journal and the models; the best one becomes best.keras there",
    )
    command.add_argument(
        "--model", metavar="MODEL.keras", help="what the first generation descends from"
    )
    for name, default, meaning in (
        ("population", 20, "candidates of a generation"),
        ("generations", 10, "how many"),
        ("steps", 100, "batches that a candidate is trained with in a generation"),
    ):
        command.add_argument(
            f"--{name}", type=positive, default=default, metavar="N",
            help=f"{meaning} ({default})",
        )  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of everything random (0)")


def _add_choosing(command) -> None:
    command.add_argument(
        "--importance",
        metavar="NAME",
        help="which neurons matter: l2, l1, group_l2, bn_scale, lamp, group_lamp, ...",
    )
    command.add_argument(
        "--multiple-of",
        type=positive,
        metavar="N",
        help="widths that change become multiples of N",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="print the plan and write nothing"
    )
    _add_output(command, "OUT.keras", "where the new model goes", required=False)


def _add_output(command, name: str, text: str, *, required: bool = True) -> None:
    command.add_argument("-o", "--output", metavar=name, required=required, help=text)
    command.add_argument(
        "--force", action="store_true", help="replace the file if it exists"
    )


def _add_demo(every) -> None:
    demo = every.add_parser(
        "demo",
        help="train on digits, halve a stage, grow it back, save and load",
        description="Trains a small network on scikit-learn's digits, halves a "
        "residual stage, shows the plan and the accuracies, grows it back and loads "
        "the result in plain Keras. Takes about a minute on two cores.",
    )
    demo.add_argument(
        "--epochs", type=positive, default=12, help="of the first training (12)"
    )
    demo.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    demo.set_defaults(run=commands.demo)
