"""Short trainings: comparable, repeatable, and stopped when they are hopeless."""

from __future__ import annotations

import gc
import math
import time
import weakref

import keras
import numpy as np
import pytest
from keras import layers

from keras_nas.errors import InvalidRequestError
from keras_nas.search import TrainingEvaluator, training
from keras_nas.search.data_checks import prepare
from keras_nas.search.evaluation import (
    CandidateError,
    Job,
    load_model,
    run_job,
    save_model,
)
from keras_nas.search.statistics import merged, recalibrate, trained_norms
from keras_nas.search.training import (
    annealed,
    are_probabilities,
    carried_optimizer,
    free_memory,
    make_optimizer,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6)).astype("float32") * 3 + 5
Y = (X[:, 0] > 5).astype(int)
DATA = prepare(X, Y, validation_split=0.25, input_shape=(6,))


def network(momentum=0.99, softmax=False, dropout=0.0):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6,), name="in"),
            layers.BatchNormalization(momentum=momentum, name="norm"),
            layers.Dense(8, activation="relu", name="hidden"),
            layers.Dropout(dropout, seed=1, name="drop"),
            layers.Dense(2, activation="softmax" if softmax else None, name="head"),
        ]
    )


def job(tmp_path, model, **settings):
    start = tmp_path / "start.keras"
    save_model(model, start)
    out = str(tmp_path / "out.keras")
    return Job(trial=0, round=0, seed=7, start=str(start), out=out, **settings)


def evaluator(**settings):
    settings.setdefault("training", {"learning_rate": 0.02})
    return TrainingEvaluator(DATA, **{"steps": 20, "batch_size": 16, **settings})


def test_same_job_gives_the_same_weights_and_numbers(tmp_path):
    made = job(tmp_path, network(dropout=0.3))
    results = []
    for _ in range(2):
        keras.utils.set_random_seed(len(results))  # What was before does not matter.
        numbers = evaluator().evaluate(made)
        results.append((numbers, load_model(made.out).get_weights()))
    assert results[0][0] == results[1][0]
    assert all(map(np.array_equal, results[0][1], results[1][1]))
    start = network(dropout=0.3).get_weights()
    assert not np.array_equal(results[0][1][4], start[4])


def test_scores_are_those_of_the_saved_model(tmp_path):
    made = job(tmp_path, network())
    numbers = evaluator().evaluate(made)
    outputs = load_model(made.out).predict_on_batch(DATA.x_val)
    accuracy = np.mean(np.argmax(outputs, 1) == DATA.y_val)
    assert numbers["val_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.8


def test_short_training_with_slow_statistics_is_scored_as_well(tmp_path):
    made = job(tmp_path, network(momentum=0.99))
    assert evaluator().evaluate(made)["val_accuracy"] > 0.8
    # Without it, the score tells how far the statistics are.
    raw = evaluator(recalibration=0).evaluate(made)
    assert raw["val_loss"] > evaluator().evaluate(made)["val_loss"]


def test_recalibration_measures_the_mean_over_its_batches():
    model = network(momentum=0.7)
    used = [np.arange(0, 40), np.arange(40, 80), np.arange(80, 120)]
    recalibrate(model, X, used)
    norm = model.get_layer("norm")
    expected = np.mean([X[part].mean(0) for part in used], 0)
    spread = np.mean([X[part].var(0) for part in used], 0)
    assert np.array(norm.moving_mean) == pytest.approx(expected, rel=1e-4)
    assert np.array(norm.moving_variance) == pytest.approx(spread, rel=1e-3)
    assert norm.momentum == 0.7


def test_small_batches_are_joined_and_large_ones_are_not():
    used = [np.arange(4) + 4 * n for n in range(5)]
    [joined] = merged(used, sample_size=64)
    assert joined.tolist() == list(range(20))
    assert [len(part) for part in merged(used, sample_size=2**17)] == [8, 8, 4]
    assert [len(part) for part in merged(used, sample_size=2**30)] == [4] * 5


def test_norms_are_found_in_nested_models_and_wrappers_but_not_frozen_ones():
    inner = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(name="deep")])
    frozen = layers.BatchNormalization(name="frozen", trainable=False)
    inputs = keras.Input((5, 3))
    wrapped = layers.TimeDistributed(layers.BatchNormalization(name="wrapped"))(inputs)
    model = keras.Model(inputs, frozen(layers.TimeDistributed(inner)(wrapped)))
    assert {layer.name for layer in trained_norms(model)} == {"deep", "wrapped"}


