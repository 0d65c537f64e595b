"""Runs the notebooks from top to bottom and stores what their cells show.

python -m benchmarks.notebooks                    all of them, some ten minutes
python -m benchmarks.notebooks quick_tour         one of them

Needs the extras ``tensorflow`` and ``test``. What libraries say about this machine on
the error stream is printed here, and not stored.
"""

from __future__ import annotations

import argparse
import time

import nbformat

from tests import notebook_runs as runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [path.stem for path in runs.paths()]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    names = parser.parse_args().names
    unknown = set(names) - set(known)
    if unknown:
        parser.error(f"no notebooks: {sorted(unknown)}; there are {', '.join(known)}")
    for path in runs.paths():
        if names and path.stem not in names:
            continue
        start = time.perf_counter()
        shown = runs.run(runs.read(path), timeout_s=1200)
        beside = runs.error_stream(shown)
        if beside:
            print(beside)
        nbformat.write(runs.cleaned(shown), path)
        seconds = time.perf_counter() - start
        print(f"{path.name}: {seconds:.0f} s, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
