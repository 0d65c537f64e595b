"""Builds the documentation site: ``python -m keras_nas.docs OUT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from keras_nas.docs.building import build_site
from keras_nas.errors import KerasNasError


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the site; returns 0, or 1 after a mistake, which it prints.

    Args:
        arguments: Words of the command; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m keras_nas.docs",
        description="Build the documentation site of keras_nas.",
    )
    parser.add_argument("out", metavar="OUT", help="folder of the site")
    parser.add_argument(
        "--force", action="store_true", help="overwrite what is in the folder"
    )
    options = parser.parse_args(arguments)
    try:
        print(build_site(options.out, force=options.force))
    except KerasNasError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
