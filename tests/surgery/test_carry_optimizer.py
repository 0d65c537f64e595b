"""What the optimizer remembers goes through edits with the weights."""

from __future__ import annotations

import inspect

import editing
import keras
import models_attention  # noqa: F401  Adds its models to the zoo.
import models_recurrent  # noqa: F401
import numpy as np
import pytest
from keras import layers, optimizers
from models import build as build_entry
from nets import chain, residual

import keras_nas as kn

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(32, 4)).astype("f"), RNG.normal(size=(32, 2)).astype("f")

WITHOUT_ARGUMENTS = sorted(
    name
    for name, cls in vars(optimizers).items()
    if inspect.isclass(cls)
    and issubclass(cls, keras.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
)

SETTINGS = {
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "centered": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, clipnorm=1.0),
    "decoupled": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "average": lambda: optimizers.Adam(
        0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=4
    ),
    "accumulation": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=3),
    "schedule": lambda: optimizers.Adam(
        optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    ),
    "loss_scale": lambda: optimizers.LossScaleOptimizer(
        optimizers.SGD(0.1, momentum=0.9), dynamic_growth_steps=4
    ),
    "loss_scale_average": lambda: optimizers.LossScaleOptimizer(
        optimizers.Adam(0.01, use_ema=True)
    ),
}


# Keras 3.8 has no optimizer of several.
HAS_SEVERAL = hasattr(optimizers, "MultiOptimizer")
if HAS_SEVERAL:
    SETTINGS["several"] = lambda: several()


def several():
    """Adam for the layer "b", SGD for all others."""
    chosen = optimizers.OptimizerMap(optimizers.SGD(0.1, momentum=0.9))
    chosen["b/.*"] = optimizers.Adam(0.01)
    return optimizers.MultiOptimizer(chosen)


def train(model, steps, start=0):
    """Trains for some steps; returns the loss of each."""
    found = []
    for step in range(start, start + steps):
        batch = slice(step % 4 * 8, step % 4 * 8 + 8)
        # Older versions of Keras return the mean over all steps so far.
        model.reset_metrics()
        found.append(float(model.train_on_batch(X[batch], Y[batch])))
    return found


def trained(optimizer, model=None, steps=5):
    """A model with dropout and normalization that was trained for some steps."""
    if model is None:
        keras.utils.set_random_seed(3)
        x = source = keras.Input((4,), name="in")
        x = layers.Dense(6, activation="relu", name="a")(x)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.Dropout(0.2, seed=7, name="drop")(x)
        x = layers.Dense(5, activation="tanh", name="b")(x)
        model = keras.Model(source, layers.Dense(2, name="head")(x))
    model.compile(optimizer, "mse", run_eagerly=True)
    train(model, steps)
    return model


def states(model):
    """Returns the variables of the optimizer as arrays."""
    return [np.array(v) for v in model.optimizer.variables]


def slot(model, attribute, path):
    """Returns what the optimizer remembers of the variable at a path."""
    paths = [v.path for v in model.optimizer._trainable_variables]
    return np.array(getattr(model.optimizer, attribute)[paths.index(path)])


def mirror(model):
    """Writes the values of the variables into all that is remembered of them.

    After an edit, each slot has then to be what became of its weight.
    """
    model.compile(optimizers.Adam(0.01), "mse")
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    for variable, *own in slots_of(optimizer):
        for state in own:
            state.assign(variable)
    return model


def slots_of(optimizer):
    """Yields each variable that is trained, with its two moments."""
    moments = optimizer._momentums, optimizer._velocities
    return zip(optimizer._trainable_variables, *moments, strict=True)


