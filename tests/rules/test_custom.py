"""`register_rule`: layers of users, simple and composite, and rules that are wrong."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.rules import Relation, SizeOf, Undescribed, WeightAxes, find_rule


class LayerScale(layers.Layer):
    """One factor for each neuron (Touvron 2021, arXiv 2103.17239)."""

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, shape):
        self.gamma = self.add_weight((self.dim,), name="gamma")

    def call(self, x):
        return x * self.gamma

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}


class GatedMLP(layers.Layer):
    """A gated linear unit (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, hidden, **kwargs):
        super().__init__(**kwargs)
        self.hidden = hidden
        self.up = layers.Dense(hidden)
        self.gate = layers.Dense(hidden, activation="silu")

    def build(self, shape):
        self.down = layers.Dense(shape[-1])
        self.up.build(shape)
        self.gate.build(shape)
        self.down.build((*shape[:-1], self.hidden))

    def call(self, x):
        return self.down(self.up(x) * self.gate(x))

    def get_config(self):
        return {**super().get_config(), "hidden": self.hidden}


class EncoderBlock(layers.Layer):
    """A transformer encoder block (Vaswani 2017, arXiv 1706.03762), norms first."""

    def __init__(self, num_heads, key_dim, hidden, **kwargs):
        super().__init__(**kwargs)
        self.num_heads, self.key_dim, self.hidden = num_heads, key_dim, hidden
        self.norms = [layers.LayerNormalization(), layers.LayerNormalization()]
        self.attention = layers.MultiHeadAttention(num_heads, key_dim)

    def build(self, shape):
        self.mlp = keras.Sequential(
            [layers.Dense(self.hidden, "gelu", name="up"), layers.Dense(shape[-1])]
        )
        for norm in self.norms:
            norm.build(shape)
        self.attention.build(shape, shape)
        self.mlp.build(shape)

    def call(self, x):
        y = self.norms[0](x)
        x = x + self.attention(y, y)
        return x + self.mlp(self.norms[1](x))

    def get_config(self):
        own = ("num_heads", "key_dim", "hidden")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}


LAYER_SCALE = {
    "rule": "... c -> ... c",
    "weights": {"gamma": "c"},
    "config": {"dim": "c"},
}

GATED_MLP = {
    "rule": "... c -> ... c",
    "weights": {
        "up/kernel": "c h",
        "up/bias": "h",
        "gate/kernel": "c h",
        "gate/bias": "h",
        "down/kernel": "h c",
        "down/bias": "c",
    },
    "config": {"hidden": "h"},
}

ENCODER_BLOCK = {
    "rule": "b * c -> b * c",
    "weights": {
        **{f"norms/{n}/{name}": "c" for n in (0, 1) for name in ("gamma", "beta")},
        **{f"attention/{n}/kernel": "c -> n k" for n in ("query", "key", "value")},
        **{f"attention/{n}/bias": "n k" for n in ("query", "key", "value")},
        "attention/attention_output/kernel": "n k -> c",
        "attention/attention_output/bias": "c",
        "mlp/up/kernel": "c -> h",
        "mlp/up/bias": "h",
        "mlp/layers/1/kernel": "h -> c",
        "mlp/layers/1/bias": "c",
    },
    "config": {"num_heads": "n", "key_dim": "k", "hidden": "h"},
    "mixes": {"c": "its layer normalizations are taken over all of them"},
    # Query times key is summed without weights, so one of both reads for the other.
    "reads": {"attention/query/kernel": "c k", "attention/query/bias": "k"},
    # Keras divides the scores by the square root of the key size.
    "rescale": {
        "attention/query/kernel": ("k", 0.5),
        "attention/query/bias": ("k", 0.5),
    },
}


@pytest.fixture(autouse=True)
def _forget():
    yield
    for cls in (LayerScale, GatedMLP, EncoderBlock):
        kn.register_rule(cls, None)


def around(layer, shape=(5,), units=6) -> keras.Model:
    """A model with random weights and a layer between two dense ones."""
    inputs = keras.Input(shape)
    x = layers.Dense(units, activation="tanh", name="before")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="after")(layer(x)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(-1, 1, weight.shape))
    return model


def verified(model, *request, **keywords) -> keras.Model:
    """Resizes, checks the numbers, and returns the new model."""
    plan = kn.plan(model, *request, **keywords)
    assert plan.exact, plan.notes
    assert kn.verify(model, plan).is_equal
    return plan.apply()


