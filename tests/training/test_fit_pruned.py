"""Training that cuts on the way looks like one call of ``fit``."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest
from contract import run
from keras import callbacks, layers

import keras_nas as kn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 2))).astype("float32")


def network(optimizer="sgd", width=20, **settings):
    keras.utils.set_random_seed(5)
    source = keras.Input((6,), name="in")
    x = layers.Dense(width, activation="relu", name="a")(source)
    x = layers.Dense(width, activation="relu", name="b")(x)
    model = keras.Model(source, layers.Dense(2, name="head")(x))
    model.compile(optimizer, "mse", run_eagerly=True, **settings)
    return model


def fit(model, callbacks=(), **keywords):
    given = {
        "schedule": "linear",
        "epochs": 4,
        "params": 0.5,
        "batch_size": 24,
        "verbose": 0,
        **keywords,
    }
    return kn.fit_pruned(model, X, Y, callbacks=list(callbacks), **given)


class Record(callbacks.Callback):
    """Writes down what it is told."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def set_model(self, model):
        super().set_model(model)
        self.seen.append(model.get_layer("a").units)

    def on_train_begin(self, logs=None):
        self.seen.append("begin")

    def on_train_end(self, logs=None):
        self.seen.append("end")

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(f"epoch {epoch}")


# --- budgets -------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["one_shot", "linear", "cubic", "agp"])
@pytest.mark.parametrize("budget", [{"params": 0.4}, {"flops": 0.5}, {"memory": 0.6}])
def test_end_is_what_one_cut_of_the_original_costs(schedule, budget):
    model = network(width=40)
    ((name, fraction),) = budget.items()
    settings = {"params": None, "batch_size": 48, **budget}
    result = fit(model, schedule=schedule, epochs=3, **settings)
    most = int(fraction * getattr(kn.count(model), name))
    left = getattr(kn.count(result.model), name)
    assert 0.93 * most <= left <= most
    assert getattr(result.cuts[-1], name) == left
    costs = [getattr(cut, name) for cut in result.cuts]
    assert costs == sorted(costs, reverse=True)
    assert [cut.share for cut in result.cuts] == pytest.approx(
        list(kn.PruningSchedule(schedule).cuts(3).values())
    )


def test_each_cut_is_a_share_of_the_original():
    model = network(width=40)
    schedule = kn.PruningSchedule("linear", begin=0, end=3)
    result = fit(model, params=0.5, schedule=schedule)
    start = kn.count(model).params
    for cut, share in zip(result.cuts, (0.25, 0.5, 0.75, 1.0), strict=True):
        most = start - share * (start - int(0.5 * start))
        assert 0.97 * most <= cut.params <= most + 1


def test_sparsity_is_that_of_the_original_neurons():
    model = network()
    result = fit(model, params=None, sparsity=0.33, schedule="cubic", epochs=5)
    units = [result.model.get_layer(name).units for name in "ab"]
    assert sum(units) == 40 - round(0.33 * 40)
    assert len(result.cuts) == 4


def test_several_budgets_and_keywords_of_prune_are_kept():
    result = fit(
        network(),
        flops=0.5,
        sparsity=0.3,
        min_fraction={"a": 0.7},
        pruning={"multiple_of": 2, "ignore": ()},
    )
    a, b = (result.model.get_layer(name).units for name in "ab")
    assert a >= 14 and a % 2 == b % 2 == 0 and a + b <= 28


def test_neurons_are_chosen_by_what_they_have_learned_when_asked_for():
    listening = kn.importance.Contribution()
    result = fit(network(), [listening], importance=listening, schedule=late())
    assert kn.count(result.model).params <= 0.5 * kn.count(network()).params
    kn.resize(result.model, "a", 2, importance=listening)


def late(**settings):
    """Cuts before the epochs 1 and 3."""
    return kn.PruningSchedule("linear", begin=1, every=2, end=3, **settings)


# --- one training --------------------------------------------------------------------


def test_callbacks_see_one_training_and_each_model():
    record = Record()
    result = fit(network(), [record], schedule=late(), epochs=5)
    (first, second), last = [s for s in record.seen if isinstance(s, int)][1:], None
    assert record.seen == [
        *(20, "begin", "epoch 0", first, "epoch 1", "epoch 2"),
        *(second, "epoch 3", "epoch 4", "end"),
    ]
    assert second == result.model.get_layer("a").units < first < 20
    assert record.model is result.model and last is None


