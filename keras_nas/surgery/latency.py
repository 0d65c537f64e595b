"""Latency over sizes, as a cost for budgets.

What a vertex takes is a line over its multiply-accumulates and the bytes that it reads
and writes. Both are sums of products of sizes, as parameters and FLOPs are, so latency
is one more cost of that form, and budgets need to know nothing else about it. Whole
nanoseconds are its unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Call
from keras_nas.latency import LatencyTable
from keras_nas.milp import Cost, Key
from keras_nas.surgery.costs import Axes, as_cost, bytes_of, call_costs, evaluate

NANO = 1e9


@dataclass(frozen=True)
class Work:
    """What one call does, over the sizes of axes.

    Attributes:
        call: The call.
        mac_axes: Axes of each sum of products.
        traffic: ``(bytes per number, axes)`` of each input and output.
    """

    call: Call
    mac_axes: tuple[Axes, ...]
    traffic: tuple[tuple[int, Axes], ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates at the present sizes."""
        return evaluate(self.mac_axes)

    @property
    def num_bytes(self) -> int:
        """Bytes that are read and written at the present sizes."""
        return sum(number * evaluate((axes,)) for number, axes in self.traffic)


def works(analysis: Analysis) -> list[Work]:
    """Returns what each call does, but for inputs, which do nothing."""
    specs = analysis.flat.specs
    found = []
    for call, cost in call_costs(analysis):
        if call.part.is_input:
            continue
        inputs = [
            (bytes_of(specs[ref].dtype), tuple(analysis.axes_of(ref)))
            for ref in call.reads
            if ref in analysis.tensors
        ]
        found.append(Work(call, cost.macs, (*inputs, *cost.outputs)))
    return found


def latency_cost(
    analysis: Analysis, table: LatencyTable, keys: Sequence[Key]
) -> Cost:
    """Returns nanoseconds over the sizes of atoms.

    Raises:
        InvalidRequestError: The table is of another model.
    """
    lines, weighted = table.lines, []
    fixed = table.offset
    for work in works(analysis):
        line = lines.get(work.call.path)
        if line is None:
            raise InvalidRequestError(
                f"The latency table knows nothing of '{work.call.path}', so it is of "
                "another model.\n\nMeasure this one: `keras_nas.measure_latency("
                f"model)`. Received: a table of {len(lines)} vertices"
            )
        fixed += line.fixed
        weighted += [(line.per_mac * NANO, axes) for axes in work.mac_axes]
        weighted += [(line.per_byte * NANO * b, axes) for b, axes in work.traffic]
    weighted = [(factor, axes) for factor, axes in weighted if factor > 0]
    return as_cost(keys, [(round(fixed * NANO), ()), *weighted])


def latency_at(cost: Cost, sizes: np.ndarray) -> float:
    """Returns a latency cost in seconds."""
    return cost.value(sizes) / NANO