@pytest.mark.parametrize("size", [3, 9])
def test_layer_scale_follows_its_input(size):
    kn.register_rule(LayerScale, **LAYER_SCALE)
    new = verified(around(LayerScale(6, name="scale")), "before", size)
    scale = new.get_layer("scale")
    assert scale.dim == size and scale.gamma.shape == (size,)


def test_new_neurons_of_gamma_are_one_unless_the_rule_says_otherwise():
    model = around(LayerScale(6, name="scale"))
    kn.register_rule(LayerScale, **LAYER_SCALE)
    gamma = kn.resize(model, "scale", 7).get_layer("scale").gamma
    assert float(gamma[-1]) == 1.0
    kn.register_rule(LayerScale, **LAYER_SCALE, new={"gamma": 0.25})
    gamma = kn.resize(model, "scale", 7).get_layer("scale").gamma
    assert float(gamma[-1]) == 0.25


@pytest.mark.parametrize("size", [4, 13])
def test_gated_mlp_has_a_width_inside(size):
    kn.register_rule(GatedMLP, **GATED_MLP)
    model = around(GatedMLP(8, name="block"))
    block = verified(model, "block", size, axis="hidden").get_layer("block")
    assert block.hidden == size and block.up.kernel.shape == (6, size)


@pytest.mark.parametrize("size", [3, 9])
def test_gated_mlp_ties_its_input_to_its_output(size):
    kn.register_rule(GatedMLP, **GATED_MLP)
    new = verified(around(GatedMLP(8, name="block")), "before", size)
    assert new.get_layer("block").down.kernel.shape == (8, size)


@pytest.mark.parametrize(
    ("axis", "sizes"), [("num_heads", (1, 3)), ("key_dim", (2, 5)), ("hidden", (3, 9))]
)
def test_encoder_block_resizes_each_of_its_widths(axis, sizes):
    kn.register_rule(EncoderBlock, **ENCODER_BLOCK)
    model = around(EncoderBlock(2, 3, 7, name="block"), shape=(4, 5))
    for size in sizes:
        block = verified(model, "block", size, axis=axis).get_layer("block")
        assert getattr(block, axis) == size


def test_encoder_block_says_why_the_function_changes_with_the_model_width():
    kn.register_rule(EncoderBlock, **ENCODER_BLOCK)
    model = around(EncoderBlock(2, 3, 7, name="block"), shape=(4, 5))
    plan = kn.plan(model, "before", 4)
    assert plan.notes and "layer normalizations" in " ".join(plan.notes)
    assert plan.apply().get_layer("block").mlp.output_shape[-1] == 4


def test_new_weights_of_a_composite_layer_are_trained():
    kn.register_rule(GatedMLP, **GATED_MLP)
    new = kn.resize(around(GatedMLP(8, name="block")), "block", 9, axis="hidden")
    block = new.get_layer("block")
    before = [np.array(w) for w in block.weights]
    new.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(16, 5)), rng.normal(size=(16, 2))
    for _ in range(2):
        new.train_on_batch(x, y)
    for old, weight in zip(before, block.weights, strict=True):
        assert (old != np.array(weight)).any(), weight.path


def test_rule_may_be_a_function():
    def rule(call):
        axis = call.x.axes[-1]
        weights = {"gamma": WeightAxes(((axis,),), new=1.0)}
        return call.same(weights=weights, config={"dim": SizeOf(axis)})

    kn.register_rule(LayerScale, rule)
    new = verified(around(LayerScale(6, name="scale")), "before", 3)
    assert new.get_layer("scale").dim == 3


def test_function_may_refuse_to_describe_a_call():
    def rule(call):
        raise Undescribed("it is too clever")

    kn.register_rule(LayerScale, rule)
    with pytest.raises(kn.InfeasibleError, match="too clever"):
        kn.resize(around(LayerScale(6)), "before", 3)


def test_function_that_fails_is_named():
    kn.register_rule(LayerScale, lambda call: 1 / 0)
    with pytest.raises(kn.RuleError, match="'scale': ZeroDivisionError"):
        kn.resize(around(LayerScale(6, name="scale")), "before", 3)
    kn.register_rule(LayerScale, lambda call: None)
    with pytest.raises(kn.RuleError, match="returned a NoneType"):
        kn.resize(around(LayerScale(6, name="scale")), "before", 3)


def test_subclass_has_the_rule_unless_it_overrides_call():
    class Same(LayerScale):
        pass

    class Other(LayerScale):
        def call(self, x):
            return x + self.gamma[::-1]

    kn.register_rule(LayerScale, **LAYER_SCALE)
    assert find_rule(Same, is_operation=False) is not None
    assert find_rule(Other, is_operation=False) is None


