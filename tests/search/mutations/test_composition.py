"""Mutations made of mutations, and the settings of training."""

import json

import keras
import numpy as np
import pytest
from mutated_nets import graph_of, residual_net

import keras_nas as kn
from keras_nas.search.mutations import (
    OPTIMIZERS,
    Chain,
    Mutation,
    OneOf,
    Probability,
    Remove,
    Retry,
    Width,
    crossover_training,
    default_mutation,
    mutate_training,
    sample_training,
)

ADAM = {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 32}


class Record(Mutation):
    """Writes its name down; changes the graph at its n-th call."""

    def __init__(self, name, log, works_at=1):
        self.name, self.log, self.works_at = name, log, works_at

    def __call__(self, graph, rng, context=None):
        self.log.append(self.name)
        works = self.log.count(self.name) >= self.works_at
        return Width(0.1, 0.2)(graph, rng) if works else graph


@pytest.fixture(scope="module")
def graph() -> kn.Graph:
    return graph_of(residual_net)


def test_a_chain_goes_in_order(graph):
    log = []
    Chain(Record("a", log), Record("b", log), Record("c", log))(
        graph, np.random.default_rng(0)
    )
    assert log == ["a", "b", "c"]
    assert Chain()(graph, np.random.default_rng(0)) is graph


def test_probability_is_how_often_it_happens(graph):
    log, rng = [], np.random.default_rng(0)
    for probability, least, most in ((0.0, 0, 0), (0.25, 30, 70), (1.0, 200, 200)):
        log.clear()
        mutation = Probability(Record("a", log, works_at=10**6), probability)
        for _ in range(200):
            mutation(graph, rng)
        assert least <= len(log) <= most


def test_one_of_several_is_drawn_by_weight(graph):
    log, rng = [], np.random.default_rng(0)
    names = [Record(name, log, works_at=10**6) for name in "abc"]
    for _ in range(90):
        OneOf(*names, weights=(0, 2, 1))(graph, rng)
    assert "a" not in log and 45 < log.count("b") < 75
    log.clear()
    for _ in range(90):
        OneOf(*names)(graph, rng)
    assert min(map(log.count, "abc")) > 15


def test_retry_stops_at_the_first_change(graph):
    log, rng = [], np.random.default_rng(0)
    assert Retry(Record("a", log, works_at=3), 5)(graph, rng) is not graph
    assert len(log) == 3
    log.clear()
    assert Retry(Record("a", log, works_at=9), 5)(graph, rng) is graph
    assert len(log) == 5


def test_every_default_mutation_changes_something(graph):
    mutation = default_mutation()
    assert mutation(graph, np.random.default_rng(0)) is not graph
    assert default_mutation(0.0)(graph, np.random.default_rng(0)) is graph


def test_mutations_tell_their_settings():
    made = Retry(OneOf(Probability(Remove(each=0.1), 0.5), Width(), weights=(1, 2)), 3)
    assert repr(made) == (
        "Retry(OneOf(Probability(Remove(each=0.1, lean=0.0, least=5), 0.5), "
        "Width(low=-0.2, high=0.2, each=None, lean=0.0), weights=(1, 2)), 3)"
    )


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Chain(Width), "or a class|returns a graph; .* is none"),
        (lambda: Chain("Width"), "returns a graph; 'Width' is none"),
        (lambda: Probability(Width(), 1.2), "'probability' has to be a number"),
        (lambda: OneOf(), "no mutation to choose from"),
        (lambda: OneOf(Width(), weights=(0.0,)), "not all 0"),
        (lambda: OneOf(Width(), weights=(1, 2)), "one for each mutation"),
        (lambda: Retry(Width(), 0), "tried at least once"),
    ],
)
def test_wrong_compositions_are_refused(make, match):
    with pytest.raises(kn.InvalidRequestError, match=f"(?s)({match}).*Received: "):
        make()


# --- settings of training --------------------------------------------------------------


