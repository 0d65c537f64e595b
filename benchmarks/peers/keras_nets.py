"""The nets in Keras: those of ``keras.applications``, and a vision transformer."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from benchmarks.peers.common import HELD


class ClassToken(layers.Layer):
    """A learned token in front of all others; keras_nas has no rule for it."""

    def build(self, shape: Any) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")

    def call(self, x: Any) -> Any:
        token = ops.tile(self.token, (ops.shape(x)[0], 1, 1))
        return ops.concatenate([token, x], axis=1)

    def compute_output_shape(self, shape: Any) -> tuple:
        return (shape[0], shape[1] + 1, shape[2])


class Position(layers.Layer):
    """A learned offset for each token and feature; keras_nas has no rule for it."""

    def build(self, shape: Any) -> None:
        self.offset = self.add_weight(shape=shape[1:], name="offset")

    def call(self, x: Any) -> Any:
        return x + self.offset


def vision_transformer(
    image: int = 224,
    patch: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    classes: int = 1000,
) -> keras.Model:
    """ViT-B/16 of Dosovitskiy et al. 2021 <https://arxiv.org/abs/2010.11929>, table 1.

    Args:
        image: Height and width of the images in pixels, a multiple of `patch`.
        patch: Height and width of a patch.
        width: Features of a token, a multiple of `heads`.
        depth: Number of blocks.
        heads: Heads of each attention.
        classes: Number of logits.

    Returns:
        A model from ``(batch, image, image, 3)`` to ``(batch, classes)``.
    """
    inputs = keras.Input((image, image, 3), name="image")
    x = layers.Conv2D(width, patch, patch, name="patches")(inputs)
    x = layers.Reshape((-1, width), name="tokens")(x)
    x = Position(name="position")(ClassToken(name="class_token")(x))
    for number in range(depth):
        x = _block(x, f"block{number}", width, heads)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    return keras.Model(inputs, layers.Dense(classes, name="head")(x[:, 0]))


def _block(x: Any, name: str, width: int, heads: int) -> Any:
    """Attention and two dense layers, each normalized before and added."""
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    attention = layers.MultiHeadAttention(
        heads, width // heads, name=f"{name}_attention", flash_attention=False
    )
    x = layers.Add(name=f"{name}_add1")([x, attention(y, y)])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    y = layers.Dense(4 * width, activation="gelu", name=f"{name}_mlp_in")(y)
    y = layers.Dense(width, name=f"{name}_mlp_out")(y)
    return layers.Add(name=f"{name}_add2")([x, y])


def net(name: str, image: int = 224) -> keras.Model:
    """Returns a net with random weights and logits as its output."""
    keras.utils.set_random_seed(0)
    if name in ("ViT-B/16", HELD):
        return vision_transformer(image)
    return getattr(keras.applications, name)(
        weights=None, input_shape=(image, image, 3), classifier_activation=None
    )
