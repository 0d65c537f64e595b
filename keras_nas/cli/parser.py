"""The words of every command, and its help."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any, NoReturn

from keras_nas.cli import commands
from keras_nas.cli.evolve import evolve
from keras_nas.cli.reading import (
    duration_or_fraction,
    fraction_or_count,
    layer_size,
    positive,
    whole,
)

EPILOG = """\
Models are .keras files, as model.save('name.keras') writes them. Nothing is ever
overwritten without --force, and code inside of a file is not run without --unsafe.

examples:
  keras-nas summary model.keras                   what there is, and what can change
  keras-nas resize model.keras conv2=48 -o new.keras
  keras-nas prune model.keras --flops 0.5 --multiple-of 8 -o new.keras
  keras-nas COMMAND --help                        all about one command

exit status:
  0    all went well
  1    it cannot be done, and the error says why; `verify`: the models differ
  2    the words are no command
  130  stopped by Ctrl-C
"""

EXAMPLES = {
    "summary": "keras-nas summary model.keras",
    "explain": "keras-nas explain model.keras block_4_add",
    "count": "keras-nas count model.keras --json",
    "verify": "keras-nas verify model.keras larger.keras",
    "plot": "keras-nas plot model.keras -o model.svg",
    "latency": "keras-nas latency model.keras -o table.json",
    "resize": """\
keras-nas resize model.keras conv2=48 -o new.keras
  keras-nas resize model.keras conv2=~48 dense=100 --dry-run
  keras-nas resize model.keras attention:num_heads=4 -o new.keras""",
    "prune": """\
