"""Where the neurons of each atom are found in the weights of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from keras_nas.axes import Atom, Expression, Product, Sum
from keras_nas.graph import Analysis, Graph, Part, Weight
from keras_nas.rules import WeightAxes

# Weights that count what data did to them say nothing about who makes a neuron.
_STATISTICS = frozenset(
    [
        "moving_mean",
        "moving_variance",
        "moving_stddev",
        "renorm_mean",
        "renorm_stddev",
        "mean",
        "variance",
        "count",
    ]
)


@dataclass(frozen=True, eq=False)
class Along:
    """One axis of one block of a weight, which has neurons.

    Attributes:
        part: Key of the part.
        name: Of the weight inside the part.
        weight: The weight.
        axes: All axes of the weight.
        block: Number of the block.
        number: Number of the axis.
        axis: What the axis turned out to be.
        reads: Whether the weight reads these neurons; if not, it makes them.
    """

    part: str
    name: str
    weight: Weight
    axes: WeightAxes
    block: int
    number: int
    axis: Expression
    reads: bool


def parts_of(graph: Graph, analysis: Analysis) -> dict[str, Part]:
    """Returns the parts with weights that are called, each once, in that order."""
    return {
        call.part.key: graph.parts[call.part.key]
        for call in analysis.flat.calls
        if call.part.weights
    }


def axes_with_neurons(
    analysis: Analysis, parts: Iterable[Part], *, statistics: bool = False
) -> Iterator[Along]:
    """Yields every axis with neurons of the weights of some parts, in order.

    A weight that several parts share comes once.

    Args:
        analysis: Axes of the graph.
        parts: Whose weights to look at.
        statistics: Whether moving averages and the like are wanted, too.
    """
    seen: set[int] = set()
    for part in parts:
        known = analysis.parts[part.key].weights
        for name, weight in part.named_weights:
            axes = known.get(name)
            is_statistic = name.rsplit("/", 1)[-1] in _STATISTICS
            if axes is None or id(weight) in seen or (is_statistic and not statistics):
                continue
            seen.add(id(weight))
            for block, expressions in enumerate(axes.blocks):
                for number, axis in enumerate(expressions):
                    axis = analysis.resolve(axis)
                    if axis.atoms:
                        yield Along(
                            part.key,
                            name,
                            weight,
                            axes,
                            block,
                            number,
                            axis,
                            number in axes.reads,
                        )


def positions(expression: Expression) -> dict[Atom, np.ndarray]:
    """Returns where along an axis the neurons of each of its atoms stand.

    Args:
        expression: A resolved expression of known size.

    Returns:
        Atom -> int array of shape ``(atom.size, times)``: all positions of a neuron.
    """
    found: dict[Atom, list[np.ndarray]] = {}
    stack = [(expression, np.arange(expression.size)[:, None])]
    while stack:
        part, table = stack.pop()
        if isinstance(part, Atom):
            found.setdefault(part, []).append(table)
        elif isinstance(part, Sum):
            ends = np.cumsum([term.size for term in part.parts])[:-1]
            stack.extend(zip(part.parts, np.split(table, ends), strict=True))
        elif isinstance(part, Product):
            for factor in part.parts:
                rows, columns = factor.size, table.shape[1]
                table = table.reshape(rows, -1, columns)
                stack.append((factor, table.reshape(rows, -1)))
                table = table.transpose(1, 0, 2).reshape(-1, rows * columns)
    return {atom: np.concatenate(tables, axis=1) for atom, tables in found.items()}
