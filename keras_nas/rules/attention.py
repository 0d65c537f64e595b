"""Attention with heads of its own.

A head reads the features of the query, key and value and is read by the output
projection, so heads come and go without changing what the others compute. The same
holds for the value features of a head. Query and key features meet in a product that
the layer divides by the square root of their number; we let the query read them (new
ones are zero there) and multiply the query by the square root of the ratio of both
numbers, so that the scores of the features that stay are what they were.

Source: Vaswani 2017, "Attention is all you need", arXiv 1706.03762; for groups of
queries that share a key and value head Ainslie 2023, "GQA", arXiv 2305.13245.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_nas.axes import Expression, Fixed, product
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
from keras_nas.rules.registry import layer_rule, shipped
from keras_nas.rules.relation import (
    AxisTensor,
    Macs,
    Relation,
    SizeOf,
    Undescribed,
    WeightAxes,
)


@layer_rule(layers.MultiHeadAttention)
def multi_head_attention(call: RuleCall) -> Relation:
    """Widths ``num_heads``, ``key_dim`` and ``value_dim``; the output is the query's.

    With the setting ``output_shape`` the output has neurons of its own.
    """
    check_class(call, layers.MultiHeadAttention)
    query, value, key = _named_operands(call)
    num_heads, key_size = _projected(call, "query")
    heads = call.atom(num_heads, "num_heads")
    key_dim = call.atom(key_size, "key_dim")
    value_dim = call.atom(_projected(call, "value")[1], "value_dim")
    output, config, widths = _output_axes(call, query)
    places = _attended(call, query, value)
    mixes = _tie_positions(call, query, value, key, places)
    _tie_named_masks(call, query, value, key, places, heads)
    features = (query.axes[-1], key.axes[-1], value.axes[-1])
    return Relation(
        outputs=_outputs(call, query, value, output, heads),
        weights={
            **_query_weights(features[0], heads, key_dim),
            **_projection("key", (features[1], heads, key_dim)),
            **_projection("value", (features[2], heads, value_dim)),
            **_projection("gate", (features[0], heads, value_dim)),
            **_output_weights(heads, value_dim, output),
        },
        config={
            "num_heads": SizeOf(heads),
            "key_dim": SizeOf(key_dim),
            "value_dim": SizeOf(value_dim),
            **config,
        },
        widths={
            "num_heads": heads,
            "key_dim": key_dim,
            "value_dim": value_dim,
            **widths,
        },
        equal=_sizes_of_backend(call, query, key_dim, value_dim),
        mixes=mixes,
        macs=(
            *_projecting(call, query, features[0], heads, key_dim, value_dim),
            (*key.axes, heads, key_dim),
            (*value.axes, heads, value_dim),
            *_attending(query, value, places, heads, (key_dim, value_dim)),
            (*query.axes[:-1], heads, value_dim, *output),
        ),
    )


@layer_rule(*shipped("GroupQueryAttention"))
def grouped_query_attention(call: RuleCall) -> Relation:
    """Query heads come in groups, one for each key and value head.

    Query head ``i`` attends with key and value head ``i // r``; every group has the
    same number ``r`` of query heads.
    """
    check_class(call, layers.GroupQueryAttention)
    query, value, key = _named_operands(call)
    num_queries, size = _projected(call, "query")
    num_groups, _ = _projected(call, "key")
    groups = call.atom(num_groups, "num_key_value_heads")
    repeats = num_queries // num_groups
    members = call.atom(repeats, "num_query_heads") if repeats > 1 else Fixed(1)
    heads, head_dim = product((groups, members)), call.atom(size, "head_dim")
    mixes = _tie_positions(call, query, value, key, (1,))
    _tie_named_masks(call, query, value, key, (1,), heads)
    features = (query.axes[-1], key.axes[-1], value.axes[-1])
    settings = {
        "num_query_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": head_dim,
    }
    return Relation(
        outputs=_outputs(call, query, value, features[:1], heads),
        weights={
            **_query_weights(features[0], heads, head_dim),
            **_projection("key", (features[1], groups, head_dim)),
            **_projection("value", (features[2], groups, head_dim)),
            **_projection("gate", (features[0], heads, head_dim)),
            **_output_weights(heads, head_dim, features[:1]),
        },
        config={name: SizeOf(axis) for name, axis in settings.items()},
        widths=settings,
        # Keras refuses a query and a value with different numbers of features.
        equal=((features[0], features[2]),),
        mixes=mixes,
        macs=(
            *_projecting(call, query, features[0], heads, head_dim, head_dim),
            (*key.axes, groups, head_dim),
            (*value.axes, groups, head_dim),
            *_attending(query, value, (1,), heads, (head_dim, head_dim)),
            (*query.axes[:-1], heads, head_dim, features[0]),
        ),
    )


# --- weights of a layer with heads ----------------------------------------------------


def _query_weights(
    features: Expression, heads: Expression, key_dim: Expression
) -> dict[str, WeightAxes]:
    """The query reads its features, and those that it shares with the key."""
    rescale = ((key_dim, 0.5),)
    return {
        "query/kernel": WeightAxes(
            ((features, heads, key_dim),), reads=frozenset((0, 2)), rescale=rescale
        ),
        "query/bias": WeightAxes(
            ((heads, key_dim),), reads=frozenset((1,)), rescale=rescale
        ),
    }


def _projecting(
    call: RuleCall,
    query: AxisTensor,
    features: Expression,
    heads: Expression,
    key_dim: Expression,
    value_dim: Expression,
) -> Macs:
    """What the query is multiplied with: its own matrix, and that of a gate."""
    macs: Macs = ((*query.axes[:-1], features, heads, key_dim),)
    if "gate/kernel" in call.weights:
        macs += ((*query.axes[:-1], features, heads, value_dim),)
    return macs


def _attending(
    query: AxisTensor,
    value: AxisTensor,
    places: Sequence[int],
    heads: Expression,
    features: Axes,
) -> Macs:
    """The scores of all pairs of positions, and the values weighted by them."""
    pairs = (*query.axes[:-1], *(value.axes[place] for place in places), heads)
    return tuple((*pairs, feature) for feature in features)


def _projection(name: str, axes: Axes) -> dict[str, WeightAxes]:
    return {
        f"{name}/kernel": WeightAxes((axes,), reads=frozenset((0,))),
        f"{name}/bias": WeightAxes((axes[1:],)),
    }


def _output_weights(
    heads: Expression, value_dim: Expression, output: Axes
) -> dict[str, WeightAxes]:
    return {
        "attention_output/kernel": WeightAxes(
            ((heads, value_dim, *output),), reads=frozenset((0, 1))
        ),
        "attention_output/bias": WeightAxes((output,)),
    }


def _output_axes(
    call: RuleCall, query: AxisTensor
) -> tuple[Axes, dict[str, Any], dict[str, Expression]]:
    """Returns the feature axes of the output, and how settings and widths follow."""
    setting = call.setting("output_shape")
    if not setting:
        return query.axes[-1:], {}, {}
    sizes = (setting,) if isinstance(setting, int) else tuple(setting)
    names = [f"output_shape_{number}" for number in range(len(sizes))]
    axes: Axes = tuple(
        call.atom(size, name if len(sizes) > 1 else "output_shape")
        for size, name in zip(sizes, names, strict=True)
    )
    new = SizeOf(axes[0]) if isinstance(setting, int) else tuple(map(SizeOf, axes))
    widths = dict(zip(names[:-1], axes[:-1], strict=True))
    return axes, {"output_shape": new}, widths


def _outputs(
    call: RuleCall,
    query: AxisTensor,
    value: AxisTensor,
    output: Axes,
    heads: Expression,
) -> tuple[AxisTensor, ...]:
    """The attended values, and the scores ``(batch, head, T, S)`` if asked for."""
    results = AxisTensor((*query.axes[:-1], *output))
    if len(call.output_shapes) == 1:
        return (results,)
    if query.rank != 3:
        # Keras itself states another shape for these scores than it returns.
        call.freeze(heads, f"'{call.name}', which returns scores over several axes")
        return results, call.frozen_output(1)
    axes = (query.axes[0], heads, query.axes[1], value.axes[1])
    scores = tuple(
        axis if axis.size == size else call.fixed(size)
        for axis, size in zip(axes, call.output_shapes[1], strict=True)
    )
    return results, AxisTensor(scores, 1)


def _sizes_of_backend(
    call: RuleCall, query: AxisTensor, key_dim: Expression, value_dim: Expression
) -> tuple[Axes, ...]:
    """On JAX the fused attention of Keras runs with values as long as keys only."""
    is_fused = (
        query.rank == 3 and len(call.output_shapes) == 1 and not call.setting("dropout")
    )
    if keras.config.backend() == "jax" and is_fused and key_dim.size == value_dim.size:
        return ((key_dim, value_dim),)
    return ()


def _projected(call: RuleCall, name: str) -> tuple[int, int]:
    """Returns number and size of the heads of a projection."""
    shape = call.weights.get(f"{name}/kernel", ())
    if len(shape) != 3:
        raise Undescribed(f"it has no matrix '{name}/kernel' of three axes")
    return shape[1:]


# --- positions and masks --------------------------------------------------------------


def _named_operands(call: RuleCall) -> tuple[AxisTensor, AxisTensor, AxisTensor]:
    """Returns query, value and key; the value is the key if none is given."""
    query, value = call.argument("query"), call.argument("value")
    key = call.argument("key")
    key = value if key is None else key
    for tensor in (query, value, key):
        if not isinstance(tensor, AxisTensor):
            raise Undescribed("its query, value or key is no tensor of the graph")
    if not query.rank == value.rank == key.rank:
        raise Undescribed("its query, value and key have different ranks")
    return query, value, key


def _attended(call: RuleCall, query: AxisTensor, value: AxisTensor) -> tuple[int, ...]:
    """Returns the axes that attention is taken over."""
    places = call.config.get("attention_axes")
    if places is None:
        return tuple(range(1, value.rank - 1))
    places = (places,) if isinstance(places, int) else places
    return tuple(place % query.rank for place in places)


def _tie_positions(
    call: RuleCall,
    query: AxisTensor,
    value: AxisTensor,
    key: AxisTensor,
    places: Sequence[int],
) -> Mixes:
    """Ties all axes but the features; returns what attention mixes."""
    for number in range(query.rank - 1):
        tie(call, value.axes[number], key.axes[number])
        if number not in places:
            tie(call, query.axes[number], value.axes[number])
    has_order = call.argument("use_causal_mask") or call.config.get("sliding_window")
    if has_order:
        for place in places:
            freeze_positions(call, (query.axes[place], value.axes[place]))
    return tuple((value.axes[place], SPREADS) for place in places)


def _tie_named_masks(
    call: RuleCall,
    query: AxisTensor,
    value: AxisTensor,
    key: AxisTensor,
    places: Sequence[int],
    heads: Expression,
) -> None:
    """Ties each mask to what it hides: ``query_mask`` to the query, and so on."""
    for name, tensor in (("query", query), ("value", value), ("key", key)):
        tie_mask(call, call.argument(f"{name}_mask"), tensor.axes[:-1])
    rest = [n for n in range(query.rank - 1) if n not in places]
    grid = tuple(tensor.axes[place] for tensor in (query, value) for place in places)
    batch = tuple(query.axes[number] for number in rest)
    mask = call.argument("attention_mask")
    if isinstance(mask, AxisTensor):
        is_full = mask.rank > len(batch) + len(grid)
        tie_grid(call, mask, (*batch, heads, *grid) if is_full else (*batch, *grid))
    call.masks = []
