"""Tiny models for attention: the layers of Keras, and attention written by hand."""

from __future__ import annotations

import keras
from keras import layers, ops
from models import add, dense

TOKENS, VOCABULARY = (5, 6), 7


def _attended(make_attention, *, shape=TOKENS, context=None, **arguments):
    """A residual block around an attention layer, with or without a second input."""
    inputs = keras.Input(shape)
    x = dense(6)(inputs)
    call = {"value": x, **arguments}
    # Keras 3.8 loads a list of one input as that input.
    all_inputs = inputs
    if context is not None:
        other = keras.Input(context, name="context")
        call["value"], call["key"] = dense(5, "values")(other), dense(4, "keys")(other)
        all_inputs = [inputs, other]
    y = make_attention()(x, **call)
    y = layers.Dense(2, name="after")(y)
    return keras.Model(all_inputs, y)


def _heads(**settings) -> layers.Layer:
    settings = {"num_heads": 3, "key_dim": 2, **settings}
    return layers.MultiHeadAttention(name="attention", **settings)


def _groups(**settings) -> layers.Layer:
    settings = {
        "head_dim": 2,
        "num_query_heads": 6,
        "num_key_value_heads": 3,
    } | settings
    return layers.GroupQueryAttention(name="attention", **settings)


# The bias of keys shifts all scores of a query alike: it has no gradient at all.
add(
    "multi_head",
    lambda: _attended(lambda: _heads(use_bias=False)),
)
add("multi_head_bias", lambda: _attended(_heads), trains=False)
add(
    "multi_head_cross",
    lambda: _attended(
        lambda: _heads(use_bias=False, value_dim=4, dropout=0.1), context=(4, 3)
    ),
)
add(
    "multi_head_output",
    lambda: _attended(lambda: _heads(output_shape=5, use_bias=False)),
)
add(
    "multi_head_output_axes",
    lambda: _attended(lambda: _heads(output_shape=(3, 4), use_bias=False)),
)
add(
    "multi_head_causal",
    lambda: _attended(lambda: _heads(use_bias=False), use_causal_mask=True),
)
add(
    "multi_head_image",
    lambda: _attended(
        lambda: _heads(attention_axes=(2,), use_bias=False), shape=(2, 3, 6)
    ),
)
add(
    "group_query",
    lambda: _attended(lambda: _groups(use_bias=False)),
)
add(
    "group_query_bias",
    lambda: _attended(lambda: _groups(num_key_value_heads=1), use_causal_mask=True),
    trains=False,
)
add(
    "group_query_each",
    lambda: _attended(lambda: _groups(num_query_heads=3)),
    trains=False,
)


def _scores() -> keras.Model:
    inputs = keras.Input(TOKENS)
    y, scores = _heads(use_bias=False)(
        dense(6)(inputs), inputs, return_attention_scores=True
    )
    mixed = layers.Conv2D(2, 1, data_format="channels_last", name="mix")(
        layers.Permute((2, 3, 1))(scores)
    )
    return keras.Model(inputs, [layers.Dense(2, name="after")(y), mixed])


add("multi_head_scores", _scores)


def _listed(make, *units: int) -> keras.Model:
    """A layer that is called on a list of query, value and perhaps key."""
    inputs = keras.Input((5, 3))
    tensors = [dense(n, f"in{number}")(inputs) for number, n in enumerate(units)]
    return keras.Model(inputs, layers.Dense(2, name="after")(make()(tensors)))


for _name, _settings in (("", {}), ("_scaled", {"use_scale": True})):
    add(
        f"attention{_name}",
        lambda settings=_settings: _listed(lambda: layers.Attention(**settings), 4, 4),
    )
    add(
        f"attention_concat{_name}",
        lambda settings=_settings: _listed(
            lambda: layers.Attention(score_mode="concat", **settings), 4, 5, 4
        ),
    )
for _scale in (False, True):
    add(
        f"attention_additive_{_scale}",
        lambda scale=_scale: _listed(
            lambda: layers.AdditiveAttention(use_scale=scale), 4, 5, 4
        ),
    )


def _masked() -> keras.Model:
    """Tokens that are padding hide keys and queries."""
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(VOCABULARY, 6, mask_zero=True, name="embedding")(inputs)
    x = layers.Add()([x, _heads(use_bias=False)(x, x)])
    x = layers.Attention(name="average")([x, x])
    return keras.Model(inputs, layers.Dense(2, name="after")(x))


add("attention_masked", _masked, fails_on=("old",))


def _explicit_mask() -> keras.Model:
    inputs, mask = keras.Input((6, 6)), keras.Input((6, 6), dtype="bool", name="mask")
    x = dense(6)(inputs)
    x = _heads(use_bias=False)(x, x, attention_mask=mask)
    return keras.Model([inputs, mask], layers.Dense(2, name="after")(x))


add("attention_explicit_mask", _explicit_mask)

# --- attention written by hand ----------------------------------------------------------


def split_heads(x, heads: int, size: int):
    """``(B, T, heads * size)`` to ``(B, heads, T, size)``."""
    return layers.Permute((2, 1, 3))(layers.Reshape((-1, heads, size))(x))


def _by_hand() -> keras.Model:
    x = inputs = keras.Input(TOKENS)
    query, key, value = (
        split_heads(layers.Dense(6, name=name)(x), 3, 2)
        for name in ("query", "key", "value")
    )
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * 2**-0.5
    y = ops.matmul(ops.softmax(scores), value)
    y = layers.Reshape((-1, 6))(layers.Permute((2, 1, 3))(y))
    return keras.Model(inputs, layers.Dense(2, name="after")(y))


add("attention_by_hand", _by_hand)


