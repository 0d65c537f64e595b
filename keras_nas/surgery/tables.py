"""Plain text tables."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table; columns of numbers are aligned to the right.

    The last column is never padded, so that long sentences may stand there.
    """
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [
        all(isinstance(row[number], (int, float)) or row[number] == "" for row in rows)
        for number in range(len(header))
    ]
    lines = ["  ".join(_pad(row, widths, numeric)).rstrip() for row in cells]
    rule = (
        "  ".join("-" * width for width in widths[:-1]) + "  " + "-" * len(header[-1])
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def _pad(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]):
    last = len(row) - 1
    for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
        if numeric[number]:
            yield cell.rjust(width)
        else:
            yield cell if number == last else cell.ljust(width)
