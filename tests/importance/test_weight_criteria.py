"""Criteria that look at weights alone, against the formulas of their papers in numpy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from measured import (
    NETS,
    dense_net,
    flattened,
    joined,
    randomized,
    residual,
    sequence,
    shared,
    values,
    weight,
)

import keras_nas as kn
from keras_nas import importance as ki
from keras_nas.graph import analyze
from keras_nas.importance.geometric_median import distance_sums
from keras_nas.importance.lamp import lamp_scores
from keras_nas.surgery.names import Names


def columns(model, layer: str) -> np.ndarray:
    """One row for each neuron of a plain layer: its kernel column and its bias."""
    kernel = weight(model, f"{layer}/kernel")
    bias = weight(model, f"{layer}/bias")
    return np.concatenate([kernel.reshape(-1, len(bias)), bias[None]]).T


def over_mean(numbers: np.ndarray) -> np.ndarray:
    return numbers / numbers.mean()


def lamp(energy: np.ndarray) -> np.ndarray:
    return np.array([e / energy[energy >= e].sum() for e in energy])


def distances(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(-1)).sum(1)


@pytest.mark.parametrize("p", [1, 2])
def test_magnitude_is_the_norm_over_the_mean_of_the_layer(p):
    model = dense_net()
    norms = np.linalg.norm(columns(model, "a"), p, axis=1)
    np.testing.assert_allclose(values(model, f"l{p}", "a"), over_mean(norms), 1e-6)


@pytest.mark.parametrize("p", [1, 2])
def test_magnitude_adds_up_over_layers_that_are_added(p):
    model = residual()
    norms = [np.linalg.norm(columns(model, n), p, axis=1) for n in ("stem", "branch")]
    expected = over_mean(norms[0]) + over_mean(norms[1])
    np.testing.assert_allclose(values(model, f"l{p}", "add"), expected, 1e-6)


@pytest.mark.parametrize(
    ("how", "combine"),
    [
        ("sum", lambda a, b: a + b),
        ("mean", lambda a, b: (a + b) / 2),
        ("max", np.maximum),
    ],
)
def test_aggregation_combines_tied_layers(how, combine):
    model = residual()
    norms = [np.linalg.norm(columns(model, n), axis=1) for n in ("stem", "branch")]
    criterion = ki.Magnitude(aggregation=how, normalization="none")
    np.testing.assert_allclose(values(model, criterion, "add"), combine(*norms), 1e-6)


@pytest.mark.parametrize(
    ("how", "scale"),
    [
        ("mean", lambda v: v / v.mean()),
        ("max", lambda v: v / v.max()),
        ("sum", lambda v: v / v.sum()),
        ("gaussian", lambda v: (v - v.min()) / v.std()),
        ("none", lambda v: v),
    ],
)
def test_normalization_rescales_a_layer(how, scale):
    model = dense_net()
    norms = np.linalg.norm(columns(model, "a"), axis=1)
    criterion = ki.Magnitude(normalization=how)
    np.testing.assert_allclose(values(model, criterion, "a"), scale(norms), 1e-6)


def test_group_magnitude_is_the_norm_of_all_that_moves_with_the_neuron():
    model = residual()
    stem, branch = columns(model, "stem"), columns(model, "branch")
    rows = weight(model, "branch/kernel").transpose(2, 0, 1, 3).reshape(5, -1)
    last = weight(model, "last/kernel").transpose(2, 0, 1, 3).reshape(5, -1)
    norm = np.stack([weight(model, "norm/gamma"), weight(model, "norm/beta")], 1)
    for p in (1, 2):
        everything = np.concatenate([stem, branch, rows, norm, last], axis=1)
        norms = np.linalg.norm(everything, p, axis=1)
        found = values(model, f"group_l{p}", "add")
        np.testing.assert_allclose(found, over_mean(norms), 1e-6)
    powers = [
        (part**2).sum(1)
        for part in (stem, np.concatenate([branch, rows], 1), norm, last)
    ]
    mean = ki.Magnitude(group=True, aggregation="mean", normalization="none")
    largest = ki.Magnitude(group=True, aggregation="max", normalization="none")
    np.testing.assert_allclose(
        values(model, mean, "add"), np.sqrt(np.mean(powers, 0)), 1e-6
    )
    np.testing.assert_allclose(
        values(model, largest, "add"), np.sqrt(np.max(powers, 0)), 1e-6
    )


def test_group_magnitude_of_a_concatenation_reads_each_part_apart():
    model = joined()
    makes = np.concatenate([columns(model, "a"), columns(model, "b")])
    reads = weight(model, "out/kernel")
    norms = np.linalg.norm(np.concatenate([makes, reads], axis=1), axis=1)
    criterion = ki.Magnitude(group=True, normalization="none")
    np.testing.assert_allclose(values(model, criterion, "cat"), norms, 1e-6)


def test_a_shared_layer_counts_once():
    model = shared()
    norms = np.linalg.norm(columns(model, "twice"), axis=1)
    np.testing.assert_allclose(values(model, "l2", "twice"), over_mean(norms), 1e-6)
    everything = np.concatenate(
        [columns(model, "twice"), weight(model, "out/kernel")], axis=1
    )
    criterion = ki.Magnitude(group=True, normalization="none")
    np.testing.assert_allclose(
        values(model, criterion, "twice"), np.linalg.norm(everything, axis=1), 1e-6
    )


def test_group_magnitude_reads_each_group_of_a_convolution_and_each_pixel():
    model = flattened()
    criterion = ki.Magnitude(p=1, group=True, normalization="none")
    kernel = np.abs(weight(model, "grouped/kernel")).sum((0, 1, 2))
    bias = np.abs(weight(model, "grouped/bias"))
    rows = np.abs(weight(model, "out/kernel")).reshape(4, 6, 2).sum((0, 2))
    found = values(model, criterion, "grouped")
    np.testing.assert_allclose(found, kernel + bias + rows, 1e-6)


def test_depth_multiplier_adds_up_over_all_channels():
    model = flattened()
    criterion = ki.Magnitude(p=1, normalization="none")
    kernel = np.abs(weight(model, "depth/kernel")).sum((0, 1))
    bias = np.abs(weight(model, "depth/bias")).reshape(4, 2)
    found = values(model, criterion, "depth", "depth_multiplier")
    np.testing.assert_allclose(found, kernel.sum(0) + bias.sum(0), 1e-6)


def test_gates_of_a_recurrent_layer_count_for_their_unit():
    model = sequence()
    criterion = ki.Magnitude(p=1, normalization="none")
    total = sum(
        np.abs(weight(model, f"lstm_cell/{name}")).reshape(-1, 4, 4).sum((0, 1))
        for name in ("kernel", "recurrent_kernel", "bias")
    )
    np.testing.assert_allclose(values(model, criterion, "memory"), total, 1e-6)
    read = np.abs(weight(model, "lstm_cell/recurrent_kernel")).sum(1)
    read = read + np.abs(weight(model, "out/kernel")).sum(1)
    group = ki.Magnitude(p=1, group=True, normalization="none")
    np.testing.assert_allclose(values(model, group, "memory"), total + read, 1e-6)


def test_heads_and_their_size_have_the_weights_of_their_projections():
    model = sequence()
    group = ki.Magnitude(p=1, group=True, normalization="none")
    parts = {
        name: np.abs(weight(model, f"attention/{name}"))
        for name in ("query/kernel", "key/kernel", "value/kernel")
    }
    biases = {
        name: np.abs(weight(model, f"attention/{name}"))
        for name in ("query/bias", "key/bias", "value/bias")
    }
    output = np.abs(weight(model, "attention/attention_output/kernel"))
    heads = sum(p.sum((0, 2)) for p in parts.values())
    heads = heads + sum(b.sum(1) for b in biases.values()) + output.sum((1, 2))
    found = values(model, group, "attention", "num_heads")
    np.testing.assert_allclose(found, heads, 1e-6)
    size = sum(parts[f"{n}/kernel"].sum((0, 1)) for n in ("query", "key"))
    size = size + sum(biases[f"{n}/bias"].sum(0) for n in ("query", "key"))
    found = values(model, group, "attention", "key_dim")
    np.testing.assert_allclose(found, size, 1e-6)


def test_an_embedding_is_made_by_its_table_and_by_the_attention_on_it():
    model = sequence()
    norms = np.linalg.norm(weight(model, "words/embeddings"), axis=0)
    attended = np.linalg.norm(
        np.concatenate(
            [
                weight(model, "attention/attention_output/kernel").reshape(-1, 6),
                weight(model, "attention/attention_output/bias")[None],
            ]
        ),
        axis=0,
    )
    found = values(model, ki.Magnitude(normalization="none"), "words")
    np.testing.assert_allclose(found, norms + attended, 1e-6)


def test_scale_is_that_of_the_normalisation_layer():
    model = residual()
    gamma = np.abs(weight(model, "norm/gamma"))
    np.testing.assert_allclose(values(model, "bn_scale", "add"), over_mean(gamma), 1e-6)
    norms = np.linalg.norm(columns(model, "last"), axis=1)
    np.testing.assert_allclose(
        values(model, "bn_scale", "last"), over_mean(norms), 1e-6
    )


def test_lamp_divides_by_all_that_is_at_least_as_large():
    model = residual()
    scores = [lamp((columns(model, n) ** 2).sum(1)) for n in ("stem", "branch")]
    assert scores[0].max() == scores[1].max() == 1.0
    found = values(model, "lamp", "add")
    np.testing.assert_allclose(found, scores[0] + scores[1], 1e-6)
    largest = ki.Lamp(aggregation="max")
    np.testing.assert_allclose(
        values(model, largest, "add"), np.maximum(*scores), 1e-6
    )


def test_lamp_gives_equal_neurons_equal_scores():
    model = dense_net()
    kernel, bias = np.zeros((4, 5), "float32"), np.zeros(5, "float32")
    kernel[0] = [2, 1, 1, 0, 3]
    model.get_layer("a").set_weights([kernel, bias])
    expected = [4 / 13, 1 / 15, 1 / 15, 0, 1]
    np.testing.assert_allclose(values(model, "lamp", "a"), expected, 1e-6)


def test_lamp_of_a_group_sees_readers():
    model = dense_net()
    makers = lamp((columns(model, "a") ** 2).sum(1))
    readers = lamp((weight(model, "b/kernel") ** 2).sum(1))
    found = values(model, "group_lamp", "a")
    np.testing.assert_allclose(found, makers + readers, 1e-6)


def test_lamp_adds_up_to_the_logarithm_of_what_is_left():
    energy = np.random.default_rng(0).uniform(0.5, 1.5, 4000)
    dropped = np.sort(lamp_scores(energy))[:2000].sum()
    left = np.sort(energy)[2000:].sum() / energy.sum()
    np.testing.assert_allclose(dropped, -np.log(left), 1e-3)


def test_geometric_median_sums_distances_between_neurons():
    model = residual()
    expected = sum(
        over_mean(distances(columns(model, name))) for name in ("stem", "branch")
    )
    np.testing.assert_allclose(values(model, "fpgm", "add"), expected, 1e-5)


def test_distances_are_summed_in_pieces():
    rows = np.random.default_rng(0).normal(5, 1, (1100, 3))
    np.testing.assert_allclose(distance_sums(rows), distances(rows), 1e-9)
    single = rows.astype("float32")
    np.testing.assert_allclose(distance_sums(single), distances(rows), 1e-5)
    assert distance_sums(np.ones((3, 2))).tolist() == [0, 0, 0]


def test_geometric_median_takes_all_gates_of_a_unit_together():
    model = sequence()
    rows = [
        weight(model, f"lstm_cell/{name}").reshape(-1, 4)
        for name in ("kernel", "recurrent_kernel", "bias")
    ]
    # The gates stand one after the other, so a unit has every fourth column.
    rows = np.concatenate(rows).T
    criterion = ki.GeometricMedian(normalization="none")
    np.testing.assert_allclose(
        values(model, criterion, "memory"), distances(rows), 1e-5
    )


def test_geometric_median_finds_the_neuron_that_others_stand_in_for():
    model = dense_net()
    kernel = np.zeros((4, 5), "float32")
    kernel[0] = [9, 10, 11, -30, 50]
    model.get_layer("a").set_weights([kernel, np.zeros(5, "float32")])
    assert values(model, "fpgm", "a").argmin() == 1
    assert values(model, "l2", "a").argmin() == 0


def test_random_importance_depends_on_the_seed_only():
    model = dense_net()
    first, again = values(model, ki.Random(3), "a"), values(model, ki.Random(3), "a")
    np.testing.assert_array_equal(first, again)
    assert (first != values(model, ki.Random(4), "a")).all()
    assert (0 <= first).all() and (first < 1).all()
    assert len(np.unique(first)) == 5


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", ["l1", "group_l2", "bn_scale", "lamp", "fpgm"])
def test_every_neuron_of_random_nets_has_a_positive_importance(net, name):
    model = NETS[net]()
    names = Names(analyze(kn.Graph.from_model(model)))
    for layer in model.layers:
        if layer.weights:
            for axis in (None, *names.further_widths(layer.name)):
                found = values(model, name, layer.name, axis)
                assert (found > 0).all(), (layer.name, axis)


def test_l2_by_name_and_as_an_object_are_the_same_to_the_bit():
    for make in NETS.values():
        model = make()
        name = next(layer.name for layer in model.layers if layer.weights)
        np.testing.assert_array_equal(
            values(model, "l2", name), values(model, ki.Magnitude(), name)
        )


def test_criteria_choose_the_neurons_of_a_plan():
    model = dense_net()
    for name in ("l1", "group_l1", "lamp", "fpgm", "random"):
        best = np.sort(np.argsort(-values(model, name, "a"))[:2])
        plan = kn.plan(model, "a", 2, importance=name)
        np.testing.assert_array_equal(plan.keep["a"], best)


def test_criteria_work_in_edits():
    model = dense_net()
    for name in ("l1", "group_l2", "fpgm"):
        new = kn.remove(model, "b", importance=name)
        assert "b" not in [layer.name for layer in new.layers]


def test_padding_has_no_importance():
    source = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 1, name="narrow")(source)
    x = keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 1]])
    y = layers.Conv2D(5, 1, name="wide")(source)
    model = randomized(keras.Model(source, layers.Conv2D(2, 1)(layers.Add()([x, y]))))
    plan = kn.plan(model, "wide", 4, importance=ki.Random(0))
    assert plan.sizes["wide"] == 4
