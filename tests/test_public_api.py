"""The public surface: what `keras_nas` offers, documents, and imports."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types
from pathlib import Path

import public_api
import pytest

import keras_nas as kn

PACKAGE = Path(kn.__file__).resolve().parent

# What tests and users rely on from the first release on.
PROMISED = {
    "Budget",
    "EvolverCallback",
    "Graph",
    "InfeasibleError",
    "KerasEvolver",
    "KerasNasError",
    "Plan",
    "Search",
    "SearchResult",
    "SolverError",
    "UnknownLayerError",
    "UnsupportedModelError",
    "explain",
    "near",
    "plan",
    "resize",
    "resize_inputs",
    "summary",
    "verify",
}


def public_names(namespace: dict) -> set[str]:
    """Names without an underscore that are neither submodules nor `annotations`."""
    return {
        name
        for name, value in namespace.items()
        if not name.startswith("_")
        and name != "annotations"
        and not (
            isinstance(value, types.ModuleType)
            and value.__name__ == f"{kn.__name__}.{name}"
        )
    }


def undocumented(tree: ast.Module) -> list[str]:
    """Public functions and classes of one module that have no docstring.

    What a decorator registers under the name of a layer or an operation is called by
    that name only, which says all that a docstring would.
    """
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [
        node.name
        for node in tree.body
        if isinstance(node, kinds)
        and not node.name.startswith("_")
        and not any(is_registration(decorator) for decorator in node.decorator_list)
        and ast.get_docstring(node) is None
    ]


def is_registration(decorator: ast.expr) -> bool:
    """Whether a decorator is a call like `@rule("Dense")`, `@operation_rule("Add")`."""
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
        "rule"
    )


def own_members(cls: type) -> list[str]:
    """Public methods and properties that a class defines itself."""
    kinds = (types.FunctionType, property, classmethod, staticmethod)
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and isinstance(value, kinds)
    ]


def test_all_lists_each_name_once_and_each_exists():
    assert len(kn.__all__) == len(set(kn.__all__))
    assert [name for name in kn.__all__ if not hasattr(kn, name)] == []


def test_all_holds_every_promised_name():
    assert PROMISED - set(kn.__all__) == set()


def test_all_holds_every_public_name_of_the_package():
    assert public_names(vars(kn)) - set(kn.__all__) == set()


def test_a_submodule_hides_no_public_function():
    hidden = [n for n in kn.__all__ if isinstance(getattr(kn, n), types.ModuleType)]
    assert hidden == [], "a name of __all__ is a module: rename one of the two"


@pytest.mark.parametrize("name", sorted(kn.__all__))
def test_public_function_or_class_is_documented(name):
    value = getattr(kn, name)
    if inspect.isclass(value):
        text = vars(value).get("__doc__") or ""
        assert text and not text.startswith(f"{name}("), "only what dataclass wrote"
        members = own_members(value)
        assert [m for m in members if not inspect.getdoc(getattr(value, m))] == []
    elif callable(value):
        assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize(
    "path",
    sorted(PACKAGE.rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_module_documents_itself_and_what_it_offers(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    missing = undocumented(tree)
    assert missing == [], f"no docstring: {missing}"


def test_public_surface_is_the_one_that_is_written_down():
    # After a change that is meant: python tests/public_api.py
    written = public_api.SNAPSHOT.read_text(encoding="utf-8")
    assert public_api.describe().splitlines() == written.splitlines()


def test_public_functions_and_classes_are_annotated():
    bare = [line for line in public_api.describe().splitlines() if line.endswith("?")]
    assert bare == []


def test_version_is_a_literal_that_setup_reads_without_importing_keras():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    literals = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and [ast.unparse(target) for target in node.targets] == ["__version__"]
        and isinstance(node.value, ast.Constant)
    ]
    assert literals == [kn.__version__]


def test_importing_the_package_needs_no_solver_and_no_plotting():
    # Keras itself imports matplotlib and scikit-learn where it finds them, so the
    # question is not what is loaded, but whether the import works without them.
    # None in sys.modules makes every import of that name fail.
    code = (
        "import sys\n"
        "for name in ('pyomo', 'highspy', 'matplotlib', 'pydot', 'sklearn'):\n"
        "    sys.modules[name] = None\n"
        "import keras_nas\n"
        "print(keras_nas.__version__)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == kn.__version__
