"""Plain text tables, and lists within sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

_MAX_LISTED = 6


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table; columns of numbers are aligned to the right.

    A column without entries is left out. The last column is never padded, so that
    long sentences may stand there.
    """
    shown = [
        number
        for number in range(len(header))
        if not rows or any(row[number] != "" for row in rows)
    ]
    cells = [[str(row[number]) for number in shown] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [
        all(isinstance(row[number], (int, float)) or row[number] == "" for row in rows)
        for number in shown
    ]
    lines = ["  ".join(_pad(row, widths, numeric)).rstrip() for row in cells]
    rule = "  ".join("-" * width for width in (*widths[:-1], len(cells[0][-1])))
    return "\n".join([lines[0], rule, *lines[1:]])


def listed(
    items: Iterable[object],
    default: str = "",
    most: int = _MAX_LISTED,
    last: str = "and",
) -> str:
    """Writes items as a sentence lists them: ``a, b and c``.

    Args:
        items: What to list.
        default: Stands for an empty list.
        most: More items than this are counted: ``a, b and 5 more``.
        last: The word before the last item.
    """
    texts = list(map(str, items))
    shown = texts[:most]
    if len(texts) > most:
        shown.append(f"{len(texts) - most} more")
    if len(shown) < 2:
        return "".join(shown) or default
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def _pad(
    row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]
) -> Iterator[str]:
    last = len(row) - 1
    for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
        if numeric[number]:
            yield cell.rjust(width)
        else:
            yield cell if number == last else cell.ljust(width)