def same_steps(model, new, steps=10):
    """Both models train alike, bit for bit."""
    assert train(model, steps) == train(new, steps)
    for old_value, value in zip(model.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(old_value, value)
    for old_state, state in zip(states(model), states(new), strict=True):
        np.testing.assert_array_equal(old_state, state)


# --- an edit that changes nothing ----------------------------------------------------


@pytest.mark.parametrize("name", WITHOUT_ARGUMENTS)
def test_next_steps_are_bit_equal_for_every_optimizer_when_nothing_changes(name):
    model = trained(getattr(optimizers, name)(), chain(3, 2, inputs=4), steps=3)
    same_steps(model, kn.resize(model, "d0", 3, carry_optimizer=True))


def test_next_steps_are_bit_equal_with_dropout_and_normalization():
    model = trained(optimizers.Adam(0.01))
    same_steps(model, kn.resize(model, "a", 6, carry_optimizer=True))


@pytest.mark.parametrize("name", SETTINGS)
def test_next_steps_are_bit_equal_for_settings_when_nothing_changes(name):
    model = trained(SETTINGS[name](), chain(3, 2, inputs=4))
    same_steps(model, kn.Graph.from_model(model).build(carry_optimizer=True))


@pytest.mark.parametrize("make", [several] * HAS_SEVERAL)
def test_each_of_several_optimizers_keeps_its_own_when_layers_shrink(make):
    model = trained(make())
    new = kn.resize(model, "b", 3, carry_optimizer=True)
    kept = kn.plan(model, "b", 3).keep["b"]
    momentums = new.optimizer.optimizers[1].momentums
    old_momentums = model.optimizer.optimizers[1].momentums
    # The moments of the layer "b" are Adam's, those of the others momentum of SGD.
    head, old_head = np.array(momentums[-2]), np.array(old_momentums[-2])
    np.testing.assert_array_equal(head, old_head[kept])
    moments = new.optimizer.optimizers[0]._velocities
    old_moments = model.optimizer.optimizers[0]._velocities
    np.testing.assert_array_equal(moments[0], np.array(old_moments[0])[:, kept])
    assert [int(o.iterations) for o in new.optimizer.optimizers] == [5, 5]


class Custom(keras.Optimizer):
    """Keeps a moment by name, and a number that no attribute holds."""

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.moments = {
            v.path: self.add_variable_from_reference(v, name="m") for v in variables
        }
        self.hidden = [[self.add_variable((), name="count")]]

    def update_step(self, gradient, variable, learning_rate):
        moment = [*self.moments.values()][self._get_variable_index(variable)]
        count = self.hidden[0][0]
        count.assign_add(0.1)
        moment.assign(0.5 * moment + gradient)
        variable.assign_sub(learning_rate * moment / count)


def test_next_steps_are_bit_equal_with_an_optimizer_of_ones_own():
    model = trained(Custom(0.01), chain(3, 2, inputs=4))
    same_steps(model, kn.resize(model, "d0", 3, carry_optimizer=True))


def test_what_nobody_understands_starts_afresh_with_a_warning_when_weights_change():
    model = trained(Custom(0.01))
    with pytest.warns(UserWarning, match="starts afresh.*'count'"):
        new = kn.resize(model, "b", 3, carry_optimizer=True)
    kept = kn.plan(model, "b", 3).keep["b"]
    old, own = (m.optimizer.moments["b/kernel"] for m in (model, new))
    np.testing.assert_array_equal(np.array(own), np.array(old)[:, kept])
    assert float(new.optimizer.hidden[0][0]) == 0


# --- which positions -----------------------------------------------------------------


def test_slots_are_the_same_selection_when_layers_shrink():
    model = trained(optimizers.Adam(0.01, amsgrad=True))
    plan = kn.plan(model, {"a": 3, "b": 2}, carry_optimizer=True)
    new = plan.apply()
    a, b = plan.keep["a"], plan.keep["b"]
    chosen = {
        "a/kernel": np.ix_(range(4), a),
        "a/bias": a,
        "norm/gamma": a,
        "norm/beta": a,
        "b/kernel": np.ix_(a, b),
        "b/bias": b,
        "head/kernel": np.ix_(b, range(2)),
        "head/bias": np.arange(2),
    }
    assert [v.path for v in new.optimizer._trainable_variables] == list(chosen)
    for attribute in ("_momentums", "_velocities", "_velocity_hats"):
        for path, where in chosen.items():
            old, own = slot(model, attribute, path), slot(new, attribute, path)
            assert old.any()
            np.testing.assert_array_equal(own, old[where])


def test_new_neurons_have_nothing_to_remember_when_layers_grow():
    model = trained(optimizers.Adam(0.01))
    new = kn.resize(model, {"a": 8, "b": 3}, carry_optimizer=True)
    b = kn.plan(model, {"a": 8, "b": 3}).keep["b"]
    for attribute in ("_momentums", "_velocities"):
        own, old = (slot(m, attribute, "b/kernel") for m in (new, model))
        np.testing.assert_array_equal(own, np.vstack([old[:, b], np.zeros((2, 3))]))
        own, old = (slot(m, attribute, "norm/gamma") for m in (new, model))
        np.testing.assert_array_equal(own, np.append(old, [0, 0]))


def test_new_neurons_start_where_the_optimizer_starts_when_that_is_not_zero():
    model = trained(optimizers.Adagrad(0.1, initial_accumulator_value=0.25))
    new = kn.resize(model, "a", 8, carry_optimizer=True)
    own = slot(new, "_accumulators", "a/bias")
    np.testing.assert_array_equal(own[:6], slot(model, "_accumulators", "a/bias"))
    np.testing.assert_array_equal(own[6:], [0.25, 0.25])


def test_averages_of_new_neurons_start_at_their_weights():
    model = trained(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9))
    new = kn.resize(model, "a", 8, carry_optimizer=True)
    own = slot(new, "_model_variables_moving_average", "a/kernel")
    old = slot(model, "_model_variables_moving_average", "a/kernel")
    np.testing.assert_array_equal(own[:, :6], old)
    kernel = np.array(new.get_layer("a").kernel)
    np.testing.assert_array_equal(own[:, 6:], kernel[:, 6:])
    assert not np.array_equal(own[:, :6], kernel[:, :6])


