"""The default space for classifying images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.search.spaces.blocks import Block, LayerSpace
from keras_nas.search.spaces.space import NetworkSpace, check_shape
from keras_nas.search.spaces.structure import (
    Choice,
    Fork,
    Repeat,
    Residual,
    Series,
)

ACTIVATIONS = ("relu", "elu", "gelu", "silu")
# With Keras's default of 0.99 a trial of a few hundred batches is over before the
# statistics are right, and ranks networks by how fast theirs converge.
MOMENTUM = 0.9


def image_space(
    input_shape: Sequence[int],
    num_classes: int,
    *,
    activations: Sequence[str] = ACTIVATIONS,
    kernel_sizes: Sequence[int] = (1, 3, 5),
    filters: Sequence[Sequence[int]] | None = None,
) -> NetworkSpace:
    """Returns the default space of image classifiers, to the scale of the images.

    Two groups of convolutions: each repeats a block (convolutions in a row, in a fork
    or with a residual connection) and a reduction of the grid (max pooling, average
    pooling, or a convolution with stride 2). Then global pooling and up to two dense
    layers, or a convolution and global pooling. The last layer is a softmax.

    Args:
        input_shape: ``(height, width, channels)`` of one image, such as ``(8, 8, 1)``.
        num_classes: Number of classes, at least 2.
        activations: Candidates for the activations.
        kernel_sizes: Candidates for the kernels.
        filters: Candidates for the widths of the two groups. By default they grow with
            the images.

    Returns:
        A `NetworkSpace`.

    Raises:
        InvalidRequestError: This is no shape of an image, or no number of classes.

    Example:
        >>> from keras_nas.search.spaces import image_space
        >>> space = image_space((8, 8, 1), num_classes=10)
        >>> space.size() > 10**12
        True

    Source: the initial space of ``AutoFlux`` of NaiveGAflux.jl. Here with ReLU, ELU,
    GELU and SiLU, and batch normalization of momentum 0.9.
    """
    shape = check_shape(input_shape)
    if len(shape) != 3:
        raise InvalidRequestError(
            f"Images have three axes, but the shape {shape} has {len(shape)}.\n\nGive "
            "(height, width, channels); gray images have one channel: "
            f"images[..., None]. Received: input_shape={input_shape!r}"
        )
    if type(num_classes) is not int or num_classes < 2:
        raise InvalidRequestError(
            "A classifier needs at least two classes.\n\nGive their number. "
            f"Received: num_classes={num_classes!r}"
        )
    side = min(shape[:2])
    first, second = filters or _default_filters(side)
    times = _reductions(side)
    blocks: dict[str, Block] = {}
    for name, widths, repeats in zip(
        ("first", "second"), (first, second), times, strict=True
    ):
        if repeats:
            convolution = convolutions(widths, kernel_sizes, activations)
            group = Series(
                block=convolution_block(convolution),
                reduce=reduction(widths, activations),
            )
            blocks[name] = Repeat(group, repeats)
    if not blocks:
        # Too small to be reduced.
        convolution = convolutions(second, kernel_sizes, activations)
        blocks["first"] = Repeat(convolution_block(convolution), (1, 2))
    head = classification_head(num_classes, second, activations)
    return NetworkSpace(shape, Series(**blocks, head=head))


def convolutions(
    filters: Sequence[int],
    kernel_sizes: Sequence[int] = (1, 3, 5),
    activations: Sequence[str] = ACTIVATIONS,
) -> Block:
    """Returns a convolution: alone, or with batch normalization before or behind."""
    settings: dict[str, Any] = {
        "filters": tuple(filters),
        "kernel_size": tuple(kernel_sizes),
        "padding": "same",
    }
    activation: dict[str, Any] = {"activation": tuple(activations)}
    norm = LayerSpace("BatchNormalization", "norm", momentum=MOMENTUM)
    return Choice(
        conv=LayerSpace("Conv2D", **settings, **activation),
        conv_norm=Series(
            LayerSpace("Conv2D", **settings, use_bias=False),
            norm,
            LayerSpace("Activation", "act", **activation),
        ),
        norm_conv=Series(norm, LayerSpace("Conv2D", **settings, **activation)),
    )


def convolution_block(convolution: Block, most: int = 2, paths: int = 3) -> Block:
    """Returns convolutions in a row, in a fork, or with a residual connection."""
    return Choice(
        row=Repeat(convolution, range(1, most + 1)),
        fork=Fork(Repeat(convolution, range(1, most + 1)), range(2, paths + 1)),
        residual=Residual(Repeat(convolution, range(1, most + 1))),
    )


def reduction(
    filters: Sequence[int], activations: Sequence[str] = ACTIVATIONS
) -> Block:
    """Returns the three ways to halve the grid."""
    return Choice(
        max=LayerSpace("MaxPooling2D", "pool", pool_size=2),
        average=LayerSpace("AveragePooling2D", "pool", pool_size=2),
        conv=LayerSpace(
            "Conv2D",
            filters=tuple(filters),
            kernel_size=3,
            strides=2,
            padding="same",
            activation=tuple(activations),
        ),
    )


def classification_head(
    num_classes: int,
    units: Sequence[int],
    activations: Sequence[str] = ACTIVATIONS,
) -> Block:
    """Returns the ways from features to probabilities of classes."""
    pooling = Choice(
        average=LayerSpace("GlobalAveragePooling2D", "global_pool"),
        max=LayerSpace("GlobalMaxPooling2D", "global_pool"),
    )
    hidden = LayerSpace("Dense", units=tuple(units), activation=tuple(activations))
    return Choice(
        dense=Series(
            pool=pooling,
            hidden=Repeat(hidden, (0, 1, 2)),
            classes=LayerSpace(
                "Dense", "dense", units=num_classes, activation="softmax"
            ),
        ),
        conv=Series(
            classes=LayerSpace("Conv2D", filters=num_classes, kernel_size=1),
            pool=pooling,
            softmax=LayerSpace("Activation", "activation", activation="softmax"),
        ),
    )


def _reductions(side: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns how often each group may halve the grid.

    At least two positions are left along each side, and at most 16.
    """
    most = max(0, int(math.log2(side)) - 1)
    least = max(0, math.ceil(math.log2(side / 16)))
    first, second = most - most // 2, most // 2
    low_first, low_second = max(1, least - least // 2), max(1, least // 2)
    return tuple(range(low_first, first + 1)), tuple(range(low_second, second + 1))


def _default_filters(side: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if side < 32:
        return (8, 16, 32), (16, 32, 64)
    if side < 128:
        return (16, 32, 64), (32, 64, 128)
    return (16, 32, 48), (64, 128, 256)
