"""Criteria that run the model on data, against numpy and against finite differences.

The reference is the same on every backend: no number here comes from one of them.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from measured import (
    NETS,
    data,
    dense_net,
    flattened,
    joined,
    randomized,
    residual,
    sequence,
    shared,
    values,
    weight,
)

import keras_nas as kn
from keras_nas import importance as ki

# --- the dense net by hand -------------------------------------------------------------


def activations(model, x):
    a = np.maximum(x @ weight(model, "a/kernel") + weight(model, "a/bias"), 0)
    b = np.tanh(a @ weight(model, "b/kernel") + weight(model, "b/bias"))
    return a, b, b @ weight(model, "out/kernel") + weight(model, "out/bias")


def by_hand(model, x, y):
    """Returns the deltas before ``b`` and before the output, for each sample.

    The loss of one sample is the mean square over its two outputs.
    """
    a, b, predicted = activations(model, x)
    end = 2 * (predicted - y) / y.shape[1]
    middle = (end @ weight(model, "out/kernel").T) * (1 - b**2)
    return a, b, middle, end


def gates(model, x, y):
    """Activation times gradient of each neuron of ``a`` and ``b``, for each sample."""
    a, b, middle, end = by_hand(model, x, y)
    return {
        "a": a * (middle @ weight(model, "b/kernel").T),
        "b": b * (end @ weight(model, "out/kernel").T),
    }


def in_batches(numbers: np.ndarray, size: int) -> np.ndarray:
    return numbers.reshape(-1, size, numbers.shape[-1]).mean(axis=1)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", ["a", "b"])
def test_taylor_is_activation_times_gradient(name, size):
    model = dense_net()
    x, y = data(model)
    taylor = ki.Taylor(x, y, loss="mse", batch_size=size)
    expected = np.abs(in_batches(gates(model, x, y)[name], size)).mean(axis=0)
    np.testing.assert_allclose(values(model, taylor, name), expected, 1e-4, 1e-7)


@pytest.mark.parametrize("size", [1, 3])
def test_fisher_is_half_the_mean_square_of_it(size):
    model = dense_net()
    x, y = data(model)
    fisher = ki.Fisher(x, y, loss="mse", batch_size=size)
    expected = (in_batches(gates(model, x, y)["a"], size) ** 2).mean(axis=0) / 2
    np.testing.assert_allclose(values(model, fisher, "a"), expected, 1e-4, 1e-7)


def test_hessian_takes_each_weight_by_itself():
    model = dense_net()
    x, y = data(model)
    a, _, middle, _ = by_hand(model, x, y)
    gradients = a[:, :, None] * middle[:, None, :]
    saliency = (weight(model, "b/kernel") ** 2 * gradients**2).sum(axis=2)
    found = values(model, ki.Hessian(x, y, loss="mse"), "a")
    np.testing.assert_allclose(found, saliency.mean(axis=0) / 2, 1e-4, 1e-7)


def test_last_batch_may_be_smaller():
    model = dense_net()
    x, y = data(model, samples=5)
    each = gates(model, x, y)["a"]
    expected = np.abs([each[:3].mean(0), each[3:].mean(0)]).mean(axis=0)
    taylor = ki.Taylor(x, y, loss="mse", batch_size=3)
    np.testing.assert_allclose(values(model, taylor, "a"), expected, 1e-4, 1e-7)


def test_activation_statistics_are_those_of_what_the_next_layer_reads():
    model = dense_net()
    x, _ = data(model, samples=40)
    a, _, _ = activations(model, x)
    expected = {
        "mean": np.abs(a).mean(axis=0),
        "variance": a.var(axis=0),
        "apoz": (a > 0).mean(axis=0),
    }
    for kind, numbers in expected.items():
        criterion = ki.Activation(x, kind, batch_size=16, normalization="none")
        np.testing.assert_allclose(values(model, criterion, "a"), numbers, 1e-4, 1e-6)
        scaled = values(model, ki.Activation(x, kind), "a")
        np.testing.assert_allclose(scaled, numbers / numbers.mean(), 1e-4, 1e-6)


def test_activation_variance_far_from_zero_keeps_its_digits():
    model = dense_net()
    x, _ = data(model, samples=40)
    layer = model.get_layer("a")
    layer.bias.assign(np.full(5, 1e3, "float32"))
    a, _, _ = activations(model, x)
    criterion = ki.Activation(x, "variance", batch_size=8, normalization="none")
    np.testing.assert_allclose(values(model, criterion, "a"), a.var(axis=0), 1e-3)


def test_activation_of_a_flattened_image_is_over_all_pixels():
    model = flattened()
    x, _ = data(model)
    inner = keras.Model(model.input, model.get_layer("grouped").output)
    seen = keras.ops.convert_to_numpy(inner(x)).reshape(-1, 6).astype("float64")
    for kind, expected in (("mean", np.abs(seen).mean(0)), ("variance", seen.var(0))):
        criterion = ki.Activation(x, kind, normalization="none")
        found = values(model, criterion, "grouped")
        np.testing.assert_allclose(found, expected, 1e-4)


def test_activation_of_tied_layers_is_aggregated_over_what_is_read():
    model = residual()
    x, _ = data(model)
    tensors = [model.get_layer(name).output for name in ("stem", "add")]
    seen = [keras.ops.convert_to_numpy(t) for t in keras.Model(model.input, tensors)(x)]
    means = [np.abs(s.astype("float64")).mean((0, 1, 2)) for s in seen]
    # The branch reads the stem, the last layer the sum, the normalisation the branch.
    for how, combine in (("sum", np.sum), ("mean", np.mean), ("max", np.max)):
        criterion = ki.Activation(x, aggregation=how, normalization="none")
        np.testing.assert_allclose(
            values(model, criterion, "add"), combine(means, axis=0), 1e-4
        )


def test_activation_sees_heads_inside_attention():
    model = sequence()
    x, _ = data(model)
    for axis, size in (("num_heads", 2), ("key_dim", 3), ("value_dim", 3)):
        found = values(model, ki.Activation(x), "attention", axis)
        assert found.shape == (size,) and (found > 0).all()


# --- every other net by finite differences ---------------------------------------------

# Net, layer, axis, and where each neuron is read: weight and axis (and how many
# neighbours in a row belong to one neuron there, for gates and pixels).
READS = [
    (dense_net, "b", None, [("out/kernel", 0)]),
    (residual, "add", None, [("branch/kernel", 2), ("last/kernel", 2)]),
    (shared, "twice", None, [("out/kernel", 0)]),
    (sequence, "memory", None, [("lstm_cell/recurrent_kernel", 0), ("out/kernel", 0)]),
    (
        sequence,
        "attention",
        "num_heads",
        [("attention/attention_output/kernel", 0)],
    ),
    (
        sequence,
        "attention",
        "value_dim",
        [("attention/attention_output/kernel", 1)],
    ),
    (
        sequence,
        "attention",
        "key_dim",
        [("attention/query/kernel", 2), ("attention/query/bias", 1)],
    ),
]


def loss_of(model, x, y) -> float:
    predicted = keras.ops.convert_to_numpy(model(x, training=False)).astype("float64")
    return float(((predicted - y) ** 2).mean())


def slope(model, x, y, windows, step: float = 0.02) -> float:
    """Derivative of the loss by one gate in front of some slices of weights."""
    variables = {v.path: v for v in model.weights}
    losses = []
    for gate in (1 + step, 1 - step):
        before = {}
        for path, window in windows:
            (variable,) = [v for p, v in variables.items() if p.endswith(path)]
            old = keras.ops.convert_to_numpy(variable).copy()
            before.setdefault(path, (variable, old))
            new = keras.ops.convert_to_numpy(variable).copy()
            new[window] *= gate
            variable.assign(new)
        losses.append(loss_of(model, x, y))
        for variable, old in before.values():
            variable.assign(old)
    return (losses[0] - losses[1]) / (2 * step)


def expect_slopes(model, name, axis, windows_of) -> None:
    """Compares Taylor on one batch with the slopes for each neuron."""
    x, y = data(model)
    taylor = ki.Taylor(x, y, loss="mse", batch_size=len(y))
    found = values(model, taylor, name, axis)
    slopes = [abs(slope(model, x, y, windows_of(n))) for n in range(len(found))]
    np.testing.assert_allclose(found, slopes, rtol=0.02, atol=2e-4 * max(slopes))


@pytest.mark.parametrize(("net", "name", "axis", "reads"), READS)
def test_taylor_is_the_slope_by_a_gate_before_all_readers(net, name, axis, reads):
    model = net()
    expect_slopes(
        model,
        name,
        axis,
        lambda n: [(path, (slice(None),) * number + (n,)) for path, number in reads],
    )


def test_taylor_of_a_concatenation_gates_each_part():
    model = joined()
    expect_slopes(model, "cat", None, lambda n: [("out/kernel", n)])
    expect_slopes(model, "b", None, lambda n: [("out/kernel", 3 + n)])


def test_taylor_of_a_grouped_convolution_gates_each_pixel():
    model = flattened()
    expect_slopes(
        model,
        "grouped",
        None,
        lambda n: [("out/kernel", slice(n, None, 6))],
    )


def test_taylor_before_a_grouped_convolution_gates_the_rows_of_its_group():
    model = flattened()

    def windows(channel: int) -> list:
        # Channel c is the inputs 2c and 2c + 1; each group of outputs reads four.
        group, first = channel // 2, 2 * (channel % 2)
        outputs = slice(3 * group, 3 * group + 3)
        return [("grouped/kernel", (..., slice(first, first + 2), outputs))]

    expect_slopes(model, "stem", None, windows)


def test_taylor_of_layers_that_read_one_by_one():
    model = residual()
    x, y = data(model)
    parts = np.array(
        [
            [
                abs(slope(model, x, y, [(path, (slice(None), slice(None), n))]))
                for n in range(5)
            ]
            for path in ("branch/kernel", "last/kernel")
        ]
    )
    for how, combine in (("mean", np.mean), ("max", np.max)):
        taylor = ki.Taylor(x, y, loss="mse", batch_size=6, aggregation=how)
        found = values(model, taylor, "add")
        np.testing.assert_allclose(found, combine(parts, axis=0), rtol=0.02, atol=1e-4)


def test_neurons_that_no_weight_reads_are_gated_where_they_are_made():
    left, right = keras.Input((4,)), keras.Input((4,))
    a = layers.Dense(3, name="a")(left)
    b = layers.Dense(3, name="b")(right)
    model = randomized(keras.Model([left, right], layers.Dot(-1)([a, b])))
    x, y = data(model)
    product = 1.0
    for name, inputs in zip("ab", x, strict=True):
        made = inputs @ weight(model, f"{name}/kernel") + weight(model, f"{name}/bias")
        product = product * made
    end = 2 * (product.sum(axis=1, keepdims=True) - y)
    # Both layers make each neuron, so its gate acts twice.
    expected = 2 * np.abs(product * end).mean(axis=0)
    found = values(model, ki.Taylor(x, y, loss="mse"), "a")
    np.testing.assert_allclose(found, expected, 1e-4)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("make", [ki.Taylor, ki.Fisher, ki.Hessian])
def test_data_criteria_plan_every_layer(net, make):
    model = NETS[net]()
    x, y = data(model)
    scores = make(x, y, loss="mse", batch_size=3).measure(model)
    for layer in model.layers:
        size = layer.output.shape[-1]
        if layer.weights and layer.name not in ("out", "last"):
            plan = kn.plan(model, layer.name, kn.near(size // 2), importance=scores)
            assert plan.sizes[layer.name] < size


# --- data, losses, models ---------------------------------------------------------------


def test_data_come_as_arrays_batches_or_data_sets():
    model = dense_net()
    x, y = data(model)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, number):
            window = slice(3 * number, 3 * number + 3)
            return x[window], y[window]

    expected = values(model, ki.Taylor(x, y, loss="mse", batch_size=3), "a")
    pairs = [(x[:3], y[:3]), (x[3:], y[3:])]
    for source in (Batches(), pairs, (pair for pair in pairs)):
        found = values(model, ki.Taylor(source, loss="mse"), "a")
        np.testing.assert_allclose(found, expected, 1e-6)


def test_sample_weights_of_a_data_set_count():
    model = dense_net()
    x, y = data(model)
    batch = [(x, y, np.array([2.0, 2, 2, 0, 0, 0], "float32"))]
    half = [(x[:3], y[:3])]
    found = values(model, ki.Taylor(batch, loss="mse"), "a")
    expected = values(model, ki.Taylor(half, loss="mse"), "a")
    np.testing.assert_allclose(found, expected, 1e-5)


def test_several_inputs_as_list_and_as_dict():
    model = shared()
    (left, right), y = data(model)
    expected = values(model, ki.Taylor([left, right], y, loss="mse"), "twice")
    names = [layer.name for layer in model.layers if not layer.weights][:2]
    by_name = dict(zip(names, (left, right), strict=True))
    found = values(model, ki.Taylor(by_name, y, loss="mse"), "twice")
    np.testing.assert_allclose(found, expected, 1e-6)


def test_loss_is_that_of_the_compiled_model_without_penalties():
    source = keras.Input((4,))
    x = layers.Dense(5, name="a", kernel_regularizer="l2")(source)
    model = randomized(keras.Model(source, layers.Dense(2, name="out")(x)))
    x, y = data(model)
    expected = values(model, ki.Taylor(x, y, loss="mae"), "a")
    model.compile("sgd", "mae")
    np.testing.assert_allclose(values(model, ki.Taylor(x, y), "a"), expected, 1e-6)
    assert model.get_layer("a").kernel_regularizer is not None


def test_frozen_layers_are_measured_like_others():
    model = dense_net()
    x, y = data(model)
    expected = values(model, ki.Taylor(x, y, loss="mse"), "a")
    model.trainable = False
    np.testing.assert_allclose(
        values(model, ki.Taylor(x, y, loss="mse"), "a"), expected, 1e-6
    )
    assert not model.trainable


def test_nested_models_are_measured_inside():
    inner_source = keras.Input((4,))
    inner = keras.Model(
        inner_source, layers.Dense(3, activation="tanh", name="hidden")(inner_source)
    )
    source = keras.Input((4,))
    model = keras.Model(source, layers.Dense(2, name="out")(inner(source)))
    model = randomized(model)
    x, y = data(model)
    path = f"{inner.name}/hidden"
    hidden = np.tanh(x @ weight(model, "hidden/kernel") + weight(model, "hidden/bias"))
    end = hidden @ weight(model, "out/kernel") + weight(model, "out/bias") - y
    expected = np.abs(hidden * (end @ weight(model, "out/kernel").T)).mean(axis=0)
    found = values(model, ki.Taylor(x, y, loss="mse"), path)
    np.testing.assert_allclose(found, expected, 1e-4)
    found = values(model, ki.Activation(x, normalization="none"), path)
    np.testing.assert_allclose(found, np.abs(hidden).mean(axis=0), 1e-4)


def test_a_model_that_is_called_and_inside_of_a_wrapper_is_measured():
    hidden = layers.Dense(6, kernel_initializer="zeros", name="hidden")
    both = keras.Sequential([keras.Input((4,)), hidden, layers.Dense(3, name="end")])
    both.name = "both"
    one, many = keras.Input((4,)), keras.Input((2, 4))
    rows = layers.TimeDistributed(both, name="rows")(many)
    x = layers.Concatenate()([both(one), layers.Flatten()(rows)])
    model = keras.Model([one, many], layers.Dense(2, name="out")(x))
    sizes = np.array([1.0, 5.0, 2.0, 0.5, 4.0, 3.0])
    hidden.bias.assign(-sizes)
    x, _ = data(model)
    found = values(model, ki.Activation(x), "both/hidden")
    np.testing.assert_allclose(found / found.mean(), sizes / sizes.mean(), rtol=1e-6)


def test_measuring_changes_nothing():
    model = residual()
    model.compile("adam", "mse")
    x, y = data(model)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
    for criterion in (ki.Taylor(x, y), ki.Activation(x)):
        criterion.measure(model)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(variable))
    assert model.get_layer("stem").call.__self__ is model.get_layer("stem")


def test_data_are_looked_at_once_for_each_model():
    model = dense_net()
    x, y = data(model)
    seen = []

    def batches():
        seen.append(1)
        yield x, y

    taylor = ki.Taylor(batches(), loss="mse")
    assert kn.plan(model, "a", kn.near(3), importance=taylor).sizes["a"] == 3
    assert seen == [1]


def test_edits_need_scores_that_were_measured_before():
    model = dense_net()
    x, y = data(model)
    taylor = ki.Taylor(x, y, loss="mse")
    new = kn.remove(model, "b", importance=taylor.measure(model))
    kernel = weight(model, "a/kernel")
    kept = [column.tolist() for column in weight(new, "a/kernel").T]
    width = len(kept)
    best = np.sort(np.argsort(-values(model, taylor, "a"))[:width])
    assert kept == [kernel[:, n].tolist() for n in best]
    with pytest.raises(kn.InvalidRequestError, match=r"criterion\.measure\(model\)"):
        kn.remove(model, "b", importance=taylor)


def test_scores_are_the_same_in_another_analysis():
    for make in NETS.values():
        model = make()
        x, y = data(model)
        taylor = ki.Taylor(x, y, loss="mse", batch_size=6)
        scores = taylor.measure(model)
        name = next(layer.name for layer in model.layers if layer.weights)
        np.testing.assert_allclose(
            values(model, scores, name), values(model, taylor, name), 1e-6
        )
