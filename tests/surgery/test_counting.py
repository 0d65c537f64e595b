"""Costs of models: against numbers worked out by hand, Keras, and published ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops
from models import IS_OLD, ZOO, build, randomize
from nets import chain, nested

import keras_nas as kn
from keras_nas.graph import analyze
from keras_nas.surgery.counting import count_analysis
from keras_nas.surgery.pruning import cost_of


def through(shape, *middle, batch=None):
    x = inputs = keras.Input(shape, batch_size=batch)
    for layer in middle:
        x = layer(x)
    return keras.Model(inputs, x)


def attended(**settings):
    query, value = keras.Input((5, 6)), keras.Input((7, 4))
    layer = layers.MultiHeadAttention(2, 3, value_dim=4, **settings)
    return keras.Model([query, value], layer(query, value))


def of_itself(attend):
    x = keras.Input((5, 6))
    return keras.Model(x, attend(x))


def by_hand():
    """Attention written with operations: scores ``(5, 5)``, values ``(5, 6)``."""
    x = keras.Input((5, 6))
    scores = ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))))
    return keras.Model(x, ops.matmul(scores, x))


# Multiply-accumulates, worked out by hand: positions times the numbers of the kernel.
MACS = {
    "dense": (lambda: through((7,), layers.Dense(3)), 7 * 3),
    "dense over positions": (lambda: through((5, 7), layers.Dense(3)), 5 * 7 * 3),
    "einsum": (
        lambda: through(
            (5, 6), layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3))
        ),
        5 * 6 * 2 * 3,
    ),
    "convolution": (
        lambda: through((8, 8, 3), layers.Conv2D(4, 3)),
        6 * 6 * 9 * 3 * 4,
    ),
    "strided convolution": (
        lambda: through((8, 8, 3), layers.Conv2D(4, 3, strides=2, padding="same")),
        4 * 4 * 9 * 3 * 4,
    ),
    "grouped convolution": (
        lambda: through((8, 8, 6), layers.Conv2D(9, 3, groups=3)),
        6 * 6 * 9 * (6 // 3) * 9,
    ),
    "one group for each channel": (
        lambda: through((8, 8, 6), layers.Conv2D(12, 3, groups=6)),
        6 * 6 * 9 * 12,
    ),
    "depthwise convolution": (
        lambda: through((8, 8, 6), layers.DepthwiseConv2D(3, depth_multiplier=2)),
        6 * 6 * 9 * 6 * 2,
    ),
    "separable convolution": (
        lambda: through((8, 8, 3), layers.SeparableConv2D(5, 3, depth_multiplier=2)),
        6 * 6 * (9 * 3 * 2 + 3 * 2 * 5),
    ),
    "transposed convolution": (
        lambda: through((4, 4, 3), layers.Conv2DTranspose(5, 3, strides=2)),
        4 * 4 * 9 * 3 * 5,
    ),
    "embedding": (lambda: through((4,), layers.Embedding(10, 3)), 0),
    "lstm": (lambda: through((5, 3), layers.LSTM(4)), 5 * (3 + 4) * 4 * 4),
    "gru": (
        lambda: through((5, 3), layers.GRU(4, return_sequences=True)),
        5 * (3 + 4) * 3 * 4,
    ),
    "both directions": (
        lambda: through((5, 3), layers.Bidirectional(layers.LSTM(4))),
        2 * 5 * (3 + 4) * 4 * 4,
    ),
    "cells on each other": (
        lambda: through(
            (5, 3), layers.RNN([layers.SimpleRNNCell(4), layers.SimpleRNNCell(2)])
        ),
        5 * ((3 + 4) * 4 + (4 + 2) * 2),
    ),
    "convolutional lstm": (
        lambda: through((5, 6, 6, 3), layers.ConvLSTM2D(4, 3, padding="same")),
        5 * 6 * 6 * 9 * (3 + 4) * 4 * 4,
    ),
    "dense at each time": (
        lambda: through((5, 7), layers.TimeDistributed(layers.Dense(3))),
        5 * 7 * 3,
    ),
    "convolution at each time": (
        lambda: through((5, 8, 8, 3), layers.TimeDistributed(layers.Conv2D(4, 3))),
        5 * 6 * 6 * 9 * 3 * 4,
    ),
    "attention": (
        attended,
        5 * 6 * 6 + 7 * 4 * 6 + 7 * 4 * 8 + 2 * 5 * 7 * (3 + 4) + 5 * 8 * 6,
    ),
    "attention with few key heads": (
        lambda: of_itself(lambda x: layers.GroupQueryAttention(3, 4, 2)(x, x)),
        5 * 6 * 12 + 2 * 5 * 6 * 6 + 4 * 5 * 5 * (3 + 3) + 5 * 12 * 6,
    ),
    "attention by hand": (by_hand, 2 * 5 * 5 * 6),
    "attention without matrices": (
        lambda: of_itself(lambda x: layers.Attention()([x, x])),
        2 * 5 * 5 * 6,
    ),
    "a fixed batch": (lambda: through((7,), layers.Dense(3), batch=4), 4 * 7 * 3),
    "pooling and activations": (
        lambda: through(
            (8, 8, 3), layers.MaxPooling2D(), layers.ReLU(), layers.BatchNormalization()
        ),
        0,
    ),
}


@pytest.mark.parametrize("name", MACS)
def test_macs_are_those_worked_out_by_hand(name):
    make, expected = MACS[name]
    counts = kn.count(make())
    assert counts.macs == expected
    assert counts.flops == 2 * expected
    assert counts.not_counted == ()


@pytest.mark.parametrize("name", sorted(ZOO))
def test_parameters_and_outputs_of_every_layer_are_those_of_keras(name):
    model = build(name)
    counts = kn.count(model)
    assert counts.params == model.count_params()
    by_name = {vertex.name: vertex for vertex in counts.vertices}
    for layer in model.layers:
        if layer.name in by_name and not isinstance(layer, keras.Model):
            first = keras.tree.flatten(layer._inbound_nodes[0].output_tensors)
            if any(None in x.shape[1:] for x in first):
                continue  # Keras knows less of it than the axes do.
            expected = sum(
                int(np.prod([size or 1 for size in x.shape]))
                * np.dtype(keras.backend.standardize_dtype(x.dtype)).itemsize
                for x in first
            )
            assert by_name[layer.name].activation_bytes == expected


@pytest.mark.parametrize("name", sorted(ZOO))
def test_costs_as_sums_of_products_are_those_of_the_axes(name):
    analysis = analyze(kn.Graph.from_model(build(name)))
    axes = [axis for axis in analysis.all_axes() if axis.atoms]
    atoms = frozenset().union(*(axis.atoms for axis in axes))
    keys = sorted(atoms, key=lambda atom: atom.serial)
    rng = np.random.default_rng(0)
    for _ in range(3):
        sizes = {key: int(rng.integers(1, key.size + 3)) for key in keys}
        counts = count_analysis(analysis, sizes)
        for kind in ("params", "flops", "memory"):
            value = cost_of(analysis, kind, keys).value(np.array([*sizes.values()]))
            assert value == getattr(counts, kind)


# Billions of multiply-accumulates, as the papers have them.
PUBLISHED = {
    "ResNet50": (3.8, 0.1),  # He 2015, arXiv 1512.03385, table 1
    "MobileNetV2": (0.300, 0.005),  # Sandler 2018, arXiv 1801.04381, table 4
    "EfficientNetB0": (0.39, 0.01),  # Tan 2019, arXiv 1905.11946, table 2
    "VGG16": (15.5, 0.1),
    "DenseNet121": (2.87, 0.05),
    "ConvNeXtTiny": (4.5, 0.1),  # Liu 2022, arXiv 2201.03545, table 1
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_applications_have_the_published_numbers(name):
    model = getattr(keras.applications, name)(weights=None)
    counts = kn.count(model)
    published, tolerance = PUBLISHED[name]
    assert counts.macs / 1e9 == pytest.approx(published, abs=tolerance)
    assert counts.params == model.count_params()
    assert counts.not_counted == ()


def test_a_shared_weight_counts_once_and_works_twice():
    layer, inputs = layers.Dense(4, name="shared"), keras.Input((4,))
    counts = kn.count(keras.Model(inputs, layer(layer(inputs))))
    assert (counts.params, counts.macs) == (20, 2 * 16)
    assert [v.params for v in counts.vertices] == [0, 20, 0]


def test_memory_is_bytes_of_weights_and_outputs():
    model = through((3,), layers.Dense(4, dtype="float16"))
    counts = kn.count(model)
    assert counts.weight_bytes == 16 * 2
    # An old Keras records the cast of the input.
    cast = 3 * 2 if IS_OLD else 0
    assert counts.activation_bytes == 3 * 4 + cast + 4 * 2
    assert counts.memory == 32 + 20 + cast


def test_nested_models_are_counted_inside():
    model = nested()
    counts = kn.count(model)
    assert counts.params == model.count_params()
    assert counts["encoder/inner"].macs == 4 * 6
    with pytest.raises(KeyError, match="no_such"):
        counts["no_such"]


class Opaque(layers.Layer):
    """A matrix that is used in a way nobody can follow."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], shape[-1]), name="matrix")

    def call(self, x):
        return keras.ops.convert_to_tensor(
            keras.ops.sort(keras.ops.matmul(x, self.matrix), axis=0)
        )