def _fused(part) -> keras.Model:
    x = inputs = keras.Input(TOKENS)
    qkv = layers.Dense(3 * 6, use_bias=False, name="qkv")(x)
    query, key, value = part(qkv)
    scores = ops.softmax(ops.einsum("bthk,bshk->bhts", query, key) * 2**-0.5)
    y = layers.Reshape((-1, 6))(ops.einsum("bhts,bshk->bthk", scores, value))
    return keras.Model(inputs, layers.Dense(2, name="after")(y))


def _unstacked(qkv):
    return ops.unstack(layers.Reshape((-1, 3, 3, 2))(qkv), axis=2)


def _split(qkv):
    parts = ops.split(qkv, 3, axis=-1)
    return [layers.Reshape((-1, 3, 2))(part) for part in parts]


add("attention_fused_unstack", lambda: _fused(_unstacked))
add("attention_fused_split", lambda: _fused(_split))


def _einsum_dense() -> keras.Model:
    x = inputs = keras.Input(TOKENS)
    query, key, value = (
        layers.EinsumDense("bti,ihk->bthk", (None, 3, 2), name=name)(x)
        for name in ("query", "key", "value")
    )
    y = ops.dot_product_attention(query, key, value)
    y = layers.EinsumDense("bthk,hko->bto", (None, 4), name="out")(y)
    return keras.Model(inputs, layers.Dense(2, name="after")(y))


add("attention_einsum_dense", _einsum_dense)


def _grouped_operation(num_groups: int) -> keras.Model:
    x = inputs = keras.Input((4, 6))
    query = layers.EinsumDense("bti,ihk->bthk", (None, 6, 2), name="query")(x)
    key, value = (
        layers.EinsumDense("bti,ihk->bthk", (None, num_groups, 2), name=name)(x)
        for name in ("key", "value")
    )
    bias = layers.Permute((3, 1, 2))(
        layers.Dense(6, name="bias")(ops.einsum("bti,bsi->btsi", x, x))
    )
    y = ops.dot_product_attention(query, key, value, bias=bias, scale=0.5)
    y = layers.EinsumDense("bthk,hko->bto", (None, 4), name="out")(y)
    return keras.Model(inputs, layers.Dense(2, name="after")(y))


# On TensorFlow Keras cannot run one key head for several query heads.
add(
    "dot_product_attention_1",
    lambda: _grouped_operation(1),
    runs=keras.config.backend() != "tensorflow",
)
add("dot_product_attention_3", lambda: _grouped_operation(3), fails_on=("old",))

# --- transformers -----------------------------------------------------------------------


def _block(x, name: str, width: int, **arguments):
    """A pre-norm transformer block; ``width`` is that of the residual stream."""
    y = layers.LayerNormalization(name=f"{name}_norm1")(x)
    y = layers.MultiHeadAttention(2, 3, use_bias=False, name=f"{name}_attention")(
        y, y, **arguments
    )
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = layers.LayerNormalization(name=f"{name}_norm2")(x)
    y = layers.Dense(2 * width, activation="gelu", name=f"{name}_mlp_in")(y)
    y = layers.Dense(width, name=f"{name}_mlp_out")(y)
    return layers.Add(name=f"{name}_add2")([x, y])


class Position(layers.Layer):
    """A learned offset for each position and feature; keras_nas knows no rule for it."""

    def build(self, shape):
        self.offset = self.add_weight(shape=shape[1:], name="offset")

    def call(self, x):
        return x + self.offset


class ClassToken(layers.Layer):
    """A learned token, repeated for each sample, in front of all others."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")

    def call(self, x):
        batch = ops.shape(x)[0]
        return ops.concatenate([ops.tile(self.token, (batch, 1, 1)), x], axis=1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] + 1, shape[2])


def vit(width: int = 8, depth: int = 2) -> keras.Model:
    """A small vision transformer with a class token, made of layers with rules."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(width, 4, 4, name="patches")(inputs)
    x = layers.Reshape((4, width), name="tokens")(x)
    pooled = layers.GlobalAveragePooling1D(name="mean")(x)
    token = layers.Dense(width, name="class_token")(pooled)
    token = layers.Reshape((1, width), name="class_row")(token)
    x = layers.Concatenate(axis=1, name="with_class")([token, x])
    for number in range(depth):
        x = _block(x, f"block{number}", width)
    x = layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x[:, 0]), name="vit")


def decoder(width: int = 8, depth: int = 2) -> keras.Model:
    """A small causal language model; positions are counted and embedded."""
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    positions = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = layers.Add(name="embedded")(
        [
            layers.Embedding(VOCABULARY, width, name="embedding")(tokens),
            layers.Embedding(5, width, name="positions")(positions),
        ]
    )
    for number in range(depth):
        x = _block(x, f"block{number}", width, use_causal_mask=True)
    x = layers.LayerNormalization(name="norm")(x)
    head = layers.Dense(VOCABULARY, name="head")(x)
    return keras.Model(tokens, head, name="decoder")


add("vit", lambda: vit(6, 1))
add("decoder", lambda: decoder(6, 1))

# --- tied weights -----------------------------------------------------------------------


def tied(tie_weights: bool = True) -> keras.Model:
    """An embedding that its own model ends with."""
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    embedding = layers.ReversibleEmbedding(
        VOCABULARY, 6, tie_weights=tie_weights, name="embedding"
    )
    x = embedding(tokens)
    y = layers.Dense(8, activation="tanh", name="inner")(x)
    x = layers.Add(name="stream")([x, layers.Dense(6, name="outer")(y)])
    return keras.Model(tokens, embedding(x, reverse=True))


if hasattr(layers, "ReversibleEmbedding"):
    for _tie in (True, False):
        add(f"reversible_embedding_{_tie}", lambda tie=_tie: tied(tie))
