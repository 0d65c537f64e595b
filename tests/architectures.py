"""Five well-known architectures, small, as people write them with plain Keras layers.

A transformer, a U-Net, a ShuffleNetV2, a Swin Transformer and a MobileNetV3. What
`keras_nas.summary` and `keras_nas.explain` say about them should please a reader.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

# --- the transformer of Vaswani et al. 2017 -------------------------------------


def transformer(
    width: int = 16, heads: int = 4, depth: int = 2, vocabulary: int = 20
) -> keras.Model:
    """An encoder and a decoder with cross-attention."""
    source = keras.Input((6,), dtype="int32", name="source")
    target = keras.Input((5,), dtype="int32", name="target")
    memory = _embedded(source, vocabulary, width, "source")
    for number in range(depth):
        name = f"encoder{number}"
        memory = _attend(memory, memory, heads, f"{name}_self")
        memory = _feed_forward(memory, f"{name}_mlp")
    x = _embedded(target, vocabulary, width, "target")
    for number in range(depth):
        name = f"decoder{number}"
        x = _attend(x, x, heads, f"{name}_self", use_causal_mask=True)
        x = _attend(x, memory, heads, f"{name}_cross")
        x = _feed_forward(x, f"{name}_mlp")
    head = layers.Dense(vocabulary, name="head")(x)
    return keras.Model([source, target], head, name="transformer")


def _embedded(tokens, vocabulary: int, width: int, name: str):
    places = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = layers.Embedding(vocabulary, width, name=f"{name}_embedding")(tokens)
    y = layers.Embedding(tokens.shape[1], width, name=f"{name}_places")(places)
    return layers.Add(name=f"{name}_embedded")([x, y])


def _attend(x, context, heads: int, name: str, **arguments):
    width = x.shape[-1]
    attention = layers.MultiHeadAttention(heads, width // heads, name=name)
    y = layers.Dropout(0.1)(attention(x, context, **arguments))
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.LayerNormalization(name=f"{name}_norm")(x)


def _feed_forward(x, name: str):
    width = x.shape[-1]
    y = layers.Dense(4 * width, activation="gelu", name=f"{name}_in")(x)
    y = layers.Dropout(0.1)(layers.Dense(width, name=f"{name}_out")(y))
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.LayerNormalization(name=f"{name}_norm")(x)


# --- the U-Net of Ronneberger et al. 2015 ---------------------------------------


def unet(width: int = 8, depth: int = 2, classes: int = 3) -> keras.Model:
    """Convolutions without padding, so that the skip connections are cropped."""
    x = image = keras.Input((44, 44, 3), name="image")
    skips = []
    for level in range(depth):
        x = _two_convolutions(x, width << level, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
    x = _two_convolutions(x, width << depth, "bottom")
    for level in reversed(range(depth)):
        name = f"up{level}"
        x = layers.Conv2DTranspose(width << level, 2, strides=2, name=name)(x)
        margin = (skips[level].shape[1] - x.shape[1]) // 2
        skip = layers.Cropping2D(margin, name=f"{name}_crop")(skips[level])
        x = layers.Concatenate(name=f"{name}_join")([skip, x])
        x = _two_convolutions(x, width << level, name)
    return keras.Model(image, layers.Conv2D(classes, 1, name="head")(x), name="unet")


def _two_convolutions(x, width: int, name: str):
    for number in (1, 2):
        x = layers.Conv2D(width, 3, use_bias=False, name=f"{name}_conv{number}")(x)
        x = layers.BatchNormalization(name=f"{name}_norm{number}")(x)
        x = layers.ReLU(name=f"{name}_relu{number}")(x)
    return x


# --- the ShuffleNetV2 of Ma et al. 2018 -----------------------------------------


def shufflenet(widths: tuple = (16, 32), depth: int = 2) -> keras.Model:
    """Half of the channels go through each unit; then the two halves are shuffled."""
    image = keras.Input((16, 16, 3), name="image")
    x = _unit(image, 8, 3, "stem", strides=2)
    for stage, width in enumerate(widths):
        name = f"stage{stage}"
        left = _depthwise(x, f"{name}_down_left_depthwise", strides=2)
        left = _unit(left, width // 2, 1, f"{name}_down_left")
        right = _branch(x, width // 2, f"{name}_down", strides=2)
        x = _shuffled(left, right, f"{name}_down")
        for number in range(1, depth):
            left, right = ops.split(x, 2, axis=-1)
            right = _branch(right, width // 2, f"{name}_unit{number}")
            x = _shuffled(left, right, f"{name}_unit{number}")
    x = _unit(x, 64, 1, "last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(5, name="head")(x), name="shufflenet")


def _unit(x, width: int, size: int, name: str, strides: int = 1):
    x = layers.Conv2D(
        width, size, strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _depthwise(x, name: str, strides: int = 1):
    x = layers.DepthwiseConv2D(
        3, strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def _branch(x, width: int, name: str, strides: int = 1):
    x = _unit(x, width, 1, f"{name}_in")
    x = _depthwise(x, f"{name}_depthwise", strides)
    return _unit(x, width, 1, f"{name}_out")


def _shuffled(left, right, name: str):
    x = layers.Concatenate(name=f"{name}_join")([left, right])
    _, height, columns, channels = x.shape
    x = layers.Reshape((height, columns, 2, channels // 2), name=f"{name}_two_groups")(
        x
    )
    x = layers.Permute((1, 2, 4, 3), name=f"{name}_shuffle")(x)
    return layers.Reshape((height, columns, channels), name=f"{name}_shuffled")(x)


# --- the Swin Transformer of Liu et al. 2021 ------------------------------------

WINDOW = 4


def swin(width: int = 12, heads: int = 2, depth: int = 2) -> keras.Model:
    """Two stages of windowed attention; every other block rolls its windows."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(width, 4, strides=4, name="patches")(image)
    x = layers.LayerNormalization(name="patches_norm")(x)
    for stage in range(2):
        if stage:
            x = _merged(x, f"stage{stage}_merge")
        for number in range(depth):
            shift = WINDOW // 2 if number % 2 and x.shape[1] > WINDOW else 0
            name = f"stage{stage}_block{number}"
            x = _swin_block(x, heads << stage, shift, name)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(5, name="head")(x), name="swin")


