"""KerasEvolver with real networks: inherits, repeats itself, survives, and explains."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import evolver_job
import keras
import numpy as np
import pytest
from models import IS_OLD
from rich.console import Console
from search_fakes import comparable

import keras_nas as kn
from keras_nas.errors import InvalidRequestError, JournalError, SearchError
from keras_nas.search import (
    Evaluator,
    EvolverCallback,
    GeneticAlgorithm,
    GraphBreeder,
    Progress,
    Search,
    Status,
    TensorBoardCallback,
)
from keras_nas.search.breeding import Parent
from keras_nas.search.evaluation import load_model, save_model
from keras_nas.search.mutations import Width
from keras_nas.search.spaces import image_space
from keras_nas.search.trial import Proposal


def weights(result):
    return result.best_model().get_weights()


def same(first, second):
    return len(first) == len(second) and all(map(np.array_equal, first, second))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    evolver = evolver_job.evolver(tmp_path_factory.mktemp("run"))
    return evolver, evolver_job.fit(evolver)


def test_candidates_evolve_and_the_best_one_is_an_ordinary_model(unbroken, tmp_path):
    evolver, result = unbroken
    assert [trial.status for trial in result.trials] == [Status.DONE] * 6
    assert gc.get_freeze_count() == 0
    assert len({trial.key for trial in result.trials}) > 3
    best = evolver.best_model
    loss, accuracy = best.evaluate(evolver_job.X, evolver_job.Y, verbose=0)
    assert 0 < loss
    assert 0.4 < accuracy <= 1
    best.fit(evolver_job.X, evolver_job.Y, verbose=0)
    best.save(tmp_path / "best.keras")
    again = keras.saving.load_model(tmp_path / "best.keras", safe_mode=True)
    assert same(again.get_weights(), best.get_weights())
    assert best.count_params() == result.best.costs["params"]
    assert "keras_nas" not in str(best.get_config())


def test_scores_are_those_of_the_kept_model(unbroken):
    evolver, result = unbroken
    data = evolver._evaluator.data
    outputs = result.best_model().predict_on_batch(data.x_val)
    accuracy = np.mean(np.argmax(outputs, 1) == data.y_val)
    assert result.best.metrics["val_accuracy"] == pytest.approx(accuracy)


def test_history_leaderboard_and_result_agree(unbroken):
    evolver, result = unbroken
    assert evolver.history == result.history
    assert evolver.history["trials"] == [3, 3]
    rows = evolver.leaderboard(2)
    assert rows[0]["trial"] == result.best.number
    assert rows[0]["params"] == result.best.costs["params"]
    assert "Dense" in rows[0]["description"]
    assert evolver.pareto()[0].fitness == result.best.fitness


@pytest.mark.slow
def test_two_processes_give_the_same_to_the_last_bit(unbroken, tmp_path):
    result = evolver_job.fit(evolver_job.evolver(tmp_path, workers=2))
    assert comparable(result.trials) == comparable(unbroken[1].trials)
    assert same(weights(result), weights(unbroken[1]))


@pytest.mark.slow
def test_killed_process_is_resumed_by_another_to_the_same_end(unbroken, tmp_path):
    root = Path(kn.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, evolver_job.__file__, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.DEVNULL,
    )
    journal = tmp_path / "run" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if journal.is_file() and journal.read_text().count('"trial"') >= 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    told = journal.read_text().count('"event": "trial"')
    assert 3 <= told < 6
    result = evolver_job.fit(evolver_job.evolver(tmp_path / "run"))
    assert comparable(result.trials) == comparable(unbroken[1].trials)
    assert same(weights(result), weights(unbroken[1]))


class Comparing(Evaluator):
    """Scores a model by what it computes, and trains nothing."""

    def evaluate(self, job):
        model = load_model(job.start)
        outputs = model.predict_on_batch(evolver_job.X)
        if job.out:
            save_model(model, job.out)
        return {"val_accuracy": float(np.sum(np.abs(outputs))), "size": len(outputs)}


def test_children_compute_what_their_parents_did_before_they_are_trained(tmp_path):
    def grow(graph, rng, context):
        return graph.resize({"first": 9, "second": 7}, seed=int(rng.integers(99)))

    breeder = GraphBreeder(model=evolver_job.network(), mutate=grow)
    result = Search(
        breeder,
        GeneticAlgorithm(3, elites=1, crossover=0, mutation=1),
        Comparing(),
        objective="val_accuracy",
        budget=kn.Budget(generations=2),
        directory=tmp_path,
    ).run()
    expected = np.sum(np.abs(evolver_job.network().predict_on_batch(evolver_job.X)))
    found = [trial.metrics["val_accuracy"] for trial in result.trials]
    assert found == pytest.approx([expected] * 6, rel=1e-5)
    assert len({trial.key for trial in result.trials}) > 1


def test_without_inheritance_survivors_are_not_trained_again(tmp_path):
    made = evolver_job.evolver(tmp_path, inherit=False, generations=2)
    result = evolver_job.fit(made)
    again = [trial for trial in result.trials if trial.status is Status.REUSED]
    assert again
    for trial in again:
        assert trial.scores == result.trials[trial.source].scores
    assert result.best.status is Status.DONE
    assert result.best_model().count_params() == result.best.costs["params"]


def test_images_evolve_from_the_default_space_and_can_be_drawn(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 8, 8, 1)).astype("float32") + y[:, None, None, None]
    seen = []

    class Notes(EvolverCallback):
        def on_generation_end(self, generation, logs):
            seen.append((generation, logs["trials"]))

    text = io.StringIO()
    console = Console(file=text, width=200)
    evolver = kn.KerasEvolver(
        population_size=2,
        generations=2,
        directory=tmp_path / "run",
        callbacks=[Notes(), Progress(console), TensorBoardCallback(tmp_path / "logs")],
        verbose=0,
    )
    result = evolver.fit(
        x, y, validation_split=0.2, batch_size=16, steps_per_generation=3
    )
    assert len(result.trials) == 4
    assert not any(trial.has_failed for trial in result.trials)
    assert seen == [(0, 2), (1, 2)]
    assert result.best_model().output_shape == (None, 3)
    assert "generation 2/2  trial 4  best " in text.getvalue()
    assert "End: 2 generations are done." in text.getvalue()
    [log] = (tmp_path / "logs").iterdir()
    assert b"candidate/val_accuracy" in log.read_bytes()
    evolver.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 20_000
    # The directory alone is enough.
    alone = kn.KerasEvolver(directory=tmp_path / "run")
    assert alone.leaderboard() == result.leaderboard()
    assert same(alone.best_model.get_weights(), weights(result))


@pytest.mark.parametrize("size", [0, 1])
def test_population_of_zero_or_one_is_refused(size):
    with pytest.raises(InvalidRequestError, match=f"population size of {size}"):
        kn.KerasEvolver(population_size=size)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"finalists": 2.5}, "finalists=2.5"),
        ({"final_repeats": 0}, "final_repeats=0"),
        ({"keep": -1}, "keep=-1"),
        ({"time_limit_s": 0}, "cannot take 0 seconds"),
        ({"workers": 0}, "0 is no number of workers"),
        ({"constraints": {"size": 3}}, "limited to 3 'size'"),
        ({"constraints": 3}, "3 are no limits"),
        ({"constraints": {"params": float("inf")}}, "limited to inf 'params'"),
        ({"smoothing": 1}, "of the old score cannot stay"),
        ({"directory": 3}, "3 is no directory"),
        ({"directory": __file__}, "is a file, and no directory"),
    ],
)
def test_impossible_settings_are_refused_before_fit(settings, match):
    with pytest.raises(InvalidRequestError, match=match):
        kn.KerasEvolver(**settings)


def test_further_fits_without_a_directory_are_runs_of_their_own():
    evolver = evolver_job.evolver(None, population_size=2, generations=1)
    first = evolver_job.fit(evolver)
    best = evolver.best_model
    again = evolver_job.fit(evolver)
    assert again.directory == first.directory
    assert again.trials == first.trials  # Read from the journal, not trained again.
    settings = {"validation_split": 0.4, "batch_size": 16, "steps_per_generation": 2}
    other = evolver.fit(evolver_job.X, evolver_job.Y, **settings)
    assert other.directory == evolver.directory != first.directory
    assert evolver.result is other
    assert evolver.best_model is not best
    assert len(first.trials) == len(other.trials) == 2


def test_best_model_is_one_object_with_metrics_of_its_own():
    metric = keras.metrics.SparseCategoricalAccuracy(name="right")
    evolver = evolver_job.evolver(
        None, population_size=2, generations=1, metrics=[metric], objective="val_right"
    )
    evolver_job.fit(evolver)
    before = evolver.best_model.get_weights()
    evolver.best_model.fit(evolver_job.X, evolver_job.Y, verbose=0)
    assert not same(evolver.best_model.get_weights(), before)
    assert float(metric.result()) == 0
    _, accuracy = evolver.best_model.evaluate(evolver_job.X, evolver_job.Y, verbose=0)
    outputs = evolver.best_model.predict_on_batch(evolver_job.X)
    expected = np.mean(np.argmax(outputs, 1) == evolver_job.Y)
    assert accuracy == pytest.approx(expected)


@keras.saving.register_keras_serializable("tests")
class Registered(keras.layers.Layer):
    def call(self, inputs):
        return inputs


class Unregistered(keras.layers.Layer):
    def call(self, inputs):
        return inputs


def test_model_that_no_file_gives_back_is_refused_before_the_first_generation(tmp_path):
    def evolver(layer):
        layers = [keras.Input((5,)), layer, keras.layers.Dense(2, name="head")]
        model = keras.Sequential(layers)
        return kn.KerasEvolver(
            model, population_size=2, generations=1, directory=tmp_path / "run", verbose=0
        )

    lost = [(keras.layers.Lambda(lambda x: x * 2, name="twice"), "`Lambda` layer")]
    if not IS_OLD:  # It would find the class by itself.
        lost.append((Unregistered(), "Unregistered"))
    for layer, reason in lost:
        message = f"cannot evolve.*{reason}.*\n\n.*register_keras_serializable"
        with pytest.raises(InvalidRequestError, match=message):
            evolver_job.fit(evolver(layer))
    assert not (tmp_path / "run").exists()
    result = evolver_job.fit(evolver(Registered(name="own")))
    assert [trial.error for trial in result.trials] == [None, None]


def test_model_with_another_number_of_classes_is_refused_with_what_to_do():
    evolver = kn.KerasEvolver(evolver_job.network(), verbose=0)
    with pytest.raises(InvalidRequestError, match=r"resize\(model, 'head', 4\)"):
        evolver.fit(evolver_job.X, np.arange(80) % 4)
    one = kn.resize(evolver_job.network(), "head", 1)
    with pytest.raises(InvalidRequestError, match="loss='binary_crossentropy'"):
        kn.KerasEvolver(one, verbose=0).fit(evolver_job.X, evolver_job.Y)


def test_model_with_a_named_output_evolves_with_numbers_of_numpy():
    model = evolver_job.network()
    named = keras.Model(model.inputs, {"class": model.outputs[0]})
    evolver = kn.KerasEvolver(
        named,
        population_size=np.int64(2),
        generations=1,
        crossover_probability=np.float32(0.5),
        constraints={"params": np.int64(10_000)},
        mutate_training=lambda settings, rng: {
            **settings, "batch_size": rng.choice([8, 16])
        },
        verbose=0,
    )
    result = evolver.fit(
        evolver_job.X,
        evolver_job.Y,
        batch_size=np.int64(8),
        steps_per_generation=np.int64(2),
    )
    assert [trial.status for trial in result.trials] == [Status.DONE] * 2
    assert set(evolver.best_model.output) == {"class"}


def test_mutation_that_returns_no_graph_is_named():
    evolver = evolver_job.evolver(None, mutation=lambda *given: None, generations=1)
    errors = [trial.error for trial in evolver_job.fit(evolver).trials]
    said = "cannot be made: the mutation returned a NoneType, no graph"
    assert errors == [None, said, said]


def test_space_with_too_few_classes_is_refused_before_the_first_generation(tmp_path):
    space = image_space((8, 8, 1), num_classes=2)
    evolver = kn.KerasEvolver(space, directory=tmp_path / "run", verbose=0)
    images = np.zeros((80, 8, 8, 1), "float32")
    message = r"\(None, 2\) do not fit 4 classes.\n\nGive the space a head of that size"
    with pytest.raises(InvalidRequestError, match=message):
        evolver.fit(images, np.arange(80) % 4)
    assert not (tmp_path / "run").exists()


def test_images_without_channels_are_refused_with_what_to_do():
    with pytest.raises(InvalidRequestError, match=r"x = x\[..., None\]"):
        kn.KerasEvolver(verbose=0).fit(np.zeros((20, 8, 8)), np.arange(20) % 2)


def test_directory_of_another_run_is_refused_with_the_difference(unbroken):
    directory = unbroken[0].directory
    made = evolver_job.evolver(directory, population_size=4, smoothing=0.5)
    with pytest.raises(JournalError) as caught:
        evolver_job.fit(made)
    assert "population_size: 3 in the journal, 4 now" in str(caught.value)
    assert "smoothing: 0.0 in the journal, 0.5 now" in str(caught.value)
    assert "data" not in str(caught.value)


def test_other_data_are_another_run(unbroken):
    made = evolver_job.evolver(unbroken[0].directory)
    with pytest.raises(JournalError, match="data.x"):
        made.fit(
            evolver_job.X + 1,
            evolver_job.Y,
            validation_split=0.4,
            batch_size=16,
            steps_per_generation=4,
        )


def test_result_before_fit_says_what_to_do():
    with pytest.raises(SearchError, match=r"Call fit\(x, y\)"):
        _ = kn.KerasEvolver(verbose=0).result


def test_model_and_space_together_are_refused():
    class Space:
        def sample(self, rng):
            return {}

    with pytest.raises(InvalidRequestError, match="from a model or from a space"):
        kn.KerasEvolver(keras.Sequential([keras.Input((2,))]), space=Space())


def test_shielded_frozen_backbone_stays_bit_for_bit(tmp_path):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    backbone = keras.Sequential(
        [
            keras.Input((5,), name="in"),
            layers.Dense(6, activation="relu", name="deep"),
            layers.BatchNormalization(name="norm"),
        ],
        name="backbone",
    )
    backbone.trainable = False
    inputs = keras.Input((5,), name="features")
    x = layers.Dense(6, activation="relu", name="hidden")(backbone(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    evolver = kn.KerasEvolver(
        model,
        population_size=2,
        generations=2,
        mutation_probability=1.0,
        mutation=Width(),
        shields=("backbone",),
        directory=tmp_path,
        verbose=0,
    )
    result = evolver_job.fit(evolver)
    assert not any(trial.has_failed for trial in result.trials)
    assert len({trial.key for trial in result.trials}) > 1
    for path in (tmp_path / "models").glob("*.keras"):
        kept = load_model(path).get_layer("backbone")
        assert kept.trainable_weights == []  # Keras saves the flags of layers only.
        assert same(kept.get_weights(), backbone.get_weights())


def test_children_inherit_momentum_and_moments(tmp_path):
    evolver = evolver_job.evolver(tmp_path, mutation=Width(0.3, 0.5), keep=9)
    evolver_job.fit(evolver)
    child = next(t for t in evolver.result.trials if t.round and t.proposal.mutate)
    breeder = evolver._search.breeder
    parent = Parent(
        evolver.result.trials[child.proposal.parents[0]],
        evolver._search.directory / "models" / f"{child.proposal.parents[0]:05d}.keras",
    )
    rng = np.random.default_rng(0)
    made = breeder.breed(Proposal((parent.trial.number,), mutate=True), [parent], rng, 9)
    old, new = load_model(parent.file, with_optimizer=True), made.build()
    assert int(new.optimizer.iterations) == int(old.optimizer.iterations) > 0
    pairs = [
        [model.optimizer.variables[number].numpy() for model in (old, new)]
        for number in range(2, len(old.optimizer.variables))
    ]
    assert 0 < sum(a.shape != b.shape for a, b in pairs) < len(pairs)
    for before, after in pairs:
        kept = after[tuple(slice(size) for size in before.shape)]
        assert np.abs(before).sum() == pytest.approx(np.abs(kept).sum(), rel=1e-6)
        assert np.abs(before).sum() == pytest.approx(np.abs(after).sum(), rel=1e-6)


def test_model_with_a_loss_that_only_code_has_can_evolve(tmp_path):
    def odd_loss(y_true, y_pred):
        return keras.ops.mean(y_pred)

    model = evolver_job.network()
    model.compile("sgd", odd_loss)
    model.fit(evolver_job.X, evolver_job.Y, verbose=0)
    evolver = kn.KerasEvolver(
        model, population_size=2, generations=1, directory=tmp_path, verbose=0
    )
    result = evolver_job.fit(evolver)
    assert [trial.error for trial in result.trials] == [None, None]
    # What it goes on with is the optimizer of the evolution, not that of the user.
    assert type(evolver.best_model.optimizer) is keras.optimizers.Adam


def test_finalists_are_trained_again_on_other_batches(tmp_path):
    evolver = evolver_job.evolver(
        tmp_path, finalists=2, final_repeats=2, keep=1, objective="val_loss"
    )
    result = evolver_job.fit(evolver)
    ranked = sorted(result.trials, key=lambda t: (-t.fitness, t.number))
    assert set(result.final_means) == {trial.number for trial in ranked[:2]}
    events = (tmp_path / "journal.jsonl").read_text().splitlines()
    finals = [event for event in map(json.loads, events) if event["event"] == "final"]
    assert len(finals) == 4
    # Two trainings of one finalist differ.
    first = [event["score"] for event in finals if event["trial"] == ranked[0].number]
    assert len(set(first)) == 2
    assert result.best.number == max(result.final_means, key=result.final_means.get)
