"""Learns how a layer that no rule describes ties axes, from its own `call`.

A `Lambda`, a layer of a user or a function that serves as an activation is called on
symbolic tensors, which shows the Keras operations and sub-layers inside. The rules of
these say which axes pass, and which weights follow them. But Python code may hold sizes
that nobody can rewrite (``x[:, :3]``, a constant of 8 values), so nothing is believed
before `Trials` have shown that it is so. What fails is frozen.
"""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_nas.graph import keras_private
from keras_nas.graph.flatten import Call
from keras_nas.graph.learned import Inside, Known, Learned
from keras_nas.graph.structure import Part, TensorRef, TensorSpec
from keras_nas.graph.tracing import Subject
from keras_nas.rules import (
    AxisTensor,
    Mixed,
    Relation,
    RuleCall,
    Undescribed,
    map_leaves,
)


def learn_layer(
    call: Call,
    rule_call: RuleCall,
    specs: list[TensorSpec],
    inside: Inside,
    known: Known,
) -> Relation:
    """Returns the relation of a call of a layer that nobody has described.

    Args:
        call: The call.
        rule_call: The same with axes; they are tied as the operations inside say.
        specs: Shape and dtype of each tensor that it is called on.
        inside: Runs the rules of the operations inside.
        known: What was learned before. Added to.

    Raises:
        Undescribed: Its call cannot be traced, or what the rules say about it is not
            what it does.
    """
    part = call.part
    if part.is_operation or part.template is None or part.is_opaque:
        raise Undescribed("no rule describes its class")
    if rule_call.masks:
        raise Undescribed("no rule describes its class, which is given a mask")
    subject = Subject(
        part, rule_call.weights, call.args, call.kwargs, specs, len(call.outputs)
    )
    return _learn(subject, rule_call, inside, known)


def learn_inner(
    call: Call, rule_call: RuleCall, inside: Inside, known: Known
) -> Relation:
    """Returns the relation of a layer inside another one that nobody has described.

    Args:
        call: The call of the outer layer.
        rule_call: A call of the inner one.
        inside: Runs the rules of the operations inside.
        known: What was learned before. Added to.

    Raises:
        Undescribed: As for `learn_layer`.
    """
    if rule_call.masks:
        raise Undescribed("no rule describes its class, which is given a mask")
    part = Part(
        key=rule_call.name,
        name=str(rule_call.config.get("name", "inner")),
        cls=rule_call.cls,
        config=rule_call.config,
        custom_objects=call.part.custom_objects,
    )

    def refer(leaf: Any) -> Any:
        return TensorRef(part.name) if isinstance(leaf, AxisTensor) else leaf

    arguments = rule_call.args, dict(rule_call.kwargs)
    args, kwargs = map_leaves(refer, arguments)
    dtype = call.outputs[0].dtype
    specs = [TensorSpec(tensor.shape, dtype) for tensor in rule_call.tensors]
    count = len(rule_call.output_shapes)
    subject = Subject(part, rule_call.weights, args, kwargs, specs, count)
    try:
        return _learn(subject, rule_call, inside, known)
    except Undescribed as error:
        kind = part.cls.__name__
        raise Undescribed(f"the {kind} inside it is not understood: {error}") from error


def learn_activation(
    call: Call,
    rule_call: RuleCall,
    key: str,
    output: AxisTensor,
    inside: Inside,
    known: Known,
) -> Mixed:
    """Returns what a function that is a setting of a layer mixes.

    Args:
        call: The call in whose layer the function is.
        rule_call: The same with axes, or a call of a layer inside it.
        key: The setting.
        output: What the function is applied to.
        inside: Runs the rules of the operations inside.
        known: What was learned before. Added to.

    Raises:
        Undescribed: It cannot be traced, or does not leave each neuron in its place.
    """
    part = Part(
        key=f"{call.part.key}/{key}",
        name=key,
        cls=keras.layers.Activation,
        config={"name": key, "activation": rule_call.config[key]},
        custom_objects=call.part.custom_objects,
    )
    spec = TensorSpec(output.shape, call.outputs[0].dtype)
    inner = RuleCall(
        rule_call.unifier,
        part.cls,
        f"{rule_call.name}/{key}",
        part.config,
        {},
        (output,),
        {},
        [spec.shape],
    )
    try:
        subject = Subject(part, {}, (TensorRef(key),), {}, [spec], 1)
        relation = _learn(subject, inner, inside, known)
    except Undescribed as error:
        raise Undescribed(f"its {key} cannot be understood: {error}") from error
    for before, after in zip(output.axes, relation.outputs[0].axes, strict=True):
        if inner.unifier.resolve(before) != inner.unifier.resolve(after):
            raise Undescribed(f"its {key} moves neurons to other places")
    return (*relation.mixes, *relation.partial)


def _learn(subject: Subject, call: RuleCall, inside: Inside, known: Known) -> Relation:
    with keras_private.names_kept(), warnings.catch_warnings():
        # Those of a layer that is made anew: its user has seen them.
        warnings.simplefilter("ignore")
        trace = subject.trace()
        return Learned(subject, call, trace, inside, known).relation()
