"""Pruning to a latency, with tables whose predictions are known."""

from __future__ import annotations

from datetime import timedelta

import keras
import numpy as np
import pytest
from keras import layers
from nets import chain, nested

import keras_nas as kn
from keras_nas.graph import analyze, wrap
from keras_nas.latency import duration
from keras_nas.surgery.latency import works

FIXED, PER_MAC, PER_BYTE = 2e-6, 3e-9, 1e-9


def convolutional() -> keras.Model:
    x = inputs = keras.Input((12, 12, 3), name="in")
    x = layers.Conv2D(24, 3, padding="same", name="stem")(x)
    x = layers.BatchNormalization(name="norm")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = layers.Conv2D(24, 1, name="project")(y)
    x = layers.Add(name="add")([x, y])
    z = layers.Conv2D(32, 3, groups=4, padding="same", name="grouped")(x)
    x = layers.Concatenate(name="cat")([x, z])
    x = layers.Conv2D(20, 3, name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(5, name="head")(x))


def seconds(model: keras.Model, offset: float = 0.0) -> float:
    """What the tables here predict, in the words of `count` where it knows."""
    load = works(analyze(wrap(model)))
    traffic = sum(work.num_bytes for work in load)
    macs = kn.count(model).macs
    return offset + len(load) * FIXED + PER_MAC * macs + PER_BYTE * traffic


def table_of(model: keras.Model, offset: float = 0.0) -> kn.LatencyTable:
    """A table that is right to the nanosecond, by three made up measurements."""
    vertices, totals = [], np.zeros((3, 3))
    for work in works(analyze(wrap(model))):
        macs, size = work.macs, work.num_bytes
        loads = [(macs, size), (macs // 2, size), (macs, size // 2)]
        points = [
            kn.LatencyPoint(m, b, FIXED + PER_MAC * m + PER_BYTE * b, 0.0)
            for m, b in loads
        ]
        totals += [(p.macs, p.num_bytes, p.seconds) for p in points]
        kind = work.call.part.cls.__name__
        vertices.append(kn.VertexLatency(work.call.path, kind, tuple(points)))
    models = tuple(
        kn.LatencyPoint(int(m), int(b), offset + s, 0.0) for m, b, s in totals
    )
    return kn.LatencyTable(tuple(vertices), models, 1, "tensorflow", "cpu")


NETS = {
    "convolutional": convolutional,
    "chain": lambda: chain(40, 50, 30, 4, inputs=12),
    "nested": nested,
}


@pytest.mark.parametrize("offset", [0.0, 1e-4])
@pytest.mark.parametrize("name", NETS)
def test_predictions_before_and_after_are_those_of_the_table(name, offset):
    model = NETS[name]()
    table = table_of(model, offset)
    plan = kn.plan_prune(model, params=0.6, latency_table=table)
    assert plan.old_latency == pytest.approx(seconds(model, offset), abs=2e-9)
    assert plan.latency == pytest.approx(seconds(plan.apply(), offset), abs=2e-9)
    assert "params" in plan.targets and "latency" not in plan.targets


@pytest.mark.parametrize("name", ["convolutional", "chain"])
@pytest.mark.parametrize("more", [{}, {"params": 0.5}, {"flops": 0.9, "memory": 0.9}])
def test_a_latency_is_kept_and_used_up(name, more):
    model = NETS[name]()
    table = table_of(model)
    plan = kn.plan_prune(model, latency=0.7, latency_table=table, **more)
    most = 0.7 * seconds(model)
    assert plan.targets["latency"] == pytest.approx(most, abs=2e-9)
    took = seconds(plan.apply())
    assert took <= most + 2e-9
    loads = [took / most]
    loads += [getattr(plan.counts, key) / plan.targets[key] for key in more]
    assert 0.985 <= max(loads) <= 1.0 + 1e-6


def test_absolute_latencies_are_time_spans_or_whole_seconds():
    model = convolutional()
    table = table_of(model)
    wanted = timedelta(seconds=0.6 * seconds(model))
    plan = kn.plan_prune(model, latency=wanted, latency_table=table)
    assert plan.targets["latency"] == pytest.approx(wanted.total_seconds(), abs=2e-9)
    assert plan.latency <= wanted.total_seconds() + 2e-9
    assert kn.plan_prune(model, latency=1, latency_table=table).is_empty


def test_a_table_serves_the_pruned_model_too():
    model = convolutional()
    table = table_of(model)
    once = kn.prune(model, latency=0.8, latency_table=table)
    twice = kn.prune(once, latency=0.8, latency_table=table)
    assert seconds(twice) <= 0.8 * seconds(once) + 2e-9


def test_a_plan_prints_what_is_predicted_and_how_wrong_the_table_was():
    model = convolutional()
    plan = kn.plan_prune(model, latency=0.7, latency_table=table_of(model))
    assert "predicted (" in str(plan) and "wrong by up to 0%" in str(plan)
    assert f"asked for at most {duration(plan.targets['latency'])}" in str(plan)


def test_a_latency_out_of_reach_names_the_least_possible():
    model = convolutional()
    table = table_of(model, offset=1.0)
    with pytest.raises(
        kn.InfeasibleError, match=r"get down to 502 ms of latency: the least possible is 1 s"
    ) as caught:
        kn.prune(model, latency=0.5, latency_table=table)
    assert 1.0 < caught.value.nearest["latency"] < 1.0 + seconds(model)
    assert "a larger `batch_size`" in str(caught.value)
    assert "Received: latency=0.5" in str(caught.value)


def test_without_a_table_it_is_measured_and_can_be_checked():
    model = convolutional()
    plan = kn.plan_prune(model, latency=1.0)
    assert plan.is_empty and len(plan.latency_table.vertices) == 10
    check = plan.check_latency(repetitions=2, warm_up=1)
    assert check.seconds > 0 and check.predicted == plan.latency
    assert check.stated_error == plan.latency_table.error
    assert check.error == pytest.approx(check.predicted / check.seconds - 1)
    assert "measured: " in str(check) and "predicted: " in str(check)


def test_another_model_is_refused():
    table = table_of(chain(4, 3))
    with pytest.raises(kn.InvalidRequestError, match="knows nothing of 'stem'"):
        kn.prune(convolutional(), latency=0.5, latency_table=table)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"latency": 0}, "A budget of 0 latency leaves no model"),
        ({"latency": -1}, "A budget of -1 latency"),
        ({"latency": 1.5}, "latency=1.5 is no fraction"),
        ({"latency": "fast"}, "'latency' is not a number"),
        ({"latency": timedelta(0)}, "No model takes only 0.0 s"),
        ({"params": 0.5, "latency_table": {}}, "A latency table cannot be a dict"),
    ],
)
def test_wrong_latencies_are_refused(keywords, text):
    with pytest.raises(kn.InvalidRequestError, match=text):
        kn.prune(chain(3, 2), **keywords)


def test_a_plan_without_a_table_cannot_check():
    plan = kn.plan_prune(chain(8, 2), params=0.5)
    assert plan.latency is None and plan.old_latency is None
    with pytest.raises(kn.InvalidRequestError, match="predicts no latency"):
        plan.check_latency()
