"""The command line: ``python -m keras_nas``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from keras_nas.errors import KerasNasError


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
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_nas",
        description="Change the architecture of trained Keras networks.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train on digits, halve a stage, grow it back, save and load",
        description="Trains a small network on scikit-learn's digits, halves a "
        "residual stage, shows the plan and the accuracies, grows it back and loads "
        "the result in plain Keras. Takes about a minute on two cores.",
    )
    demo.add_argument(
        "--epochs", type=_positive, default=12, help="of the first training (12)"
    )
    demo.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    demo.set_defaults(run=_run_demo)
    return parser


def _run_demo(options: argparse.Namespace) -> None:
    from keras_nas.demo import run_demo

    run_demo(options.epochs, options.seed)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but is {number}")
    return number
