"""What is built, what is in it, and whether it works without the extras."""

from __future__ import annotations

import configparser
import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")

# Everything that is only there with an extra, or by chance. What keras_nas itself
# needs from the backend is found out by Keras.
OPTIONAL = ("matplotlib", "sklearn", "pydot", "graphviz", "ray", "dask", "pytest", "IPython")

# As if they were not installed.
BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""

USE = """
import runpy
import keras
import keras_nas as kn
from keras_nas.cli import main

x = inputs = keras.Input((4,), name="input")
x = keras.layers.Dense(6, name="first")(x)
x = keras.layers.Add(name="add")([x, keras.layers.Dense(6, name="second")(inputs)])
model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
plan = kn.plan(model, "first", 3, solver="highs")
print(kn.__file__)
print(plan.sizes["second"], plan.apply().get_layer("second").units)
print(main(["explain", "nowhere.keras", "first", "--json"]))
# `python -m keras_nas --help`
sys.argv = ["keras_nas", "--help"]
runpy.run_module("keras_nas", run_name="__main__")
"""


def python(*words: object, folder: Path, **environment: str) -> str:
    """Runs the interpreter of the tests in another folder; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def build(source: Path, kind: str, target: Path) -> Path:
    """Builds with setuptools as pip would, but without the network."""
    call = f"import setuptools.build_meta as b; print(b.build_{kind}({str(target)!r}))"
    name = python("-c", call, folder=source).splitlines()[-1]
    return target / name


def packed(wheel: Path) -> dict[str, bytes]:
    """Path in a wheel -> content."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The sdist and the wheel of a copy of the repository."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(REPOSITORY / name, source / name)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("keras_nas", "tests"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
    return build(source, "sdist", folder), build(source, "wheel", folder)


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """A folder with nothing in it but the installed wheel."""
    target = tmp_path_factory.mktemp("site")
    words = ("--no-deps", "--no-index", "--quiet", "--target", target)
    python("-m", "pip", "install", *words, built[1], folder=target)
    return target


def test_wheel_holds_the_package_and_nothing_else(built):
    names = {name for name in packed(built[1]) if ".dist-info/" not in name}
    modules = {
        str(path.relative_to(REPOSITORY))
        for path in REPOSITORY.glob("keras_nas/**/*.py")
        if (path.parent / "__init__.py").is_file()
    }
    pages = {
        str(path.relative_to(REPOSITORY))
        for path in REPOSITORY.glob("keras_nas/docs/pages/**/*.*")
    }
    assert pages
    assert names == {*modules, *pages, "keras_nas/py.typed"}


def test_wheel_says_what_it_is(built):
    files = {name.rpartition("/")[2]: text for name, text in packed(built[1]).items()}
    facts = email.message_from_bytes(files["METADATA"])
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    assert facts["Name"] == "keras-nas" and facts["Requires-Python"] == ">=3.10"
    needed = [n for n in facts.get_all("Requires-Dist") if "extra ==" not in n]
    wanted = settings["options"]["install_requires"].split()
    assert sorted(needed) == sorted(wanted) and len(needed) == 4
    extras = set(settings["options.extras_require"])
    assert set(facts.get_all("Provides-Extra")) == extras
    assert facts["License"] == "MIT" and b"MIT License" in files["LICENSE"]
    assert "# keras_nas" in facts.get_payload()
    assert "keras-nas = keras_nas.cli:main" in files["entry_points.txt"].decode()


def test_sdist_builds_the_same_wheel(built, tmp_path):
    with tarfile.open(built[0]) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    inside = {name.partition("/")[2] for name in names}
    # Newer setuptools pack the tests by themselves, which is well.
    assert not any(name.startswith(("benchmarks", "notebooks")) for name in inside)
    assert {"setup.cfg", "LICENSE", "README.md", "keras_nas/py.typed"} <= inside
    again = packed(build(source, "wheel", tmp_path))
    assert again == packed(built[1])


def test_installed_package_works_without_the_extras(installed, tmp_path):
    code = BLOCK.format(names=OPTIONAL) + USE
    lines = python(
        "-c", code, folder=tmp_path, PYTHONPATH=str(installed)
    ).splitlines()
    assert Path(lines[0]).parents[1] == installed
    assert lines[1] == "3 3"
    assert "InvalidRequestError" in lines[2] and lines[3] == "1"
    assert lines[4].startswith("usage: keras-nas")
    assert any("prune" in line for line in lines[5:])


def test_missing_backend_is_named_and_the_others_are_offered(installed, tmp_path):
    code = BLOCK.format(names=("torch", "tensorflow")) + (
        "try:\n"
        "    import keras_nas\n"
        "except ImportError as error:\n"
        "    print(type(error).__name__, error, sep=': ')\n"
    )
    text = python(
        "-c", code, folder=tmp_path, PYTHONPATH=str(installed), KERAS_BACKEND="torch"
    )
    assert text.startswith("BackendError: Keras cannot start with the backend 'torch'")
    assert "pip install torch" in text and "KERAS_BACKEND=tensorflow" not in text
    assert text.endswith("Received: backend 'torch'\n")
