"""Inserted parts start as the identity function, or the error says why they cannot."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import TensorRef, build, wrap
from keras_nas.surgery.edits.identity import as_identity, is_nonnegative_after


def part(shape, function, dtype=None):
    """The graph of a part, and the model that it was wrapped from."""
    keras.utils.set_random_seed(1)
    x = keras.Input(shape, dtype=dtype)
    return wrap(keras.Model(x, function(x)))


def example_input(shape, *, is_nonnegative=False, batch=3):
    values = np.random.default_rng(0).normal(size=(batch, *shape)).astype("float32")
    return np.abs(values) if is_nonnegative else values


def assert_identity(graph, shape, *, is_nonnegative=False, atol=0.0, axis=-1):
    """The first channels of the output are the input."""
    x = example_input(shape, is_nonnegative=is_nonnegative)
    output = ops.convert_to_numpy(build(graph)(x))
    first = np.take(output, range(x.shape[axis]), axis=axis)
    assert first.shape == x.shape
    np.testing.assert_allclose(first, x, rtol=0, atol=atol)


def assert_all_train(graph, shape, *, is_nonnegative=False):
    """Two steps of training move some weight of every layer that has any."""
    model = build(graph)
    x = example_input(shape, is_nonnegative=is_nonnegative, batch=8)
    target = np.random.default_rng(1).normal(size=model(x).shape)
    leaves, todo = [], [model]
    while todo:
        layer = todo.pop()
        if isinstance(layer, keras.Model):
            todo += layer.layers
        elif layer.trainable_weights:
            leaves.append(layer)
    if not leaves:
        return
    before = [[ops.convert_to_numpy(w) for w in a.trainable_weights] for a in leaves]
    model.compile(keras.optimizers.SGD(0.1), "mse")
    for _ in range(2):
        model.train_on_batch(x, target)
    for layer, old in zip(leaves, before, strict=True):
        new = [ops.convert_to_numpy(w) for w in layer.trainable_weights]
        assert all(np.isfinite(weight).all() for weight in new)
        moved = [not np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
        assert any(moved), f"{layer.name} does not train"


def conv(filters, kernel_size, **keywords):
    return layers.Conv2D(filters, kernel_size, **{"padding": "same", **keywords})


def chain(*parts):
    def call(x):
        for one in parts:
            x = one(x)
        return x

    return call


def residual(*parts):
    return lambda x: layers.Add()([x, chain(*parts)(x)])


def fork(*branches):
    return lambda x: layers.Concatenate()([branch(x) for branch in branches])


def transformer(x):
    y = layers.LayerNormalization()(x)
    y = layers.MultiHeadAttention(2, 3)(y, y)
    x = layers.Add()([x, y])
    y = layers.LayerNormalization()(x)
    y = layers.Dense(24, activation="gelu")(y)
    return x + layers.Dense(6)(y)


def mixer(x):
    y = layers.LayerNormalization()(x)
    y = layers.Permute((2, 1))(y)
    y = layers.Dense(9, activation="gelu")(y)
    y = layers.Dense(7)(y)
    return layers.Add()([x, layers.Permute((2, 1))(y)])


def partly_zero(x):
    """Only the first channels need zeros, but along the rows all or none are."""
    y = layers.Dense(8)(x)
    y = layers.MaxPooling1D(2, 1, "same")(y)
    y = layers.Permute((2, 1))(y)
    y = layers.Permute((2, 1))(layers.Dense(7)(y))
    return layers.Add()([layers.Conv1D(8, 1)(x), y])


def relu_of_difference(x):
    y = layers.Subtract()([layers.Dense(6)(x), layers.Dense(6)(x)])
    return layers.Add()([x, layers.ReLU()(y)])


def squeezed(x):
    y = conv(4, 3, name="last")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Dense(4, activation="sigmoid")(gate)
    return layers.Add()([x, layers.Multiply()([y, gate])])


def shared_dense(x):
    dense = layers.Dense(6)
    return dense(dense(x))


def two_ways(x):
    dense = layers.Dense(6, name="d")
    return layers.Add()([dense(x), dense(dense(x))])


def nested_twice(x):
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(12, activation="relu"), layers.Dense(6)]
    )
    return inner(inner(x))


def projection(x):
    left = layers.BatchNormalization()(conv(8, 1)(x))
    right = conv(6, 3, activation="relu")(x)
    right = layers.BatchNormalization()(conv(8, 3)(right))
    return layers.Add()([left, right])


IMAGE, ROW, FLAT = (5, 6, 4), (7, 6), (6,)

# Bit-equal: every sum has one term that is not zero.
EXACT = {
    "dense": (FLAT, layers.Dense(6)),
    "dense without bias": (FLAT, layers.Dense(6, use_bias=False)),
    "dense, more units": (FLAT, layers.Dense(9)),
    "dense on images": (IMAGE, layers.Dense(4)),
    "chain": (FLAT, chain(layers.Dense(9), layers.Dense(6), layers.Dropout(0.5))),
    "chain through relu": (FLAT, chain(layers.Dense(12, "relu"), layers.Dense(6))),
    **{f"conv {size}": (IMAGE, conv(5, size, dilation_rate=1)) for size in range(1, 6)},
    "conv, oblong": (IMAGE, conv(4, (2, 5))),
    "conv, dilated": (IMAGE, conv(4, 3, dilation_rate=2)),
    "conv, valid and 1": (IMAGE, conv(4, 1, padding="valid")),
    "conv, padded before": (
        IMAGE,
        chain(layers.ZeroPadding2D(1), conv(4, 3, padding="valid")),
    ),
    "conv, two after one padding": (
        (9, 6),
        chain(
            layers.ZeroPadding1D((3, 2)),
            layers.Conv1D(7, 4),
            layers.Conv1D(6, 2, dilation_rate=2),
        ),
    ),
    "conv, cropped after": (
        IMAGE,
        chain(layers.ZeroPadding2D(2), conv(4, 3), layers.Cropping2D(2)),
    ),
    "causal": (ROW, layers.Conv1D(6, 4, padding="causal", dilation_rate=2)),
    "conv 3D": ((3, 4, 3, 2), layers.Conv3D(2, (2, 3, 4), padding="same")),
    "transposed": (IMAGE, layers.Conv2DTranspose(4, 4, padding="same")),
    "transposed, then valid": (
        IMAGE,
        chain(layers.Conv2DTranspose(4, 3), conv(4, 3, padding="valid")),
    ),
    "groups": (IMAGE, conv(4, 3, groups=2)),
    "groups, wide": (IMAGE, chain(conv(8, 1), conv(8, 3, groups=4), conv(4, 1))),
    "depthwise": (IMAGE, layers.DepthwiseConv2D(3, padding="same")),
    "depthwise, twice the channels": (
        IMAGE,
        chain(
            conv(4, 1),
            layers.DepthwiseConv2D(2, padding="same", depth_multiplier=2),
            conv(4, 1),
        ),
    ),
    "inverted bottleneck": (
        IMAGE,
        chain(
            conv(12, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            conv(4, 1, use_bias=False),
            layers.BatchNormalization(),
        ),
    ),
    "separable": (
        IMAGE,
        layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2),
    ),
    "norm": (ROW, layers.BatchNormalization()),
    "norm, neither scale nor shift": (
        ROW,
        layers.BatchNormalization(scale=False, center=False, epsilon=0.01),
    ),
    "norm, of another axis": (ROW, layers.BatchNormalization(axis=1)),
    "slopes": (ROW, layers.PReLU(shared_axes=[1])),
    "einsum": (ROW, layers.EinsumDense("abc,cd->abd", (None, 7), bias_axes="d")),
    "einsum, turned": (ROW, layers.EinsumDense("...c,dc->...d", 6)),
    "positions": (
        ROW,
        chain(layers.Permute((2, 1)), layers.Dense(7), layers.Permute((2, 1))),
    ),
    "positions in a row": (
        IMAGE,
        chain(
            layers.Reshape((30, 4)),
            layers.Conv1D(9, 3, padding="same"),
            layers.Dense(4),
            layers.Reshape((5, 6, 4)),
        ),
    ),
    "step by step": (
        ROW,
        chain(
            layers.TimeDistributed(layers.Dense(12, "relu")),
            layers.TimeDistributed(layers.Dense(6)),
        ),
    ),
    "one position": ((1, 1, 6), chain(layers.Flatten(), layers.Reshape((1, 1, 6)))),
    "more digits and fewer": (
        FLAT,
        chain(
            lambda x: ops.cast(x, "float64"),
            layers.Dense(9, dtype="float64"),
            lambda x: ops.cast(x, "float32"),
            layers.Dense(6),
        ),
    ),
    "mixer": (ROW, mixer),
    "partly zero": (ROW, partly_zero),
    "fork": (IMAGE, fork(conv(1, 1), chain(conv(5, 3), conv(3, 5)))),
    "fork, read by one": (
        IMAGE,
        chain(fork(conv(3, 1), conv(4, 3), conv(2, 2)), conv(4, 1)),
    ),
    "dense block": (IMAGE, fork(lambda x: x, conv(3, 3))),
    "residual": (IMAGE, residual(conv(8, 3, activation="relu"), conv(4, 3))),
    "residual, norm last": (
        IMAGE,
        residual(conv(4, 3, use_bias=False), layers.BatchNormalization()),
    ),
    "residual of one operation": (FLAT, lambda x: x + layers.Dense(6)(x)),
    "difference": (FLAT, lambda x: x - layers.Dense(6)(x)),
    "residual, relu last": (FLAT, residual(layers.Dense(6, "relu"))),
    "residual, relu of a difference": (FLAT, relu_of_difference),
    "residual, slopes last": (FLAT, residual(layers.Dense(6), layers.PReLU())),
    "residual, norm and relu last": (
        IMAGE,
        residual(conv(4, 3), layers.BatchNormalization(), layers.ReLU()),
    ),
    "residual, layer norm last": (FLAT, residual(layers.LayerNormalization())),
    "residual in strides": (
        (6, 6, 4),
        residual(conv(3, 3, strides=2), layers.UpSampling2D(), conv(4, 1)),
    ),
    "residual, pooled last": (
        (6, 6, 4),
        residual(conv(4, 3), layers.AveragePooling2D(2), layers.UpSampling2D()),
    ),
    "residual, recurrent inside": (
        ROW,
        residual(layers.LSTM(3, return_sequences=True), layers.Dense(6)),
    ),
    "residual in a residual": (
        FLAT,
        residual(residual(layers.Dense(6)), layers.Dense(6)),
    ),
    "two residuals": (
        FLAT,
        chain(residual(layers.Dense(6)), residual(layers.Dense(6))),
    ),
    "projection": (IMAGE, projection),
    "transformer": (ROW, transformer),
    "gate": (IMAGE, squeezed),
    "average": (FLAT, lambda x: layers.Average()([x, layers.Dense(6)(x)])),
    "shared": (FLAT, shared_dense),
    "nested, called twice": (FLAT, nested_twice),
}


@pytest.mark.parametrize("name", EXACT)
def test_output_is_bit_equal_to_input_when_inserted(name):
    shape, function = EXACT[name]
    graph = as_identity(part(shape, function))
    assert_identity(graph, shape)
    assert_all_train(graph, shape)


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "gelu",
        "silu",
        "softplus",
        "leaky_relu",
        "hard_silu",
        "log_sigmoid",
        "squareplus",
        "sparse_plus",
    ],
)
def test_pairs_of_units_carry_both_signs_through_an_activation(name):
    function = chain(layers.Dense(15, activation=name), layers.Dense(6))
    graph = as_identity(part(FLAT, function))
    assert_identity(graph, FLAT, atol=1e-6)
    assert_all_train(graph, FLAT)
    with pytest.raises(InvalidRequestError, match="'few' has 11 channels, fewer than"):
        few = chain(layers.Dense(11, activation=name, name="few"), layers.Dense(6))
        as_identity(part(FLAT, few))


@pytest.mark.parametrize(
    "function",
    [
        layers.ReLU(),
        layers.LeakyReLU(0.3),
        layers.ELU(),
        layers.Activation("relu"),
        ops.relu,
        layers.Dense(6, activation="relu"),
        chain(layers.Dense(6, "relu"), layers.BatchNormalization(), layers.ReLU()),
        residual(layers.Dense(6, "relu")),
        chain(layers.Dense(6, "relu"), layers.Dense(6, "relu")),
        chain(layers.Dense(12, "relu"), layers.PReLU(), layers.Dense(6)),
        chain(layers.Dense(12), layers.PReLU(), layers.ELU(), layers.Dense(6)),
    ],
)
def test_relu_is_exact_when_the_input_is_not_negative(function):
    graph = as_identity(part(FLAT, function), is_nonnegative=True)
    assert_identity(graph, FLAT, is_nonnegative=True)


@pytest.mark.parametrize(
    "inner",
    [
        [layers.Activation("gelu"), layers.PReLU()],
        [layers.PReLU(), layers.Activation("gelu")],
    ],
)
def test_slopes_keep_negatives_that_come_from_a_kernel(inner):
    graph = part(FLAT, chain(layers.Dense(12), *inner, layers.Dense(6)))
    graph = as_identity(graph, is_nonnegative=True)
    assert_identity(graph, FLAT, is_nonnegative=True, atol=1e-6)


def test_relu_is_exact_when_one_comes_before_it():
    function = chain(layers.Dense(12), layers.ReLU(), layers.ReLU(), layers.Dense(6))
    assert_identity(as_identity(part(FLAT, function)), FLAT)


def test_channels_first_when_layers_say_so():
    first = {"data_format": "channels_first", "padding": "same"}
    function = chain(
        layers.Conv2D(8, 3, **first),
        layers.BatchNormalization(axis=1),
        layers.ReLU(),
        layers.Conv2D(4, 2, **first),
        residual(layers.Conv2D(4, 1, **first)),
    )
    graph = as_identity(part((4, 5, 6), function))
    assert_identity(graph, (4, 5, 6), axis=1)


def test_unknown_grid_sizes_are_no_hindrance():
    function = chain(conv(9, 2, activation="relu"), conv(4, 3))
    graph = as_identity(part((None, None, 4), function))
    assert_identity(graph, IMAGE)


REFUSED = {
    "whole numbers": (
        FLAT,
        lambda x: ops.cast(ops.cast(x, "int32"), "float32"),
        r"Cast.* makes int32 of its input",
    ),
    "narrow": (FLAT, layers.Dense(5), "it ends with 5 channels, fewer than the 6"),
    "bottleneck": (
        FLAT,
        chain(layers.Dense(4, name="squeeze"), layers.Dense(6)),
        "the bottleneck 'squeeze' has 4 channels, fewer than the 6 channels that go",
    ),
    "bottleneck of a branch": (
        IMAGE,
        fork(chain(conv(1, 1, name="squeeze"), conv(3, 1)), conv(1, 1)),
        "the bottleneck 'squeeze' has 1 channels, fewer than the 3 channels",
    ),
    "tanh": (
        FLAT,
        layers.Activation("tanh", name="act"),
        r"'act' \(tanh\) is not the identity on any range",
    ),
    "relu": (
        FLAT,
        layers.Dense(6, "relu", name="d"),
        r"activation of 'd' \(relu\) is the identity only on values that are not neg",
    ),
    "relu first": (
        FLAT,
        chain(layers.ReLU(name="act"), layers.Dense(6)),
        "the bottleneck|what follows 'input_layer.*' needs other channels",
    ),
    "relu6": (FLAT, layers.ReLU(6, name="act"), r"'act' \(relu\) cuts off above 6"),
    "own function": (
        FLAT,
        layers.Dense(6, activation=lambda x: x, name="d"),
        r"activation of 'd' \(a function of your own\) is not known to be",
    ),
    "layer norm": (
        FLAT,
        layers.LayerNormalization(name="norm"),
        r"'norm' \(LayerNormalization\) subtracts each sample's mean",
    ),
    "norm in training": (
        FLAT,
        lambda x: layers.BatchNormalization(name="norm")(x, training=True),
        r"'norm' \(BatchNormalization\) is called with training=True",
    ),
    "strides": (
        IMAGE,
        conv(4, 3, strides=2, name="c"),
        r"'c' \(Conv2D\) moves in strides of 2",
    ),
    "valid": (
        IMAGE,
        conv(4, 3, padding="valid", name="c"),
        r"'c' \(Conv2D\) has kernel size 3 and valid padding",
    ),
    "even and dilated": (
        IMAGE,
        conv(4, 2, dilation_rate=2, name="c"),
        r"no tap of 'c' \(Conv2D\) stays in place: its kernel size 2 is even",
    ),
    "pooling": (
        IMAGE,
        layers.MaxPooling2D(2, name="pool"),
        r"'pool' \(MaxPooling2D\) does not keep every value at its position",
    ),
    "shifted": (
        IMAGE,
        chain(
            layers.ZeroPadding2D(1), layers.Cropping2D(((2, 0), (1, 1)), name="crop")
        ),
        r"'crop' \(Cropping2D\) crops the input",
    ),
    "padded": (IMAGE, layers.ZeroPadding2D(1), "with the positions at other places"),
    "transposed": (IMAGE, layers.Permute((2, 1, 3)), "with the positions at other"),
    "recurrent": (
        ROW,
        layers.LSTM(6, return_sequences=True, name="lstm"),
        r"'lstm' \(LSTM\) is not a layer that is known to have the identity",
    ),
    "twice itself": (
        FLAT,
        lambda x: layers.Add(name="add")([x, x]),
        r"one input of 'add' \(Add\) would have to be zero, and the input of the part",
    ),
    "residual, sigmoid last": (
        FLAT,
        residual(layers.Dense(6, "sigmoid", name="d")),
        r"the activation of 'd' \(sigmoid\) is not 0 where its input is 0",
    ),
    "residual, relu last, no bias": (
        FLAT,
        residual(layers.Dense(6, "relu", use_bias=False, name="d")),
        r"where 'd' \(Dense\) is 0 the activation behind it has no gradient",
    ),
    "gate": (
        FLAT,
        lambda x: layers.Multiply(name="m")([x, layers.Dense(6, "sigmoid")(x)]),
        r"'m' \(Multiply\) multiplies by something that depends on the input",
    ),
    "twins": (
        FLAT,
        lambda x: layers.Average(name="a")([layers.Dense(6)(x), layers.Dense(6)(x)]),
        r"all inputs of 'a' \(Average\) would have to be the same",
    ),
    "the larger": (
        FLAT,
        lambda x: layers.Maximum(name="max")([x, layers.Dense(6)(x)]),
        r"'max' \(Maximum\) chooses one of its inputs",
    ),
    "groups": (
        IMAGE,
        conv(8, 1, groups=2, name="c"),
        r"outputs of a group of 'c' \(Conv2D\) need 4 channels, more than the 2",
    ),
    "shared, different demands": (
        FLAT,
        two_ways,
        r"the calls 'd' and 'd\^\d' share the weight 'kernel'",
    ),
    "shared, silent": (
        FLAT,
        lambda x: x + chain(*2 * [layers.Dense(6, use_bias=False, name="d")])(x),
        "is called more than once, so that no gradient might reach it",
    ),
    "two outputs": (
        FLAT,
        lambda x: [layers.Dense(6)(x), layers.Dense(6)(x)],
        "it has 1 inputs and 2 outputs",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_error_says_where_and_why_when_impossible(name):
    shape, function, words = REFUSED[name]
    graph = part(shape, function)
    with pytest.raises(InvalidRequestError, match=words) as caught:
        as_identity(graph)
    assert "Leave out identity=True" in str(caught.value)
    assert "Received: '" in str(caught.value)


def test_random_weights_stay_when_nobody_looks_at_them():
    function = chain(
        layers.Dense(9, name="a"), residual(layers.Dense(6)), layers.Dense(6)
    )
    function = chain(
        layers.Dense(9, name="a"),
        layers.Dense(6, name="b"),
        residual(layers.Dense(8, "relu", name="c"), layers.Dense(6, name="d")),
    )
    old = part(FLAT, function)
    new = as_identity(old)
    assert new.parts["c"] is old.parts["c"]
    kernel, before = (graph.parts["a"].weights[0].value() for graph in (new, old))
    np.testing.assert_array_equal(kernel[:, :6], np.eye(6))
    np.testing.assert_array_equal(kernel[:, 6:], before[:, 6:])
    assert not new.parts["d"].weights[0].value().any()


def test_other_branches_stay_random_when_one_is_enough():
    names = iter("abc")
    branches = [conv(4, 3, name=next(names)) for _ in range(3)]
    old = part(IMAGE, chain(fork(*branches), conv(4, 1)))
    new = as_identity(old)
    changed = [name for name in "abc" if new.parts[name] is not old.parts[name]]
    assert changed == ["a"]


def test_fragment_is_not_changed():
    old = part(FLAT, layers.Dense(6, name="a"))
    before = old.parts["a"].weights[0].value().copy()
    new = as_identity(old)
    np.testing.assert_array_equal(old.parts["a"].weights[0].value(), before)
    assert new.parts["a"].weights[0].name == "kernel"
    assert new.parts["a"].weights[0].trainable
    assert [w.shape for w in new.parts["a"].weights] == [(6, 6), (6,)]


PRECISIONS = ["bfloat16", "float16", "mixed_float16"]
if keras.backend.backend() != "jax":  # It has 64 bits only if told so at its start.
    PRECISIONS.append("float64")


@pytest.mark.parametrize("policy", PRECISIONS)
def test_identity_holds_in_other_precisions(policy):
    function = chain(
        layers.Dense(12, dtype=policy),
        layers.BatchNormalization(dtype=policy),
        layers.ReLU(dtype=policy),
        layers.Dense(6, dtype=policy),
        residual(layers.Dense(6, "relu", dtype=policy)),
    )
    graph = as_identity(part(FLAT, function))
    x = example_input(FLAT)
    output = ops.convert_to_numpy(ops.cast(build(graph)(x), "float32"))
    atol = {"bfloat16": 0.02, "float64": 1e-7}.get(policy, 2e-3)
    np.testing.assert_allclose(output, x, atol=atol)


def test_relu_behind_zeros_passes_a_gradient_in_half_precision():
    function = residual(layers.Dense(6, "relu", dtype="mixed_float16", name="d"))
    graph = as_identity(part(FLAT, function))
    assert_all_train(graph, FLAT)
    (bias,) = set(graph.parts["d"].weights[1].value().tolist())
    assert np.float16(bias) > 0


def test_ten_thousand_calls_are_no_depth():
    graph = part((2,), layers.Dense(2, name="dense"))
    dense = graph.body.vertices["dense"]
    vertices = dict(graph.body.vertices)
    last = "dense"
    for number in range(10_000):
        name = f"dense^{number + 1}"
        vertices[name] = replace(dense, name=name, args=(TensorRef(last),))
        last = name
    body = replace(graph.body, vertices=vertices, outputs=TensorRef(last))
    deep = replace(graph, body=body)
    kernel = as_identity(deep).parts["dense"].weights[0].value()
    np.testing.assert_array_equal(kernel, np.eye(2))
    relu = {"activation": "relu"}
    parts = {"dense": replace(graph.parts["dense"], config=relu)}
    assert is_nonnegative_after(replace(deep, parts={**deep.parts, **parts}), last)


# --- Random parts ---

ACTIVATIONS = st.sampled_from([None, None, "relu", "gelu", "tanh", "elu", "softplus"])
WIDTHS = st.integers(3, 9)


def made_with(cls, **settings_of_it):
    """Draws a layer as a class and its settings."""
    return st.tuples(st.just(cls), st.fixed_dictionaries(settings_of_it))


CONVOLUTIONS = made_with(
    layers.Conv1D,
    filters=WIDTHS,
    kernel_size=st.integers(1, 5),
    dilation_rate=st.sampled_from([1, 1, 2]),
    padding=st.sampled_from(["same", "same", "same", "causal", "valid"]),
    activation=ACTIVATIONS,
    use_bias=st.booleans(),
)
SINGLE = st.one_of(
    CONVOLUTIONS,
    CONVOLUTIONS,
    made_with(layers.Dense, units=WIDTHS, activation=ACTIVATIONS),
    made_with(layers.BatchNormalization, scale=st.booleans(), center=st.booleans()),
    made_with(layers.Activation, activation=ACTIVATIONS.map(lambda a: a or "linear")),
    made_with(
        layers.DepthwiseConv1D,
        kernel_size=st.integers(1, 4),
        padding=st.just("same"),
        depth_multiplier=st.integers(1, 2),
        activation=ACTIVATIONS,
    ),
    made_with(
        layers.SeparableConv1D,
        filters=WIDTHS,
        kernel_size=st.just(3),
        padding=st.just("same"),
    ),
    made_with(layers.MaxPooling1D, pool_size=st.just(2)),
    made_with(layers.ZeroPadding1D, padding=st.integers(0, 2)),
    made_with(layers.Dropout, rate=st.just(0.5)),
    made_with(layers.PReLU),
    made_with(layers.LayerNormalization),
)


def larger_blocks(blocks):
    chains = st.lists(blocks, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("residual"), chains),
        st.tuples(st.just("fork"), st.lists(chains, min_size=2, max_size=3)),
    )


BLOCKS = st.recursive(st.tuples(st.just("layer"), SINGLE), larger_blocks, max_leaves=6)
CHAINS = st.lists(BLOCKS, min_size=1, max_size=4)


def apply_blocks(blocks, x):
    """Calls random blocks, leaving out what does not fit."""
    for kind, inside in blocks:
        if kind == "layer":
            cls, config = inside
            reach = config.get("dilation_rate", 1) * config.get("kernel_size", 1)
            if reach <= x.shape[1]:
                x = cls(**config)(x)
        elif kind == "residual":
            y = apply_blocks(inside, x)
            if y.shape[1] != x.shape[1]:
                continue
            y = y if y.shape == x.shape else layers.Conv1D(x.shape[2], 1)(y)
            x = layers.Add()([x, y])
        else:
            branches = [apply_blocks(branch, x) for branch in inside]
            same = [b for b in branches if b.shape[1] == branches[0].shape[1]]
            x = layers.Concatenate()(same) if len(same) > 1 else same[0]
    return x


@settings(max_examples=80)
@given(CHAINS, st.booleans(), st.booleans())
def test_random_parts_are_the_identity_or_refused(blocks, is_nonnegative, ends_wide):
    shape = (8, 3)

    def function(x):
        y = apply_blocks(blocks, x)
        return layers.Conv1D(6, 1)(y) if ends_wide else y

    old = part(shape, function)
    try:
        graph = as_identity(old, is_nonnegative=is_nonnegative)
    except InvalidRequestError as error:
        event("refused")
        assert "Received: " in str(error)
        return
    event("identity")
    assert_identity(graph, shape, is_nonnegative=is_nonnegative, atol=1e-5)


# --- Values that are not negative ---


def vertices(function, shape=IMAGE):
    x = keras.Input(shape, name="x")
    return wrap(keras.Model(x, function(x)))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (conv(3, 1, activation="relu", name="v"), True),
        (conv(3, 1, name="v"), False),
        (layers.ReLU(6, name="v"), True),
        (layers.ReLU(negative_slope=0.1, name="v"), False),
        (layers.Activation("softplus", name="v"), True),
        (layers.Activation("gelu", name="v"), False),
        (layers.LSTM(3, activation="relu", name="v"), False),
        (
            chain(layers.ReLU(), layers.MaxPooling2D(), layers.Dropout(0.1, name="v")),
            True,
        ),
        (chain(layers.ReLU(), layers.BatchNormalization(name="v")), False),
        (chain(layers.ReLU(), layers.Rescaling(-1.0, name="v")), False),
        (
            chain(
                fork(layers.ReLU(), conv(2, 1, activation="sigmoid")),
                layers.Flatten(name="v"),
            ),
            True,
        ),
        (chain(fork(layers.ReLU(), conv(2, 1)), layers.Flatten(name="v")), False),
        (
            chain(
                layers.ReLU(),
                residual(layers.Dense(4, "relu")),
                layers.Identity(name="v"),
            ),
            True,
        ),
        (layers.Identity(name="v"), False),
        (keras.Sequential([keras.Input(IMAGE), layers.ReLU()], name="v"), True),
    ],
)
def test_nonnegative_is_known_from_the_layers_before(function, expected):
    shape = ROW if isinstance(function, layers.LSTM) else IMAGE
    assert is_nonnegative_after(vertices(function, shape), "v") is expected


def test_nonnegative_is_known_of_operations():
    positive = vertices(lambda x: ops.add(ops.relu(x), ops.square(x)))
    assert is_nonnegative_after(positive, list(positive.body.vertices)[-1])
    unknown = vertices(lambda x: ops.add(ops.relu(x), -1.0))
    assert not is_nonnegative_after(unknown, list(unknown.body.vertices)[-1])
