"""The annotations hold, and those who use the package see them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# What a user writes; reveal_type makes mypy say what it knows.
USE = """
import keras_nas as kn

graph = kn.Graph.from_model(None)
reveal_type(graph)
reveal_type(graph.resize("conv", 8).remove("dropout"))
plan = kn.plan(None, {"conv": 8})
reveal_type(plan)
reveal_type(plan.sizes)
reveal_type(plan.exact)
reveal_type(kn.plan_prune(None, flops=0.5))
reveal_type(kn.count(None).flops)
reveal_type(bool(kn.verify(None, plan)))
reveal_type(kn.summary(None))
reveal_type(kn.recipe(plan))
reveal_type(kn.measure_latency(None))
reveal_type(kn.KerasEvolver(seed=0).fit(None))
"""
REVEALED = [
    "keras_nas.surgery.graph.Graph",
    "keras_nas.surgery.graph.Graph",
    "keras_nas.surgery.plan.Plan",
    "typing.Mapping[Any, int]",
    "bool",
    "keras_nas.surgery.prune_plan.PrunePlan",
    "int",
    "bool",
    "str",
    "keras_nas.surgery.recipe.Recipe",
    "keras_nas.latency.table.LatencyTable",
    "keras_nas.search.result.SearchResult",
]

MISUSE = """
import keras_nas as kn

kn.Graph.from_model(None).connect("a")
kn.near("48")
kn.plan(None, "conv", 8).sises
kn.resize(None, "conv", 8).anything  # A Keras model, of which mypy knows nothing.
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """One cache for all runs, outside of the repository."""
    return tmp_path_factory.mktemp("mypy")


def mypy(cache: Path, *words: object) -> subprocess.CompletedProcess:
    """Runs mypy with the settings of this package, from the repository."""
    command = [sys.executable, "-m", "mypy", "--cache-dir", cache, *words]
    return subprocess.run(
        [str(word) for word in command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def check_text(cache: Path, folder: Path, text: str) -> list[str]:
    """Returns what mypy says about a user's file: one line for each remark."""
    path = folder / "use.py"
    path.write_text(text, encoding="utf-8")
    # Without the packages of setup.cfg, which stand for the file.
    settings = (REPOSITORY / "setup.cfg").read_text(encoding="utf-8")
    other = folder / "setup.cfg"
    other.write_text(settings.replace("packages = keras_nas\n", ""), encoding="utf-8")
    run = mypy(cache, "--config-file", other, path)
    lines = run.stdout.splitlines()
    return [line.partition("use.py:")[2] for line in lines if "use.py:" in line]


def test_package_satisfies_mypy(cache):
    run = mypy(cache)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no issues found" in run.stdout


def test_package_says_that_it_is_annotated():
    assert (REPOSITORY / "keras_nas" / "py.typed").is_file()


def test_users_see_the_types_of_what_they_call(cache, tmp_path):
    lines = check_text(cache, tmp_path, USE)
    revealed = [re.search(r'Revealed type is "(.*)"', line) for line in lines]
    assert [found and found[1] for found in revealed] == REVEALED


def test_mistakes_of_users_are_found(cache, tmp_path):
    lines = check_text(cache, tmp_path, MISUSE)
    kinds = [(line.split(":")[0], line.rpartition("[")[2]) for line in lines]
    assert kinds == [("4", "call-arg]"), ("5", "arg-type]"), ("6", "attr-defined]")]


def test_every_silenced_error_says_why():
    silenced = [
        line.strip()
        for path in sorted((REPOSITORY / "keras_nas").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "type: ignore" in line
    ]
    assert silenced, "the test looks for the wrong words"
    for line in silenced:
        assert re.search(r"# type: ignore\[[\w-]+\]  # \w", line), line
