"""An independent check of an answer, in exact integer arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

from keras_nas.errors import InternalError
from keras_nas.milp.system import Sizes, SizeSystem


def verify(system: SizeSystem, sizes: Sizes) -> None:
    """Compares sizes with every row of the system; `near` rows demand nothing.

    Raises:
        InternalError: A row does not hold.
    """
    broken = list(violations(system, sizes))
    if broken:
        raise InternalError(
            f"The sizes that the solver found break {len(broken)} rows of the size "
            f"system, the first is: {broken[0]}.\n\n"
            "Please report this with your model and request. Another solver, such as "
            f"`solver='glpk'`, may help until then. Received: {broken[:5]}"
        )


def violations(system: SizeSystem, sizes: Sizes) -> Iterator[str]:
    """Yields a sentence for each row that the sizes break."""
    totals = sizes.totals()
    for piece in system.pieces:
        kept, inserted = sizes.kept[piece.key], sizes.inserted[piece.key]
        name = f"piece {piece.label or piece.key!r}"
        if not 0 <= kept <= piece.size or inserted < 0:
            yield f"{name} keeps {kept} of {piece.size} and gains {inserted}"
        if not piece.allows(kept + inserted):
            limits = "its present size" if piece.locked else (piece.low, piece.high)
            yield f"{name} has size {kept + inserted}, allowed is {limits}"
    for left, right in system.equal:
        a, b = left.value(totals), right.value(totals)
        if a != b:
            yield f"an equality has {a} on the left and {b} on the right"
    for expr, low, high in system.bounds:
        value = expr.value(totals)
        if (low is not None and value < low) or (high is not None and value > high):
            yield f"a bound row has value {value}, allowed is {(low, high)}"
    for expr, step, present in system.steps:
        value = expr.value(totals)
        if value % step and value != present:
            yield f"{value} is not a multiple of {step}, nor {present}"
    for expr, wanted in system.exact:
        value = expr.value(totals)
        if value != wanted:
            yield f"a size is {value} where {wanted} was requested"
