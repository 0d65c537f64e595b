"""Latency tables: the fit, what is measured, and files of it."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.graph import flatten, wrap
from keras_nas.latency import duration, fit_line, interleaved, isolate


def net() -> keras.Model:
    """A stem, a nested block that is called twice, a merge, a head."""
    inputs = keras.Input((8, 8, 3), name="in")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    inner = keras.Input((8, 8, 8), name="inner_in")
    y = layers.Conv2D(8, 3, padding="same", name="conv")(inner)
    block = keras.Model(inner, layers.BatchNormalization(name="norm")(y), name="block")
    x = layers.Add(name="add")([x, block(block(x))])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x))


def test_fit_is_exact_where_a_line_without_negative_numbers_exists():
    macs, num_bytes = np.array([8, 4, 2, 1]), np.array([4, 3, 2, 1])
    line = fit_line(macs, num_bytes, 5 + 2 * macs + 3 * num_bytes)
    np.testing.assert_allclose(line, (5, 2, 3), rtol=1e-6)
    np.testing.assert_allclose(line.seconds(10, 10), 55, rtol=1e-6)


def test_fit_has_no_negative_numbers_and_finds_the_best_without():
    macs = np.array([1.0, 2.0, 4.0])
    falling = fit_line(macs, macs * 0, [4.0, 2.0, 1.0])
    assert falling.per_mac == falling.per_byte == 0
    # Of all constants, the one of least relative error.
    assert falling.fixed == pytest.approx((1 / 4 + 1 / 2 + 1) / (1 / 16 + 1 / 4 + 1))


def test_fit_of_no_time_is_no_time():
    assert fit_line([1, 2], [1, 2], [0.0, 0.0]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.0136, "13.6 ms"), (0.9999, "1 s"), (2e-6, "2 us"), (0, "0 us")],
)
def test_times_are_written_in_a_unit_that_fits(seconds, text):
    assert duration(seconds) == text


def test_functions_are_timed_in_turn_and_warm_up_does_not_count():
    calls = []
    runners = [lambda: calls.append("a"), lambda: calls.append("b")]
    timings = interleaved(runners, repetitions=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert all(t.seconds > 0 and t.spread >= 0 for t in timings)


def test_a_call_alone_does_what_it_does_in_its_network():
    model = net()
    graph = wrap(model)
    calls = {call.path: call for call in flatten(graph).calls}
    alone = isolate(graph, calls["block^1/conv"], 3)
    assert [x.shape for x in alone.inputs] == [(3, 8, 8, 8)]
    weights = model.get_layer("block").get_layer("conv").get_weights()
    alone.model.layers[-1].set_weights(weights)
    both = [
        keras.ops.convert_to_numpy(each)
        for each in (
            alone.model(alone.inputs),
            model.get_layer("block").get_layer("conv")(alone.inputs[0]),
        )
    ]
    np.testing.assert_allclose(*both, rtol=1e-5)


@pytest.fixture(scope="module")
def table() -> kn.LatencyTable:
    return kn.measure_latency(net(), batch_size=2, repetitions=3, warm_up=1)


def test_every_vertex_is_measured_at_every_width(table):
    names = [vertex.name for vertex in table.vertices]
    assert names[:3] == ["stem", "block/conv", "block/norm"]
    assert "block^1/conv" in names and names[-1] == "head"
    assert len(table.models) == 4
    for vertex in table.vertices:
        assert len(vertex.points) == 4
        assert all(p.seconds >= 0 and p.spread >= 0 for p in vertex.points)
    macs = {v.name: [p.macs for p in v.points] for v in table.vertices}
    assert macs["stem"] == [64 * 27 * n for n in (8, 6, 4, 2)]
    assert macs["block^1/conv"] == [64 * 9 * n * n for n in (8, 6, 4, 2)]
    assert macs["add"] == [0, 0, 0, 0]
    # One input, one output, four bytes per number.
    norm = next(v for v in table.vertices if v.name == "block/norm")
    assert [p.num_bytes for p in norm.points] == [2 * 64 * 4 * n for n in (8, 6, 4, 2)]


def test_the_table_is_corrected_by_whole_models_and_states_its_error(table):
    count = kn.count(net())
    assert table.models[0].macs == count.macs
    assert table.measured_seconds == table.models[0].seconds > 0
    assert table.offset >= 0 and table.scale >= 0
    predicted = [
        table.offset
        + sum(
            table.lines[v.name].seconds(v.points[n].macs, v.points[n].num_bytes)
            for v in table.vertices
        )
        for n in range(4)
    ]
    assert table.seconds == pytest.approx(predicted[0])
    measured = np.array([point.seconds for point in table.models])
    assert table.error == pytest.approx(max(abs(predicted - measured) / measured))
    text = str(table)
    assert f"wrong by up to {table.error:.0%}" in text
    assert "batch size 2" in text and "Whole model at 100% of the MACs" in text


def test_a_vertex_that_was_not_measured_counts_nothing_and_is_named(table):
    first = replace(table.vertices[0], points=())
    other = replace(table, vertices=(first, *table.vertices[1:]))
    assert other.lines["stem"] == (0, 0, 0) and first.error == 0
    assert "Not measured, counted as 0: 'stem'." in str(other)


def test_tables_are_saved_and_loaded(table, tmp_path):
    table.save(tmp_path / "table.json")
    loaded = kn.LatencyTable.load(tmp_path / "table.json")
    assert loaded == table and loaded.lines == table.lines
    assert kn.LatencyTable.from_json(table.to_json()) == table


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: r["vertices"][0].pop("name"), r"'vertices\[0\]' in it has no field"),
        (lambda r: r["vertices"][1]["points"].pop(), "has 3 points, not 4"),
        (lambda r: r.update(batch_size=0), "'batch_size' in it is below 1"),
        (lambda r: r.update(batch_size="2"), "'batch_size' in it is no whole number"),
        (lambda r: r.update(models=[]), "no measurement of the whole model"),
        (lambda r: r["models"][0].update(seconds=-1.0), "not finite and at least"),
        (lambda r: r["models"][0].update(seconds=float("nan")), "not finite"),
        (lambda r: r["models"][0].update(macs=1.5), "is no whole number"),
        (lambda r: r.update(kind="keras_nas recipe"), "says that it is a"),
        (lambda r: r.update(device=None), "'device' in it is no text"),
    ],
)
def test_a_damaged_table_is_refused(table, change, text):
    record = json.loads(table.to_json())
    change(record)
    with pytest.raises(kn.InvalidRequestError, match=text):
        kn.LatencyTable.from_json(json.dumps(record))


def test_half_a_file_is_refused(table, tmp_path):
    text = table.to_json()
    (tmp_path / "half.json").write_text(text[: len(text) // 2])
    with pytest.raises(kn.InvalidRequestError, match="is no JSON"):
        kn.LatencyTable.load(tmp_path / "half.json")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"batch_size": 0}, "'batch_size' must be a whole number, at least 1"),
        ({"repetitions": 0}, "'repetitions' must be"),
        ({"repetitions": 2.0}, "'repetitions' must be"),
        ({"warm_up": -1}, "'warm_up' must be a whole number, at least 0"),
    ],
)
def test_wrong_settings_are_refused(setting, text):
    with pytest.raises(kn.InvalidRequestError, match=text):
        kn.measure_latency(net(), **setting)


def test_inputs_of_unknown_size_are_refused():
    inputs = keras.Input((None, None, 3), name="photo")
    model = keras.Model(inputs, layers.Conv2D(2, 3, name="conv")(inputs))
    with pytest.raises(kn.InvalidRequestError, match="shape of 'photo'"):
        kn.measure_latency(model)


def test_other_inputs_and_precisions_can_be_measured():
    policy = "mixed_bfloat16"
    words = keras.Input((5,), dtype="int32", name="words")
    noise = keras.Input((5, 4), name="noise")
    x = layers.Embedding(7, 4, name="table", dtype=policy)(words)
    x = layers.Add(name="sum", dtype=policy)([x, noise])
    x = layers.Dense(8, name="hidden", dtype=policy)(keras.ops.relu(x))
    x = layers.Dense(3, name="head", dtype=policy)(x)
    model = keras.Model({"words": words, "noise": noise}, {"out": x})
    table = kn.measure_latency(model, repetitions=1, warm_up=1)
    assert [v.name for v in table.vertices if not v.points] == []
    assert len(table.models) > 1
