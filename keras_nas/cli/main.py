"""The command line: ``keras-nas``, or ``python -m keras_nas``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from keras_nas.cli.parser import make_parser
from keras_nas.cli.saying import Saying
from keras_nas.errors import KerasNasError

DONE, IMPOSSIBLE, INTERRUPTED = 0, 1, 130
# What errors advise in Python, as it is said here.
IN_THE_SHELL = {
    "`keras_nas.near`": "LAYER=~N",
    "`free_outputs=True`": "--free-outputs",
    "a keyword such as `bounds` or `locked`": "an option such as --locked",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command, and prints what is wrong with it instead of a traceback.

    Args:
        arguments: Words of the command; those of the process by default.

    Returns:
        The exit status: 0 if all went well, 1 for what cannot be done (and for models
        that `verify` finds different), 130 after Ctrl-C.

    Raises:
        SystemExit: With status 2: the words are no command. With 0: after ``--help``.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = make_parser(as_json="--json" in words).parse_args(words)
    options.say = Saying(options.quiet, options.verbose)
    try:
        is_equal = options.run(options)
        sys.stdout.flush()
    except KerasNasError as error:
        _print_error(type(error).__name__, str(error), getattr(options, "json", False))
        return IMPOSSIBLE
    except MemoryError as error:
        text = (
            "The memory is not enough for this.\n\nAsk for a smaller model. "
            f"Received: {str(error) or 'no more memory'}"
        )
        _print_error("MemoryError", text, getattr(options, "json", False))
        return IMPOSSIBLE
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output (`head`, say) has seen enough. Python would complain
        # once more when it ends and empties the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return IMPOSSIBLE
    return IMPOSSIBLE if is_equal is False else DONE


def _print_error(kind: str, text: str, as_json: bool) -> None:
    for call, words in IN_THE_SHELL.items():
        text = text.replace(call, words)
    if as_json:
        print(json.dumps({"error": {"type": kind, "message": text}}))
    else:
        print(f"error: {text}", file=sys.stderr)