def test_history_is_one():
    ordinary = callbacks.History()
    result = fit(
        network(metrics=["mae"]), [ordinary], schedule=late(), validation_split=0.25
    )
    model, history = result
    assert model is result.model and model.history is history is result.history
    assert history.epoch == ordinary.epoch == [0, 1, 2, 3]
    assert set(history.history) == {"loss", "mae", "val_loss", "val_mae"}
    assert all(len(values) == 4 for values in history.history.values())
    assert ordinary.history == history.history


def test_training_goes_on_where_it_was_when_nothing_is_cut():
    plain = network(keras.optimizers.Adam(0.01))
    history = plain.fit(X, Y, epochs=4, batch_size=24, shuffle=False, verbose=0)
    model = network(keras.optimizers.Adam(0.01))
    result = fit(model, params=1.0, schedule=late(), shuffle=False)
    assert result.history.history == history.history
    for old, new in zip(plain.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(result.model.optimizer.iterations) == 8
    assert not model.optimizer.built


def test_averaged_weights_are_written_at_the_end_only():
    def optimizer():
        return keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9)

    plain = network(optimizer())
    plain.fit(X, Y, epochs=4, batch_size=24, shuffle=False, verbose=0)
    result = fit(network(optimizer()), params=1.0, schedule=late(), shuffle=False)
    for old, new in zip(plain.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_optimizer_of_a_trained_model_goes_on():
    model = network()
    model.fit(X, Y, epochs=1, batch_size=24, verbose=0)
    before = model.get_weights()
    result = fit(model, epochs=2)
    assert int(result.model.optimizer.iterations) == 2 + 4
    assert int(model.optimizer.iterations) == 2
    for old, same in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, same)


def test_epochs_count_from_the_initial_one():
    record = Record()
    result = fit(network(), [record], initial_epoch=2, epochs=5, schedule=late())
    assert result.history.epoch == [2, 3, 4]
    # The cut that lies before counts at once.
    assert [cut.epoch for cut in result.cuts] == [2, 3]
    assert [cut.share for cut in result.cuts] == [0.5, 1.0]


def test_progress_is_shown_as_one(capsys):
    fit(network(), schedule=late(), verbose=2)
    shown = [line for line in capsys.readouterr().out.splitlines() if "Epoch" in line]
    assert shown == ["Epoch 1/4", "Epoch 2/4", "Epoch 3/4", "Epoch 4/4"]


# --- ordinary callbacks --------------------------------------------------------------


def test_ordinary_callbacks_work_over_the_cuts(tmp_path):
    path = str(tmp_path / "best.keras")
    rates = []
    ordinary = [
        callbacks.CSVLogger(str(tmp_path / "log.csv")),
        callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True),
        callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1)),
        callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: rates.append(batch)
        ),
        callbacks.TerminateOnNaN(),
    ]
    result = fit(network(), ordinary, schedule=late())
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert [float(row["loss"]) for row in rows] == pytest.approx(
        result.history.history["loss"]
    )
    assert result.history.history["learning_rate"] == pytest.approx(
        [0.1, 0.1 / 2, 0.1 / 3, 0.1 / 4]
    )
    assert rates == [0, 1] * 4
    # The best so far is the best of this architecture, whatever others reached.
    saved = keras.models.load_model(path)
    assert saved.count_params() == result.model.count_params()


def test_checkpoint_of_a_model_before_a_cut_does_not_hold_the_place(tmp_path):
    path = str(tmp_path / "best.keras")
    checkpoint = callbacks.ModelCheckpoint(
        path, monitor="fake", mode="min", save_best_only=True
    )
    result = fit(network(), [Worse(), checkpoint], schedule=late())
    # The first epoch of the last model.
    assert checkpoint.best == 3.0
    saved = keras.models.load_model(path)
    assert saved.count_params() == result.model.count_params()


class Worse(callbacks.Callback):
    """Says that everything gets worse from the start."""

    def on_epoch_end(self, epoch, logs=None):
        logs["fake"] = float(epoch)


def test_budget_is_reached_when_training_is_stopped_early():
    stop = callbacks.EarlyStopping(
        "fake", mode="min", patience=1, restore_best_weights=True
    )
    record = Record()
    schedule = kn.PruningSchedule("linear", begin=4, every=4, end=8)
    result = fit(network(), [Worse(), stop, record], schedule=schedule, epochs=20)
    # Each model stops after its second epoch, which brings the next cut forward.
    assert result.history.epoch == [0, 1, 2, 3, 4, 5]
    assert [cut.epoch for cut in result.cuts] == [2, 4]
    assert kn.count(result.model).params <= 0.5 * kn.count(network()).params
    assert record.seen.count("end") == 1
    assert np.isfinite(run(result.model, X)[0]).all()


