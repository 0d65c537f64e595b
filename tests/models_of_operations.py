"""Tiny models for the raw operations of ``keras.ops`` that have a rule.

Operations of one family stand side by side: each reads the neurons of ``before``, and
``after`` reads them all.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops
from models import add, dense, results_of

TOTAL = """
    absolute angle arcsinh arctan array cbrt ceil celu conjugate convert_to_tensor
    copy cos cosh deg2rad elu erf erfc exp exp2 expm1 fabs floor gelu
    hard_shrink hard_sigmoid hard_silu hard_tanh i0 isfinite isinf isnan
    isneginf isposinf isreal leaky_relu log_sigmoid logical_not nan_to_num negative
    ones_like rad2deg real relu relu6 round selu sigmoid sign signbit silu sin sinc
    sinh soft_shrink softplus softsign sparse_plus sparse_sigmoid square squareplus
    stop_gradient tan tanh tanh_shrink trunc zeros_like
"""

PARTIAL = """
    arccos arcsin arctanh erfinv log log10 log1p log2 reciprocal rsqrt sqrt
"""

BINARY = """
    add arctan2 divide_no_nan equal fmax fmin greater greater_equal hypot isclose
    less less_equal logaddexp logaddexp2 logical_and logical_or logical_xor
    maximum minimum multiply not_equal subtract
"""

DIVIDING = """
    divide floor_divide fmod mod true_divide power
"""

WHOLE_BINARY = """
    bitwise_and bitwise_or bitwise_xor bitwise_left_shift left_shift
    bitwise_right_shift right_shift gcd lcm ldexp
"""

REDUCTIONS = """
    all amax amin any average logsumexp max mean median min nanmax
    nanmean nanmedian nanmin nanprod nanstd nansum nanvar prod ptp std sum var
    argmax argmin nanargmax nanargmin
"""

ALONG = """
    cumprod cumsum nancumprod nancumsum sort argsort softmax log_softmax sparsemax
    normalize diff