def test_factored_moments_are_selected_along_the_axes_that_they_have():
    keras.utils.set_random_seed(1)
    source = keras.Input((4,), name="in")
    x = layers.Dense(5, name="a")(source)
    # As many rows as columns: sizes do not tell which axis a factor has.
    x = layers.Dense(5, name="b")(x)
    model = keras.Model(source, layers.Dense(2, name="head")(x))
    trained(optimizers.Adafactor(0.1), model)
    new = kn.resize(model, {"a": 3, "b": 6}, carry_optimizer=True)
    kept = kn.plan(model, {"a": 3, "b": 6}).keep["a"]
    rows, columns = slot(model, "_r", "b/kernel"), slot(model, "_c", "b/kernel")
    assert not np.allclose(rows, columns)
    np.testing.assert_array_equal(slot(new, "_r", "b/kernel"), rows[kept])
    np.testing.assert_array_equal(slot(new, "_c", "b/kernel"), np.append(columns, 0))


def test_factored_moments_start_afresh_with_a_warning_when_groups_differ():
    keras.utils.set_random_seed(1)
    source = keras.Input((4, 4), name="in")
    x = layers.Conv1D(6, 1, name="a")(source)
    x = layers.Conv1D(4, 1, groups=2, name="grouped")(x)
    x = layers.Dense(2, name="head")(layers.Flatten()(x))
    model = keras.Model(source, x)
    model.compile(optimizers.Adafactor(0.1), "mse", run_eagerly=True)
    model.train_on_batch(np.ones((8, 4, 4), "f"), Y[:8])
    importance = {"a": [9, 1, 8, 1, 7, 6]}
    with pytest.warns(UserWarning, match="'_r' of 'grouped/kernel'"):
        new = kn.resize(model, "a", 4, importance=importance, carry_optimizer=True)
    assert not slot(new, "_r", "grouped/kernel").any()
    assert slot(new, "_c", "grouped/kernel").any()
    assert slot(new, "_r", "a/kernel").any()


KINDS = (
    "attention_by_hand",
    "bidirectional_concat",
    "channel_shuffle",
    "concatenate_-1",
    "conv2d_depthwise_twice",
    "conv2d_separable",
    "conv2d_two_groups",
    "embedding",
    "multi_head_causal",
    "prelu_shared",
    "recurrent_gru",
    "spectral_dense",
)
if hasattr(layers, "ReversibleEmbedding"):  # Since Keras 3.12.
    KINDS += ("reversible_embedding_True",)


