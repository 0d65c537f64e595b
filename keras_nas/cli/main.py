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
        _print_error(error, getattr(options, "json", False))
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


def _print_error(error: KerasNasError, as_json: bool) -> None:
    if as_json:
        kind = type(error).__name__
        print(json.dumps({"error": {"type": kind, "message": str(error)}}))
    else:
        print(f"error: {error}", file=sys.stderr)
