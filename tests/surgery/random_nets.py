"""Random networks of the blocks that make alignment hard, for Hypothesis."""

from __future__ import annotations

import keras
from hypothesis import strategies as st
from keras import layers, ops
from models import randomize

KINDS = (
    "conv",
    "residual",
    "concat",
    "twice",
    "depthwise",
    "grouped",
    "shared",
    "gate",
    "shuffle",
    "swap",
    "skip",
)


@st.composite
def recipes(draw, max_blocks: int = 5) -> tuple:
    """A width, a few blocks with a number each, and the way it ends."""
    block = st.tuples(st.sampled_from(KINDS), st.integers(1, 4))
    blocks = draw(st.lists(block, min_size=1, max_size=max_blocks))
    return draw(st.integers(2, 4)), tuple(blocks), draw(st.booleans())


def build(recipe: tuple) -> keras.Model:
    """Returns the network of a recipe; grids are 3 by 3, batch norms follow convs."""
    width, blocks, is_flat = recipe
    source = keras.Input((3, 3, 2), name="in")
    x = _conv(source, width, "stem")
    past = [x]
    for number, (kind, size) in enumerate(blocks):
        x = _BLOCKS[kind](x, size, f"{kind}{number}", past)
        past.append(x)
    pool = layers.Flatten if is_flat else layers.GlobalAveragePooling2D
    x = layers.Dense(3, activation="tanh", name="features")(pool(name="pool")(x))
    return randomize(keras.Model(source, layers.Dense(2, name="head")(x)))


def _conv(x, width: int, name: str, **settings):
    return layers.Conv2D(width, 1, activation="tanh", name=name, **settings)(x)


def _residual(x, size, name, past):
    inner = _conv(x, size, f"{name}_inner")
    inner = layers.BatchNormalization(name=f"{name}_norm")(inner)
    return layers.Add(name=name)([_conv(inner, x.shape[-1], f"{name}_outer"), x])


def _concat(x, size, name, past):
    """A residual inside a concatenation."""
    left = _residual(x, size, f"{name}_left", past)
    return layers.Concatenate(name=name)([left, _conv(x, size, f"{name}_right")])


def _twice(x, size, name, past):
    return layers.Concatenate(name=name)([x, _conv(x, size, f"{name}_new"), x])


def _depthwise(x, size, name, past):
    layer = layers.DepthwiseConv2D(
        2, depth_multiplier=1 + size % 2, padding="same", name=name
    )
    return layer(x)


def _grouped(x, size, name, past):
    groups = 2 if x.shape[-1] % 2 == 0 else 1
    return _conv(x, size * groups, name, groups=groups)


def _shared(x, size, name, past):
    """One layer called twice, the second time on what it gave the first time."""
    layer = layers.Conv2D(x.shape[-1], 1, activation="tanh", name=name)
    return layer(layer(x))


def _gate(x, size, name, past):
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    gate = _conv(gate, size, f"{name}_squeeze")
    gate = _conv(gate, x.shape[-1], f"{name}_excite")
    return layers.Multiply(name=name)([x, gate])


def _shuffle(x, size, name, past):
    rows, columns, channels = x.shape[1:]
    if channels % 2:
        return layers.ReLU(negative_slope=0.1, name=name)(x)
    x = layers.Reshape((rows, columns, 2, channels // 2), name=f"{name}_cut")(x)
    x = layers.Permute((1, 2, 4, 3), name=f"{name}_turn")(x)
    return layers.Reshape((rows, columns, channels), name=name)(x)


def _swap(x, size, name, past):
    """Two unequal parts in the other order, added to the first order."""
    if x.shape[-1] < 2:
        return x
    at = 1 + size % (x.shape[-1] - 1) if x.shape[-1] > 2 else 1
    first, second = ops.split(x, [at], axis=-1)
    swapped = layers.Concatenate(name=f"{name}_swapped")([second, first])
    return layers.Add(name=name)([_conv(x, x.shape[-1], f"{name}_conv"), swapped])


def _skip(x, size, name, past):
    """Adds the oldest tensor of the same width."""
    fitting = [tensor for tensor in past[:-1] if tensor.shape[-1] == x.shape[-1]]
    return layers.Add(name=name)([x, *fitting[:1]]) if fitting else x


_BLOCKS = {
    "conv": lambda x, size, name, past: _conv(x, size, name),
    "residual": _residual,
    "concat": _concat,
    "twice": _twice,
    "depthwise": _depthwise,
    "grouped": _grouped,
    "shared": _shared,
    "gate": _gate,
    "shuffle": _shuffle,
    "swap": _swap,
    "skip": _skip,
}
