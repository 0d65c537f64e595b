import keras
import numpy as np
import pytest

from keras_nas import Graph
from keras_nas.errors import InternalError
from keras_nas.graph import Gather, Weight

DTYPES = ["float32", "float16", "bfloat16", "int32", "int8", "uint8", "bool"]
CAN_COMPILE = keras.backend.backend() != "torch"


def variable(value, dtype="float32", **kwargs):
    return keras.Variable(np.asarray(value), dtype=dtype, **kwargs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_value_is_the_value_of_the_variable_when_of_any_dtype(dtype):
    source = variable([[0, 1, 3]], dtype, trainable=False)
    weight = Weight.of_variable(source, "kernel")
    assert (weight.name, weight.shape, weight.dtype) == ("kernel", (1, 3), dtype)
    assert weight.trainable is False
    value = weight.value()
    assert value.dtype.name == dtype
    expected = [[0, 1, 1]] if dtype == "bool" else [[0, 1, 3]]
    assert value.astype("float64").tolist() == expected


@pytest.mark.parametrize("change", ["assign", "assign_add", "assign_sub"])
def test_snapshot_is_unchanged_when_the_variable_is_written(change):
    source = variable(np.ones((100, 100)))
    weight = Weight.of_variable(source, "kernel")
    early = weight.value()
    getattr(source, change)(keras.ops.full((100, 100), 5.0))
    assert early.max() == early.min() == 1.0
    assert weight.value().max() == weight.value().min() == 1.0


@pytest.mark.parametrize(
    "optimizer, jit_compile", [("sgd", False), ("adam", CAN_COMPILE)]
)
def test_snapshot_is_unchanged_when_the_model_is_trained(optimizer, jit_compile):
    inputs = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(50, 8)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    graph = Graph.from_model(model)
    weights = [weight for part in graph.parts.values() for weight in part.weights]
    before = [weight.value().copy() for weight in weights]
    new = graph.build()
    for trained in (model, new):
        trained.compile(optimizer, "mse", jit_compile=jit_compile)
        trained.fit(np.ones((8, 4), "int32"), np.ones((8, 4, 1)), verbose=0)
        assert not np.array_equal(trained.get_weights()[0], before[0])
        for weight, value in zip(weights, before, strict=True):
            np.testing.assert_array_equal(weight.value(), value)


def test_value_cannot_be_written_when_read():
    weight = Weight.of_variable(variable([1.0]), "bias")
    with pytest.raises(ValueError, match="read-only"):
        weight.value()[0] = 2.0


def test_derived_weight_is_computed_only_when_read():
    calls = []
    parent = Weight.of_variable(variable(np.arange(6.0).reshape(2, 3)), "kernel")

    def take(value):
        calls.append(1)
        return value[:, [2, 0]]

    weight = Weight.derived(parent, (2, 2), take)
    assert (weight.name, weight.shape, weight.dtype) == ("kernel", (2, 2), "float32")
    assert not calls
    np.testing.assert_array_equal(weight.value(), [[2.0, 0.0], [5.0, 3.0]])
    assert len(calls) == 1


def test_derived_weight_joins_several_parents():
    one = Weight.of_variable(variable([1.0, 2.0], trainable=False), "one")
    two = Weight.of_array("two", np.array([3.0]))
    weight = Weight.derived([one, two], (3,), lambda a, b: np.concatenate([a, b]))
    assert weight.name == "one"
    assert weight.trainable is False
    np.testing.assert_array_equal(weight.value(), [1.0, 2.0, 3.0])


def test_derived_weight_keeps_the_dtype_when_the_function_widens_it():
    parent = Weight.of_variable(variable([1.0], "bfloat16"), "bias")
    weight = Weight.derived(parent, (1,), lambda value: value.astype("float64") / 3)
    assert weight.value().dtype.name == "bfloat16"


def test_derived_weight_of_wrong_shape_is_an_internal_error_when_read():
    parent = Weight.of_variable(variable([1.0, 2.0]), "bias")
    weight = Weight.derived(parent, (1,), lambda value: value)
    with pytest.raises(InternalError, match=r"derived with shape \(2,\), but shape"):
        weight.value()


def test_array_weight_is_unchanged_when_the_array_is_written():
    array = np.zeros(3)
    weight = Weight.of_array("bias", array)
    array[0] = 1.0
    assert weight.value().tolist() == [0.0, 0.0, 0.0]


def test_names_are_paths_inside_the_layer_when_it_has_sub_layers():
    inputs = keras.Input((3, 4))
    x = keras.layers.Bidirectional(keras.layers.GRU(2, name="gru"), name="both")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    graph = Graph.from_model(keras.Model(inputs, x))
    names = {key: [w.name for w in part.weights] for key, part in graph.parts.items()}
    assert names["norm"] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert names["drop"] == ["seed_generator_state"]
    assert names["both"][:3] == [
        "forward_gru/gru_cell/kernel",
        "forward_gru/gru_cell/recurrent_kernel",
        "forward_gru/gru_cell/bias",
    ]
    flags = [weight.trainable for weight in graph.parts["norm"].weights]
    assert flags == [True, True, False, False]


def test_two_parts_hold_one_weight_when_their_layers_share_a_variable():
    dense = keras.layers.Dense(4)
    inputs = keras.Input((3, 4))
    x = keras.layers.TimeDistributed(dense, name="wrapper")(inputs)
    graph = Graph.from_model(keras.Model(inputs, dense(x)))
    wrapper, inner = graph.parts["wrapper"], graph.parts[dense.name]
    assert all(a is b for a, b in zip(wrapper.weights, inner.weights, strict=True))
    assert wrapper.inner == {dense.name: dense.name}


def test_normalization_computes_with_its_old_constants_after_set_weights():
    inputs = keras.Input((4,))
    norm = keras.layers.Normalization()
    model = keras.Model(inputs, norm(inputs))
    mean, variance = np.arange(4.0), np.arange(1.0, 5.0)
    model.set_weights([mean, variance, np.array(3)])
    data = np.ones((2, 4), "float32")
    copy = Graph.from_model(model).build()
    np.testing.assert_array_equal(copy(data), model(data))
    np.testing.assert_array_equal(copy.get_weights()[0], mean)
    norm.finalize_state()
    adapted = Graph.from_model(model).build()
    assert not np.array_equal(copy(data), model(data))
    np.testing.assert_array_equal(adapted(data), model(data))


def test_weight_went_through_more_edits_than_the_stack_is_deep():
    array = np.arange(6.0)
    weight = Weight.of_array("w", array)
    for number in range(3000):
        step = (lambda value: value + 1) if number % 2 else Gather([np.arange(6)[::-1]])
        weight = Weight.derived(weight, (6,), step)
    np.testing.assert_array_equal(weight.value(), array + 1500)


def test_selections_in_a_row_are_one_selection():
    array = np.arange(12.0).reshape(3, 4)
    weight = Weight.of_array("w", array)
    weight = Weight.derived(weight, (2, 4), Gather([np.array([2, 0]), None]))
    weight = Weight.derived(weight, (2, 2), Gather([None, np.array([3, 1])]))
    weight = Weight.derived(weight, (1, 2), Gather([np.array([1]), None]))
    assert len(weight._recipe.steps) == 1
    np.testing.assert_array_equal(weight.value(), [[3.0, 1.0]])
