"""What the neurons of an atom are in, so that layers of one kind can be compared."""

from __future__ import annotations

from collections import Counter
from typing import Any

from keras_nas.axes import Atom
from keras_nas.graph import Analysis


def structures(analysis: Analysis) -> dict[Atom, Any]:
    """Returns, for each atom, what its neurons are in: weights, axes, fixed sizes.

    Two atoms are alike if their neurons occur in weights of the same names of layers
    of the same classes, along the same axes, with the same fixed axes beside them.

    Source: Fang 2024, "Isomorphic pruning for vision models", arXiv 2407.04616.
    """
    found: dict[Atom, Counter] = {}
    for call in analysis.flat.calls:
        relation = analysis.relations[call.path]
        for name, _ in call.part.named_weights:
            if name not in relation.weights:
                continue
            for block in relation.weights[name].blocks:
                axes = [analysis.resolve(axis) for axis in block]
                fixed = tuple(0 if axis.atoms else axis.size for axis in axes)
                for place, axis in enumerate(axes):
                    form = (call.part.cls, name, place, fixed)
                    for atom in axis.atoms:
                        found.setdefault(atom, Counter())[form] += 1
    return {atom: frozenset(forms.items()) for atom, forms in found.items()}
