"""The logs are those that TensorFlow itself would read."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow.core.util.event_pb2 import Event

from keras_nas.search import Proposal, Status, TensorBoardCallback, Trial


def events(directory):
    """Checks the sums of all records, too."""
    [path] = directory.iterdir()
    records = tf.data.TFRecordDataset(str(path))
    return [Event.FromString(record.numpy()) for record in records]


def test_scalars_are_read_by_tensorflow(tmp_path):
    callback = TensorBoardCallback(tmp_path)
    done = Trial(
        300,
        2,
        Proposal(),
        Status.DONE,
        (0.5,),
        metrics={"val_loss": 1.25},
        costs={"params": 123456},
    )
    callback.on_candidate_end(done)
    callback.on_candidate_end(Trial(301, 2, Proposal(), Status.FAILED, (-1.0,)))
    logs = {"generation": 2, "best": 0.75, "mean": None, "failed": 1}
    callback.on_generation_end(2, logs)
    version, candidate, generation = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert candidate.step == 300
    assert {v.tag: v.simple_value for v in candidate.summary.value} == {
        "candidate/fitness": 0.5,
        "candidate/val_loss": 1.25,
        "candidate/params": 123456,
    }
    assert generation.step == 2
    assert {v.tag: v.simple_value for v in generation.summary.value} == {
        "generation/best": 0.75,
        "generation/failed": 1,
    }
    assert candidate.wall_time == pytest.approx(generation.wall_time, abs=60)