keras-nas prune model.keras --flops 0.5 -o small.keras
  keras-nas prune model.keras --params 100000 --multiple-of 8 --dry-run
  keras-nas prune model.keras --latency 5ms --latency-table table.json -o fast.keras""",
    "remove": "keras-nas remove model.keras block_5_add dropout -o shorter.keras",
    "evolve": "keras-nas evolve --data digits --generations 5 -o run",
    "demo": "keras-nas demo --epochs 3",
}


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are JSON where the results would have been, too."""

    as_json = False

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong with the words, and ends with status 2."""
        if self.as_json:
            print(json.dumps({"error": {"type": "UsageError", "message": message}}))
            self.exit(2)
        super().error(message)


def make_parser(*, as_json: bool = False) -> argparse.ArgumentParser:
    """Returns the parser of all commands.

    Args:
        as_json: Whether its complaints are printed as JSON.
    """
    Parser.as_json = as_json
    parser = Parser(
        prog="keras-nas",
        description="Change the architecture of trained Keras networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    every = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_looking(every)
    _add_latency(every)
    _add_resize(every)
    _add_prune(every)
    _add_remove(every)
    _add_evolve(every)
    _add_demo(every)
    return parser


class _Version(argparse.Action):
    """Prints the versions of this package and of Keras."""

    def __init__(self, option_strings: list[str], dest: str, **settings: Any):
        text = "print the versions and end"
        super().__init__(option_strings, dest, nargs=0, help=text)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import keras

        import keras_nas as kn

        backend = f"Keras {keras.__version__} on {keras.config.backend()}"
        print(f"keras-nas {kn.__version__} ({backend})")
        parser.exit()


def _add(
    every: Any,
    name: str,
    run: Callable[[argparse.Namespace], Any],
    text: str,
    *,
    json_too: bool = True,
) -> argparse.ArgumentParser:
    """Adds a command with its first line of help, and what all commands take."""
    command: argparse.ArgumentParser = every.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {EXAMPLES[name]}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if json_too:
        command.add_argument(
            "--json", action="store_true", help="print JSON, errors too, for programs"
        )
    loud = command.add_mutually_exclusive_group()
    loud.add_argument(
        "-q", "--quiet", action="store_true", help="print results and errors alone"
    )
    loud.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="tell every step, even if this is no terminal",
    )
    command.set_defaults(run=run)
    return command


def _add_model(command: Any, *names: str) -> None:
    for name in names or ("model",):
        shown = "MODEL.keras" if name == "model" else name.upper() + ".keras"
        command.add_argument(name, metavar=shown, help="file of a whole model")
    _add_unsafe(command)


def _add_unsafe(command: Any, code: str = "Lambda layers, custom classes") -> None:
    command.add_argument(
        "--unsafe",
        action="store_true",
        help=f"load models with Python code in them ({code}), which may then do "
        "anything; for files that you trust",
    )


def _add_looking(every: Any) -> None:
    text = "list the layers of a model, their widths and what can change"
    _add_model(_add(every, "summary", commands.summary, text))
    text = "say what ties the neurons of a layer, and what stops them"
    explain = _add(every, "explain", commands.explain, text)
    _add_model(explain)
    explain.add_argument("layer", metavar="LAYER", help="its name, as `summary` has it")
    text = "count parameters, FLOPs and memory by layer"
    _add_model(_add(every, "count", commands.count, text))
    text = "run two models on the same random inputs and compare their outputs"
    _add_model(_add(every, "verify", commands.verify, text), "first", "second")
    text = "draw a model with its families of tied sizes"
    plot = _add(every, "plot", commands.plot, text, json_too=False)
    _add_model(plot)
    _add_output(plot, "GRAPH.svg", "the picture: .svg, .png, .pdf or .dot")


def _add_latency(every: Any) -> None:
    text = "measure how long every layer takes on this machine, at several widths"
    command = _add(every, "latency", commands.latency, text)
    _add_model(command)
    command.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="samples that run together (1)",
    )
    meaning = "keeps the table for `prune --latency-table`"
    _add_output(command, "TABLE.json", meaning, required=False)


def _add_resize(every: Any) -> None:
    text = "change the number of neurons of layers, and of all that is tied to them"
    resize = _add(every, "resize", commands.resize, text)
    _add_model(resize)
    resize.add_argument(
        "requests",
        metavar="LAYER=N",
        nargs="+",
        type=layer_size,
        help="new size; LAYER:AXIS=N for a further width such as num_heads, LAYER=~N "
        "for the nearest possible size",
    )
    resize.add_argument(
        "--free-outputs",
        action="store_true",
        help="outputs of the model may change with the rest",
    )
    resize.add_argument(
        "--locked", nargs="+", default=(), metavar="LAYER", help="layers to leave alone"
    )
    _add_choosing(resize)


def _add_prune(every: Any) -> None:
    text = "drop the least important neurons until a budget is kept"
    prune = _add(every, "prune", commands.prune, text)
    _add_model(prune)
    budgets = prune.add_argument_group("budgets, one or several")
    for name, meaning in (
        ("params", "parameters that are left"),
        ("flops", "floating point operations that are left"),
        ("memory", "bytes of weights and activations that are left"),
    ):
        budgets.add_argument(
            f"--{name}",
            type=fraction_or_count,
            metavar="X",
            help=f"{meaning}: 0.5 for half, a whole number for that many",
        )
    budgets.add_argument(
        "--latency",
        type=duration_or_fraction,
        metavar="X",
        help="time that one sample takes: 0.5 for half, or 5ms, 200us, 0.01s; measures "
        "all layers first",
    )
    budgets.add_argument(
        "--sparsity", type=float, metavar="X", help="fraction of neurons that go"
    )
    prune.add_argument(
        "--latency-table",
        metavar="TABLE.json",
        help="what `latency` has measured before; saves measuring again",
    )
    prune.add_argument(
        "--ignore", nargs="+", default=(), metavar="LAYER", help="layers to leave alone"
    )
    _add_choosing(prune)


def _add_remove(every: Any) -> None:
    text = "take layers out; what read them reads what they read"
    remove = _add(every, "remove", commands.remove, text)
    _add_model(remove)
    remove.add_argument("layers", nargs="+", metavar="LAYER", help="all go at once")
    _add_target(remove)


def _add_evolve(every: Any) -> None:
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
    _add_unsafe(command, "classes of other packages; Lambda layers cannot evolve")
    for name, default, meaning in (
        ("population", 20, "candidates of a generation"),
        ("generations", 10, "how many"),
        ("steps", 100, "batches that a candidate is trained with in a generation"),
    ):
        command.add_argument(
            f"--{name}", type=positive, default=default, metavar="N",
            help=f"{meaning} ({default})",
        )  # fmt: skip
    _add_seed(command)


def _add_demo(every: Any) -> None:
    text = "train on digits, halve a stage, grow it back, save and load"
    demo = _add(every, "demo", commands.demo, text, json_too=False)
    demo.add_argument(
        "--epochs",
        type=positive,
        default=12,
        metavar="N",
        help="of the first training (12, under a minute on two cores)",
    )
    _add_seed(demo)


def _add_choosing(command: Any) -> None:
    command.add_argument(
        "--importance",
        metavar="NAME",
        help="which neurons matter: l2, l1, group_l2, bn_scale, lamp, group_lamp, ...",
    )
    command.add_argument(
        "--multiple-of",
        type=positive,
        metavar="N",
        help="output widths that change become multiples of N",
    )
    _add_target(command)


def _add_target(command: Any) -> None:
    command.add_argument(
        "--dry-run", action="store_true", help="print the plan and write nothing"
    )
    _add_output(command, "OUT.keras", "where the new model goes", required=False)


def _add_seed(command: Any) -> None:
    command.add_argument(
        "--seed", type=whole, default=0, metavar="N", help="of everything random (0)"
    )


def _add_output(command: Any, name: str, text: str, *, required: bool = True) -> None:
    command.add_argument("-o", "--output", metavar=name, required=required, help=text)
    command.add_argument(
        "--force", action="store_true", help="replace the file if it exists"
    )
