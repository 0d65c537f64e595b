"""Imports point one way, from errors up to the command line; Keras keeps to its place.

Every import is found with `ast`, those inside functions and under `TYPE_CHECKING`
included: an upward import for an annotation is an upward import.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "keras_nas"

# From the bottom to the top. A module imports from its own entry and from those above
# it in this list. `importance` sits below `surgery` because resizing ranks neurons by
# their weights unless told otherwise. "__init__" is the package itself: what the
# entries after it import as `keras_nas`.
ORDER = (
    "errors",
    "numeric",
    "requirements",
    "charts",
    "records",
    "axes",
    "rules",
    "graph",
    "milp",
    "importance",
    "latency",
    "surgery",
    "training",
    "search",
    "plots",
    "__init__",
    "demo",
    "cli",
    "docs",
    "__main__",
)

# The packages from outside the standard library that each entry knows. `ml_dtypes` is a
# dependency of every Keras that this package accepts.
OUTSIDE = {
    "errors": set(),
    "numeric": set(),
    "requirements": {"keras"},
    "charts": {"numpy", "matplotlib"},
    "records": set(),
    "axes": {"numpy"},
    "rules": {"numpy", "keras"},
    # typing_extensions is for the type checker only, which brings it along.
    "graph": {"numpy", "keras", "ml_dtypes", "typing_extensions"},
    "milp": {"numpy", "pyomo", "highspy"},
    # The backends in its one file that differentiates.
    "importance": {"numpy", "keras", "tensorflow", "jax", "torch"},
    # And in its one file that takes the time.
    "latency": {"numpy", "keras", "tensorflow", "jax", "torch"},
    "surgery": {"numpy", "keras"},
    "training": {"numpy", "keras"},
    # rich comes with Keras; the others are there if asked for.
    "search": {"numpy", "keras", "rich", "matplotlib", "ray"},
    "plots": {"numpy", "keras"},
    "__init__": set(),
    "demo": {"numpy", "keras", "sklearn"},
    "cli": {"numpy", "keras", "sklearn"},
    "docs": {"docutils", "furo", "myst_parser", "sphinx"},
    "__main__": set(),
}

# What must not be reached from an entry through the other entries either.
KEPT_APART = {"axes": {"keras", "pyomo"}, "milp": {"keras"}, "graph": {"pyomo"}}

PRIVATE_TO_KERAS = {
    "_keras_history",
    "_inbound_nodes",
    "_outbound_nodes",
    "_nodes",
    "_nodes_by_depth",
    "_operations",
    "_functional",
    "_inputs_struct",
    "_outputs_struct",
    "_compile_config",
}
PRIVATE_FOLDER = "keras_nas.graph.keras_private"
# Underscored, but documented by the standard library as public.
PUBLIC_ALL_THE_SAME = {"_replace", "_asdict", "_fields", "_make", "_field_defaults"}


class Source:
    """The parsed modules of one package: dotted name -> syntax tree."""

    def __init__(self, folder: Path):
        self.name = folder.name
        self.trees: dict[str, ast.Module] = {}
        self.packages: set[str] = set()
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            self.trees[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
            if is_package:
                self.packages.add(name)

    def entry(self, module: str) -> str:
        """The entry of `ORDER` that a module of this package belongs to."""
        return (module.split(".") + ["__init__"])[1]

    def imports(self, module: str) -> Iterator[str]:
        """Dotted names of the modules that one module imports."""
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(module, node)
                for alias in node.names:
                    longer = f"{base}.{alias.name}"
                    yield longer if longer in self.trees else base

    def _absolute(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module
        parts = module.split(".")
        up = node.level - (module in self.packages)
        base = parts[: len(parts) - up]
        return ".".join(base + ([node.module] if node.module else []))

    def inside(self, module: str) -> set[str]:
        """The modules of this package that one module imports."""
        names = (name for name in self.imports(module))
        return {name for name in names if name.split(".")[0] == self.name}

    def outside(self, module: str) -> set[str]:
        """The top-level packages that one module imports from elsewhere."""
        roots = {name.split(".")[0] for name in self.imports(module)}
        return roots - {self.name} - sys.stdlib_module_names


def upward_imports(source: Source) -> list[str]:
    """Every import of a module from an entry that stands later in `ORDER`."""
    found = []
    for module in source.trees:
        here = ORDER.index(source.entry(module))
        for target in sorted(source.inside(module)):
            if ORDER.index(source.entry(target)) > here:
                found.append(f"{module} imports {target}")
    return found


def foreign_imports(source: Source) -> list[str]:
    """Every import of an outside package that the module's entry may not know."""
    found = []
    for module in source.trees:
        for name in sorted(source.outside(module) - OUTSIDE[source.entry(module)]):
            found.append(f"{module} imports {name}")
    return found


def reached_imports(source: Source) -> list[str]:
    """Every outside package that an entry of `KEPT_APART` reaches all the same."""
    found = []
    for entry, banned in KEPT_APART.items():
        seen = {name for name in source.trees if source.entry(name) == entry}
        todo = list(seen)
        while todo:
            module = todo.pop()
            for name in sorted(source.outside(module) & banned):
                found.append(f"{entry} reaches {name} through {module}")
            new = source.inside(module) & source.trees.keys() - seen
            seen |= new
            todo += new
    return found


