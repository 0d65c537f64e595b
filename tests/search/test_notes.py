"""What the journal of a run says of losses, metrics and start weights."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_nas.errors import JournalError
from keras_nas.search import GraphBreeder
from keras_nas.search.journal import Journal, plain
from keras_nas.search.notes import compiled_note


def made_loss():
    """Another function, in another place, each time."""

    def own_loss(y_true, y_pred):
        return keras.ops.mean(y_pred)

    return own_loss


class Focal(keras.losses.Loss):
    """A loss without a config of its own."""

    def __init__(self, gamma, weights=None):
        super().__init__()
        self.gamma = gamma
        self.weights = weights

    def call(self, y_true, y_pred):
        return self.gamma * y_pred


def test_functions_are_noted_without_their_place_in_memory():
    first, second = made_loss(), made_loss()
    assert compiled_note(first) == compiled_note(second)
    assert "own_loss" in compiled_note(first)
    metrics = [keras.metrics.MeanMetricWrapper(f, name="own") for f in (first, second)]
    [one], [other] = (compiled_note([metric]) for metric in metrics)
    assert one == other
    assert " at 0x" not in json.dumps([compiled_note(first), one])


def test_texts_stay_and_nesting_is_kept():
    note = compiled_note({"a": "mse", "b": [made_loss(), None]})
    assert note["a"] == "mse"
    assert "own_loss" in note["b"][0]
    assert note["b"][1] is None
    assert compiled_note(None) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda value: keras.losses.CategoricalCrossentropy(label_smoothing=value),
        lambda value: keras.losses.Huber(delta=value),
        lambda value: Focal(value),
        lambda value: Focal(1.0, np.array([1.0, value])),
        lambda value: keras.metrics.BinaryAccuracy(threshold=value),
        lambda value: {"head": [keras.losses.BinaryFocalCrossentropy(alpha=value)]},
    ],
)
def test_other_settings_of_keras_objects_are_noticed(make):
    note = compiled_note(make(0.25))
    assert note == compiled_note(make(0.25))
    assert note != compiled_note(make(0.75))
    assert json.loads(json.dumps(note)) == plain(note) == note


def test_another_loss_is_refused_with_the_difference(tmp_path):
    def begin(smoothing):
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
        return Journal.open(tmp_path, {"loss": compiled_note(loss)}, {})

    begin(0.1).close()
    begin(0.1).close()
    with pytest.raises(JournalError, match="(?s)loss: .*0.1.* in the journal, .*0.3"):
        begin(0.3)


def network(name="hidden"):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((3,), name="in"),
            layers.Dense(4, name=name),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(2, name="head"),
        ]
    )


def test_other_start_weights_are_noticed_but_neither_names_nor_seeds():
    model = network()
    noted = GraphBreeder(model=model).settings()
    assert isinstance(noted["model_weights"], int)
    twin = network("other")
    twin.get_layer("drop").seed_generator.state.assign([5, 6])
    assert GraphBreeder(model=twin).settings() == noted
    kernel = model.get_layer("head").kernel
    kernel.assign(kernel + 1e-3)
    changed = GraphBreeder(model=model).settings()
    assert changed.pop("model_weights") != noted.pop("model_weights")
    assert changed == noted


def test_start_weights_that_change_places_are_noticed():
    model = network()
    first = GraphBreeder(model=model).settings()["model_weights"]
    kernel = model.get_layer("head").kernel
    kernel.assign(keras.ops.flip(kernel, axis=0))
    assert GraphBreeder(model=model).settings()["model_weights"] != first


def test_space_has_no_start_weights():
    assert GraphBreeder(space="a space").settings()["model_weights"] is None
