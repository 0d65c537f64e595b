"""Attention without heads of its own: scores of tensors as they come.

No weight reads the features that query and key share, so the scores change with them;
the exception is `AdditiveAttention`, whose scale reads them.
"""

from __future__ import annotations

import keras
from keras import layers

from keras_nas.rules.attention_positions import (
    SPREADS,
    Axes,
    Mixes,
    check_class,
    freeze_positions,
    tie,
    tie_grid,
    tie_mask,
)
from keras_nas.rules.call import RuleCall
from keras_nas.rules.operations_contraction import contract
from keras_nas.rules.registry import layer_rule, operation_rule
from keras_nas.rules.relation import (
    AxisTensor,
    Relation,
    Sliced,
    Undescribed,
    WeightAxes,
)

_SUMS = "its attention scores sum over all of them"
_SUMS_SCALED = f"{_SUMS}, divided by the square root of their number"


@layer_rule(layers.Attention)
def attention(call: RuleCall) -> Relation:
    """Called on ``[query, value]`` or ``[query, value, key]``; without matrices."""
    check_class(call, layers.Attention)
    weights = {name: WeightAxes(((),)) for name in ("scale", "concat_score_weight")}
    return _attend(call, weights, _SUMS)


@layer_rule(layers.AdditiveAttention)
def additive_attention(call: RuleCall) -> Relation:
    """With ``use_scale`` a vector reads the features that query and key share.

    Source: Bahdanau 2014, arXiv 1409.0473.
    """
    check_class(call, layers.AdditiveAttention)
    if "scale" not in call.weights:
        return _attend(call, {}, _SUMS)
    features = call.argument("inputs")[0].axes[-1]
    scale = WeightAxes(((features,),), reads=frozenset((0,)))
    return _attend(call, {"scale": scale}, None)


@operation_rule("DotProductAttention")
def dot_product_attention(call: RuleCall) -> Relation:
    """Query ``(B, T, N, H)``, key and value ``(B, S, K, H)``; ``K`` divides ``N``."""
    query, key, value = (call.argument(name) for name in ("query", "key", "value"))
    for tensor in (query, key, value):
        if not isinstance(tensor, AxisTensor):
            raise Undescribed("its query, key or value is a constant")
    if query.shape[-1] != value.shape[-1]:
        raise Undescribed("its values have another size than its queries")
    key, value = _with_query_heads(call, query, key, value)
    labels = (("batch", "row", "head", "sum"), ("batch", "column", "head", "sum"))
    features = ("batch", "column", "head", "value")
    relation = contract(
        call,
        (query, key, value),
        (*labels, features),
        ("batch", "row", "head", "value"),
    )
    grid = (*(query.axes[n] for n in (0, 2, 1)), key.axes[1])
    if call.config.get("is_causal"):
        freeze_positions(call, (query.axes[1], key.axes[1]))
    arguments = _tie_grid_arguments(call, grid)
    scaled = call.argument("scale") is None
    return Relation(
        outputs=relation.outputs,
        arguments=arguments,
        equal=((query.axes[-1], value.axes[-1]),),
        mixes=(
            (key.axes[1], SPREADS),
            (query.axes[-1], _SUMS_SCALED if scaled else _SUMS),
        ),
        macs=tuple((*query.axes[:3], key.axes[1], t.axes[-1]) for t in (query, value)),
    )


def _attend(
    call: RuleCall, weights: dict[str, WeightAxes], sums: str | None
) -> Relation:
    """Describes scores of query and key that weight the values.

    Args:
        call: Of a layer whose inputs are ``[query, value]`` or ``[query, value, key]``.
        weights: The weights of the layer.
        sums: What happens to the features that query and key share; None if a weight
            reads them.
    """
    query, value, *rest = call.argument("inputs")
    key = rest[0] if rest else value
    masks = call.argument("mask") or ()
    for mask, tensor in zip(masks, (query, value, key), strict=False):
        tie_mask(call, mask, tensor.axes[:-1])
    call.masks = []
    if call.argument("use_causal_mask"):
        freeze_positions(call, (query.axes[-2], value.axes[-2]))
    batch = [f"batch{number}" for number in range(query.rank - 2, 0, -1)]
    if not query.rank == value.rank == key.rank:
        raise Undescribed("its query, value and key have different ranks")
    relation = contract(
        call,
        (query, key, value),
        (
            [*batch, "row", "sum"],
            [*batch, "column", "sum"],
            [*batch, "column", "value"],
        ),
        [*batch, "row", "value"],
    )
    output = relation.outputs[0]
    outputs: tuple[AxisTensor, ...] = (output,)
    if len(call.output_shapes) > 1:
        outputs += (AxisTensor((*output.axes[:-1], value.axes[-2])),)
    mixes: Mixes = ((value.axes[-2], SPREADS),)
    if sums is not None:
        mixes += ((query.axes[-1], sums), (key.axes[-1], sums))
    macs = ((*query.axes, value.axes[-2]), (*output.axes, value.axes[-2]))
    return Relation(outputs=outputs, weights=weights, mixes=mixes, macs=macs)


def _with_query_heads(
    call: RuleCall, query: AxisTensor, key: AxisTensor, value: AxisTensor
) -> tuple[AxisTensor, AxisTensor]:
    """Returns key and value with as many heads as the query, repeated in a row."""
    num_heads, num_groups = query.axes[2].size, key.axes[2].size
    if None in (num_heads, num_groups) or num_heads % num_groups:
        raise Undescribed(f"it has {num_heads} query and {num_groups} key heads")
    tie(call, key.axes[2], value.axes[2])
    if num_heads == num_groups:
        return key, value
    sizes = (num_groups, num_heads // num_groups)
    groups, _ = call.unifier.factor(query.axes[2], sizes)
    tie(call, groups, key.axes[2])
    if keras.config.backend() == "tensorflow" and num_groups > 1:
        # There Keras cannot run one key head for several query heads.
        first, _ = call.unifier.split(groups, (2, num_groups - 2))
        call.freeze(first, f"'{call.name}', which needs two key heads on TensorFlow")
    heads = call.resolve(query.axes[2])
    new_key, new_value = (
        AxisTensor((*tensor.axes[:2], heads, tensor.axes[3])) for tensor in (key, value)
    )
    return new_key, new_value


def _tie_grid_arguments(call: RuleCall, grid: Axes) -> dict[str, Sliced]:
    """Ties mask and bias to ``(B, N, T, S)``; constant ones are rewritten."""
    arguments = {}
    for name in ("mask", "bias"):
        argument = call.argument(name)
        tensor = argument
        if not isinstance(argument, AxisTensor):
            tensor = call.constant(argument)
            if tensor is None:
                continue
            arguments[name] = call.sliced(argument, tensor)
        tie_grid(call, tensor, grid)
    call.masks = []
    return arguments
