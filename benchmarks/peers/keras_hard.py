"""The small hard nets in Keras. Each function returns a model."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

WIDTH = 16


def conv(x: Any, name: str, outputs: int = WIDTH, **settings: Any) -> Any:
    """A convolution that keeps the grid, BatchNormalization, ReLU."""
    x = layers.Conv2D(outputs, 3, padding="same", name=name, **settings)(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _image() -> Any:
    return keras.Input((8, 8, 3), name="image")


def _tokens() -> Any:
    inputs = keras.Input((7, 6), name="tokens")
    return inputs, layers.Dense(WIDTH, name="embed")(inputs)


def _head(x: Any) -> Any:
    return layers.Dense(5, name="head")(x)


def _pooled(inputs: Any, x: Any) -> keras.Model:
    return keras.Model(inputs, _head(layers.GlobalAveragePooling2D()(x)))


def same_twice() -> keras.Model:
    inputs = _image()
    x = conv(inputs, "a")
    return _pooled(inputs, conv(layers.Concatenate()([x, x]), "b"))


def concat_groups() -> keras.Model:
    inputs = _image()
    x = layers.Concatenate()([conv(inputs, "a", 16), conv(inputs, "b", 8)])
    return _pooled(inputs, conv(conv(x, "grouped", 24, groups=2), "c", 24))


def depthwise_two() -> keras.Model:
    inputs = _image()
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="deep")(
        conv(inputs, "a")
    )
    x = layers.ReLU()(layers.BatchNormalization(name="deep_norm")(x))
    return _pooled(inputs, conv(x, "b", 2 * WIDTH))


def permute_flatten() -> keras.Model:
    inputs = _image()
    # Channels are last already, so here they move to the front.
    x = layers.Permute((3, 1, 2))(conv(inputs, "a"))
    return keras.Model(inputs, _head(layers.Flatten()(x)))


def _shuffled(x: Any, groups: int) -> Any:
    channels = x.shape[-1]
    x = layers.Reshape((8, 8, groups, channels // groups))(x)
    return layers.Reshape((8, 8, channels))(layers.Permute((1, 2, 4, 3))(x))


def channel_shuffle() -> keras.Model:
    inputs = _image()
    return _pooled(inputs, conv(_shuffled(conv(inputs, "a"), 4), "b"))


def shuffle_unit() -> keras.Model:
    inputs = _image()
    left, right = ops.split(conv(inputs, "a"), 2, axis=-1)
    x = layers.Concatenate()([left, conv(right, "b", WIDTH // 2)])
    return _pooled(inputs, conv(_shuffled(x, 2), "c"))


def split_of_split() -> keras.Model:
    inputs = _image()
    left, right = ops.split(conv(inputs, "a"), 2, axis=-1)
    upper, lower = ops.split(conv(right, "b", WIDTH // 2), 2, axis=-1)
    lower = conv(lower, "c", WIDTH // 4)
    return _pooled(inputs, conv(layers.Concatenate()([left, upper, lower]), "d"))


def pixel_shuffle() -> keras.Model:
    inputs = _image()
    # In the order of torch: a channel holds the four pixels of one new channel.
    x = layers.Reshape((8, 8, WIDTH, 2, 2))(conv(inputs, "a", 4 * WIDTH))
    x = layers.Permute((1, 4, 2, 5, 3))(x)
    return _pooled(inputs, conv(layers.Reshape((16, 16, WIDTH))(x), "b"))


def padded_shortcut() -> keras.Model:
    inputs = _image()
    x = conv(inputs, "a", 8)
    shortcut = ops.pad(x, [(0, 0), (0, 0), (0, 0), (4, 4)])
    return _pooled(inputs, conv(layers.Add()([shortcut, conv(x, "b")]), "c"))


def one_channel_mask() -> keras.Model:
    inputs = _image()
    x = conv(inputs, "a")
    mask = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x)
    return _pooled(inputs, conv(layers.Multiply()([x, mask]), "b"))


def returned_features() -> keras.Model:
    inputs = _image()
    features = conv(inputs, "a")
    x = layers.GlobalAveragePooling2D()(conv(features, "b"))
    return keras.Model(inputs, [features, _head(x)])


def two_flattened() -> keras.Model:
    inputs = _image()
    branches = [layers.Flatten()(conv(inputs, name)) for name in ("a", "b")]
    x = layers.Dense(32, name="c")(layers.Concatenate()(branches))
    return keras.Model(inputs, _head(x))


def bilinear() -> keras.Model:
    inputs = _image()
    left = layers.Reshape((64, WIDTH))(conv(inputs, "a"))
    right = layers.Reshape((64, 8))(conv(inputs, "b", 8))
    x = ops.matmul(ops.transpose(left, (0, 2, 1)), right)
    return keras.Model(inputs, _head(layers.Flatten()(x)))


def attention_by_hand() -> keras.Model:
    inputs, x = _tokens()
    query, key, value = (
        ops.transpose(ops.reshape(layers.Dense(WIDTH, name=n)(x), (-1, 7, 4, 4)), order)
        for n, order in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3)))
    )
    y = ops.matmul(ops.softmax(ops.matmul(query, key) / 2), value)
    y = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, 7, WIDTH))
    y = layers.Dense(WIDTH, name="out")(y)
    return keras.Model(inputs, _head(layers.GlobalAveragePooling1D()(y)))


def mixer() -> keras.Model:
    inputs, x = _tokens()
    # No biases: they would fill a zeroed channel again.
    y = layers.Permute((2, 1))(x)
    y = layers.Dense(12, activation="relu", use_bias=False, name="tokens_in")(y)
    y = layers.Dense(7, use_bias=False, name="tokens_out")(y)
    y = layers.Permute((2, 1))(y)
    x = layers.Add()([x, y])
    y = layers.Dense(32, activation="relu", name="channels_in")(x)
    x = layers.Add()([x, layers.Dense(WIDTH, name="channels_out")(y)])
    return keras.Model(inputs, _head(layers.GlobalAveragePooling1D()(x)))


def tied_embedding() -> keras.Model:
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    embedding = layers.ReversibleEmbedding(20, WIDTH, name="embed")
    x = layers.Dense(32, activation="relu", name="hidden")(embedding(tokens))
    x = layers.Dense(WIDTH, name="out")(x)
    return keras.Model(tokens, embedding(x, reverse=True))


def lstm() -> keras.Model:
    inputs, x = _tokens()
    return keras.Model(inputs, _head(layers.LSTM(12, name="recurrent")(x)))


def gru() -> keras.Model:
    inputs, x = _tokens()
    return keras.Model(inputs, _head(layers.GRU(12, name="recurrent")(x)))
