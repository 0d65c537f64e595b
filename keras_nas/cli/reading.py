"""Words of a command that are more than plain text or numbers."""

from __future__ import annotations

import argparse
import math
import re
from datetime import timedelta
from typing import Any

_REQUEST = re.compile(r"(?P<key>.+?)(:(?P<axis>\w+))?=(?P<near>~?)(?P<size>\d{1,18})")


def positive(text: str) -> int:
    """Reads a whole number of at least 1."""
    number = _whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but is {number}")
    return number


def whole(text: str) -> int:
    """Reads a whole number of at least 0."""
    number = _whole(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, but is {number}")
    return number


def fraction_or_count(text: str) -> float | int:
    """Reads ``0.5`` as a fraction and ``12000`` as a count."""
    try:
        number = int(text) if re.fullmatch(r"\d{1,18}", text) else float(text)
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a fraction such as 0.5 or a whole number, not {text!r}"
        ) from None


def duration_or_fraction(text: str) -> timedelta | float:
    """Reads ``5ms``, ``0.01s`` or ``200us`` as a time, ``0.5`` as a fraction."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)(s|ms|us)?", text)
    if not found or len(text) > 30:
        raise argparse.ArgumentTypeError(
            f"a time such as 5ms or 0.01s, or a fraction such as 0.5, not {text!r}"
        )
    number = float(found[1])
    if found[2] is None:
        return number
    units = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
    try:
        return timedelta(seconds=number * units[found[2]])
    except OverflowError:
        raise argparse.ArgumentTypeError(f"a shorter time than {text!r}") from None


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
        if len(text) > 18:
            raise ValueError(text)
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number, not {text!r}") from None
