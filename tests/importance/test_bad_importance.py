"""Wrong criteria, settings and data are refused with a message that says why."""

from __future__ import annotations

import numpy as np
import pytest
from measured import data, dense_net

import keras_nas as kn
from keras_nas import importance as ki


def test_unknown_name_lists_the_known():
    with pytest.raises(kn.InvalidRequestError, match="'l1', 'l2', .*'fpgm', 'random'"):
        kn.resize(dense_net(), "a", 3, importance="l3")


def test_a_class_in_place_of_an_object():
    with pytest.raises(kn.InvalidRequestError, match="Taylor is a class"):
        kn.resize(dense_net(), "a", 3, importance=ki.Taylor)


@pytest.mark.parametrize("wrong", [3, [1, 2], np.ones(5)])
def test_what_is_no_importance(wrong):
    name = type(wrong).__name__
    with pytest.raises(kn.InvalidRequestError, match=f"cannot be a {name}"):
        kn.resize(dense_net(), "a", 3, importance=wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ki.Magnitude(p=3), "'p' cannot be 3"),
        (lambda: ki.Magnitude(p="2"), "'p' cannot be '2'"),
        (lambda: ki.Magnitude(aggregation="prod"), "'aggregation' cannot be 'prod'"),
        (lambda: ki.Lamp(aggregation=None), "'aggregation' cannot be None"),
        (lambda: ki.GeometricMedian(normalization="l2"), "'normalization' cannot be"),
        (lambda: ki.NormalizationScale(normalization=1), "'normalization' cannot be 1"),
        (lambda: ki.Random(-1), "seed must be a whole number"),
        (lambda: ki.Random(0.5), "seed must be a whole number"),
        (lambda: ki.Activation(np.ones((2, 4)), "median"), "'kind' cannot be 'median'"),
        (lambda: ki.Contribution("adam"), "'kind' cannot be 'adam'"),
        (lambda: ki.Contribution(decay=1.0), "decay must be a number .* below 1"),
        (lambda: ki.Contribution(decay="no"), "decay must be a number"),
        (lambda: ki.Taylor(np.ones((2, 4)), batch_size=0), "batch size must be"),
        (lambda: ki.Taylor(np.ones((2, 4)), batch_size=True), "batch size must be"),
        (lambda: ki.Taylor(np.ones((2, 4)), np.ones(3)), r"\[2, 3\] samples"),
        (lambda: ki.Taylor(np.ones((0, 4)), np.ones(0)), r"\[0\] samples"),
        (lambda: ki.Fisher([(1, 2)], np.ones(3)), "list brings its own targets"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(kn.InvalidRequestError, match=message):
        make()


def test_no_loss():
    model = dense_net()
    x, y = data(model)
    with pytest.raises(kn.InvalidRequestError, match="The model has no loss"):
        kn.resize(model, "a", 3, importance=ki.Taylor(x, y))


def test_unknown_loss():
    model = dense_net()
    x, y = data(model)
    with pytest.raises(kn.InvalidRequestError, match="meansquarederror2"):
        kn.resize(model, "a", 3, importance=ki.Taylor(x, y, loss="meansquarederror2"))


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: ki.Taylor(x[:, :3], y, loss="mse"),
        lambda x, y: ki.Activation(x[:, :3]),
        lambda x, y: ki.Fisher(x, y[:, :1].astype("int32"), loss="binary_focal"),
        lambda x, y: ki.Taylor(x, np.ones((6, 7), "float32"), loss="mse"),
    ],
)
def test_data_of_another_shape(make):
    model = dense_net()
    x, y = data(model)
    with pytest.raises(
        kn.InvalidRequestError, match="do not fit the model|no such los"
    ):
        kn.resize(model, "a", 3, importance=make(x, y))


def test_targets_are_missing():
    model = dense_net()
    x, _ = data(model)
    with pytest.raises(kn.InvalidRequestError, match="(?s)do not fit .*no targets"):
        kn.resize(model, "a", 3, importance=ki.Taylor(x, loss="mse"))


def test_data_that_are_used_up_or_no_data():
    model = dense_net()
    with pytest.raises(kn.InvalidRequestError, match="There are no data"):
        kn.resize(model, "a", 3, importance=ki.Activation(iter(())))
    with pytest.raises(kn.InvalidRequestError, match="Data cannot be a int"):
        kn.resize(model, "a", 3, importance=ki.Activation(5))


def test_values_that_are_not_finite():
    model = dense_net()
    x, y = data(model)
    model.get_layer("b").bias.assign(np.full(3, np.nan))
    for criterion in (ki.Taylor(x, y, loss="mse"), ki.Activation(x)):
        with pytest.raises(kn.InvalidRequestError, match="not finite"):
            kn.resize(model, "a", 3, importance=criterion)


def test_scores_of_another_model():
    model = dense_net()
    x, _ = data(model)
    scores = ki.Activation(x).measure(model)
    with pytest.raises(kn.InvalidRequestError, match="measured on another model"):
        kn.resize(kn.resize(model, "a", 4), "a", 2, importance=scores)


def test_criteria_print_their_settings():
    assert repr(ki.Magnitude(p=1)) == (
        "Magnitude(p=1, group=False, aggregation='sum', normalization='mean')"
    )
    assert "batch_size=1" in repr(ki.Taylor(np.ones((2, 4)), np.ones(2)))
    assert repr(ki.Contribution()) == "Contribution(kind='taylor', decay=0.95)"