def test_second_rule_replaces_the_first_and_none_forgets_it():
    kn.register_rule(LayerScale, "... c -> ... c", weights={"gamma": "c c"})
    kn.register_rule(LayerScale, **LAYER_SCALE)
    model = around(LayerScale(6, name="scale"))
    assert kn.plan(model, "before", 3).sizes["scale"] == 3
    kn.register_rule(LayerScale, None)
    with pytest.raises(kn.InfeasibleError, match="'scale', for which"):
        kn.resize(model, "before", 3)


def test_rule_for_a_class_of_keras_comes_before_the_one_that_is_there():
    def rule(call):
        raise Undescribed("not today")

    kn.register_rule(layers.ReLU, rule)
    try:
        with pytest.raises(kn.InfeasibleError, match="not today"):
            kn.resize(around(layers.ReLU()), "before", 3)
    finally:
        kn.register_rule(layers.ReLU, None)
    assert kn.resize(around(layers.ReLU()), "before", 3).count_params() > 0


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"weights": {"gamma": "5"}},
            r"'gamma' has shape \(6,\), but the rule gives it the axes '5'",
        ),
        (
            {"weights": {"gamma": "c 2"}},
            r"'gamma' has shape \(6,\), but the rule gives it the axes 'c 2'",
        ),
        (
            {"weights": {"gamma": "(2 c)"}},
            r"'gamma' has shape \(6,\), .* the shape \(12,\)",
        ),
        ({"weights": {"gama": "c"}}, r"'gamma' of shape \(6,\) is not in the rule"),
        ({"config": {"dimension": "c"}}, "`get_config` does not return it"),
        ({"config": {"dim": "(2 c)"}}, "'dim' is 6, but the axis .* has size 12"),
        ({"rule": "b t c -> b t c"}, "2 axes, which its rule does not expect"),
        ({"rule": "... c, ... c -> ... c"}, "called on 1 tensors"),
        ({"rule": "b c -> b"}, "2 axes|outputs have shapes"),
    ],
)
def test_rule_that_contradicts_a_layer_is_refused_at_first_use(changes, match):
    kn.register_rule(LayerScale, **{**LAYER_SCALE, **changes})
    with pytest.raises(kn.RuleError, match=match) as caught:
        kn.resize(around(LayerScale(6, name="scale")), "before", 3)
    assert isinstance(caught.value, ValueError)
    assert "'scale'" in str(caught.value) and "Received" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rule": "... c"}, "no arrow"),
        ({"rule": "... c -> (c"}, "is no pattern of axes"),
        ({"rule": "... * c -> c"}, "more than one"),
        ({"weights": {"gamma": "c!"}}, r"weights\['gamma'\] is no pattern"),
        ({"weights": {"gamma": 3}}, r"weights\['gamma'\] is no pattern"),
        ({"weights": {"gamma": "... c"}}, "which only tensors have"),
        ({"config": {"dim": "c c"}}, r"config\['dim'\] is not one axis"),
        ({"config": {"dim": "3"}}, r"config\['dim'\] names no axis"),
        ({"mixes": {"d": "why"}}, r"mixes\['d'\] names the axis 'd'.*Use one of"),
        ({"widths": {"w": "d"}}, r"widths\['w'\] names the axis 'd'"),
        ({"new": {"beta": 1.0}}, r"new names \['beta'\]"),
        ({"reads": {"gamma": "d"}}, r"reads\['gamma'\] names the axis 'd'"),
        ({"reads": {"beta": "c"}}, r"reads names \['beta'\]"),
        ({"rescale": {"gamma": ("d", 1)}}, "names the axis 'd'"),
    ],
)
def test_rule_that_cannot_be_read_is_refused_at_registration(changes, match):
    with pytest.raises(kn.RuleError, match="(?s)" + match):
        kn.register_rule(LayerScale, **{**LAYER_SCALE, **changes})
    assert find_rule(LayerScale, is_operation=False) is None


@pytest.mark.parametrize("cls", [LayerScale(3), "LayerScale", int, None])
def test_what_is_no_class_of_layers_has_no_rule(cls):
    with pytest.raises(kn.RuleError, match="for a class of layers"):
        kn.register_rule(cls, "... c -> ... c")


def test_function_beside_patterns_is_refused():
    with pytest.raises(kn.RuleError, match=r"\['config'\] were given as well"):
        kn.register_rule(LayerScale, lambda call: Relation(()), config={"dim": "c"})
