"""The contract holds on the other backends, too; each runs in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import keras
import pytest
import test_contract
from models import ZOO

ROOT = Path(__file__).resolve().parents[1]
OTHERS = [b for b in ("tensorflow", "jax", "torch") if b != keras.backend.backend()]
# JAX is slow because it compiles. It need not compile well, nor anything twice.
COMPILER = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_contract_holds_on_backend(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.fail(
            f"{backend} is not installed.\n\nThe tests need all three backends: "
            'python -m pip install -e ".[tensorflow,test]"',
            pytrace=False,
        )
    tests = ["tests/test_contract.py"]
    if backend == "jax":
        # All of them would take a third of the time of all tests.
        function = test_contract.test_contract_holds_for_model.__name__
        tests = [f"{tests[0]}::{function}[{name}]" for name in one_for_each_rule()]
    environment = {
        "KERAS_BACKEND": backend,
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        **COMPILER,
    }
    run_tests(tests, environment)


def run_tests(tests: list[str], environment: Mapping[str, str]) -> None:
    """Runs tests in a new process; fails with what it prints if they do."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
        + tests,
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    if done.returncode != 0 or int(passed[1]) < len(tests):
        pytest.fail(f"{done.stdout[-20_000:]}\n{done.stderr[-2_000:]}", pytrace=False)


def one_for_each_rule() -> list[str]:
    """Chooses models of the zoo that have every class of the zoo among them.

    Greedily: always the model with most classes that no chosen one has.
    """
    classes = {name: test_contract.classes_of(name) for name in ZOO}
    missing = set().union(*classes.values())
    chosen = []
    while missing:
        best = max(classes, key=lambda name: len(classes[name] & missing))
        missing -= classes[best]
        chosen.append(best)
    return chosen
