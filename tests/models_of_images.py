"""Tiny models for preparing layers, and for operations across space or with all of it.

Operations of one family stand side by side, as in `models_of_operations`.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops
from models import add, dense, made, results_of, through
from models_of_operations import features, side_by_side

BLUR = np.outer([1, 2, 1], [1, 2, 1]).astype("float32")[..., None, None] / 16


def several(makes, functions, batch=None) -> keras.Model:
    """Functions of a few tensors, each made from the neurons of a layer of its own."""
    inputs = keras.Input(batch_shape=(batch, 5))
    tensors = [
        ops.reshape(dense(int(np.prod(shape)), name)(inputs), (-1, *shape))
        for name, shape in makes.items()
    ]
    joined = layers.Concatenate()([features(y) for y in results_of(functions, *tensors)])
    return keras.Model(inputs, layers.Dense(2, name="after")(joined))


def pooled(shape, functions, batch=None) -> keras.Model:
    """Functions of one image; of what each returns, the mean over space is read."""
    inputs = keras.Input(batch_shape=(batch, *shape))
    x = dense(6, "before")(inputs)
    means = [ops.mean(y, axis=(1, 2)) for y in results_of(functions, x)]
    return keras.Model(
        inputs, layers.Dense(2, name="after")(ops.concatenate(means, -1))
    )


def _whole(x):
    return ops.cast(ops.abs(x) * 3, "int32")


def _in_batch(*functions):
    """Operations whose tensors have no batch axis, or reduce it."""
    inputs = keras.Input(batch_shape=(3, 5))
    x = dense(6, "before")(inputs)
    heads = [
        layers.Dense(2)(ops.reshape(y, (y.shape[0], -1)))
        for y in results_of(functions, x)
    ]
    return keras.Model(inputs, heads)


add(
    "augmentation",
    lambda: through(
        (8, 8, 3),
        made("AutoContrast", value_range=(-1, 1)),
        layers.RandomBrightness(0.1, value_range=(-1, 1)),
        layers.RandomContrast(0.1),
        made("RandomElasticTransform", value_range=(-1, 1)),
        made("RandomErasing", value_range=(-1, 1)),
        made("RandomGaussianBlur", value_range=(-1, 1)),
        made("RandomInvert", value_range=(-1, 1)),
        made("RandomPosterization", 4, value_range=(-1, 1)),
        made("RandomSharpness", 0.1, value_range=(-1, 1)),
        made("Solarization", value_range=(-1, 1)),
    ),
    trains=False,
)
add(
    "discretization",
    lambda: through(
        (3,),
        layers.Discretization([-0.5, 0.0, 0.5]),
        layers.Rescaling(0.3),
    ),
    trains=False,
)
add(
    "ops_pooling",
    lambda: pooled(
        (6, 6, 3),
        [
            lambda x: ops.max_pool(x, (2, 2), (2, 2)),
            lambda x: ops.average_pool(x, (2, 2), (2, 2), padding="same"),
        ],
    ),
    fails_on=("jax",),  # Its sizes come as lists from a file.
)
add(
    "ops_on_images",
    lambda: pooled(
        (6, 6, 3),
        [
            lambda x: ops.image.resize(x, (3, 4)),
            lambda x: ops.image.pad_images(x, 1, 1, target_height=8, target_width=8),
            lambda x: ops.image.crop_images(x, 1, 1, target_height=3, target_width=3),
            lambda x: ops.image.gaussian_blur(x),
            lambda x: ops.image.affine_transform(
                x, np.float32([[1, 0, 1, 0, 1, 0, 0, 0]] * 3)
            ),
            lambda x: ops.image.perspective_transform(
                x,
                np.float32([[[0, 0], [0, 5], [5, 0], [5, 5]]] * 3),
                np.float32([[[1, 0], [0, 4], [5, 1], [5, 5]]] * 3),
            ),
            lambda x: ops.image.extract_patches(x, 2),
        ],
        batch=3,
    ),
)
add(
    "ops_elastic_transform",
    lambda: pooled(
        (6, 6, 3), [lambda x: ops.image.elastic_transform(x, seed=1)], batch=3
    ),
    fails_on=("jax", "torch", "old"),  # JAX cannot compile it, torch ignores the seed.
)
add(
    "ops_convolutions_with_constant_kernels",
    lambda: pooled(
        (6, 6, 3),
        [
            lambda x: ops.depthwise_conv(x, np.repeat(BLUR, 6, 2), 2, "same"),
            lambda x: ops.conv(x, np.ones((2, 2, 6, 3), "float32")),
            lambda x: ops.separable_conv(
                x, np.repeat(BLUR, 6, 2), np.ones((1, 1, 6, 3), "float32")
            ),
        ],
    ),
)
add(
    "ops_convolutions_with_made_kernels",
    lambda: several(
        {"before": (3, 3, 6), "plain": (2, 2, 6, 4), "deep": (2, 2, 6, 2)},
        [
            lambda x, plain, deep: ops.mean(ops.conv(x, plain[0]), (1, 2)),
            lambda x, plain, deep: ops.mean(ops.depthwise_conv(x, deep[0]), (1, 2)),
        ],
    ),
)
add(
    # Keras 3.15 on TensorFlow can record these in a functional model, but not run them.
    "ops_that_do_not_run",
    lambda: side_by_side(
        (3, 3, 3),
        [
            lambda x: ops.conv_transpose(x, np.ones((2, 2, 3, 6), "float32"), 2),
            lambda x: ops.adaptive_max_pool(_first(x), (2, 2), "channels_first"),
            lambda x: ops.adaptive_average_pool(_first(x), (2, 2), "channels_first"),
            lambda x: ops.lu_factor(x)[0],
            lambda x: ops.real(ops.view_as_complex(ops.swapaxes(x, 2, 3)[..., :2])),
        ],
    ),
    runs=False,
)
add(
    "ops_patches",
    lambda: several(
        {"before": (3, 3, 3), "beside": (8, 4)},
        [
            lambda x, y: ops.mean(ops.unfold(x, 2), -1),
            lambda x, y: ops.mean(ops.fold(y, (4, 4), (2, 2), stride=2), (2, 3)),
        ],
    ),
    fails_on=("old",),
)
add(
    "ops_normalizing",
    lambda: side_by_side(
        (4, 3),
        [
            lambda x: ops.batch_normalization(
                x, np.linspace(0, 1, 6, dtype="float32"), np.ones(6, "float32"), -1
            ),
            lambda x: ops.batch_normalization(x, *ops.moments(x, (0, 1)), -1),
        ],
    ),
    trains=False,
    fails_on=("old",),
)
add(
    "ops_normalizing_over_all",
    lambda: side_by_side(
        (4, 3),
        [
            lambda x: ops.layer_normalization(
                x, np.linspace(0.5, 1, 6, dtype="float32")
            ),
            lambda x: ops.rms_normalization(x, np.linspace(0.5, 1, 6, dtype="float32")),
        ],
    ),
    fails_on=("old",),
)
add(
    "ops_rearranged",
    lambda: side_by_side(
        (4, 3),
        [
            lambda x: ops.rearrange(x, "b (h w) c -> b h (w c)", h=2),
            lambda x: ops.rearrange(x, "b t (g c) -> b (c t) g", g=2),
            lambda x: ops.rearrange(x, "b t c -> b c t"),
        ],
        batch=3,
    ),
    fails_on=("jax", "old"),  # It computes shapes, so it cannot be compiled.
)
add(
    "ops_spectra",
    lambda: side_by_side(
        (8, 3),
        [
            lambda x: ops.rfft(ops.swapaxes(x, 1, 2)),
            lambda x: ops.irfft(ops.rfft(ops.swapaxes(x, 1, 2))),
            lambda x: ops.fft((ops.swapaxes(x, 1, 2), ops.swapaxes(x, 1, 2))),
            lambda x: ops.fft2((x, x)),
            lambda x: ops.ifft2((x, x)),
            lambda x: ops.extract_sequences(ops.swapaxes(x, 1, 2), 4, 2),
            lambda x: ops.istft(ops.stft(ops.swapaxes(x, 1, 2), 4, 2, 4), 4, 2, 4),
            lambda x: ops.view_as_real(ops.polar(x, x)),
        ],
        batch=2,
    ),
    trains=False,
)
add(
    "ops_of_matrices",
    lambda: side_by_side(
        (4, 3),
        [
            lambda x: ops.inv(_matrix(x)),
            lambda x: ops.det(_matrix(x)),
            lambda x: ops.cholesky(_matrix(x)),
            lambda x: ops.qr(_matrix(x)),
            lambda x: ops.eigh(_matrix(x)),
            lambda x: ops.logdet(_matrix(x)),
            lambda x: ops.svd(_matrix(x), compute_uv=False),
            lambda x: ops.real(ops.eig(_matrix(x))[0]),
            lambda x: ops.matrix_rank(_matrix(x)),
            lambda x: ops.pinv(_matrix(x)),
        ],
        batch=2,
    ),
    trains=False,
)
add(
    "ops_cholesky_inverse",
    lambda: side_by_side((4, 3), [lambda x: ops.cholesky_inverse(_matrix(x))]),
    trains=False,
    fails_on=("jax", "old"),  # Only of one matrix.
)
add(
    "ops_of_positions",
    lambda: side_by_side(
        (4, 3),
        [
            lambda x: ops.diagonal(ops.expand_dims(x, -1), 0, 1, 3),
            lambda x: ops.trace(ops.expand_dims(x, -1), 0, 1, 3),
            lambda x: ops.trapezoid(x, axis=1),
            lambda x: ops.take_along_axis(x, ops.argsort(x, 1), 1),
            lambda x: ops.digitize(x, np.float32([-0.5, 0.5])),
            lambda x: ops.select([x > 0, x < -0.5], [x, x * 2]),
            lambda x: ops.cdist(x, x),
        ],
        batch=2,
    ),
    trains=False,
)
add(
    "ops_rot90",
    lambda: side_by_side(
        (4, 3), [lambda x: ops.rot90(ops.expand_dims(x, 1), 1, (1, 2))]
    ),
    trains=False,
    fails_on=("jax", "old"),  # Its axes come as a list from a file.
)
add(
    "ops_losses",
    lambda: side_by_side(
        (4, 3),
        [
            lambda x, y: ops.binary_crossentropy(ops.sigmoid(x), ops.sigmoid(y)),
            lambda x, y: ops.categorical_crossentropy(
                ops.softmax(ops.swapaxes(x, 1, 2)), ops.softmax(ops.swapaxes(y, 1, 2))
            ),
            lambda x, y: ops.sparse_categorical_crossentropy(
                _whole(x[:, 0]), ops.softmax(ops.swapaxes(y, 1, 2))
            ),
        ],
        num_inputs=2,
    ),
    trains=False,
)
add(
    "ops_of_rows",
    lambda: _in_batch(
        lambda x: ops.segment_sum(x, np.int32([0, 0, 1]), 2),
        lambda x: ops.segment_max(x, np.int32([0, 0, 1]), 2),
        lambda x: ops.segment_min(x, np.int32([0, 0, 1]), 2),
        lambda x: ops.segment_prod(x, np.int32([0, 0, 1]), 2),
        lambda x: ops.cast(
            ops.searchsorted(np.float32([-0.5, 0.5]), ops.mean(x, 1)), "float32"
        ),
        lambda x: ops.cast(ops.in_top_k(np.int32([0, 1, 0]), x, 2), "float32"),
        lambda x: ops.cast(ops.isin(x, np.float32([0.5])), "float32"),
    ),
    trains=False,
)


def _first(x):
    """Channels first."""
    return ops.transpose(x, (0, 3, 1, 2))


def _matrix(x):
    """A positive definite matrix for each neuron."""
    columns = ops.transpose(x, (0, 2, 1))
    outer = ops.expand_dims(columns, -1) * ops.expand_dims(columns, -2)
    return outer + 2 * np.eye(4, dtype="float32")
