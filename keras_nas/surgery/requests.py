"""What a user can ask for: exact sizes, near sizes, and of which width."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from keras_nas.axes import Expression
from keras_nas.errors import InvalidRequestError, UnknownLayerError
from keras_nas.numeric import is_real
from keras_nas.surgery.names import Names

RequestKey = Hashable

# No layer is asked to be larger than this, unless it is: far beyond any that was ever
# trained, and few enough that lists of neurons and of their importance fit into memory.
MOST_NEURONS = 2**24


@dataclass(frozen=True)
class near:
    """Asks for the closest size that is possible instead of exactly this one.

    The sum of ``abs(size - wanted) / wanted`` over all near requests is minimised. Of
    two sizes equally far, the one in the direction of the request wins; the present
    size is a legal answer.

    Args:
        size: Wanted number of neurons, at least 1.

    Example:
        >>> import keras_nas as kn
        >>> kn.near(48)
        near(48)
    """

    size: int

    def __post_init__(self) -> None:
        check_size(self.size, "near")

    def __repr__(self) -> str:
        return f"near({self.size})"


@dataclass(frozen=True, eq=False)
class Request:
    """One size asked for, of one axis.

    Attributes:
        key: How the user wrote it: a name, a ``(name, axis)`` pair, or
            ``(name, "input", number)``.
        path: The vertex that was named.
        axis: The resolved axis whose size is asked for.
        size: Wanted number of neurons.
        is_near: Whether the closest size will do.
        releases: Whether naming ``path`` releases a model output that it produces.
    """

    key: RequestKey
    path: str
    axis: Expression
    size: int
    is_near: bool
    releases: bool = True


def check_size(size: Any, what: str) -> int:
    """Returns a size as an int, or raises `InvalidRequestError`."""
    if not is_real(size):
        raise InvalidRequestError(
            f"The size of {what!r} must be a whole number, but it is a "
            f"{type(size).__name__}.\n\n"
            f"Ask for a number of neurons, at least 1. Received: {size!r}"
        )
    if not isinstance(size, Integral):
        problem = "not a number" if math.isnan(size) else "not a whole number"
        raise InvalidRequestError(
            f"The size of {what!r} is {problem}.\n\n"
            f"Ask for a number of neurons as an int, at least 1. Received: {size!r}"
        )
    if size < 1:
        raise InvalidRequestError(
            f"The size of {what!r} would fall below 1, but a layer needs at least one "
            f"neuron.\n\nAsk for 1 or more, or remove the layer. Received: {size!r}"
        )
    return int(size)


def check_not_huge(size: int, axis: Expression, what: str) -> None:
    """Refuses a size that no memory could hold, before anything that large is made."""
    most = max(MOST_NEURONS, axis.size)
    if size > most:
        raise InvalidRequestError(
            f"The size of {what!r} would be {size} neurons, but at most {most} can be "
            f"asked for.\n\nAsk for fewer. Received: {size}"
        )


def read_requests(
    names: Names, requests: Mapping[RequestKey, Any]
) -> tuple[Request, ...]:
    """Checks a mapping of requests and finds the axes they are about."""
    if not requests:
        raise InvalidRequestError(
            "No layer is named.\n\nName at least one layer and its new size. "
            f"Received: {dict(requests)!r}"
        )
    result: list[Request] = []
    for key, value in requests.items():
        request = _read_request(names, key, value)
        _check_twice(result, request)
        result.append(request)
    return tuple(result)


def read_input_requests(
    names: Names, name: str, sizes: Any
) -> tuple[Request, ...]:
    """Finds the axes of a layer's inputs; None in ``sizes`` asks for nothing."""
    path = names.find(name)
    inputs = names.input_axes(path)
    values = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]
    if len(values) != len(inputs):
        raise InvalidRequestError(
            f"'{path}' has {len(inputs)} inputs, but {len(values)} sizes are given.\n\n"
            f"Give one size for each input, None where any will do. Received: {sizes!r}"
        )
    result: list[Request] = []
    for number, (axis, value) in enumerate(zip(inputs, values, strict=True)):
        if value is None:
            continue
        label = f"{name} input {number}"
        if axis is None:
            raise InvalidRequestError(
                f"Input {number} of '{path}' has no channel axis.\n\n"
                f"Give None for it. Received: {sizes!r}"
            )
        size, is_near = _read_size(value, label)
        check_not_huge(size, axis, label)
        request = Request((name, "input", number), path, axis, size, is_near, False)
        _check_twice(result, request)
        result.append(request)
    if not result:
        raise InvalidRequestError(
            f"No input of '{path}' gets a size.\n\nGive at least one size that is not "
            f"None. Received: {sizes!r}"
        )
    return tuple(result)


def _read_request(names: Names, key: RequestKey, value: Any) -> Request:
    name, axis_name = _read_key(key)
    path = names.find(name)
    axis = names.width(path, axis_name)
    size, is_near = _read_size(value, name)
    check_not_huge(size, axis, name)
    return Request(key, path, axis, size, is_near)


def _read_key(key: RequestKey) -> tuple[str, str | None]:
    if isinstance(key, str):
        return key, None
    if (
        isinstance(key, tuple)
        and len(key) == 2
        and all(isinstance(part, str) for part in key)
    ):
        return key
    raise UnknownLayerError(
        f"A layer is named by a string, or by a (name, axis) pair for a further "
        f"width, but not by a {type(key).__name__}.\n\n"
        f"Use the name that `keras_nas.summary(model)` shows. Received: {key!r}"
    )


def _read_size(value: Any, what: str) -> tuple[int, bool]:
    if isinstance(value, near):
        return value.size, True
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return check_size(value, what), False


def _check_twice(earlier: list[Request], request: Request) -> None:
    """Refuses two exact sizes for one axis, such as both calls of a shared layer."""
    for other in earlier:
        if (
            other.axis == request.axis
            and other.size != request.size
            and not (other.is_near or request.is_near)
            and other.path == request.path
        ):
            raise InvalidRequestError(
                f"Two sizes are asked for one width: {other.size} by {other.key!r} and "
                f"{request.size} by {request.key!r}.\n\nAsk for one of them. "
                f"Received: {other.size} and {request.size}"
            )
