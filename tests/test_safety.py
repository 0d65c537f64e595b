"""No code of a file is ever run: neither here nor, by what is called, elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import keras_nas

PACKAGE = Path(keras_nas.__file__).resolve().parent

# Names that turn text or bytes into running code, or into objects of any class.
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
# Where Keras is told to deserialize custom objects: of a model that is in memory
# already, so its code is the user's own.
UNSAFE_ON_PURPOSE = {"graph/keras_private/saving.py", "cli/files.py"}


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Yields every call with the last part of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def setting(call: ast.Call, name: str) -> str | None:
    """The text of a keyword argument."""
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), None)


def problems(path: str, text: str) -> list[str]:
    """What in a module could run the code of a file."""
    tree = ast.parse(text)
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [
            f"imports {name}"
            for name in names
            if name.partition(".")[0] in FORBIDDEN_MODULES
        ]
    for name, call in calls(tree):
        last = name.rpartition(".")[2]
        if name in FORBIDDEN_NAMES:
            found.append(f"calls {name}")
        if name in ("np.load", "np.save") and setting(call, "allow_pickle") != "False":
            found.append(f"{name} may unpickle")
        if last in ("loads", "load") and name.startswith(("json.", "torch.")):
            is_text = name == "json.loads"
            found += [] if is_text else [f"calls {name}"]
        if name.endswith("saving.load_model"):
            mode = setting(call, "safe_mode")
            if mode != "True" and path not in UNSAFE_ON_PURPOSE:
                found.append("loads a model without safe_mode=True")
        if last in ("SafeModeScope", "enable_unsafe_deserialization"):
            found += [] if path in UNSAFE_ON_PURPOSE else [f"calls {last}"]
        if name.startswith("subprocess.") and setting(call, "shell") is not None:
            found.append("runs a shell")
        if name in ("os.system", "os.popen"):
            found.append(f"calls {name}")
    return found


@pytest.mark.parametrize(
    "path",
    sorted(PACKAGE.rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_module_runs_no_code_of_files(path):
    name = path.relative_to(PACKAGE).as_posix()
    assert problems(name, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import pickle", "imports pickle"),
        ("from cloudpickle import loads", "imports cloudpickle"),
        ("def f(x):\n    return eval(x)", "calls eval"),
        ("exec(compile(text, 'x', 'exec'))", "calls exec"),
        ("np.load(path)", "np.load may unpickle"),
        ("np.load(path, allow_pickle=True)", "np.load may unpickle"),
        ("keras.saving.load_model(path)", "loads a model without safe_mode=True"),
        ("keras.saving.load_model(p, safe_mode=x)", "loads a model without"),
        ("torch.load(path)", "calls torch.load"),
        ("subprocess.run(text, shell=True)", "runs a shell"),
        ("os.system(text)", "calls os.system"),
        ("serialization_lib.SafeModeScope(False)", "calls SafeModeScope"),
    ],
)
def test_what_would_run_code_is_found(text, problem):
    assert any(found.startswith(problem) for found in problems("a.py", text))


@pytest.mark.parametrize(
    "text",
    [
        "json.loads(text)",
        "np.load(path, allow_pickle=False)",
        "model.compile('adam')",
        "keras.saving.load_model(path, safe_mode=True)",
        "subprocess.run([program, path])",
    ],
)
def test_what_runs_no_code_is_let_through(text):
    assert problems("a.py", text) == []
