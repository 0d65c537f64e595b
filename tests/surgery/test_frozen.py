"""What nobody has a rule for is never guessed: it freezes what it touches, by name."""

from __future__ import annotations

import keras
import pytest
from contract import check_plan
from keras import layers, ops
from models import random_inputs, randomize

import keras_nas as kn


@keras.saving.register_keras_serializable("test_frozen")
class Scaled(layers.Layer):
    """Reaches below Keras, where nothing can be traced."""

    def build(self, shape):
        self.factor = self.add_weight((), "ones", name="factor")

    def call(self, x):
        return x * self.factor.value


@keras.saving.register_keras_serializable("test_frozen")
class ReversedDense(layers.Dense):
    """Looks like a layer with a rule, but does something else."""

    def call(self, x):
        return ops.matmul(x, self.kernel.value)[..., ::-1]


@keras.saving.register_keras_serializable("test_frozen")
class NamedDense(layers.Dense):
    """Overrides nothing that decides about axes."""

    def get_config(self):
        return super().get_config()


@keras.saving.register_keras_serializable("test_frozen")
def of_numbers(x):
    """Cannot be looked into."""
    if isinstance(x, keras.KerasTensor):
        raise TypeError("it wants numbers")
    return ops.flip(x, -1)


def around(layer: layers.Layer) -> keras.Model:
    """``before``, the layer, ``after`` and a ``head``."""
    x = source = keras.Input((4,), name="in")
    x = layers.Dense(6, activation="tanh", name="before")(x)
    x = layers.Dense(5, activation="tanh", name="after")(layer(x))
    return randomize(keras.Model(source, layers.Dense(2, name="head")(x)))


FROZEN = {
    "custom": lambda: Scaled(name="odd"),
    "overridden": lambda: ReversedDense(6, name="odd"),
    "activation": lambda: layers.Dense(6, activation=of_numbers, name="odd"),
    "lora": lambda: layers.EinsumDense("bi,io->bo", 6, lora_rank=2, name="odd"),
}


@pytest.mark.parametrize("make", FROZEN.values(), ids=FROZEN)
def test_layer_without_a_rule_freezes_what_it_touches_and_no_more(make):
    model = around(make())
    with pytest.raises(kn.InfeasibleError, match="(?s)'before'.*'odd'") as info:
        kn.resize(model, "before", 4)
    assert info.value.nearest == {"before": 6}
    with pytest.raises(kn.InfeasibleError, match="'odd'"):
        kn.resize(model, "odd", 4)
    for size in (3, 8):
        plan = kn.plan(model, "after", size)
        assert plan.sizes["before"] == 6 and plan.exact
        check_plan(plan, model, random_inputs(model))


@pytest.mark.parametrize("make", FROZEN.values(), ids=FROZEN)
def test_explain_and_summary_name_what_is_frozen(make):
    model = around(make())
    assert "'odd'" in kn.explain(model, "before")
    assert "rozen" in kn.explain(model, "odd")
    assert "'odd'" in kn.summary(model).splitlines()[-1]


def test_subclass_that_overrides_nothing_decisive_has_the_rule_of_its_base():
    model = around(NamedDense(6, name="odd"))
    plan = kn.plan(model, {"before": 4, "odd": 7})
    check_plan(plan, model, random_inputs(model))
    assert type(plan.apply().get_layer("odd")) is NamedDense


def test_branch_beside_a_frozen_one_is_frozen_where_they_meet():
    source = keras.Input((4,), name="in")
    odd = Scaled(name="odd")(layers.Dense(6, name="a")(source))
    beside = layers.Dense(6, name="b")(source)
    added = layers.Add(name="add")([odd, beside])
    model = keras.Model(source, layers.Dense(2)(added))
    for name in ("a", "b", "add"):
        with pytest.raises(kn.InfeasibleError, match="'odd'"):
            kn.resize(model, name, 4)


def test_layer_with_state_but_no_rule_keeps_its_weights():
    model = around(layers.SpectralNormalization(layers.Dense(6), name="odd"))
    plan = kn.plan(model, "after", 3)
    check_plan(plan, model, random_inputs(model))


def test_operation_without_a_rule_is_frozen_by_name():
    source = keras.Input((4, 3))
    x = layers.Dense(6, name="before")(source)
    x = ops.associative_scan(ops.add, x, axis=1)
    model = keras.Model(source, layers.Dense(2, name="after")(x))
    with pytest.raises(kn.InfeasibleError, match="associative_scan"):
        kn.resize(model, "before", 4)