class Block(layers.Layer):
    """A layer of somebody else with a normalization in it."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.norm = layers.BatchNormalization(name="inside")

    def call(self, inputs):
        return self.norm(inputs)


def test_norm_inside_a_custom_layer_is_measured_anew():
    inputs = keras.Input((6,), name="in")
    model = keras.Model(inputs, Block(name="block")(inputs))
    recalibrate(model, X, [np.arange(0, 60), np.arange(60, 120)])
    assert [layer.name for layer in trained_norms(model)] == ["inside"]
    found = np.array(model.get_layer("block").norm.moving_mean)
    assert found == pytest.approx(X.mean(0), rel=1e-4)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("one_hot", [True, False])
def test_default_loss_fits_labels_and_outputs(softmax, one_hot):
    labels = np.eye(2)[Y] if one_hot else Y
    data = prepare(X, labels, validation_split=0.25, input_shape=(6,))
    made = TrainingEvaluator(data, steps=1, batch_size=4)
    model = network(softmax=softmax)
    # Smaller inputs: Keras clips probabilities near 0, which would show.
    outputs = model.predict_on_batch(data.x_val / 20)
    logits = outputs if not softmax else np.log(outputs)
    shifted = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    classes = np.argmax(data.y_val, 1) if one_hot else data.y_val
    expected = -shifted[np.arange(len(classes)), classes].mean()
    found = keras.ops.convert_to_numpy(made.loss_for(model)(data.y_val, outputs))
    assert found == pytest.approx(expected, rel=1e-4)


def test_probabilities_are_told_from_logits():
    assert are_probabilities(np.array([[0.25, 0.75], [1.0, 0.0]]))
    assert not are_probabilities(np.array([[0.25, 0.25], [1.0, 0.0]]))
    assert not are_probabilities(np.array([[1.5, -0.5]]))


def test_loss_that_is_no_number_ends_the_training(tmp_path):
    wild = evaluator(training={"optimizer": "sgd", "learning_rate": 1e30})
    outcome = run_job(wild, job(tmp_path, network()))
    assert outcome.error.startswith("the loss is ")
    assert "after step" in outcome.error
    assert not (tmp_path / "out.keras").exists()


def test_time_limit_ends_the_training(tmp_path):
    start = time.monotonic()
    outcome = run_job(
        evaluator(steps=10**5), job(tmp_path, network(), time_limit_s=0.5)
    )
    assert "the time was over after" in outcome.error
    assert time.monotonic() - start < 60


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(CandidateError, match="'00007.keras' is gone"):
        load_model(tmp_path / "00007.keras")
    (tmp_path / "00008.keras").write_bytes(b"nothing")
    with pytest.raises(CandidateError, match="'00008.keras' cannot be loaded"):
        load_model(tmp_path / "00008.keras")


def test_half_written_model_is_never_seen(tmp_path, monkeypatch):
    class Failing:
        def save(self, path):
            path.write_bytes(b"half")
            raise OSError("No space")

    with pytest.raises(OSError, match="No space"):
        save_model(Failing(), tmp_path / "a.keras")
    assert list(tmp_path.iterdir()) == []


def test_candidates_bring_their_own_settings(tmp_path):
    still = {"optimizer": "sgd", "learning_rate": 1e-12, "batch_size": 8}
    made = job(tmp_path, network(), training=still)
    evaluator().evaluate(made)
    kernel = load_model(made.out).get_layer("head").get_weights()[0]
    assert kernel == pytest.approx(network().get_layer("head").get_weights()[0])


def test_optimizers_are_made_of_their_settings():
    made = make_optimizer(
        {"optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.9, "batch_size": 3}
    )
    assert type(made) is keras.optimizers.SGD
    assert math.isclose(float(made.learning_rate), 0.5)
    assert made.momentum == 0.9


def test_objectives_that_are_functions_see_the_trained_model(tmp_path):
    def spread(model, x, y):
        return float(np.std(model.predict_on_batch(x)))

    made = job(tmp_path, network())
    numbers = evaluator(functions={"spread": spread}).evaluate(made)
    outputs = load_model(made.out).predict_on_batch(DATA.x_val)
    assert numbers["spread"] == pytest.approx(np.std(outputs), rel=1e-5)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": True}, {"batch_size": 1.5}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InvalidRequestError, match="no number of samples or batches"):
        evaluator(**wrong)


def trained_by_hand(model, rounds, rates):
    """Trains as the evaluator should, in one go with one optimizer."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=False)
    for number in rounds:
        used = list(evaluator()._batches(number, 16))
        for step, positions in enumerate(used):
            model.optimizer.learning_rate = rates(step, len(used))
            model.train_on_batch(DATA.x[positions], DATA.y[positions])
    return model


