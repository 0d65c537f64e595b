"""Measures keras_nas beside Torch-Pruning, and tries what else there is.

    python -m benchmarks.peers                         all that has no result yet
    python -m benchmarks.peers ratio budget            these measurements only
    python -m benchmarks.peers exact --net ResNet50 --again
    python -m benchmarks.peers tables                  from the results so far

Each package gets an environment of its own from the registry (``--environments`` keeps
them), each measurement a process of its own. Its result is stored at once, so that a
stopped run can go on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import RESULTS
from benchmarks.peers import report
from benchmarks.peers.common import HARD, HELD, NETS
from benchmarks.peers.environments import (
    OTHERS,
    PACKAGES,
    ROOT,
    last_line,
    make,
    try_other,
    versions,
)

RAW = RESULTS / "peers.json"
ITEMS = {
    "ratio": NETS,
    "budget": NETS,
    "exact": (*NETS, HELD),
    "hard": tuple(HARD),
    "others": tuple(OTHERS),
}
HARD_LIMIT_S = 60.0
# Against what sleeps; all other limits are seconds of the processor.
WALL_LIMIT_S = 3600.0
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
}


def main() -> None:
    arguments = _arguments()
    if arguments.kinds != ["tables"]:
        if arguments.environments:
            _run(arguments, arguments.environments.resolve())
        else:
            with tempfile.TemporaryDirectory() as directory:
                _run(arguments, Path(directory))
    (RESULTS / "peers.md").write_text(report.page(_load()), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("kinds", nargs="*", choices=[*ITEMS, "tables", []])
    parser.add_argument("--environments", type=Path, help="a folder that keeps them")
    parser.add_argument("--side", choices=PACKAGES, action="append")
    parser.add_argument("--net", action="append", help="a net, case or package")
    parser.add_argument("--again", action="store_true", help="measure anew")
    parser.add_argument("--limit", type=float, default=300.0, help="CPU seconds of a loop")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, directory: Path) -> None:
    pythons: dict[str, Path] = {}
    for kind, name, side in _jobs(arguments):
        done = _load().get(kind, {}).get(name, {})
        if not arguments.again and (done if side == "other" else side in done):
            continue
        if side == "other":
            _store(kind, name, None, try_other(directory, name))
            continue
        if side not in pythons:
            pythons[side] = make(directory, side, PACKAGES[side])
            _store("versions", side, None, versions(pythons[side]))
        limit_s = HARD_LIMIT_S if kind == "hard" else arguments.limit
        result = _measure(pythons[side], side, kind, name, limit_s)
        print(kind, name, side, json.dumps(result), flush=True)
        _store(kind, name, side, result)


def _jobs(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    for kind in arguments.kinds or ITEMS:
        for name in ITEMS[kind]:
            if arguments.net and name not in arguments.net:
                continue
            sides = ["other"] if kind == "others" else arguments.side or PACKAGES
            for side in sides:
                yield kind, name, side


def _measure(
    python: Path, side: str, kind: str, name: str, limit_s: float
) -> dict[str, Any]:
    """Runs one measurement in a process of its own, politely, on one thread."""
    command = ["nice", "-n", "10", str(python), "-m", f"benchmarks.peers.{side}_side"]
    command += [kind, name, str(limit_s)]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}

    def limit_processor() -> None:
        seconds = int(limit_s)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WALL_LIMIT_S,
            preexec_fn=limit_processor if kind == "hard" else None,
        )
    except subprocess.TimeoutExpired:
        return {"timeout_s": WALL_LIMIT_S}
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"timeout_s": limit_s}
    if done.returncode:
        return {"error": last_line(done.stderr)}
    return json.loads(done.stdout.splitlines()[-1])


def _load() -> dict[str, Any]:
    return json.loads(RAW.read_text(encoding="utf-8")) if RAW.exists() else {}


def _store(kind: str, name: str, side: str | None, result: Any) -> None:
    found = _load()
    place = found.setdefault(kind, {})
    if side is None:
        place[name] = result
    else:
        place.setdefault(name, {})[side] = result
    new = RAW.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    # All at once, so that others who measure meanwhile never read half a file.
    new.replace(RAW)


if __name__ == "__main__":
    main()