def _merged(x, name: str):
    """Four neighbours become one position with twice the width."""
    width = x.shape[-1]
    corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    x = layers.Concatenate(name=f"{name}_corners")(corners)
    x = layers.LayerNormalization(name=f"{name}_norm")(x)
    return layers.Dense(2 * width, use_bias=False, name=name)(x)


def _swin_block(x, heads: int, shift: int, name: str):
    width = x.shape[-1]
    y = layers.LayerNormalization(name=f"{name}_norm1")(x)
    y = _window_attention(y, heads, shift, name)
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = layers.LayerNormalization(name=f"{name}_norm2")(x)
    y = layers.Dense(4 * width, activation="gelu", name=f"{name}_mlp_in")(y)
    y = layers.Dense(width, name=f"{name}_mlp_out")(y)
    return layers.Add(name=f"{name}_add2")([x, y])


def _window_attention(x, heads: int, shift: int, name: str):
    """Attention inside of each window, from a fused projection."""
    _, rows, columns, width = x.shape
    down, across, area = rows // WINDOW, columns // WINDOW, WINDOW * WINDOW
    if shift:
        x = ops.roll(x, (-shift, -shift), axis=(1, 2))
    x = ops.reshape(x, (-1, down, WINDOW, across, WINDOW, width))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, area, width))
    qkv = layers.Dense(3 * width, name=f"{name}_qkv")(x)
    qkv = ops.reshape(qkv, (-1, area, 3, heads, width // heads))
    query, key, value = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), axis=0)
    query = query * (width // heads) ** -0.5
    scores = ops.matmul(query, ops.swapaxes(key, -1, -2))
    scores = RelativeBias(heads, name=f"{name}_bias")(scores)
    if shift:
        mask = _mask(rows, columns, shift)
        scores = ops.reshape(scores, (-1, len(mask), heads, area, area))
        scores = ops.reshape(scores + mask[None, :, None], (-1, heads, area, area))
    x = ops.transpose(ops.matmul(ops.softmax(scores), value), (0, 2, 1, 3))
    x = ops.reshape(x, (-1, area, width))
    x = layers.Dense(width, name=f"{name}_out")(x)
    x = ops.reshape(x, (-1, down, across, WINDOW, WINDOW, width))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    x = ops.reshape(x, (-1, rows, columns, width))
    return ops.roll(x, (shift, shift), axis=(1, 2)) if shift else x


class RelativeBias(layers.Layer):
    """Adds a learned number for each head and each offset between two positions."""

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}

    def build(self, shape):
        self.table = self.add_weight(
            shape=((2 * WINDOW - 1) ** 2, self.heads), name="table"
        )

    def call(self, scores):
        place = np.stack(np.divmod(np.arange(WINDOW * WINDOW), WINDOW), -1)
        offset = place[:, None] - place[None] + WINDOW - 1
        index = offset[..., 0] * (2 * WINDOW - 1) + offset[..., 1]
        bias = ops.take(self.table, index, axis=0)
        return scores + ops.transpose(bias, (2, 0, 1))


