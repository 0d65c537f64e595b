"""Tiny functional models, at least one for every layer that has a rule.

A new layer needs one rule in `keras_nas/rules` and one entry here; `test_contract.py`
fails while a rule has no entry, and puts every entry through `contract.check_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

# Older ones lack operations, and cannot record some calls of others.
IS_OLD = tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15)


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: Of the test.
        make: Returns a new model.
        trains: Whether gradients reach every weight.
        runs: Whether it can run on a CPU.
        fails_on: Backends on which Keras can build it, but not run or save it; and
            ``"old"`` for versions that cannot even build it, or wrongly.
    """

    name: str
    make: Callable[[], keras.Model]
    trains: bool = True
    runs: bool = True
    fails_on: tuple[str, ...] = ()

    @property
    def runs_here(self) -> bool:
        """Whether it can run on a CPU on the backend in use."""
        return self.runs and keras.backend.backend() not in self.fails_on


ZOO: dict[str, Entry] = {}


def add(name: str, make: Callable[[], keras.Model], **settings) -> None:
    """Puts a model into the zoo, where this version of Keras is good enough for it."""
    assert name not in ZOO, name
    entry = Entry(name, make, **settings)
    if not (IS_OLD and "old" in entry.fails_on):
        ZOO[name] = entry


def results_of(functions: Iterable[Callable], *tensors) -> list:
    """Calls functions on the same tensors; returns all that they return.

    What an old Keras cannot record is left out.
    """
    results = []
    for function in functions:
        try:
            results += keras.tree.flatten(function(*tensors))
        except (AttributeError, TypeError, ValueError):
            if not IS_OLD:
                raise
    return results


