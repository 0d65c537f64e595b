"""Attention against the layers themselves: what stays computes what it did."""

from __future__ import annotations

import keras
import models_attention as zoo
import numpy as np
import pytest
from contract import check_plan, check_training, run
from keras import layers, ops
from models import ZOO, build, random_inputs, randomize

import keras_nas as kn
from keras_nas.graph import analyze


def scores_of(query, key, scale: float):
    """Attention probabilities in float64, for ``(B, T, N, H)`` and ``(B, S, N, H)``."""
    logits = np.einsum("bthk,bshk->bhts", query, key, dtype="float64") * scale
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def model_of(layer, shape=(5, 6), **arguments) -> keras.Model:
    inputs = keras.Input(shape)
    x = layers.Dense(6, name="before")(inputs)
    outputs = layers.Dense(2, name="after")(layer(x, x, **arguments))
    return randomize(keras.Model(inputs, outputs))


def weight(model: keras.Model, ending: str) -> np.ndarray:
    (found,) = (w for w in model.weights if w.path.endswith(ending))
    return ops.convert_to_numpy(found)


def frozen_reason(model: keras.Model, path: str) -> str:
    return analyze(kn.Graph.from_model(model)).frozen[path]


# --- MultiHeadAttention -------------------------------------------------------------


@pytest.mark.parametrize("dropout", (0.0, 0.1))
@pytest.mark.parametrize("new", (1, 2, 5, 7))
def test_key_dim_keeps_old_scores_when_it_changes(new, dropout):
    layer = layers.MultiHeadAttention(3, 4, name="heads", dropout=dropout)
    model = model_of(layer)
    plan = kn.plan(model, {("heads", "key_dim"): new})
    assert plan.exact
    check_plan(plan, model, random_inputs(model))
    changed = plan.apply()
    assert changed.get_layer("heads").key_dim == new
    # The fused attention of Keras on JAX cannot run with two different sizes.
    is_tied = keras.config.backend() == "jax" and not dropout
    assert changed.get_layer("heads").value_dim == (new if is_tied else 4)


def test_key_dim_scores_are_those_of_kept_features_over_old_root():
    x = np.random.default_rng(0).normal(size=(2, 5, 6))
    inputs = keras.Input((5, 6))
    layer = layers.MultiHeadAttention(3, 4, use_bias=False, name="heads")
    out, scores = layer(inputs, inputs, return_attention_scores=True)
    model = randomize(keras.Model(inputs, [out, scores]))
    plan = kn.plan(model, {("heads", "key_dim"): 3})
    keep = plan.keep["heads", "key_dim"]
    query, key = (
        np.einsum("bti,ihk->bthk", x, weight(model, f"{name}/kernel"))[..., keep]
        for name in ("query", "key")
    )
    expected = scores_of(query, key, 4**-0.5)
    np.testing.assert_allclose(run(plan.apply(), x)[1], expected, rtol=1e-4, atol=1e-6)


def test_new_key_features_learn_within_two_steps():
    model = build("multi_head")
    plan = kn.plan(model, {("attention", "key_dim"): 5})
    new_query = weight(plan.apply(), "query/kernel")[..., 2:]
    new_key = weight(plan.apply(), "key/kernel")[..., 2:]
    assert not new_query.any() and new_key.all()
    check_training(plan, random_inputs(model))


def test_num_heads_drops_least_important_head():
    model = build("multi_head_bias")
    importance = {("attention", "num_heads"): [2.0, 1.0, 3.0]}
    plan = kn.plan(model, {("attention", "num_heads"): 2}, importance=importance)
    assert plan.exact and plan.keep["attention", "num_heads"].tolist() == [0, 2]
    np.testing.assert_array_equal(
        weight(plan.apply(), "attention_output/kernel"),
        weight(model, "attention_output/kernel")[[0, 2]],
    )
    check_plan(plan, model, random_inputs(model))


def test_all_widths_of_attention_change_in_one_request():
    model = model_of(layers.MultiHeadAttention(3, 2, dropout=0.1, name="attention"))
    wanted = {
        ("attention", "num_heads"): 4,
        ("attention", "key_dim"): 1,
        ("attention", "value_dim"): 5,
        "before": 7,
    }
    plan = kn.plan(model, wanted)
    assert plan.exact and {key: plan.sizes[key] for key in wanted} == wanted
    check_plan(plan, model, random_inputs(model))
    layer = plan.apply().get_layer("attention")
    assert (layer.num_heads, layer.key_dim, layer.value_dim) == (4, 1, 5)


