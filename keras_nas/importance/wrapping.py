"""Functions around the methods of objects, for as long as something is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any


@contextmanager
def wrapped(thing: Any, name: str, wrap: Callable[..., Any]) -> Iterator[None]:
    """Puts a function around a method of one object.

    Several may be around one method, and their scopes may end in any order: each takes
    its own function away, and the last one leaves the object as it was.

    Args:
        thing: The object.
        name: Of the method.
        wrap: Called with the method, or with what is around it already, and with the
            arguments of the call.
    """
    stand_in: Any = vars(thing).get(name)
    if not hasattr(stand_in, "around"):
        stand_in = _stand_in(getattr(thing, name), stand_in)
        setattr(thing, name, stand_in)
    stand_in.around.append(wrap)
    try:
        yield
    finally:
        stand_in.around.remove(wrap)
        if not stand_in.around and stand_in.before is None:
            delattr(thing, name)
        elif not stand_in.around:
            setattr(thing, name, stand_in.before)


def _stand_in(method: Callable[..., Any], before: Any) -> Any:
    """Returns a function that calls a method through all that is around it.

    Args:
        method: The method.
        before: What the object itself had under its name, None for nothing.
    """

    @wraps(method)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        call = method
        for wrap in attributes.around:
            call = partial(wrap, call)
        return call(*args, **kwargs)

    attributes: Any = stand_in
    attributes.around, attributes.before = [], before
    return stand_in
