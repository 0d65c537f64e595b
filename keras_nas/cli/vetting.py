"""Looks into a file of a model before Keras does, and refuses code.

A .keras file is a zip archive whose settings name classes and functions by module,
and may hold Python code (a `Lambda`, say). ``safe_mode=True`` of Keras refuses the
code, but old versions of Keras could be tricked into importing other modules. So
nothing but the names of Keras gets as far as that.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

from keras_nas.records import loads

SETTINGS = "config.json"
MEMBERS = (SETTINGS, "metadata.json")
# The settings of the largest applications of Keras take less than 1 MB.
MOST_BYTES = 64 * 2**20

# Builtins are functions and types by name, of which Keras itself accepts only a few.
_MODULES = ("keras", "keras_nas", "builtins")
_CODE = ("__lambda__", "Lambda")


class Unsafe(Exception):
    """The file may run code; the text says what was found."""


class Unreadable(Exception):
    """The file is no model; the text says what was found."""


def vet(path: str) -> None:
    """Looks for code in a file of a model.

    Args:
        path: Of an existing file.

    Raises:
        Unreadable: No zip archive with the settings of a model in it.
        Unsafe: The settings hold code, or name something that is not of Keras.
    """
    for place in _records(_settings(path)):
        name = place.get("class_name")
        if isinstance(name, str) and name in _CODE:
            raise Unsafe("it holds Python code, in a Lambda layer or a function")
        module = place.get("module")
        if name == "function" and isinstance(module, str) and _is_tool(module):
            raise Unsafe(f"it calls a function of the module {module!r}")
        if isinstance(module, str) and module.partition(".")[0] not in _MODULES:
            raise Unsafe(f"it needs {name!r} of the module {module!r}")
        registered = place.get("registered_name")
        if module is None and isinstance(registered, str) and ">" in registered:
            raise Unsafe(f"it needs the custom object {registered!r}")


def _is_tool(module: str) -> bool:
    """Whether functions of a module of Keras do more than compute."""
    return not {"utils", "saving", "applications", "datasets"}.isdisjoint(
        module.split(".")
    )


def _settings(path: str) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in MEMBERS if name not in archive.namelist()]
            if missing:
                raise Unreadable(f"there is no {missing[0]!r} in it")
            if archive.getinfo(SETTINGS).file_size > MOST_BYTES:
                raise Unreadable(f"its {SETTINGS!r} is larger than any model's")
            return loads(archive.read(SETTINGS))
    except zipfile.BadZipFile:
        raise Unreadable("it is no .keras file, or not all of one") from None
    # What zipfile raises for damaged members is not written down anywhere.
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError) as error:
        raise Unreadable(f"its settings cannot be read: {error}") from None
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma"):
            raise Unreadable(f"its settings cannot be read: {error}") from None
        raise


def _records(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every JSON object, however deep."""
    stack = [value]
    while stack:
        found = stack.pop()
        if isinstance(found, dict):
            yield found
            stack.extend(found.values())
        elif isinstance(found, list):
            stack.extend(found)
