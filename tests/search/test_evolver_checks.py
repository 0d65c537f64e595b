"""Settings that can never work are refused when the evolver is made."""

from __future__ import annotations

import evolver_job
import keras
import numpy as np
import pytest

import keras_nas as kn
from keras_nas.errors import InvalidRequestError, KerasNasError, UnknownLayerError
from keras_nas.search import Budget, EvolverCallback, RandomSearch
from keras_nas.search.data import Split
from keras_nas.search.evolver_parts import check_classes
from keras_nas.search.mutations import Context, Width
from keras_nas.surgery import Graph


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"loss": "foo"}, "no loss 'foo'"),
        ({"loss": 3}, "no loss 3"),
        ({"metrics": ["foo"]}, "no metric 'foo'"),
        ({"metrics": "foo"}, "no metric 'foo'"),
        ({"metrics": {"head": ["accuracy"]}}, "no metric {'head'"),
        ({"loss": "mse"}, r"'val_accuracy'.\n\nLet it be measured, such as metrics="),
        ({"metrics": []}, "have a number 'val_accuracy'"),
        ({"objective": "val_acuracy"}, "have a number 'val_acuracy'"),
        ({"training": 3}, "3 has no settings"),
        ({"training": {"batch_size": 0}}, "batch size of 0"),
        ({"training": {"batch_size": 2.5}}, "batch size of 2.5"),
        ({"training": {"learning_rate": -1}}, "rate cannot be -1"),
        ({"training": {"learning_rate": float("nan")}}, "rate cannot be nan"),
        ({"training": {"optimizer": "foo"}}, "No optimizer 'foo' can be made"),
        ({"training": {"optimizer": 3}}, "3 is no name of an optimizer"),
        ({"training": {"lr": 1}}, "not recognized: {'lr': 1}"),
        ({"training": {"beta_1": object()}}, "No optimizer 'adam' can be made"),
        ({"space": 3}, "3 is no search space"),
        ({"mutation": 3}, r"3 cannot make children.\n\n.*mutation\(graph, rng, conte"),
        ({"mutation": Width}, "Width'> cannot make children"),
        ({"crossover": 3}, r"crossover\(first, second, rng\)"),
        ({"mutate_training": 3}, r"mutate_training\(settings, rng\)"),
        ({"mutate_training": "foo"}, "'foo' cannot make children"),
        ({"strategy": RandomSearch}, "is no strategy"),
        ({"importance": "l7"}, "no importance named 'l7'"),
        ({"importance": 3}, "Importance cannot be"),
        ({"shields": 3}, "3 names no layers"),
        ({"callbacks": 3}, "3 is no list of callbacks"),
        ({"callbacks": EvolverCallback()}, "Give a list, of a single one, too"),
        ({"callbacks": [keras.callbacks.Callback()]}, "no callback of a search"),
        ({"population_size": None}, "population size of None"),
        ({"elites": -1}, "A number of elites of -1"),
        ({"target": "x"}, "target 'x' can never be reached"),
        ({"generations": float("inf")}, "budget of inf generations"),
    ],
)
def test_settings_that_can_never_work_are_refused_at_once(settings, match):
    with pytest.raises(InvalidRequestError, match=match) as caught:
        kn.KerasEvolver(**settings)
    assert "\n\n" in str(caught.value)
    assert "Received: " in str(caught.value)


def test_schedule_is_refused_since_rates_fall_by_themselves():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(InvalidRequestError, match="falls by itself"):
        kn.KerasEvolver(training={"learning_rate": schedule})


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"shields": ("c9",)}, InvalidRequestError, "shield 'c9' matches no vertex"),
        ({"importance": {"c9": [1.0]}}, UnknownLayerError, "c9"),
        ({"importance": {"first": [1.0]}}, InvalidRequestError, "6 neurons"),
    ],
)
def test_names_that_the_model_does_not_have_are_refused(settings, error, match):
    with pytest.raises(error, match=match) as caught:
        kn.KerasEvolver(evolver_job.network(), **settings)
    assert isinstance(caught.value, KerasNasError)


def test_settings_that_can_work_are_taken():
    def near(y_true, y_pred):
        return keras.ops.mean(y_pred)

    evolver = kn.KerasEvolver(
        evolver_job.network(),
        loss=near,
        metrics="accuracy",
        importance={"first": np.arange(6)},
        shields="hea*",
        callbacks=(EvolverCallback(),),
        training={"optimizer": "sgd", "momentum": 0.9, "batch_size": np.int64(8)},
        verbose=0,
    )
    assert evolver.metrics == ["accuracy"]
    assert type(evolver.training["batch_size"]) is int
    assert evolver.context.shields == ("hea*",)
    kn.KerasEvolver(loss="mse", objective=["val_loss", "params", "seconds"])
    kn.KerasEvolver(loss="mse", objective=lambda model, x, y: 1.0)
    kn.KerasEvolver(loss="mse", metrics=["acc", near, keras.metrics.AUC(name="area")])


def test_mutation_refuses_an_importance_that_does_not_exist():
    graph = Graph.from_model(evolver_job.network())
    with pytest.raises(InvalidRequestError, match="no importance named 'l7'"):
        Width()(graph, np.random.default_rng(0), Context(importance="l7"))


def test_budget_takes_numbers_of_numpy():
    assert Budget(generations=np.int64(2)).spent(0, 2, 0.0) == "2 generations are done"


def test_outputs_with_axes_between_are_told_from_a_wrong_number_of_classes():
    images = keras.Input((4, 4, 1))
    model = keras.Model(images, keras.layers.Conv2D(3, 1, name="conv")(images))
    labels = np.arange(6) % 3
    data = Split(np.zeros((6, 4, 4, 1)), labels, np.zeros((6, 4, 4, 1)), labels)
    with pytest.raises(InvalidRequestError, match=r"the shape \(n, 3\).\n\nLet the "):
        check_classes(model, data)


def test_ids_are_no_reason_for_a_head_of_a_billion():
    labels = np.array([0, 10**9], "int32")
    x = np.zeros((2, 5))
    with pytest.raises(InvalidRequestError, match="1000000001 classes of 2 samples"):
        check_classes(evolver_job.network(), Split(x, labels, x, labels))