@pytest.mark.parametrize("name", KINDS)
def test_slots_follow_their_weights_in_every_kind_of_layer(name):
    model = mirror(build_entry(name))
    graph = kn.Graph.from_model(model)
    first = next(iter(graph.body.vertices))
    done = set()
    for key, old in graph.plan({first: kn.near(1)}).old_sizes.items():
        for wanted in {max(1, old // 2), old + 2} - {old}:
            try:
                changed = graph.resize({key: wanted})
            except kn.InfeasibleError:
                continue
            follows(model, changed.build(carry_optimizer=True), wanted > old)
            done.add(wanted > old)
            break
    assert done


def follows(model, new, grows):
    """Each slot is its weight at kept positions, and zero at new ones."""
    pairs = zip(slots_of(model.optimizer), slots_of(new.optimizer), strict=True)
    for (old, *_), (variable, *own) in pairs:
        old, value = np.array(old), np.array(variable)
        for state in map(np.array, own):
            if not grows:
                # What Keras divides by the key size is rescaled; its slot is not.
                np.testing.assert_array_equal(state != 0, value != 0)
                ratio = state[value != 0] / value[value != 0]
                np.testing.assert_allclose(ratio, ratio.flat[:1].mean(), rtol=1e-5)
                continue
            is_old = state != 0
            assert is_old.sum() == np.count_nonzero(old), variable.path
            ratio = state[is_old] / value[is_old]
            np.testing.assert_allclose(ratio, ratio.flat[:1].mean(), rtol=1e-5)


# --- nested, shared, tied, frozen ----------------------------------------------------


def nested(frozen=False):
    """A model in a model that is called twice, with a layer shared across levels."""
    keras.utils.set_random_seed(2)
    shared = layers.Dense(6, name="shared")
    inside = keras.Input((6,), name="inside")
    x = shared(layers.Dense(5, activation="tanh", name="inner")(inside))
    encoder = keras.Model(inside, x, name="encoder")
    source = keras.Input((4,), name="in")
    x = layers.Dense(6, name="stem", trainable=not frozen)(source)
    x = encoder(encoder(x))
    x = shared(layers.Dense(5, name="last")(x))
    return keras.Model(source, layers.Dense(2, name="head")(x))


def test_slots_follow_when_models_are_nested_and_layers_shared():
    model = trained(optimizers.Adam(0.01), nested())
    keep = kn.plan(model, "encoder/inner", 3).keep
    new = kn.resize(model, "encoder/inner", 3, carry_optimizer=True)
    inner, last = keep["encoder/inner"], keep["last"]
    np.testing.assert_array_equal(inner, last)
    for path in ("inner/kernel", "last/kernel"):
        old, own = slot(model, "_momentums", path), slot(new, "_momentums", path)
        np.testing.assert_array_equal(own, old[:, inner])
    old, own = (slot(m, "_velocities", "shared/kernel") for m in (model, new))
    np.testing.assert_array_equal(own, old[inner])
    train(new, 2)


def test_next_steps_are_bit_equal_when_models_are_nested_and_layers_frozen():
    model = trained(optimizers.Adam(0.01), nested(frozen=True))
    new = kn.resize(model, "last", 5, carry_optimizer=True)
    paths = [v.path for v in new.optimizer._trainable_variables]
    assert "stem/kernel" not in paths and len(paths) == 8
    same_steps(model, new)


def test_what_is_frozen_after_training_has_nothing_to_carry():
    model = trained(optimizers.Adam(0.01))
    model.get_layer("b").trainable = False
    new = kn.resize(model, "a", 3, carry_optimizer=True)
    paths = [v.path for v in new.optimizer._trainable_variables]
    assert "b/kernel" not in paths and "a/kernel" in paths
    kept = kn.plan(model, "a", 3).keep["a"]
    own, old = (slot(m, "_momentums", "a/bias") for m in (new, model))
    np.testing.assert_array_equal(own, old[kept])


if hasattr(layers, "ReversibleEmbedding"):

    def test_slot_of_a_tied_weight_follows_when_it_is_used_transposed():
        keras.utils.set_random_seed(2)
        table = layers.ReversibleEmbedding(7, 5, name="table")
        source = keras.Input((3,), dtype="int32", name="in")
        model = keras.Model(source, table(table(source), reverse=True))
        model.compile("adam", "mse", run_eagerly=True)
        x = np.array([[0, 1, 2], [3, 4, 5]])
        model.train_on_batch(x, np.ones((2, 3, 7), "f"))
        new = kn.resize(model, "table", 3, carry_optimizer=True)
        (old,), (own,) = model.optimizer._momentums, new.optimizer._momentums
        kept = kn.plan(model, "table", 3).keep["table"]
        np.testing.assert_array_equal(np.array(own), np.array(old)[:, kept])


# --- the verbs -----------------------------------------------------------------------

VERBS = {
    "resize_inputs": lambda m, **k: kn.resize_inputs(m, "head", [4], **k),
    "prune": lambda m, **k: kn.prune(m, sparsity=0.2, **k),
    "insert": lambda m, **k: kn.insert(m, layers.Dense(6, name="new"), "stem", **k),
    "remove": lambda m, **k: kn.remove(m, "branch", **k),
    "connect": lambda m, **k: kn.connect(m, "stem", "head", merge="concatenate", **k),
    "disconnect": lambda m, **k: kn.disconnect(m, "stem", "add", **k),
    "replace": lambda m, **k: kn.replace(
        m, "branch", layers.Dense(6, activation="relu"), **k
    ),
    "apply": lambda m, **k: kn.plan(m, "stem", 4).apply(**k),
    "build": lambda m, **k: kn.Graph.from_model(m).resize("stem", 4).build(**k),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_carries_the_optimizer_when_asked_to(verb):
    model = trained(optimizers.Adam(0.01), residual(), steps=3)
    before = states(model)
    with editing.untouched(model):
        fresh = VERBS[verb](model)
        new = VERBS[verb](model, carry_optimizer=True)
    assert not fresh.optimizer.built
    assert int(new.optimizer.iterations) == 3
    # Nothing happens to what the head adds.
    own = slot(new, "_momentums", "head/bias")
    np.testing.assert_array_equal(own, slot(model, "_momentums", "head/bias"))
    for old_state, state in zip(before, states(model), strict=True):
        np.testing.assert_array_equal(old_state, state)
    train(new, 1)


def test_moments_of_a_replaced_kernel_stay_at_their_taps():
    source = keras.Input((6, 4), name="in")
    x = layers.Conv1D(3, 3, padding="same", name="conv")(source)
    model = keras.Model(source, layers.Dense(2, name="head")(layers.Flatten()(x)))
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(np.ones((8, 6, 4), "f"), Y[:8])
    wider = layers.Conv1D(3, 5, padding="same")
    new = kn.replace(model, "conv", wider, carry_optimizer=True)
    old, own = (slot(m, "_velocities", "conv/kernel") for m in (model, new))
    assert old.any()
    np.testing.assert_array_equal(own, np.pad(old, [(1, 1), (0, 0), (0, 0)]))


def test_slots_go_through_a_chain_of_edits_to_one_build():
    model = trained(optimizers.Adam(0.01), chain(8, 7, 6, 2, inputs=4))
    steps = [
        lambda g: g.resize("d0", 6),
        lambda g: g.insert(layers.Dense(6, name="new"), "d0"),
        lambda g: g.resize("d1", 9),
        lambda g: g.resize({"d0": 5, "d2": 4}),
        lambda g: g.remove("new"),
        lambda g: g.resize("d1", 4, carry_optimizer=True),
        lambda g: g.resize("d0", 3),
    ]
    graph, kept = kn.Graph.from_model(model), np.arange(8)
    for step in steps:
        if step in (steps[0], steps[3], steps[6]):
            size = {0: 6, 3: 5, 6: 3}[steps.index(step)]
            index = graph.plan("d0", size).keep["d0"]
            kept = kept[index]
        graph = step(graph)
    new = graph.build()
    assert int(new.optimizer.iterations) == 5
    own, old = (slot(m, "_momentums", "d0/kernel") for m in (new, model))
    np.testing.assert_array_equal(own, old[:, kept])
    for variable, moment, _ in slots_of(new.optimizer):
        assert tuple(moment.shape) == tuple(variable.shape)
    same_steps(new, kn.resize(new, "d0", 3, carry_optimizer=True), steps=3)


def test_half_precision_keeps_its_loss_scale():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = trained(optimizers.SGD(0.1, momentum=0.9))
    finally:
        keras.config.set_dtype_policy("float32")
    model.optimizer.dynamic_scale.assign(64.0)
    new = kn.resize(model, "a", 4, carry_optimizer=True)
    assert type(new.optimizer) is optimizers.LossScaleOptimizer
    assert float(new.optimizer.dynamic_scale) == 64.0
    assert int(new.optimizer.step_counter) == int(model.optimizer.step_counter)
    assert int(new.optimizer.inner_optimizer.iterations) == 5


# --- what is refused -----------------------------------------------------------------


def test_uncompiled_model_is_refused_when_its_optimizer_is_asked_for():
    with pytest.raises(kn.KerasNasError, match="'.*' is not compiled"):
        kn.resize(chain(4, 2), "d0", 3, carry_optimizer=True)


@pytest.mark.parametrize("verb", VERBS)
def test_unbuilt_optimizer_is_refused_by_every_verb(verb):
    model = residual()
    model.compile("adam", "mse")
    with (
        editing.untouched(model),
        pytest.raises(ValueError, match="was not built: it has no state yet"),
    ):
        VERBS[verb](model, carry_optimizer=True)


def test_something_else_than_yes_or_no_is_refused():
    model = trained(optimizers.Adam(0.01), chain(4, 2, inputs=4), steps=1)
    with pytest.raises(kn.InvalidRequestError, match="carry_optimizer='Adam'"):
        kn.resize(model, "d0", 3, carry_optimizer="Adam")
