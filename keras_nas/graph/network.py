"""A functional model inside a layer: the axes of its graph, in the words of a rule.

The layer holds the model as Keras serializes it, so new sizes are written there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras_nas.axes import Expression
from keras_nas.graph.copying import from_config
from keras_nas.graph.structure import Graph
from keras_nas.graph.wrap import wrap_with_variables
from keras_nas.rules import (
    AxisTensor,
    Relation,
    RuleCall,
    SizeOf,
    Undescribed,
    leaves,
    with_initializer,
)


def describe_network(
    call: RuleCall,
    inside: Callable[[Graph, list[AxisTensor]], Any],
    custom_objects: Mapping[str, Any],
) -> Relation:
    """Returns the relation of a call of a model inside a layer.

    Each of its layers that makes neurons, but for the one that makes the output, has a
    further width of its name.

    Args:
        call: A call of the model.
        inside: Runs the rules of a graph on the axes of its inputs.
        custom_objects: Classes and functions outside Keras that making it needs.

    Raises:
        Undescribed: It cannot be made anew, or nests a model.
    """
    try:
        graph, _ = wrap_with_variables(
            from_config(call.cls, call.config, custom_objects)
        )
    except Exception as error:
        raise Undescribed(
            f"the model inside it cannot be made anew: {error}"
        ) from error
    if any(part.body is not None for part in graph.parts.values()):
        raise Undescribed("the model inside it holds another model")
    analysis = inside(graph, call.tensors)
    relations = list(analysis.relations.values())
    if any(isinstance(leaf, SizeOf) for r in relations for leaf in leaves(r.arguments)):
        raise Undescribed("the model inside it has sizes among its call arguments")
    outputs = tuple(analysis.tensors[ref] for ref in analysis.flat.outputs)
    return Relation(
        outputs=outputs,
        weights={
            f"{key}/{name}": with_initializer(axes, name, graph.parts[key].config)
            for key, relation in analysis.parts.items()
            for name, axes in relation.weights.items()
        },
        config={
            "layers": [
                _entry(entry, analysis.parts[entry["name"]])
                for entry in call.config["layers"]
            ]
        },
        widths=_widths(call, analysis, outputs),
        equal=tuple(group for r in relations for group in r.equal),
        mixes=tuple(mixed for r in relations for mixed in r.mixes),
        partial=tuple(mixed for r in relations for mixed in r.partial),
        macs=tuple(axes for r in relations for axes in r.macs),
    )


def _entry(entry: Mapping[str, Any], relation: Relation) -> dict[str, Any]:
    """Returns a serialized layer of the model with the sizes that its rule gives."""
    config = relation.config
    if entry["class_name"] == "InputLayer":
        axes = relation.outputs[0].axes
        sizes = (SizeOf(axis) if axis.atoms else axis.size for axis in axes)
        config = {"batch_shape": tuple(sizes)}
    return {**entry, "config": {**entry["config"], **config}}


def _widths(
    call: RuleCall, analysis: Any, outputs: tuple[AxisTensor, ...]
) -> dict[str, Expression]:
    """Widths of the layers in the model that neither its inputs nor outputs have."""
    tensors = (*call.tensors, *outputs)
    known = {atom for t in tensors for a in t.axes for atom in call.resolve(a).atoms}
    widths: dict[str, Expression] = {}
    for path, relation in analysis.relations.items():
        for name, axis in relation.widths.items():
            widths[f"{path}/{name}"] = axis
        output = relation.outputs[0]
        axis = call.resolve(output.axes[output.channel]) if output.rank else None
        if axis is not None and not axis.atoms <= known:
            widths[path] = axis
            known |= axis.atoms
    return widths