@pytest.mark.parametrize("shape", (5, (5,), (3, 5)))
def test_output_shape_is_width_of_its_own(shape):
    layer = layers.MultiHeadAttention(2, 3, output_shape=shape, name="heads")
    model = model_of(layer)
    plan = kn.plan(model, {"heads": 7})
    assert plan.sizes["before"] == 6
    check_plan(plan, model, random_inputs(model))
    new = plan.apply().get_layer("heads").get_config()["output_shape"]
    assert new == ((3, 7) if shape == (3, 5) else (7,))


def test_width_without_output_shape_is_that_of_query():
    plan = kn.plan(build("multi_head_cross"), {"attention": 4})
    assert plan.sizes["before"] == 4
    assert plan.sizes["keys"] == 4 and plan.old_sizes["keys"] == 4
    assert plan.sizes["values"] == 5


def test_attention_axes_tie_all_other_axes():
    inputs = keras.Input((4, 6))
    rows = [
        layers.Reshape((3, 4, 2), name=f"{name}_rows")(
            layers.Permute((2, 1))(layers.Dense(6, name=name)(inputs))
        )
        for name in ("query", "value")
    ]
    y = layers.MultiHeadAttention(2, 3, attention_axes=(2,), name="heads")(*rows)
    model = keras.Model(inputs, layers.Dense(2)(y))
    # Each row of the query attends to the same row of the value.
    reason = analyze(kn.Graph.from_model(model))
    names = ("query_rows", "heads")
    axes = [reason.axes_of(reason.output_of(name))[1] for name in names]
    assert axes[0] == axes[1]


@pytest.mark.parametrize("settings", ({}, {"dropout": 0.3}, {"seed": 1}))
def test_masks_do_not_tie_features(settings):
    """A mask as wide as the features: it must not hold them."""
    inputs, mask = keras.Input((6, 6)), keras.Input((6, 6), dtype="bool")
    x = layers.Dense(6, name="before")(inputs)
    heads = layers.MultiHeadAttention(2, 3, name="heads", **settings)
    y = heads(x, x, attention_mask=mask)
    model = randomize(keras.Model([inputs, mask], layers.Dense(2)(y)))
    plan = kn.plan(model, {"before": 4})
    assert plan.exact
    check_plan(plan, model, random_inputs(model))