def test_the_rate_moves_at_most_fifteen_percent_and_all_else_seldom():
    rng, changed = np.random.default_rng(0), {"optimizer": 0, "batch_size": 0}
    for _ in range(400):
        new = mutate_training(ADAM, rng)
        assert json.loads(json.dumps(new)) == new
        if new["optimizer"] == "adam":
            assert 0.00085 <= new["learning_rate"] <= 0.00115
            assert new["learning_rate"] != 0.001
        changed["optimizer"] += new["optimizer"] != "adam"
        changed["batch_size"] += new["batch_size"] != 32
        assert new["batch_size"] in (16, 32, 64)
    assert all(20 < count < 65 for count in changed.values())
    assert ADAM == {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 32}


def test_another_optimizer_gets_a_rate_of_its_own_kind():
    rng = np.random.default_rng(0)
    old = {**ADAM, "beta_1": 0.8, "weight_decay": 0.01}
    settings = {"optimizer_probability": 1.0, "rate_change": 0.0}
    new = mutate_training(old, rng, optimizers=("nesterov",), **settings)
    assert new == {
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": True,
        "learning_rate": pytest.approx(0.01),
        "batch_size": 32,
        "weight_decay": 0.01,
    }
    back = mutate_training(new, rng, optimizers=("nesterov", "adam"), **settings)
    assert back == {**ADAM, "weight_decay": 0.01, "learning_rate": pytest.approx(1e-3)}
    mine = {**ADAM, "optimizer": "lion"}
    assert mutate_training(mine, rng, **settings)["optimizer"] == "lion"


def test_sampled_settings_make_optimizers():
    seen = set()
    for seed in range(60):
        found = sample_training(np.random.default_rng(seed))
        optimizer = keras.optimizers.get(found.pop("optimizer"))
        found.pop("batch_size")
        made = type(optimizer)(**found)
        momentum = found.get("momentum"), found.get("nesterov")
        seen.add((type(made).__name__, momentum))
    assert len(seen) == len(OPTIMIZERS)


def test_rates_and_batches_stay_in_range():
    rng = np.random.default_rng(0)
    new = {"optimizer": "sgd", "learning_rate": 0.99, "batch_size": 1024}
    for _ in range(60):
        new = mutate_training(new, rng, batch_size_probability=1.0)
        assert 1e-6 <= new["learning_rate"] <= 1.0
        assert 8 <= new["batch_size"] <= 1024


def test_children_get_optimizers_with_their_rates():
    other = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 64}
    seen = set()
    for seed in range(40):
        pair = crossover_training(ADAM, other, np.random.default_rng(seed))
        for child in pair:
            rates = {"adam": 1e-3, "sgd": 0.1}
            assert child["learning_rate"] == rates[child["optimizer"]]
        assert {child["batch_size"] for child in pair} == {32, 64}
        seen.add((pair[0]["optimizer"], pair[0]["batch_size"]))
    assert seen == {("adam", 32), ("adam", 64), ("sgd", 32), ("sgd", 64)}


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"optimizer": "adam"}, "Training has the settings"),
        ({**ADAM, "learning_rate": -1}, "learning rate is a number above 0"),
        ({**ADAM, "learning_rate": "high"}, "learning rate is a number above 0"),
        ({**ADAM, "batch_size": 0}, "batch size is a whole number"),
        ({**ADAM, "batch_size": True}, "batch size is a whole number"),
        (None, "Training has the settings"),
    ],
)
def test_wrong_training_is_refused(settings, match):
    with pytest.raises(kn.InvalidRequestError, match=f"(?s){match}.*Received: "):
        mutate_training(settings, np.random.default_rng(0))


def test_unknown_optimizers_are_refused():
    with pytest.raises(kn.InvalidRequestError, match="no such optimizers to evolve"):
        mutate_training(ADAM, np.random.default_rng(0), optimizers=("adamm",))
    with pytest.raises(kn.InvalidRequestError, match="no such optimizers to evolve"):
        sample_training(np.random.default_rng(0), optimizers=())
