"""What each neuron contributes to the loss, from the gradients of the weights.

A neuron is removed by taking away the weights that *read* it. To first order the loss
then changes by minus the sum of weight times gradient over just these weights, which
is the activation times its gradient, summed over all places where the neuron is read:
the derivative of the loss by a gate of value 1 in front of every reader. No gate is
needed, and it works for whatever weights read: heads, their size, units of a recurrent
layer as well as channels.

Source: Molchanov 2017, "Pruning convolutional neural networks for resource efficient
inference", ICLR (arXiv 1611.06440); Molchanov 2019, "Importance estimation for neural
network pruning", CVPR (arXiv 1906.10771), for the sum over a group of weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_nas.axes import Atom
from keras_nas.graph import Analysis, Graph
from keras_nas.importance.along import (
    Along,
    axes_with_neurons,
    parts_of,
    positions,
)
from keras_nas.importance.combining import Values

KINDS = ("taylor", "fisher", "hessian")


class Contributions:
    """Reduces weights and gradients of one batch to one number for each neuron.

    Neurons that no weight reads (both sides of a product, say) are gated where they
    are made instead.

    Args:
        graph: The graph.
        analysis: Its axes.
        variables: Identity of a weight of the graph -> the variable that holds it.
            Weights without one count as constants.
        kind: ``"taylor"``: the absolute sum of weight times gradient; ``"fisher"``:
            half its square; ``"hessian"``: half the sum of squares of weight times
            gradient.
        aggregation: Over the layers that read: ``"sum"`` gates all of them at once;
            ``"mean"`` and ``"max"`` look at them one by one.
    """

    def __init__(
        self,
        graph: Graph,
        analysis: Analysis,
        variables: Mapping[int, Any],
        kind: str,
        aggregation: str,
    ):
        self._kind = kind
        self._aggregation = aggregation
        self._terms = _terms(graph, analysis, variables)
        self.atoms: tuple[Atom, ...] = tuple(self._terms)
        weights = {
            id(along.weight): along.weight
            for terms in self._terms.values()
            for along, _ in terms
        }
        self.variables = [variables[key] for key in weights]
        self._order = {key: number for number, key in enumerate(weights)}

    @property
    def size(self) -> int:
        """Number of neurons of all atoms."""
        return sum(atom.size for atom in self.atoms)

    def reduce(self, values: Sequence[Any], gradients: Sequence[Any]) -> Any:
        """Returns the contributions of one batch.

        Args:
            values: Of `variables`.
            gradients: Of the loss by them; None is 0.

        Returns:
            Float32 tensor of shape ``(size,)``: atom after atom.
        """
        products = [
            None if gradient is None else self._product(value, gradient)
            for value, gradient in zip(values, gradients, strict=True)
        ]
        sums: dict[tuple[int, int, int], Any] = {}
        rows = [self._of_atom(atom, products, sums) for atom in self.atoms]
        return ops.concatenate(rows, axis=0)

    def split(self, numbers: np.ndarray) -> Values:
        """Cuts an array of shape ``(size,)`` into atoms."""
        ends = np.cumsum([atom.size for atom in self.atoms])[:-1]
        pieces = np.split(np.asarray(numbers, dtype=np.float64), ends)
        return dict(zip(self.atoms, pieces, strict=True))

    def _product(self, value: Any, gradient: Any) -> Any:
        product = ops.cast(value, "float32") * ops.cast(gradient, "float32")
        return ops.square(product) if self._kind == "hessian" else product

    def _of_atom(self, atom: Atom, products: list, sums: dict) -> Any:
        layers: dict[str, Any] = {}
        for along, where in self._terms[atom]:
            number = self._order[id(along.weight)]
            if products[number] is None:
                continue
            key = number, along.block, along.number
            if key not in sums:
                sums[key] = _sum_along(products[number], along)
            values = sums[key]
            if along.axis is not atom:
                values = ops.sum(ops.take(values, where, axis=0), axis=1)
            known = layers.get(along.part)
            layers[along.part] = values if known is None else known + values
        if not layers:
            return ops.zeros((atom.size,), "float32")
        return self._combine(list(layers.values()))

    def _combine(self, layers: list) -> Any:
        if self._aggregation == "sum":
            layers = [sum(layers[1:], layers[0])]
        changes = ops.stack([self._change(values) for values in layers])
        reduce = ops.max if self._aggregation == "max" else ops.mean
        return reduce(changes, axis=0)

    def _change(self, values: Any) -> Any:
        if self._kind == "taylor":
            return ops.abs(values)
        return 0.5 * (ops.square(values) if self._kind == "fisher" else values)


def _terms(
    graph: Graph, analysis: Analysis, variables: Mapping[int, Any]
) -> dict[Atom, list[tuple[Along, np.ndarray]]]:
    """Returns, for each atom, the axes that gate it and where it stands on them."""
    readers: dict[Atom, list] = {}
    makers: dict[Atom, list] = {}
    for along in axes_with_neurons(analysis, parts_of(graph, analysis).values()):
        if id(along.weight) not in variables or "float" not in along.weight.dtype:
            continue
        side = readers if along.reads else makers
        for atom, where in positions(along.axis).items():
            side.setdefault(atom, []).append((along, where.astype("int32")))
    terms = {**makers, **readers}
    return {a: terms[a] for a in sorted(terms, key=lambda atom: atom.serial)}


def _sum_along(product: Any, along: Along) -> Any:
    """Sums one block of a product over all axes but one."""
    if len(along.axes.blocks) > 1:
        product = product[along.axes.window(along.block)]
    others = tuple(n for n in range(len(along.weight.shape)) if n != along.number)
    return ops.sum(product, axis=others) if others else product