def test_what_no_rule_describes_is_named():
    model = randomize(through((4,), layers.Dense(3), Opaque(name="odd")))
    counts = kn.count(model)
    assert counts.params == model.count_params()
    if counts.not_counted:
        assert counts.not_counted == ("odd",)
        assert str(counts).endswith("MACs unknown, counted as 0: 'odd'.")
    else:
        assert counts["odd"].macs == 9


def test_the_table_has_a_row_for_each_vertex_and_a_total():
    lines = str(kn.count(chain(4, 2))).splitlines()
    assert lines[0].split() == (
        ["vertex", "params", "MACs", "weights", "B", "activations", "B", "class"]
    )
    assert lines[-1].split() == ["total", "26", "20", "104", "36"]
    assert len(lines) == 2 + 3 + 1


def test_anything_else_is_refused():
    with pytest.raises(kn.UnsupportedModelError, match="Received"):
        kn.count("model")


def test_unknown_sizes_of_inputs_are_said():
    def net(*shape):
        inputs = keras.Input(shape, name="image")
        x = layers.Conv2D(8, 3, strides=2, name="conv")(inputs)
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, name="deep")(x))
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    known, unknown = kn.count(net(16, 16, 3)), kn.count(net(None, None, 3))
    assert known.open_inputs == () and known.remark == ""
    assert unknown.open_inputs == ("image",)
    assert "'image' is not known" in str(unknown)
    assert "'image' is not known" not in str(known)
    plan = kn.plan_prune(net(None, None, 3), flops=0.6)
    assert "no real ones" in str(plan)
    assert "no real ones" not in str(kn.plan_prune(net(None, None, 3), params=0.6))
