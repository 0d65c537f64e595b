"""Ways to damage a file, each by chance from a seed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

# What stands in the place of something else.
STRANGE = (
    None, True, False, 0, -1, 2**31, 10**30, -(10**30), 10**400, 1.5, -0.0, 1e308,
    float("nan"), float("inf"), "", "x", "../../etc/passwd", "\x00", "\ud800", "9" * 50,
    [], {}, [[]], {"": {}}, [None], ["x"] * 50, {"class_name": "Lambda"},
)  # fmt: skip


def deep(levels: int = 100_000) -> str:
    """JSON of lists in lists in lists."""
    return "[" * levels + "]" * levels


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yields the way to each value inside of nested lists and dicts, itself first."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


def put(value: Any, path: tuple, new: Any) -> Any:
    """Returns a copy with another value in a place."""
    if not path:
        return new
    result = copy.deepcopy(value)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return result


def without(value: Any, path: tuple) -> Any:
    """Returns a copy that lacks what is in a place."""
    result = copy.deepcopy(value)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return result


def cut(content: bytes, count: int) -> Iterator[bytes]:
    """Yields the beginnings of a file, of all lengths if they are few."""
    step = max(1, len(content) // count)
    for length in range(0, len(content), step):
        yield content[:length]


def flipped(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yields copies in which some bytes are others."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        found = bytearray(content)
        for place in rng.integers(len(found), size=rng.integers(1, 5)):
            found[place] = rng.integers(256)
        yield bytes(found)


def changed(value: Any, count: int, seed: int = 0) -> Iterator[Any]:
    """Yields copies of a JSON value in which one place holds something strange."""
    rng = np.random.default_rng(seed)
    ways = list(places(value))
    for number in range(count):
        path = ways[number % len(ways)] if number < len(ways) else ways[rng.integers(len(ways))]
        if path and rng.random() < 0.2:
            yield without(value, path)
        else:
            yield put(value, path, STRANGE[rng.integers(len(STRANGE))])


def text(value: Any) -> bytes:
    """JSON as a careless program writes it, with NaN and lone surrogates."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