def uses_of_keras_internals(source: Source) -> list[str]:
    """Private Keras names and `keras.src`, outside the one file for them."""
    found = []
    for module, tree in source.trees.items():
        if module.startswith(PRIVATE_FOLDER):
            continue
        for name in source.imports(module):
            if name == "keras.src" or name.startswith("keras.src."):
                found.append(f"{module} imports {name}")
        for node in ast.walk(tree):
            name = getattr(node, "attr", None) or getattr(node, "value", None)
            # `self` is an object of this package, which may have such names too.
            is_private = isinstance(name, str) and name in PRIVATE_TO_KERAS
            if is_private and ast.unparse(node) != f"self.{name}":
                found.append(f"{module}:{node.lineno} uses {name}")
    return found


def strange_private_attributes(source: Source) -> list[str]:
    """Attributes `x._name` whose name this package defines nowhere."""
    own = set(PUBLIC_ALL_THE_SAME)
    used = []
    for module, tree in source.trees.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                own.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif isinstance(node, ast.Attribute) and not module.startswith(PRIVATE_FOLDER):
                is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
                if is_own and isinstance(node.ctx, ast.Store):
                    own.add(node.attr)
                used.append((module, node))
    return [
        f"{module}:{node.lineno} uses {node.attr}"
        for module, node in used
        if node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in own
    ]


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(PACKAGE)


def test_every_module_has_its_place_in_the_order(source):
    entries = {source.entry(module) for module in source.trees}
    assert entries - set(ORDER) == set(), "give the new entry its place in ORDER"
    assert set(OUTSIDE) == set(ORDER)


def test_every_folder_with_modules_is_a_package(source):
    folders = {module.rpartition(".")[0] for module in source.trees} - {""}
    assert folders - source.packages == set(), "add an __init__.py"


def test_imports_point_one_way(source):
    assert upward_imports(source) == []


def test_modules_form_no_cycle(source):
    graph = {module: source.inside(module) - {module} for module in source.trees}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(source.trees) <= set(order)


def test_each_entry_knows_only_its_outside_packages(source):
    assert foreign_imports(source) == []


def test_axes_and_milp_stay_apart_from_keras_even_indirectly(source):
    assert reached_imports(source) == []


def test_keras_internals_are_used_in_one_file_only(source):
    assert uses_of_keras_internals(source) == []


def test_private_attributes_are_this_package_s_own(source):
    assert strange_private_attributes(source) == []


def package(folder: Path, files: dict[str, str]) -> Source:
    """A package named keras_nas made of the given texts."""
    for name, text in files.items():
        path = folder / "keras_nas" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Source(folder / "keras_nas")


@pytest.mark.parametrize(
    "text",
    [
        "from keras_nas.graph import build",
        "from keras_nas import graph",
        "import keras_nas.graph.build as build",
        "from .. import graph",
        "from ..graph.build import build",
        "def late():\n    from keras_nas.graph.build import build",
    ],
)
def test_an_upward_import_is_found_however_it_is_written(tmp_path, text):
    made = package(
        tmp_path,
        {"rules/dense.py": text, "graph/__init__.py": "", "graph/build.py": ""},
    )
    [found] = upward_imports(made)
    assert found.startswith("keras_nas.rules.dense imports keras_nas.graph")


def test_a_downward_import_is_accepted(tmp_path):
    made = package(
        tmp_path,
        {
            "errors.py": "class E(Exception): ...",
            "axes/__init__.py": "from .unify import unify\nfrom ..errors import E",
            "axes/unify.py": "import numpy\nfrom keras_nas.errors import E",
        },
    )
    assert upward_imports(made) == []
    assert foreign_imports(made) == []


def test_foreign_and_reached_packages_are_found(tmp_path):
    made = package(
        tmp_path,
        {
            "graph/__init__.py": "from keras import layers",
            "milp/model.py": "import pyomo.environ as pyo\nimport keras_nas.graph",
            "axes/__init__.py": "import keras",
        },
    )
    assert foreign_imports(made) == ["keras_nas.axes imports keras"]
    assert reached_imports(made) == [
        "axes reaches keras through keras_nas.axes",
        "milp reaches keras through keras_nas.graph",
    ]


def test_keras_internals_are_found_as_attribute_as_text_and_as_import(tmp_path):
    files = {
        "graph/wrap.py": "def f(self, t):\n    return self._nodes, t._keras_history\n",
        "rules/a.py": "def f(t):\n    return getattr(t, '_inbound_nodes')\n",
        "surgery/b.py": "from keras.src.models import functional\n",
        "graph/keras_private/recorded.py": "def f(t):\n    return t._keras_history\n",
    }
    assert uses_of_keras_internals(package(tmp_path, files)) == [
        "keras_nas.graph.wrap:2 uses _keras_history",
        "keras_nas.rules.a:2 uses _inbound_nodes",
        "keras_nas.surgery.b imports keras.src.models",
    ]


def test_strange_private_attributes_are_found(tmp_path):
    text = (
        "class A:\n"
        "    def __init__(self):\n"
        "        self._own = 1\n"
        "def f(a, layer):\n"
        "    return a._own, layer._dtype_policy\n"
    )
    made = package(tmp_path, {"graph/wrap.py": text})
    assert strange_private_attributes(made) == [
        "keras_nas.graph.wrap:5 uses _dtype_policy"
    ]
