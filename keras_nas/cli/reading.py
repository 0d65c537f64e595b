"""Words of a command that are more than plain text or numbers."""

from __future__ import annotations

import argparse
import re
from typing import Any

_REQUEST = re.compile(r"(?P<key>.+?)(:(?P<axis>\w+))?=(?P<near>~?)(?P<size>\d+)")


def positive(text: str) -> int:
    """Reads a whole number of at least 1."""
    number = _whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but is {number}")
    return number


def fraction_or_count(text: str) -> float | int:
    """Reads ``0.5`` as a fraction and ``12000`` as a count."""
    try:
        return int(text) if re.fullmatch(r"\d+", text) else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a fraction such as 0.5 or a whole number, not {text!r}"
        ) from None


def layer_size(text: str) -> tuple[Any, Any]:
    """Reads ``conv=48``, ``attention:num_heads=4`` or ``conv=~48``.

    Returns:
        Key and size of a request.
    """
    found = _REQUEST.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form LAYER=N, such as conv=48, conv=~48 or "
            "attention:num_heads=4"
        )
    from keras_nas.surgery import near

    key: Any = found["key"] if not found["axis"] else (found["key"], found["axis"])
    number = int(found["size"])
    return key, near(number) if found["near"] else number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number, not {text!r}") from None
