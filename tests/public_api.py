"""Writes down the public functions and classes of the package with their signatures.

`public_api.txt` next to this file is what `test_public_api.py` compares with. After a
change of the public surface that is meant, write it anew and look at the difference:

    python tests/public_api.py
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_nas
from keras_nas import importance, latency, search, training
from keras_nas.search import mutations, spaces

SNAPSHOT = Path(__file__).with_suffix(".txt")
MODULES = (keras_nas, importance, latency, search, mutations, spaces, training)
WIDTH = 88
_KINDS = (types.FunctionType, property, classmethod, staticmethod)


def describe() -> str:
    """Returns all of it as text, in the order of the alphabet."""
    lines = []
    for module in MODULES:
        lines += [f"# {module.__name__}", ""]
        for name in sorted(module.__all__):
            lines += [*entry(name, getattr(module, name)), ""]
        lines.append("")
    return "\n".join(lines).strip() + "\n"


def entry(name: str, value: Any) -> Iterator[str]:
    """Yields the lines of a public name."""
    if inspect.isclass(value):
        bases = [base.__name__ for base in value.__mro__[1:] if is_ours(base)]
        yield f"class {name}({', '.join(bases)})" if bases else f"class {name}"
        yield from members(value)
    elif callable(value):
        yield from written(f"def {name}", value, "")
    else:
        # A constant: only its kind is promised.
        yield f"{name}: {type(value).__name__}"


def members(cls: type) -> Iterator[str]:
    """Yields a class's constructor, methods and properties, inherited ones too."""
    # Of a named tuple the fields, which nobody else lists.
    for name in ("__init__", *(("__new__",) if issubclass(cls, tuple) else ())):
        if is_ours(defining(cls, name)):
            yield from written(f"    def {name}", getattr(cls, name), "    ")
    for name in sorted(dir(cls)):
        owner = defining(cls, name)
        if name.startswith("_") or not is_ours(owner):
            continue
        value = vars(owner)[name]
        if not isinstance(value, _KINDS):
            continue
        if isinstance(value, property):
            yield f"    {name}: {hint(value.fget)}"
        else:
            kind = {classmethod: "classmethod ", staticmethod: "staticmethod "}
            function = getattr(value, "__func__", value)
            yield from written(
                f"    {kind.get(type(value), '')}def {name}", function, "    "
            )


def defining(cls: type, name: str) -> type:
    """The class of the family in which a name is written down."""
    return next((base for base in cls.__mro__ if name in vars(base)), object)


def is_ours(cls: type) -> bool:
    """Whether a class is one of this package."""
    return cls.__module__.partition(".")[0] == keras_nas.__name__


def hint(function: Any) -> str:
    """The type of what a property holds."""
    return str(function.__annotations__.get("return", "?"))


def written(start: str, function: Any, indent: str) -> list[str]:
    """A signature on one line, or one line for each argument."""
    signature = inspect.signature(function)
    arguments = [argument(each) for each in signature.parameters.values()]
    kinds = [each.kind for each in signature.parameters.values()]
    first = [n for n, kind in enumerate(kinds) if kind is kind.KEYWORD_ONLY][:1]
    if first and inspect.Parameter.VAR_POSITIONAL not in kinds:
        arguments.insert(first[0], "*")
    result = signature.return_annotation
    end = "" if result is inspect.Signature.empty else f" -> {result}"
    line = f"{start}({', '.join(arguments)}){end}"
    if len(line) <= WIDTH:
        return [line]
    return [
        f"{start}(",
        *(f"{indent}    {argument}," for argument in arguments),
        f"{indent}){end}",
    ]


def argument(parameter: inspect.Parameter) -> str:
    """One argument as its definition has it."""
    hinted = parameter.annotation
    if hinted is not inspect.Parameter.empty:
        hinted = getattr(hinted, "__forward_arg__", hinted)
        parameter = parameter.replace(annotation=Plain(hinted))
    # Some defaults are written with their address in memory.
    return re.sub(r"<[^<>]*>", "...", str(parameter))


class Plain(str):
    """An annotation, without quotation marks around it."""

    def __repr__(self) -> str:
        return str(self)


if __name__ == "__main__":
    SNAPSHOT.write_text(describe(), encoding="utf-8")
    print(f"Written: {SNAPSHOT}")