def _mask(rows: int, columns: int, shift: int) -> np.ndarray:
    """Keeps positions apart that only rolling has made neighbours."""

    def regions(size):
        place = np.arange(size)
        return (place >= size - WINDOW).astype(int) + (place >= size - shift)

    region = 3 * regions(rows)[:, None] + regions(columns)
    region = region.reshape(rows // WINDOW, WINDOW, columns // WINDOW, WINDOW)
    region = region.transpose(0, 2, 1, 3).reshape(-1, WINDOW * WINDOW)
    return np.where(region[:, :, None] == region[:, None], 0, -100).astype("float32")


# --- the MobileNetV3 of Howard et al. 2019 --------------------------------------


def mobilenet() -> keras.Model:
    """Inverted residuals with squeeze and excite; the hard swish is written out."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1, name="scaled")(image)
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem_conv")(x)
    x = _hard_swish(layers.BatchNormalization(name="stem_norm")(x))
    settings = (
        (16, 8, 1, True, layers.ReLU),
        (24, 12, 2, False, layers.ReLU),
        (36, 12, 1, False, layers.ReLU),
        (36, 16, 2, True, None),
        (48, 16, 1, True, None),
    )
    for number, (inner, outer, strides, gated, activation) in enumerate(settings):
        name = f"block{number}"
        x = _inverted_residual(x, inner, outer, strides, gated, activation, name)
    x = layers.Conv2D(48, 1, use_bias=False, name="last_conv")(x)
    x = _hard_swish(layers.BatchNormalization(name="last_norm")(x))
    x = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    x = _hard_swish(layers.Conv2D(64, 1, name="features")(x))
    x = layers.Conv2D(5, 1, name="logits")(x)
    return keras.Model(image, layers.Flatten(name="flat")(x), name="mobilenet")


def _inverted_residual(x, inner, outer, strides, gated, activation, name):
    def activate(tensor):
        return activation()(tensor) if activation else _hard_swish(tensor)

    y = layers.Conv2D(inner, 1, use_bias=False, name=f"{name}_expand")(x)
    y = activate(layers.BatchNormalization(name=f"{name}_expand_norm")(y))
    y = layers.DepthwiseConv2D(
        3, strides, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(y)
    y = activate(layers.BatchNormalization(name=f"{name}_depthwise_norm")(y))
    if gated:
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(y)
        gate = layers.Conv2D(inner // 4, 1, activation="relu", name=f"{name}_squeeze")(
            gate
        )
        gate = layers.Conv2D(
            inner, 1, activation="hard_sigmoid", name=f"{name}_excite"
        )(gate)
        y = layers.Multiply(name=f"{name}_gated")([y, gate])
    y = layers.Conv2D(outer, 1, use_bias=False, name=f"{name}_project")(y)
    y = layers.BatchNormalization(name=f"{name}_project_norm")(y)
    return layers.Add(name=f"{name}_add")([x, y]) if x.shape == y.shape else y


def _hard_swish(x):
    return x * layers.ReLU(6.0)(x + 3.0) * (1 / 6)


MAKERS = {
    make.__name__: make for make in (transformer, unet, shufflenet, swin, mobilenet)
}