def test_learning_rate_falls_anew_for_each_model():
    reduce = callbacks.ReduceLROnPlateau("fake", mode="min", factor=0.5, patience=1)
    result = fit(
        network(keras.optimizers.SGD(0.08)),
        [Worse(), reduce],
        schedule=kn.PruningSchedule("one_shot", begin=2),
    )
    # One epoch is the best of its model, the next one is worse.
    rates = result.history.history["learning_rate"]
    assert rates == pytest.approx([0.08, 0.08, 0.04, 0.04])
    assert float(result.model.optimizer.learning_rate) == pytest.approx(0.02)


class Anew(Record):
    restarts_at_cuts = True


def test_callbacks_may_ask_to_begin_with_each_model():
    record = Anew()
    fit(network(), [record], schedule=late())
    assert record.seen.count("begin") == record.seen.count("end") == 3


def test_hooks_that_a_callback_does_not_have_are_not_called():
    from keras_nas.training.relay import relay

    plain = relay(Record())
    assert type(plain).on_train_batch_end is callbacks.Callback.on_train_batch_end
    assert type(plain).on_epoch_begin is not callbacks.Callback.on_epoch_begin


# --- schedules -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        (kn.PruningSchedule("one_shot"), 3, {0: 1.0}),
        (kn.PruningSchedule("one_shot", begin=2), 3, {2: 1.0}),
        (kn.PruningSchedule("linear", end=3), 9, {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0}),
        (kn.PruningSchedule("linear", 1, 6, 3), 9, {1: 1 / 3, 4: 2 / 3, 6: 1.0}),
        (kn.PruningSchedule("cubic", end=1), 9, {0: 0.875, 1: 1.0}),
        (kn.PruningSchedule("cubic"), 3, {0: 19 / 27, 1: 26 / 27, 2: 1.0}),
        (kn.PruningSchedule("agp", end=2), 9, {1: 0.875, 2: 1.0}),
        (kn.PruningSchedule("agp", end=2, initial=0.5), 9, {0: 0.5, 1: 0.9375, 2: 1.0}),
    ],
)
def test_shares_of_the_way_follow_the_law(schedule, epochs, expected):
    found = schedule.cuts(epochs)
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"kind": "square"}, "no schedule named 'square'"),
        ({"begin": -1}, "'begin' is a number of epochs"),
        ({"every": 0}, "'every' is a number of epochs, at least 1"),
        ({"begin": 3, "end": 2}, "would come before the first one"),
        ({"initial": 1.5}, "share of the first cut"),
        ({"end": 1.5}, "'end' is a number of epochs"),
    ],
)
def test_schedule_that_makes_no_sense_is_refused(settings, match):
    with pytest.raises(kn.InvalidRequestError, match=match):
        kn.PruningSchedule(**settings)


# --- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        ({"schedule": 3}, "schedule cannot be a int"),
        ({"schedule": "square"}, "no schedule named"),
        ({"schedule": kn.PruningSchedule(end=7)}, "training ends after 4 epochs"),
        ({"epochs": 0}, "'epochs' is a number of epochs"),
        ({"initial_epoch": 4}, "would end before epoch 4"),
        ({"params": None}, "Nothing says how much to prune"),
        ({"params": 1.5}, "params"),
        ({"pruning": {"threshold": 0.1}}, "no use for .'threshold'."),
        ({"pruning": 3}, "cannot be a int"),
    ],
)
def test_wrong_requests_are_refused_before_training(keywords, match):
    record = Record()
    with pytest.raises(kn.InvalidRequestError, match=match):
        fit(network(), [record], **keywords)
    assert record.seen == []


def test_budget_that_cannot_be_reached_is_refused_before_training():
    record = Record()
    with pytest.raises(kn.InfeasibleError, match="params") as caught:
        fit(network(), [record], params=3)
    assert caught.value.nearest["params"] > 3
    assert record.seen == []


def test_uncompiled_model_is_refused():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2)])
    with pytest.raises(kn.InvalidRequestError, match="is not compiled"):
        fit(model)
