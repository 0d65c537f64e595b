"""Is a setting a number? For Python, True and False are."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def is_real(value: Any) -> bool:
    """Whether a value is a real number, of NumPy too, NaN and infinity included.

    Example:
        >>> is_real(0.5), is_real(True), is_real("1")
        (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value is a real number, and neither NaN nor infinite."""
    return is_real(value) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, of NumPy too.

    Example:
        >>> is_whole(3), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)
