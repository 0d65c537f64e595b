"""Attention: layers with heads of their own, and scores without weights.

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
from keras_nas.rules.call import RuleCall
from keras_nas.rules.operations_contraction import contract
from keras_nas.rules.registry import layer_rule, operation_rule, shipped
from keras_nas.rules.relation import (
    AxisTensor,
    Relation,
    SizeOf,
    Sliced,
    Undescribed,
    WeightAxes,
)

Axes = tuple[Expression, ...]
Mixes = tuple[tuple[Expression, str], ...]

_SPREADS = "its attention spreads over all of them"
_SUMS = "its attention scores sum over all of them"
_SUMS_SCALED = (
    "its attention scores sum over all of them, divided by the square root of their "
    "number"
)


@layer_rule(layers.MultiHeadAttention)
def multi_head_attention(call: RuleCall) -> Relation:
    """Widths ``num_heads``, ``key_dim`` and ``value_dim``; the output is the query's.

    With the setting ``output_shape`` the output has neurons of its own.
    """
    _check_class(call, layers.MultiHeadAttention)
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
        mixes=mixes,
    )


@layer_rule(*shipped("GroupQueryAttention"))
def grouped_query_attention(call: RuleCall) -> Relation:
    """Query heads come in groups, one for each key and value head.

    Query head ``i`` attends with key and value head ``i // r``; every group has the
    same number ``r`` of query heads.
    """
    _check_class(call, layers.GroupQueryAttention)
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
    )


@layer_rule(layers.Attention)
def attention(call: RuleCall) -> Relation:
    """Called on ``[query, value]`` or ``[query, value, key]``; without matrices."""
    _check_class(call, layers.Attention)
    weights = {name: WeightAxes(((),)) for name in ("scale", "concat_score_weight")}
    return _attend(call, weights, _SUMS)


@layer_rule(layers.AdditiveAttention)
def additive_attention(call: RuleCall) -> Relation:
    """With ``use_scale`` a vector reads the features that query and key share.

    Source: Bahdanau 2014, arXiv 1409.0473.
    """
    _check_class(call, layers.AdditiveAttention)
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
        _freeze_positions(call, (query.axes[1], key.axes[1]))
    arguments = _tie_grid_arguments(call, grid)
    scaled = call.argument("scale") is None
    return Relation(
        outputs=relation.outputs,
        arguments=arguments,
        equal=((query.axes[-1], value.axes[-1]),),
        mixes=(
            (key.axes[1], _SPREADS),
            (query.axes[-1], _SUMS_SCALED if scaled else _SUMS),
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
    axes = tuple(
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
        call.freeze(heads, f"'{call.name}' returns scores over several axes")
        return results, call.frozen_output(1)
    axes = (query.axes[0], heads, query.axes[1], value.axes[1])
    scores = tuple(
        axis if axis.size == size else call.fixed(size)
        for axis, size in zip(axes, call.output_shapes[1], strict=True)
    )
    return results, AxisTensor(scores, 1)


def _projected(call: RuleCall, name: str) -> tuple[int, int]:
    """Returns number and size of the heads of a projection."""
    shape = call.weights.get(f"{name}/kernel", ())
    if len(shape) != 3:
        raise Undescribed(f"it has no matrix '{name}/kernel' of three axes")
    return shape[1:]


def _check_class(call: RuleCall, base: type) -> None:
    """Makes sure that scores and weights are what the class of Keras makes them."""
    for cls in call.cls.__mro__[: call.cls.__mro__.index(base)]:
        for name, member in vars(cls).items():
            if name.startswith("_") and not name.endswith("__") and callable(member):
                raise Undescribed(f"it overrides `{name}`")
    for name in call.weights:
        last = name.rsplit("/", 1)[-1]
        if "lora" in last:
            raise Undescribed("it has LoRA weights")
        if last.endswith(("kernel_scale", "kernel_zero")):
            raise Undescribed("it is quantized")


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


def _attended(
    call: RuleCall, query: AxisTensor, value: AxisTensor
) -> tuple[int, ...]:
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
        _tie(call, value.axes[number], key.axes[number])
        if number not in places:
            _tie(call, query.axes[number], value.axes[number])
    has_order = call.argument("use_causal_mask") or call.config.get("sliding_window")
    if has_order:
        for place in places:
            _freeze_positions(call, (query.axes[place], value.axes[place]))
    return tuple((value.axes[place], _SPREADS) for place in places)


def _freeze_positions(call: RuleCall, axes: Axes) -> None:
    for axis in axes:
        call.freeze(axis, f"the order of positions has meaning in '{call.name}'")


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
        _tie_mask(call, call.argument(f"{name}_mask"), tensor.axes)
    rest = [n for n in range(query.rank - 1) if n not in places]
    grid = tuple(
        tensor.axes[place] for tensor in (query, value) for place in places
    )
    batch = tuple(query.axes[number] for number in rest)
    mask = call.argument("attention_mask")
    if isinstance(mask, AxisTensor):
        is_full = mask.rank > len(batch) + len(grid)
        _tie_grid(call, mask, (*batch, heads, *grid) if is_full else (*batch, *grid))
    call.masks = []


def _tie_mask(call: RuleCall, mask: Any, axes: Axes) -> None:
    """Ties a mask to the leading axes of the tensor that it is for."""
    if not isinstance(mask, AxisTensor):
        return
    for axis, other in zip(mask.axes, axes, strict=False):
        _tie(call, axis, other)
    for axis in mask.axes[len(axes) :]:
        call.freeze(axis, f"it is a mask of '{call.name}'")


def _tie_grid(call: RuleCall, mask: AxisTensor, grid: Axes) -> None:
    """Ties what broadcasts against scores to their axes, aligned at the right."""
    for back, axis in enumerate(reversed(mask.axes), start=1):
        if back <= len(grid) and axis.size != 1:
            _tie(call, axis, grid[-back])
        else:
            call.freeze(axis, f"it is broadcast in '{call.name}'")


def _tie(call: RuleCall, left: Expression, right: Expression) -> None:
    """Makes two axes one; freezes both if one of them broadcasts."""
    if left.size == right.size or None in (left.size, right.size):
        call.unify(left, right)
        return
    for axis in (left, right):
        call.freeze(axis, f"it is broadcast in '{call.name}'")


# --- attention without matrices -------------------------------------------------------


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
        _tie_mask(call, mask, tensor.axes[:-1])
    call.masks = []
    if call.argument("use_causal_mask"):
        _freeze_positions(call, (query.axes[-2], value.axes[-2]))
    batch = [f"batch{number}" for number in range(query.rank - 2, 0, -1)]
    if not query.rank == value.rank == key.rank:
        raise Undescribed("its query, value and key have different ranks")
    relation = contract(
        call,
        (query, key, value),
        ([*batch, "row", "sum"], [*batch, "column", "sum"], [*batch, "column", "value"]),
        [*batch, "row", "value"],
    )
    (output,) = relation.outputs[:1]
    outputs = (output,)
    if len(call.output_shapes) > 1:
        outputs += (AxisTensor((*output.axes[:-1], value.axes[-2])),)
    mixes: Mixes = ((value.axes[-2], _SPREADS),)
    if sums is not None:
        mixes += ((query.axes[-1], sums), (key.axes[-1], sums))
    return Relation(outputs=outputs, weights=weights, mixes=mixes)


def _with_query_heads(
    call: RuleCall, query: AxisTensor, key: AxisTensor, value: AxisTensor
) -> tuple[AxisTensor, AxisTensor]:
    """Returns key and value with as many heads as the query, repeated in a row."""
    num_heads, num_groups = query.axes[2].size, key.axes[2].size
    if None in (num_heads, num_groups) or num_heads % num_groups:
        raise Undescribed(f"it has {num_heads} query and {num_groups} key heads")
    _tie(call, key.axes[2], value.axes[2])
    if num_heads == num_groups:
        return key, value
    sizes = (num_groups, num_heads // num_groups)
    groups, _ = call.unifier.factor(query.axes[2], sizes)
    _tie(call, groups, key.axes[2])
    if keras.config.backend() == "tensorflow" and num_groups > 1:
        # There Keras cannot run one key head for several query heads.
        first, _ = call.unifier.split(groups, (2, num_groups - 2))
        call.freeze(first, f"'{call.name}' needs two key heads on TensorFlow")
    heads = call.resolve(query.axes[2])
    return tuple(
        AxisTensor((*tensor.axes[:2], heads, tensor.axes[3])) for tensor in (key, value)
    )


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
        _tie_grid(call, tensor, grid)
    call.masks = []
    return arguments