"""

SHAPES: dict[str, Callable] = {
    "reshape": lambda x: ops.reshape(x, (-1, 2, 12)),
    "transpose": lambda x: ops.transpose(x, (0, 2, 1)),
    "swapaxes": lambda x: ops.swapaxes(x, 1, -1),
    "moveaxis": lambda x: ops.moveaxis(x, -1, 1),
    "expand_dims": lambda x: ops.expand_dims(x, -2),
    "squeeze": lambda x: ops.squeeze(x[:, :1], 1),
    "tile": lambda x: ops.tile(x, (1, 2, 3)),
    "repeat": lambda x: ops.repeat(x, 2, axis=-1),
    "flip": lambda x: ops.flip(x, 1),
    "roll": lambda x: ops.roll(x, 1, axis=1),
    "fliplr": lambda x: ops.fliplr(x),
    "flipud": lambda x: ops.flipud(x),
    "tril": lambda x: ops.tril(ops.expand_dims(x, 1)),
    "triu": lambda x: ops.triu(ops.expand_dims(x, 1)),
}

PARTS: dict[str, Callable] = {
    "get_item": lambda x: [x[:, 0], x[..., 1:4], x[:, -1:, ::2], x[..., None, -2:]],
    "slice": lambda x: ops.slice(x, (0, 1, 2), (3, 3, 2)),
    "take": lambda x: ops.take(x, [0, 2, 2], axis=1),
    "top_k": lambda x: ops.top_k(ops.transpose(x, (0, 2, 1)), 2)[0],
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 0), (2, 3))),
    "split": lambda x: [*ops.split(x, 3, -1), *ops.split(x, [1, 4], -1)],
    "array_split": lambda x: ops.array_split(x, 3, -1),
    "hsplit": lambda x: ops.hsplit(x, 2),
    "dsplit": lambda x: ops.dsplit(x, [2]),
    "unstack": lambda x: ops.unstack(x, axis=1),
    "moments": lambda x: ops.moments(x, [1]),
}

JOINED: dict[str, Callable] = {
    "concatenate": lambda x, y: ops.concatenate([x, y], -1),
    "append": lambda x, y: ops.append(x, y, 1),
    "hstack": lambda x, y: ops.hstack([x, y]),
    "dstack": lambda x, y: ops.dstack([x, y]),
    "stack": lambda x, y: ops.stack([x, y], -1),
    "where": lambda x, y: ops.where(x > 0, x, y),
    "matmul": lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))),
    "einsum": lambda x, y: ops.einsum("bij,bik->bjk", x, y),
}


def available(names: str) -> list[Callable]:
    """Finds functions of ``keras.ops``; older versions of Keras lack some."""
    return [getattr(ops, name) for name in names.split() if hasattr(ops, name)]


def features(tensor):
    """Brings a result of any rank and dtype to what a dense layer reads."""
    tensor = tensor if tensor.dtype == "float32" else ops.cast(tensor, "float32")
    if len(tensor.shape) == 1:
        tensor = ops.expand_dims(tensor, -1)
    return layers.Flatten()(tensor) if len(tensor.shape) > 2 else tensor


def side_by_side(shape, functions, *, first=None, num_inputs: int = 1, batch=None):
    """A model in which several functions read the same neurons.

    Args:
        shape: Of the input, without batch.
        functions: Each takes ``num_inputs`` tensors and returns one or several.
        first: Applied to the neurons before.
        num_inputs: Number of dense layers whose neurons the functions take.
        batch: Batch size, None for any.
    """
    inputs = keras.Input(batch_shape=(batch, *shape))
    names = ("before", "beside")[:num_inputs]
    tensors = [dense(6, name)(inputs) for name in names]
    tensors = tensors if first is None else [first(x) for x in tensors]
    joined = layers.Concatenate()([features(y) for y in results_of(functions, *tensors)])
    return keras.Model(inputs, layers.Dense(2, name="after")(joined))


def _along(function: Callable, axis: int) -> Callable:
    return lambda x: function(x, axis=axis)


def _in_batch(*functions: Callable) -> keras.Model:
    """Operations that touch the batch axis, each with a head of its own."""
    inputs = keras.Input(batch_shape=(3, 5))
    x, y = dense(6, "before")(inputs), dense(6, "beside")(inputs)
    reshaped = [
        lambda x, y, f=f, shape=shape: ops.reshape(f(x, y), shape)
        for f, shape in functions
    ]
    heads = [layers.Dense(2)(z) for z in results_of(reshaped, x, y)]
    return keras.Model(inputs, heads)


def _to_whole(x):
    return ops.cast(ops.abs(x) * 8 + 1, "int32")


def _from_zero_to_one(x):
    return x * 0.45 + 0.5


add("ops_total", lambda: side_by_side((4,), available(TOTAL)))
add(
    "ops_with_settings",
    lambda: side_by_side(
        (4,),
        [
            lambda x: ops.threshold(x, 0.1, 0.2),
            lambda x: ops.clip(x, -0.2, 0.5),
            lambda x: ops.full_like(x, 2.0),
            lambda x: ops.saturate_cast(x, "int8"),
            lambda x: x * np.linspace(0.5, 1.5, 6, dtype="float32"),
            lambda x: 1.0 - x,
        ],
    ),
)
add(
    "ops_partial",
    lambda: side_by_side(
        (4,),
        [*available(PARTIAL), lambda x: ops.arccosh(x + 1.0)],
        first=_from_zero_to_one,
    ),
    trains=False,
)
add("ops_binary", lambda: side_by_side((4,), available(BINARY), num_inputs=2))
add(
    "ops_without_gradient",
    lambda: side_by_side((4,), available("heaviside nextafter"), num_inputs=2),
    trains=False,
    fails_on=("old",),
)
add(
    "ops_complex",
    lambda: side_by_side((4,), [lambda x, y: ops.real(ops.polar(x, y))], num_inputs=2),
    trains=False,
    fails_on=("old",),
)
add(
    "ops_dividing",
    lambda: side_by_side(
        (4,), available(DIVIDING), first=_from_zero_to_one, num_inputs=2
    ),
    trains=False,
)
add(
    "ops_whole",
    lambda: side_by_side(
        (4,),
        [*available(WHOLE_BINARY), lambda x, y: ops.bitwise_invert(x)],
        first=_to_whole,
        num_inputs=2,
    ),
    trains=False,
)
add(
    "ops_reductions_of_neurons",
    lambda: side_by_side((4, 3), [_along(f, -1) for f in available(REDUCTIONS)]),
    trains=False,
)
add(
    "ops_reductions_of_steps",
    lambda: side_by_side((4, 3), [_along(f, 1) for f in available(REDUCTIONS)]),
)
# Keras 3.15 keeps their axes in a list, which is not hashable.
for _axis in (-1, 1):
    add(
        f"ops_norms_{_axis}",
        lambda axis=_axis: side_by_side((4, 3), [_along(ops.norm, axis)]),
        fails_on=("jax",),
    )
add(
    "ops_quantiles",
    lambda: side_by_side(
        (4, 3),
        [
            lambda x, f=f: f(x, 0.5, axis=1)
            for f in available("percentile nanpercentile quantile nanquantile")
        ],
    ),
    fails_on=("jax",),
)
for _axis in (-1, 1):
    add(
        f"ops_count_nonzero_{_axis}",
        lambda axis=_axis: side_by_side((4, 3), [_along(ops.count_nonzero, axis)]),
        trains=False,
        fails_on=("torch",),  # The result comes transposed.
    )
add(
    "ops_empty_like",
    lambda: side_by_side((4,), [ops.empty_like]),
    trains=False,
    fails_on=("torch", "old"),  # Its values are whatever the memory holds.
)
add(
    "ops_imag",
    lambda: side_by_side((4,), [ops.imag]),
    trains=False,
    fails_on=("torch",),  # Only of complex numbers.
)
add(
    "ops_along_steps",
    lambda: side_by_side((4, 3), [_along(f, 1) for f in available(ALONG)]),
)
add(
    "ops_softmax_of_neurons",
    lambda: side_by_side((4, 3), [ops.softmax, ops.log_softmax]),
)
add("ops_shapes", lambda: side_by_side((4, 3), SHAPES.values()))
add("ops_parts", lambda: side_by_side((4, 3), PARTS.values(), batch=3))
add("ops_glu", lambda: side_by_side((4, 3), [ops.glu]), fails_on=("old",))
add("ops_joined", lambda: side_by_side((4, 3), JOINED.values(), num_inputs=2))
add(
    "ops_images",
    lambda: side_by_side((2, 4, 3), [lambda x: ops.space_to_depth(x, 2)]),
    fails_on=("old",),
)
add(
    "ops_depth_to_space",
    lambda: side_by_side(
        (2, 3, 3), [lambda x: ops.depth_to_space(ops.concatenate([x, x], -1), 2)]
    ),
    fails_on=("old",),
)
add(
    "ops_in_batch",
    lambda: _in_batch(
        (lambda x, y: ops.ravel(x), (3, 6)),
        (lambda x, y: ops.broadcast_to(x[:, :1], (3, 6)), (3, 6)),
        (lambda x, y: features(ops.argpartition(x[:, 0], 1)), (3, 1)),
        (lambda x, y: ops.dot(x, ops.transpose(y)), (3, 3)),
        (lambda x, y: ops.inner(x, y), (3, 3)),
        (lambda x, y: ops.tensordot(x, y, [[1], [1]]), (3, 3)),
        (lambda x, y: ops.outer(x[:, 0], y[:, 1]), (3, 3)),
        (lambda x, y: ops.vstack([x, y]), (3, 12)),
        (lambda x, y: ops.vsplit(x, [1])[1], (2, 6)),
    ),
    trains=False,
)
add(
    "ops_vdot",
    lambda: _in_batch((lambda x, y: ops.vdot(x, y), (1, 1))),
    trains=False,
    fails_on=("torch",),  # Only of vectors.
)
add(
    "ops_by_number",
    lambda: side_by_side(
        (4, 3),
        [
            lambda x: ops.one_hot(ops.argmax(x, 1), 4),
            lambda x: ops.sum(x, 1),
        ],
    ),
)