def build(name: str) -> keras.Model:
    """Returns a fresh model of the zoo with random weights."""
    keras.utils.clear_session(free_memory=False)
    return randomize(ZOO[name].make())


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives all float weights random values, so that every path matters.

    The statistics of an adapted Normalization are left: it uses a copy of them.
    """
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "float" not in variable.dtype or "normalization/mean" in variable.path:
            continue
        if "normalization/variance" in variable.path:
            continue
        values = rng.uniform(0.2, 0.9, variable.shape)
        if len(variable.shape) > 1:
            values *= rng.choice([-1, 1], variable.shape)
        variable.assign(values)
    return model


def random_inputs(model: keras.Model, seed: int = 0, batch: int = 3):
    """Returns data for a model in the structure of its inputs."""
    rng = np.random.default_rng(seed)

    def sample(tensor):
        shape = [batch, *(5 if size is None else size for size in tensor.shape[1:])]
        if "int" in tensor.dtype:
            return rng.integers(0, 4, shape).astype(tensor.dtype)
        return rng.normal(size=shape).astype("float32")

    if isinstance(model, keras.Sequential):
        return sample(model.inputs[0])
    return keras.tree.map_structure(sample, model.input)


def dense(units: int = 6, name: str = "before") -> layers.Layer:
    """A layer that makes neurons on the last axis, whatever the rank."""
    return layers.Dense(units, activation="tanh", name=name)


def made(name: str, *args, **settings) -> layers.Layer | None:
    """Returns a layer of Keras; None where this version does not have its class."""
    cls = getattr(layers, name, None)
    return cls and cls(*args, **settings)


def through(shape, *middle, units: int = 6) -> keras.Model:
    """A model in which neurons go from one dense layer through layers to another."""
    x = inputs = keras.Input(shape)
    x = dense(units)(x)
    for layer in filter(None, middle):
        x = layer(x)
    return keras.Model(inputs, layers.Dense(2, name="after")(x))


def channels_first(shape, *middle) -> keras.Model:
    """The same with the channel axis behind the batch axis in the middle."""
    rank = len(shape)
    order = (rank, *range(1, rank))
    back = (*range(2, rank + 1), 1)
    return through(shape, layers.Permute(order), *middle, layers.Permute(back))


def merged(*tensors_of, merge, shape=(5,)) -> keras.Model:
    """A model that merges what several functions make of its input."""
    inputs = keras.Input(shape)
    tensors = [make(inputs) for make in tensors_of]
    return keras.Model(inputs, layers.Dense(2, name="after")(merge(tensors)))


def _add_each(prefix: str, shape, makers: dict[str, Callable]) -> None:
    """Adds one model that goes through a single layer for each maker."""
    for name, make in makers.items():
        add(f"{prefix}{name}", lambda make=make: through(shape, make()))


IMAGE, STEPS, VOLUME = (4, 4, 3), (5, 3), (3, 4, 4, 3)

# --- layers with weights ------------------------------------------------------

add("dense", lambda: through((3,), dense(4, "middle"), dense(5, "later")))
add("dense_softmax", lambda: through((3,), layers.Dense(4, activation="softmax")))
_add_each(
    "conv",
    IMAGE,
    {
        "2d": lambda: layers.Conv2D(4, 3, padding="same", dilation_rate=2),
        "2d_two_groups": lambda: layers.Conv2D(4, 2, groups=2),
        "2d_three_groups": lambda: layers.Conv2D(6, 1, groups=3, use_bias=False),
        "2d_group_each": lambda: layers.Conv2D(6, 2, groups=6),
        "2d_group_each_twice": lambda: layers.Conv2D(12, 2, groups=6),
        "2d_transpose": lambda: layers.Conv2DTranspose(4, 2, strides=2),
        "2d_depthwise": lambda: layers.DepthwiseConv2D(2),
        "2d_depthwise_twice": lambda: layers.DepthwiseConv2D(2, depth_multiplier=2),
        "2d_depthwise_thrice": lambda: layers.DepthwiseConv2D(2, depth_multiplier=3),
        "2d_separable": lambda: layers.SeparableConv2D(4, 2, depth_multiplier=2),
    },
)
_add_each(
    "conv",
    STEPS,
    {
        "1d": lambda: layers.Conv1D(4, 2, strides=2),
        "1d_causal": lambda: layers.Conv1D(4, 2, padding="causal"),
        "1d_two_groups": lambda: layers.Conv1D(4, 2, groups=2),
        "1d_transpose": lambda: layers.Conv1DTranspose(4, 2, use_bias=False),
        "1d_depthwise": lambda: layers.DepthwiseConv1D(2, depth_multiplier=2),
        "1d_separable": lambda: layers.SeparableConv1D(4, 2),
    },
)
_add_each(
    "conv",
    VOLUME,
    {
        "3d": lambda: layers.Conv3D(4, 2),
        "3d_transpose": lambda: layers.Conv3DTranspose(4, 2),
    },
)
add(
    "conv2d_channels_first",
    lambda: channels_first(
        IMAGE,
        layers.Conv2D(4, 2, data_format="channels_first"),
        layers.DepthwiseConv2D(2, depth_multiplier=2, data_format="channels_first"),
        layers.PReLU(shared_axes=(2, 3)),
        layers.BatchNormalization(axis=1),
        layers.MaxPooling2D(data_format="channels_first"),
    ),
    runs=False,
)
add(
    "conv1d_channels_first",
    lambda: channels_first(
        STEPS,
        layers.Conv1D(4, 2, data_format="channels_first"),
        layers.SeparableConv1D(5, 2, data_format="channels_first"),
        layers.SpatialDropout1D(0.5),
        layers.ZeroPadding1D(1, data_format="channels_first"),
    ),
    runs=False,
)
add("einsum_dense", lambda: through((3,), layers.EinsumDense("bi,io->bo", 4)))
add(
    "einsum_dense_heads",
    lambda: through(
        STEPS,
        layers.EinsumDense("bti,ihk->bthk", (None, 2, 3), bias_axes="hk"),
        layers.EinsumDense("bthk,hko->bto", (None, 4), bias_axes="o"),
    ),
)


def _embedding() -> keras.Model:
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 6, mask_zero=True, name="before")(tokens)
    x = layers.Masking()(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Dense(2)(x))


add("embedding", _embedding)

# --- normalization ------------------------------------------------------------


def _adapted(shape, **settings) -> layers.Layer:
    layer = layers.Normalization(**settings)
    layer.adapt(np.random.default_rng(0).normal(1, 2, (20, *shape)).astype("f4"))
    return layer


_add_each(
    "norm_",
    IMAGE,
    {
        "batch": lambda: layers.BatchNormalization(),
        "batch_plain": lambda: layers.BatchNormalization(scale=False, center=False),
        "batch_of_rows": lambda: layers.BatchNormalization(axis=1),
        "layer": lambda: layers.LayerNormalization(),
        "layer_of_two_axes": lambda: layers.LayerNormalization(axis=(2, 3)),
        "rms": lambda: made("RMSNormalization"),
        "unit": lambda: layers.UnitNormalization(),
        "group": lambda: layers.GroupNormalization(2),
        "group_all": lambda: layers.GroupNormalization(1),
        "group_each": lambda: layers.GroupNormalization(6),
        "group_instance": lambda: layers.GroupNormalization(-1, scale=False),
        "adapted": lambda: _adapted((4, 4, 6)),
        "adapted_rows": lambda: _adapted((4, 4, 6), axis=(1, 3)),
        "given": lambda: layers.Normalization(
            mean=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], variance=[1, 2, 3, 4, 5, 6]
        ),
        "given_scalar": lambda: layers.Normalization(
            axis=None, mean=0.5, variance=2.0, invert=True
        ),
    },
)
add(
    "norm_layer_of_columns",
    lambda: through(IMAGE, layers.LayerNormalization(axis=2, center=False)),
    fails_on=("torch",),  # It takes the last axis to be the one.
)
add(
    "norm_group_channels_first",
    lambda: channels_first(IMAGE, layers.GroupNormalization(3, axis=1)),
)
add("norm_adapted_flat", lambda: through((3,), _adapted((6,))))

# --- position by position -----------------------------------------------------

add(
    "pointwise",
    lambda: through(
        IMAGE,
        layers.Identity(),
        layers.ReLU(max_value=3.0, negative_slope=0.1),
        layers.LeakyReLU(),
        layers.ELU(),
        layers.Activation("gelu"),
        layers.ActivityRegularization(l2=0.01),
        layers.GaussianNoise(0.1),
        layers.GaussianDropout(0.1),
        layers.AlphaDropout(0.1, noise_shape=(None, 1, 1, 6)),
        layers.Dropout(0.1, noise_shape=(None, 1, 4, 6)),
        layers.Dropout(0.1),
        layers.SpatialDropout2D(0.2),
    ),
)
# It draws without a seed, which JAX cannot compile for training.
add("stochastic_depth", lambda: through((3,), StochasticDepth(0.1)), trains=False)
add("dropout_3d", lambda: through(VOLUME, layers.SpatialDropout3D(0.2)))
_add_each(
    "",
    IMAGE,
    {
        "prelu": lambda: layers.PReLU(),
        "prelu_shared": lambda: layers.PReLU(shared_axes=(1, 2)),
        "prelu_shared_channels": lambda: layers.PReLU(shared_axes=(3,)),
        "softmax": lambda: layers.Softmax(),
        "softmax_of_rows": lambda: layers.Softmax(axis=1),
        "softmax_of_two_axes": lambda: layers.Softmax(axis=(1, -1)),
        "activation_softmax": lambda: layers.Activation("softmax"),
        "rescaling": lambda: layers.Rescaling([0.1 * n for n in range(1, 7)], 0.5),
        "rescaling_lists": lambda: layers.Rescaling([2.0], [1, 2, 3, 4, 5, 6]),
        "layer_scale": lambda: LayerScale(0.5, 6),
    },
)

# --- across space -------------------------------------------------------------


def _global_pooling(rank: int, shape) -> keras.Model:
    """All four ways to pool everything, side by side."""
    inputs = keras.Input(shape)
    x = dense()(inputs)
    pooled = []
    for kind in ("Average", "Max"):
        layer = getattr(layers, f"Global{kind}Pooling{rank}D")
        pooled += [layer()(x), layers.Flatten()(layer(keepdims=True)(x))]
    joined = layers.Concatenate()(pooled)
    return keras.Model(inputs, layers.Dense(2, name="after")(joined))


for _rank, _shape in ((1, (6, 3)), (2, (6, 6, 3)), (3, (4, 4, 4, 3))):
    add(
        f"spatial_{_rank}d",
        lambda rank=_rank, shape=_shape: through(
            shape,
            made(f"ZeroPadding{rank}D", 1),
            made(f"MaxPooling{rank}D", 2, strides=1),
            made(f"UpSampling{rank}D", 2),
            made(f"Cropping{rank}D", 1),
            made(f"AveragePooling{rank}D", 2),
            made(f"AdaptiveMaxPooling{rank}D", 3),
            made(f"AdaptiveAveragePooling{rank}D", 2),
        ),
    )
    add(
        f"global_{_rank}d",
        lambda rank=_rank, shape=_shape: _global_pooling(rank, shape),
    )
add(
    "image_preprocessing",
    lambda: through(
        (8, 8, 3),
        layers.Resizing(7, 7),
        layers.CenterCrop(6, 6),
        layers.RandomFlip(),
        made("RandomPerspective", 0.2),
        layers.RandomRotation(0.1),
        made("RandomShear", (0.0, 0.1), (0.0, 0.1)),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomZoom(0.1),
    ),
)
# It does not always crop while training.
add("random_crop", lambda: through((6, 6, 3), layers.RandomCrop(5, 5)), trains=False)
add(
    "global_channels_first",
    lambda: through(
        IMAGE,
        layers.Permute((3, 1, 2)),
        layers.GlobalAveragePooling2D(data_format="channels_first", keepdims=True),
        layers.Flatten(),
    ),
)

# --- the same positions in other axes -----------------------------------------

_add_each(
    "",
    IMAGE,
    {
        "flatten": lambda: layers.Flatten(),
        "reshape_rows": lambda: layers.Reshape((16, 6)),
        "reshape_infer": lambda: layers.Reshape((-1, 6)),
        "reshape_split": lambda: layers.Reshape((4, 4, 2, 3)),
        "reshape_flat": lambda: layers.Reshape((96,)),
        "reshape_ones": lambda: layers.Reshape((16, 1, 6, 1)),
        "permute": lambda: layers.Permute((3, 1, 2)),
    },
)
add(
    "flatten_channels_first",
    lambda: through(
        IMAGE, layers.Permute((3, 1, 2)), layers.Flatten(data_format="channels_first")
    ),
)
add(
    "channel_shuffle",
    lambda: through(
        IMAGE,
        layers.Reshape((4, 4, 2, 3)),
        layers.Permute((1, 2, 4, 3)),
        layers.Reshape((4, 4, 6)),
    ),
)
add("repeat_vector", lambda: through((3,), layers.RepeatVector(4)))

# --- several tensors ----------------------------------------------------------

for _merge in ("Add", "Multiply", "Average", "Maximum", "Minimum"):
    add(
        f"merge_{_merge.lower()}",
        lambda merge=_merge: merged(
            dense(6, "a"), dense(6, "b"), dense(6, "c"), merge=getattr(layers, merge)()
        ),
    )
add(
    "merge_subtract",
    lambda: merged(dense(6, "a"), dense(6, "b"), merge=layers.Subtract()),
)
add(
    "merge_custom_scale",
    lambda: merged(dense(6, "a"), dense(6, "b"), merge=CustomScaleLayer(0.3)),
)
add(
    "merge_broadcast",
    lambda: merged(dense(6, "a"), dense(1, "b"), shape=(4, 3), merge=layers.Multiply()),
)
add(
    "merge_ranks",
    lambda: merged(
        dense(6, "a"),
        lambda x: dense(6, "b")(layers.GlobalMaxPooling1D()(x)),
        shape=(4, 3),
        merge=layers.Add(),
    ),
)
add(
    "merge_input",
    lambda: merged(lambda x: dense(5, "a")(x), lambda x: x, merge=layers.Add()),
)
for _axis in (-1, 1, 2):
    add(
        f"concatenate_{_axis}",
        lambda axis=_axis: merged(
            dense(6, "a"),
            dense(6, "b"),
            shape=(4, 3),
            merge=layers.Concatenate(axis=axis),
        ),
    )
add(
    "concatenate_channels_first",
    lambda: merged(
        lambda x: layers.Permute((2, 1))(dense(6, "a")(x)),
        lambda x: layers.Permute((2, 1))(dense(4, "b")(x)),
        shape=(4, 3),
        merge=lambda xs: layers.Permute((2, 1))(layers.Concatenate(axis=1)(xs)),
    ),
)
for _axes, _normalize in ((2, False), ((1, 1), False), ((2, 2), True)):
    add(
        f"dot_{_axes}".replace(" ", ""),
        lambda axes=_axes, normalize=_normalize: merged(
            dense(6, "a"),
            dense(6, "b"),
            shape=(4, 3),
            merge=layers.Dot(axes, normalize=normalize),
        ),
    )
add(
    "dot_vectors",
    lambda: merged(dense(6, "a"), dense(6, "b"), merge=layers.Dot(1)),
)


def _squeeze_and_excite() -> keras.Model:
    inputs = keras.Input(IMAGE)
    x = layers.Conv2D(6, 1, name="before")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="tanh", name="squeeze")(gate)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply()([x, gate])
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


add("squeeze_and_excite", _squeeze_and_excite)
