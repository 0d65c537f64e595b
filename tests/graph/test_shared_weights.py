"""One variable in several layers: each has a name and a role of its own for it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.graph import analyze
from keras_nas.rules import AxisTensor, Relation, SizeOf, WeightAxes

WRAPPERS = {
    "time_distributed": (lambda: layers.Dense(4, name="inner"), layers.TimeDistributed),
    "spectral": (lambda: layers.Dense(4, name="inner"), layers.SpectralNormalization),
    "bidirectional": (
        lambda: layers.LSTM(4, return_sequences=True, name="inner"),
        layers.Bidirectional,
    ),
}


def wrapped_and_direct(kind: str, wrapped_first: bool) -> keras.Model:
    make, wrap = WRAPPERS[kind]
    inner = make()
    wrapper = wrap(inner, name="wrapper")
    inputs = keras.Input((3, 4))
    calls = [wrapper, inner] if wrapped_first else [inner, wrapper]
    joined = layers.Concatenate()([layer(inputs) for layer in calls])
    return keras.Model(inputs, layers.Dense(2)(joined))


@pytest.mark.parametrize("size", [3, 6])
@pytest.mark.parametrize("wrapped_first", [True, False], ids=["wrapped", "direct"])
@pytest.mark.parametrize("kind", WRAPPERS)
def test_layer_is_resized_when_it_is_wrapped_and_called_directly(
    kind, wrapped_first, size
):
    model = wrapped_and_direct(kind, wrapped_first)
    plan = kn.plan(model, "inner", size)
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    new = plan.apply()
    assert new.get_layer("inner").units == size
    assert len(new.variables) == len(model.variables)


def test_each_part_names_a_shared_weight_by_its_own_path():
    graph = kn.Graph.from_model(wrapped_and_direct("time_distributed", True))
    names = {key: dict(part.named_weights) for key, part in graph.parts.items()}
    assert names["inner"]["kernel"] is names["wrapper"]["inner/kernel"]


class Back(layers.Layer):
    """Reads a dense layer backwards, through its transposed kernel."""

    def __init__(self, forth, **kwargs):
        super().__init__(**kwargs)
        self.forth = forth

    def call(self, x):
        return x @ ops.transpose(self.forth.kernel)

    def get_config(self):
        forth = keras.saving.serialize_keras_object(self.forth)
        return {**super().get_config(), "forth": forth}

    @classmethod
    def from_config(cls, config):
        forth = keras.saving.deserialize_keras_object(config.pop("forth"))
        return cls(forth, **config)


class BackWithoutRule(Back):
    def call(self, x):
        return x @ ops.transpose(self.forth.kernel)


def describe_back(call) -> Relation:
    hidden = call.x.axes[-1]
    serialized = call.config["forth"]
    name = serialized["config"]["name"]
    features = call.fixed(call.weights[f"{name}/kernel"][0])
    inner = {**serialized["config"], "units": SizeOf(hidden)}
    return Relation(
        outputs=(AxisTensor((*call.x.axes[:-1], features)),),
        weights={
            f"{name}/kernel": WeightAxes(((features, hidden),), reads=frozenset((1,))),
            f"{name}/bias": WeightAxes(((hidden,),)),
        },
        config={"forth": {**serialized, "config": inner}},
    )


@pytest.fixture
def back():
    kn.register_rule(Back, describe_back)
    yield Back
    kn.register_rule(Back, None)


def autoencoder(back) -> keras.Model:
    forth = layers.Dense(6, "sigmoid", name="forth")
    inputs = keras.Input((5,))
    return keras.Model(inputs, back(forth, name="back")(forth(inputs)))


@pytest.mark.parametrize("size", [4, 9])
def test_tied_autoencoder_keeps_its_function(back, size):
    model = autoencoder(back)
    plan = kn.plan(model, "forth", size)
    assert plan.exact
    assert kn.verify(model, plan).is_equal
    new = plan.apply()
    assert len(new.variables) == 2
    kernel = new.get_layer("forth").kernel.numpy()
    kept = np.flatnonzero(plan.keep["forth"] >= 0)
    old = model.get_layer("forth").kernel.numpy()
    np.testing.assert_array_equal(kernel[:, kept], old[:, plan.keep["forth"][kept]])
    # Read backwards: what is new has no say, although the layer makes it as well.
    assert not np.delete(kernel, kept, 1).any()


def test_both_parts_know_what_either_reads(back):
    analysis = analyze(kn.Graph.from_model(autoencoder(back)))
    forth, other = analysis.parts["forth"], analysis.parts["back"]
    assert forth.weights["kernel"].reads == {0, 1}
    assert other.weights["forth/kernel"].reads == {0, 1}


def test_weight_of_a_frozen_layer_is_frozen_everywhere():
    with pytest.raises(kn.InfeasibleError, match="'back'"):
        kn.plan(autoencoder(BackWithoutRule), "forth", 4)