def test_lengths_of_sequences_are_reported_when_attention_spreads_over_them():
    inputs = keras.Input((6,))
    x = layers.Reshape((4, 3))(layers.Dense(12, name="before")(inputs))
    x = layers.MultiHeadAttention(2, 3, name="heads")(x, x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    plan = kn.plan(model, {"before": 9})
    assert not plan.exact and "attention spreads over all of them" in plan.notes[0]


def test_lengths_are_frozen_when_attention_is_causal():
    inputs = keras.Input((6,))
    x = layers.Reshape((4, 3))(layers.Dense(12, name="before")(inputs))
    x = layers.MultiHeadAttention(2, 3, name="heads")(x, x, use_causal_mask=True)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    plan = kn.plan(model, {"before": 20})
    assert plan.exact and plan.sizes["heads"] == 5
    with pytest.raises(kn.InfeasibleError, match="cannot have 9"):
        kn.plan(model, {"before": 9})


def test_shared_attention_layer_stays_one():
    inputs = keras.Input((5, 6))
    heads = layers.MultiHeadAttention(3, 2, name="heads")
    x = layers.Dense(6, name="before")(inputs)
    x = heads(x, x)
    x = heads(x, x)
    model = randomize(keras.Model(inputs, layers.Dense(2)(x)))
    for key, new in ((("heads", "key_dim"), 5), (("heads^1", "num_heads"), 2)):
        plan = kn.plan(model, {key: new})
        assert plan.exact
        check_plan(plan, model, random_inputs(model))
        assert len(plan.apply().weights) == len(model.weights)


def test_subclass_with_scores_of_its_own_is_frozen():
    class Other(layers.MultiHeadAttention):
        def _compute_attention(self, query, key, value, *args, **kwargs):
            return super()._compute_attention(query * 2, key, value, *args, **kwargs)

    model = model_of(Other(2, 3, name="heads"))
    assert "_compute_attention" in frozen_reason(model, "heads")
    with pytest.raises(kn.InfeasibleError, match="cannot have 5"):
        kn.plan(model, {"before": 5})


def test_lora_and_quantized_attention_are_frozen_with_reason():
    model = model_of(layers.MultiHeadAttention(2, 3, name="heads"))
    heads = model.get_layer("heads")
    heads.query_dense.enable_lora(1)
    assert "LoRA" in frozen_reason(model, "heads")
    model = model_of(layers.MultiHeadAttention(2, 3, name="heads"))
    model.get_layer("heads").key_dense.quantize("int8")
    assert "quantized" in frozen_reason(model, "heads")


# --- GroupQueryAttention ------------------------------------------------------------


def grouped(queries: int = 6, groups: int = 3, **settings) -> keras.Model:
    layer = layers.GroupQueryAttention(2, queries, groups, name="heads", **settings)
    return model_of(layer)


def sizes_of(plan: kn.Plan) -> tuple[int, int, int]:
    names = ("num_query_heads", "num_key_value_heads", "head_dim")
    layer = plan.apply().get_layer("heads")
    sizes = tuple(plan.sizes["heads", name] for name in names)
    assert sizes == tuple(getattr(layer, name) for name in names)
    return sizes


@pytest.mark.parametrize(
    "request_, expected",
    (
        ({"num_key_value_heads": 2}, (4, 2, 2)),
        ({"num_key_value_heads": 4}, (8, 4, 2)),
        ({"num_query_heads": 4}, (4, 2, 2)),
        ({"num_query_heads": 9}, (9, 3, 2)),
        ({"head_dim": 1}, (6, 3, 1)),
        ({"head_dim": 5}, (6, 3, 5)),
    ),
)
def test_grouped_heads_change_with_their_groups(request_, expected):
    model = grouped()
    plan = kn.plan(model, {("heads", name): n for name, n in request_.items()})
    assert plan.exact and sizes_of(plan) == expected
    check_plan(plan, model, random_inputs(model))


def test_query_heads_stay_with_their_key_head():
    importance = {("heads", "num_key_value_heads"): [2.0, 1.0, 3.0]}
    plan = kn.plan(
        grouped(), {("heads", "num_key_value_heads"): 2}, importance=importance
    )
    assert plan.keep["heads", "num_query_heads"].tolist() == [0, 1, 4, 5]


def test_single_key_head_takes_any_number_of_query_heads():
    model = grouped(4, 1)
    plan = kn.plan(model, {("heads", "num_query_heads"): 5})
    assert plan.exact and sizes_of(plan) == (5, 1, 2)
    check_plan(plan, model, random_inputs(model))


def test_query_heads_that_fit_no_group_name_the_nearest():
    with pytest.raises(kn.InfeasibleError, match="cannot have 7") as error:
        kn.plan(grouped(), {("heads", "num_query_heads"): 7})
    assert error.value.nearest["heads", "num_query_heads"] == (6, 8)


# --- attention without matrices -----------------------------------------------------


def test_attention_reports_features_of_scores_only():
    plan = kn.plan(build("attention_concat"), {"in0": 3})
    assert plan.sizes["in2"] == 3 and plan.sizes["in1"] == 5
    assert "scores sum over all of them" in plan.notes[0]
    assert kn.plan(build("attention_concat"), {"in1": 3}).exact


def test_additive_attention_is_exact_where_scale_reads_features():
    assert kn.plan(build("attention_additive_True"), {"in0": 3}).exact
    assert not kn.plan(build("attention_additive_False"), {"in0": 3}).exact


def test_masks_of_attention_are_tied_to_their_own_sequence():
    tokens = [keras.Input((n,), dtype="int32", name=f"t{n}") for n in (3, 4)]
    embed = layers.Embedding(7, 6, mask_zero=True, name="embedding")
    query, value = map(embed, tokens)
    model = randomize(
        keras.Model(tokens, layers.Dense(2)(layers.Attention()([query, value])))
    )
    plan = kn.plan(model, {"embedding": 4})
    check_plan(plan, model, random_inputs(model))


# --- attention written by hand ------------------------------------------------------


@pytest.mark.parametrize("name", ("attention_by_hand", "attention_fused_unstack"))
@pytest.mark.parametrize("heads", (2, 4))
def test_heads_written_by_hand_are_exact(name, heads):
    model = build(name)
    first = model.layers[1].name
    factor = 3 if first == "qkv" else 1
    plan = kn.plan(model, {first: factor * heads * 2})
    assert plan.exact
    check_plan(plan, model, random_inputs(model))


@pytest.mark.parametrize(
    "name, key, new",
    (
        ("attention_by_hand", "query", 9),
        ("attention_fused_unstack", "qkv", 27),
        ("attention_fused_split", "qkv", 27),
        ("attention_einsum_dense", ("query", "k"), 5),
    ),
)
def test_scores_without_weights_are_reported_when_key_size_changes(name, key, new):
    model = build(name)
    plan = kn.plan(model, {key: new})
    assert not plan.exact and any("sum" in note for note in plan.notes)
    check_plan(plan, model, random_inputs(model))


def test_fused_projection_keeps_query_key_and_value_of_a_head_together():
    model = build("attention_fused_unstack")
    plan = kn.plan(model, {"qkv": 12})
    rows = plan.keep["qkv"].reshape(3, 2, 2)
    np.testing.assert_array_equal(rows, rows[:1] + 6 * np.arange(3)[:, None, None])


def test_value_size_of_attention_by_hand_is_exact_alone():
    model = build("attention_by_hand")
    plan = kn.plan(model, {"value": 9})
    assert plan.exact and plan.sizes["query"] == 6
    check_plan(plan, model, random_inputs(model))


if "dot_product_attention_3" in ZOO:

    def test_grouped_operation_keeps_two_key_heads_on_tensorflow():
        model = build("dot_product_attention_3")
        key = ("key", "h")
        if keras.config.backend() != "tensorflow":
            assert kn.plan(model, {key: 1}).exact
            return
        with pytest.raises(kn.InfeasibleError, match="two key heads on TensorFlow"):
            kn.plan(model, {key: 1})


# --- transformers -------------------------------------------------------------------

STREAM = ["block0_attention", "block0_mlp_out", "block1_attention", "block1_mlp_out"]


@pytest.mark.parametrize(
    "make, first", ((zoo.vit, "patches"), (zoo.decoder, "embedding"))
)
def test_residual_stream_of_transformer_is_one_width(make, first):
    model = randomize(make())
    plan = kn.plan(model, {"block1_mlp_out": 6})
    assert {plan.sizes[name] for name in (first, *STREAM)} == {6}
    assert len({tuple(plan.keep[name]) for name in (first, *STREAM)}) == 1
    assert all("statistics" in note for note in plan.notes)
    assert plan.sizes["block0_attention", "num_heads"] == 2
    check_plan(plan, model, random_inputs(model))


@pytest.mark.parametrize("make", (zoo.vit, zoo.decoder))
def test_inner_widths_of_transformer_are_exact(make):
    model = randomize(make())
    wanted = {
        "block0_mlp_in": 20,
        "block1_mlp_in": 5,
        ("block0_attention", "num_heads"): 3,
        ("block1_attention", "num_heads"): 1,
        ("block0_attention", "key_dim"): 2,
        ("block1_attention", "key_dim"): 6,
    }
    plan = kn.plan(model, wanted)
    assert plan.exact and plan.sizes["norm"] == 8
    check_plan(plan, model, random_inputs(model))


def test_layers_without_rule_hold_width_but_not_heads():
    inputs = keras.Input((4, 6))
    x = zoo.ClassToken(name="token")(layers.Dense(6, name="before")(inputs))
    x = zoo.Position(name="position")(x)
    y = layers.MultiHeadAttention(2, 3, name="heads")(x, x)
    model = randomize(keras.Model(inputs, layers.Dense(2)(layers.Add()([x, y]))))
    plan = kn.plan(model, {("heads", "num_heads"): 3, ("heads", "key_dim"): 2})
    assert plan.exact
    check_plan(plan, model, random_inputs(model))


def test_position_table_follows_model_width():
    model = randomize(zoo.decoder())
    plan = kn.plan(model, {"embedding": 6})
    shapes = {w.path: tuple(w.shape) for w in plan.apply().weights}
    assert shapes["positions/embeddings"] == (5, 6)


# --- tied weights -------------------------------------------------------------------


# Keras has had this layer since 3.12.
if hasattr(layers, "ReversibleEmbedding"):

    @pytest.mark.parametrize("tie", (True, False))
    @pytest.mark.parametrize("new", (4, 9))
    def test_reversible_embedding_stays_one_table(tie, new):
        model = randomize(zoo.tied(tie))
        plan = kn.plan(model, {"embedding": new})
        assert plan.exact and plan.sizes["outer"] == new
        check_plan(plan, model, random_inputs(model))
        changed = plan.apply()
        assert [w.path for w in changed.weights] == [w.path for w in model.weights]
        assert weight(changed, "embedding/embeddings").shape == (zoo.VOCABULARY, new)

    def test_vocabulary_of_reversible_embedding_is_fixed():
        with pytest.raises(kn.InfeasibleError, match="vocabulary of 'embedding"):
            kn.plan(zoo.tied(), {"embedding^1": 9})


def tied_by_operation() -> keras.Model:
    """A table that an embedding makes and a multiplication reads, transposed."""
    tokens = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(7, 6, name="embedding")
    x = layers.Dense(6, name="inner")(embedding(tokens))
    scores = ops.einsum("btd,vd->btv", x, embedding.embeddings)
    return randomize(keras.Model(tokens, scores))


def test_table_read_by_operation_stays_one_variable():
    model = tied_by_operation()
    plan = kn.plan(model, {"embedding": 4})
    assert plan.sizes["inner"] == 4 and plan.exact
    check_plan(plan, model, random_inputs(model))
    changed = plan.apply()
    assert len(changed.weights) == len(model.weights)
    x = random_inputs(changed)
    table = weight(changed, "embedding/embeddings")
    inner = changed.get_layer("inner")
    hidden = table[x] @ ops.convert_to_numpy(inner.kernel)
    expected = (hidden + ops.convert_to_numpy(inner.bias)) @ table.T
    np.testing.assert_allclose(run(changed, x)[0], expected, rtol=1e-4, atol=1e-5)


def test_new_columns_of_a_table_read_by_operation_are_zero():
    model = tied_by_operation()
    plan = kn.plan(model, {"embedding": 9})
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    table = weight(plan.apply(), "embedding/embeddings")
    assert not table[:, plan.keep["embedding"] < 0].any()


def test_two_layers_with_one_variable_keep_one():
    inputs = keras.Input((5, 6))
    first, second = (layers.Dense(6, use_bias=False, name=n) for n in ("one", "two"))
    x = layers.Dense(6, name="before")(inputs)
    x = first(x)
    second._kernel, second.bias, second.built = first._kernel, None, True
    model = randomize(keras.Model(inputs, layers.Dense(2)(second(x))))
    plan = kn.plan(model, {"before": 4})
    assert plan.sizes["one"] == plan.sizes["two"] == 4
    changed = plan.apply()
    one, two = changed.get_layer("one"), changed.get_layer("two")
    assert one.kernel is two.kernel


# --- heads of attention that is written out -----------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("attention_by_hand", "axis_2"),
        ("attention_fused_split", "axis_2"),
        ("attention_fused_unstack", "axis_3"),
    ],
)
def test_heads_have_the_name_of_the_axis_that_a_reshape_makes(entry, place, size):
    model = randomize(ZOO[entry].make())
    reshape = next(x.name for x in model.layers if isinstance(x, layers.Reshape))
    plan = kn.plan(model, reshape, size, axis=place)
    assert plan.sizes[reshape, place] == size
    assert plan.sizes[reshape] == 2
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    assert plan.apply().get_layer(reshape).output.shape[int(place[-1])] == size


def test_axis_of_a_fused_projection_that_is_taken_apart_keeps_its_size():
    model = ZOO["attention_fused_unstack"].make()
    reshape = next(x.name for x in model.layers if isinstance(x, layers.Reshape))
    with pytest.raises(kn.InfeasibleError, match="'unstack.*', where positions"):
        kn.plan(model, reshape, 2, axis="axis_2")
