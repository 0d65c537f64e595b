"""Files of JSON, read field by field, so that a damaged one says what is wrong with it.

Nothing is ever evaluated: a record holds numbers, texts, lists and records.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_real, is_whole

_LONGEST = 80
# More levels than anything that is written here, fewer than would end the stack.
_DEEPEST = 100
# What fits into the integers of numpy.
_LARGEST = 2**63 - 1


def loads(text: str | bytes | bytearray, *, allow_nan: bool = False) -> Any:
    """Returns what JSON text holds.

    Args:
        text: The text.
        allow_nan: Whether NaN and infinity are numbers, which JSON does not know.

    Raises:
        ValueError: It is no JSON, or is nested without end.
    """
    constant = float if allow_nan else _refuse_constant
    try:
        value = json.loads(text, parse_constant=constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Makes sure that functions which call themselves may read a value.

    Raises:
        ValueError: Too many lists or objects are inside of each other.
    """
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, (list, dict))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError("it is nested too deep")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


class Record:
    """A JSON object whose fields are taken out one by one and checked.

    Args:
        values: Field -> value.
        what: What it should be, for messages: ``"latency table"``. An attribute, too.
        place: Where it stands in the file: ``"vertices[3]"``; empty for all of it.

    Raises:
        InvalidRequestError: It is no JSON object; later, a field is missing or of
            another kind.
    """

    def __init__(self, values: Any, what: str, place: str = ""):
        self.what, self._place = what, place
        if not isinstance(values, Mapping):
            self.refuse("is no JSON object", values)
        self._values = values

    @classmethod
    def read(cls, source: Any, what: str, version: int) -> Record:
        """Reads text or an object, and checks that it says what it is.

        Args:
            source: JSON text, or what ``json.loads`` made of it.
            what: What it should be.
            version: The only version that is known.
        """
        try:
            if isinstance(source, (str, bytes, bytearray)):
                # So that the place of a NaN can be named.
                source = loads(source, allow_nan=True)
            check_depth(source)
        except ValueError as error:
            cls({}, what).refuse(f"is no JSON ({error})", source)
        record = cls(source, what)
        kind = record.text("kind")
        if kind != f"keras_nas {what}":
            record.refuse(f"says that it is a {kind!r}", source)
        found = record.integer("version")
        if found != version:
            record.refuse(f"has version {found}, only {version} is known", source)
        return record

    def integer(self, name: str, least: int | None = None) -> int:
        """Takes a whole number."""
        value = self._take(name)
        if not is_whole(value):
            self._refuse_field(name, "is no whole number", value)
        if least is not None and value < least:
            self._refuse_field(name, f"is below {least}", value)
        if abs(value) > _LARGEST:
            self._refuse_field(name, "is too large", value)
        return value

    def number(self, name: str, least: float | None = 0.0) -> float:
        """Takes a finite number."""
        value = self._take(name)
        if not is_real(value):
            self._refuse_field(name, "is no number", value)
        # Of whole numbers, only those of hundreds of digits are no floats.
        is_huge = isinstance(value, int) and abs(value) > _LARGEST
        is_finite = not is_huge and math.isfinite(value)
        if not is_finite or (least is not None and value < least):
            limit = "" if least is None else f" and at least {least}"
            self._refuse_field(name, f"is not finite{limit}", value)
        return float(value)

    def text(self, name: str) -> str:
        """Takes a text."""
        value = self._take(name)
        if not isinstance(value, str):
            self._refuse_field(name, "is no text", value)
        return value

    def truth(self, name: str) -> bool:
        """Takes true or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            self._refuse_field(name, "is neither true nor false", value)
        return value

    def values(self, name: str) -> list:
        """Takes a list of whatever it holds."""
        value = self._take(name)
        if not isinstance(value, list):
            self._refuse_field(name, "is no list", value)
        return value

    def records(self, name: str) -> Iterator[Record]:
        """Takes a list of JSON objects."""
        for number, each in enumerate(self.values(name)):
            place = f"{self._place}.{name}" if self._place else name
            yield Record(each, self.what, f"{place}[{number}]")

    def record(self, name: str) -> Record:
        """Takes a JSON object."""
        return Record(self._take(name), self.what, f"{self._place}.{name}".strip("."))

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yields all fields, unchecked."""
        yield from self._values.items()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def refuse(self, problem: str, received: Any) -> None:
        """Raises `InvalidRequestError`."""
        subject = f"{self._place!r} in it" if self._place else "it"
        shown = _shown(received)
        raise InvalidRequestError(
            f"This is no {self.what} that can be read: {subject} {problem}.\n\nGive "
            f"what `to_json` or `save` of a {self.what} wrote, unchanged. "
            f"Received: {shown}"
        )

    def _take(self, name: str) -> Any:
        if name not in self._values:
            self.refuse(f"has no field {name!r}", dict(self._values))
        return self._values[name]

    def _refuse_field(self, name: str, problem: str, value: Any) -> None:
        place = f"{self._place}.{name}" if self._place else name
        Record({}, self.what, place).refuse(problem, value)


def _shown(value: Any) -> str:
    """The beginning of a value as text, in one line."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # Nested without end; thousands of digits.
        return f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