def test_survivor_trains_on_as_if_it_had_never_been_saved(tmp_path):
    made = job(tmp_path, network())
    plain = evaluator(annealing=False, recalibration=0)
    plain.evaluate(made)
    again = Job(trial=1, round=1, seed=9, start=made.out, out=str(tmp_path / "b.keras"))
    plain.evaluate(again)
    expected = trained_by_hand(network(), (0, 1), lambda step, steps: 0.02)
    found = load_model(again.out, with_optimizer=True)
    assert all(map(np.array_equal, found.get_weights(), expected.get_weights()))
    assert int(found.optimizer.iterations) == 40
    # Without inheritance nothing is carried, not even in the file.
    evaluator(inherits=False).evaluate(made)
    assert not load_model(made.out, with_optimizer=True).compiled


def test_learning_rate_falls_along_a_cosine_in_each_round(tmp_path):
    made = job(tmp_path, network())
    evaluator(recalibration=0).evaluate(made)

    def falling(step, steps):
        return 0.02 * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)

    expected = trained_by_hand(network(), (0,), falling)
    found = load_model(made.out, with_optimizer=True)
    for one, other in zip(found.get_weights(), expected.get_weights(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert float(found.optimizer.learning_rate) == pytest.approx(0.02)


def test_another_optimizer_starts_afresh(tmp_path):
    made = job(tmp_path, network())
    evaluator().evaluate(made)
    other = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01}
    second = Job(
        trial=1, round=1, seed=9, training=other, start=made.out, out=made.out
    )
    evaluator().evaluate(second)
    found = load_model(made.out, with_optimizer=True)
    assert type(found.optimizer) is keras.optimizers.SGD
    assert int(found.optimizer.iterations) == 20


def test_optimizer_that_nobody_can_go_on_with_is_not_saved(tmp_path, monkeypatch):
    model, made = network(), evaluator()
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    # As for a model whose variables a trainer lists in another order.
    monkeypatch.setattr(training, "has_same_order", lambda model, trainer: False)
    assert made.compile(model, made.training).compiled
    save_model(model, tmp_path / "a.keras")
    found = load_model(tmp_path / "a.keras", with_optimizer=True)
    assert not found.compiled
    assert getattr(found, "optimizer", None) is None


@pytest.fixture
def half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


def test_optimizer_that_scales_the_loss_goes_on(tmp_path, half_precision):
    made = job(tmp_path, network())
    short = evaluator(steps=3, recalibration=0)
    short.evaluate(made)
    short.evaluate(Job(trial=1, round=1, seed=9, start=made.out, out=made.out))
    found = load_model(made.out, with_optimizer=True).optimizer
    assert type(found) is keras.optimizers.LossScaleOptimizer
    assert int(found.inner_optimizer.iterations) == 6
    assert int(found.step_counter) == 6  # It counts with the scale of the loss.
    assert float(found.inner_optimizer.learning_rate) == pytest.approx(0.02)
    assert any(np.any(slot) for slot in found.inner_optimizer.variables[2:])


def test_rate_falls_for_an_optimizer_that_scales_the_loss(half_precision):
    model, rates = network(), []
    made = evaluator(steps=4)
    trainer = made.compile(model, made.training)
    assert trainer.optimizer is model.optimizer
    inner = trainer.optimizer.inner_optimizer

    def step(x, y, return_dict):
        rates.append(float(inner.learning_rate))
        return {"loss": 0.0}

    trainer.train_on_batch = step
    made._train(trainer, list(made._batches(0, 16)), math.inf)
    expected = [0.02 * annealed(number / 4) for number in range(4)]
    assert rates == pytest.approx(expected)
    assert float(inner.learning_rate) == pytest.approx(0.02)


def test_another_kind_of_optimizer_does_not_go_on_with_a_scaled_one(half_precision):
    model = network()
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    fresh = keras.optimizers.SGD(0.5)
    assert carried_optimizer(model, fresh) is fresh
    found = carried_optimizer(model, keras.optimizers.Adam(0.5))
    assert found is model.optimizer
    assert float(found.inner_optimizer.learning_rate) == 0.5


class Knot:
    """Garbage that only a search for cycles finds."""

    def __init__(self):
        self.itself = self


def test_what_is_set_aside_is_freed_once_in_a_while():
    knot = Knot()
    found = weakref.ref(knot)
    try:
        free_memory(everything=False)  # In use, so it is set aside.
        del knot
        fresh = weakref.ref(Knot())
        free_memory(everything=False)
        assert fresh() is None
        assert found() is not None
        free_memory(everything=True)
        assert found() is None
    finally:
        gc.unfreeze()
