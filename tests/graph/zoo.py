"""Small models that together show everything a graph has to keep."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

ZOO = {}


def entry(make):
    """Registers a function that makes a model under its name."""
    ZOO[make.__name__] = make
    return make


def randomize(model, seed=0):
    """Gives all float weights random values, so that every path matters."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if "float" in variable.dtype:
            variable.assign(generator.uniform(0.1, 0.9, variable.shape))
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    return model


def random_inputs(model, seed=0, batch=3):
    """Returns data for a model in the structure of its inputs."""
    generator = np.random.default_rng(seed)

    def sample(tensor):
        shape = [batch if tensor.shape[0] is None else tensor.shape[0]]
        shape += [5 if size is None else size for size in tensor.shape[1:]]
        if "int" in tensor.dtype:
            return generator.integers(0, 4, shape).astype(tensor.dtype)
        return generator.normal(size=shape).astype("float32")

    structure = model.inputs if isinstance(model, keras.Sequential) else model.input
    data = keras.tree.map_structure(sample, structure)
    return data[0] if isinstance(model, keras.Sequential) else data


def results(model, inputs=None, **kwargs):
    """Returns the flat outputs of a model as arrays."""
    inputs = random_inputs(model) if inputs is None else inputs
    outputs = keras.tree.flatten(model(inputs, **kwargs))
    return [keras.ops.convert_to_numpy(output) for output in outputs]


@keras.saving.register_keras_serializable("zoo")
class Registered(layers.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale * self.factor

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Unregistered(Registered):
    pass


class Unsaveable(layers.Layer):
    """No usable get_config: it was given a function and an inner layer."""

    def __init__(self, function, inner, **kwargs):
        super().__init__(**kwargs)
        self.function, self.inner = function, inner
        self.noise = keras.random.SeedGenerator(3)

    def build(self, shape):
        self.inner.build(shape)
        self.shift = self.add_weight(shape=(), initializer="ones", name="shift")

    def call(self, x):
        return self.function(self.inner(x)) + self.shift

    def compute_output_shape(self, shape):
        return self.inner.compute_output_shape(shape)


class Unmatched(layers.Layer):
    """Its get_config works, and its from_config does not."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(units)

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        return {**super().get_config(), "unit": 1}


class Lookup(layers.Layer):
    """Has state that is no variable and in no config, as a vocabulary is."""

    table = "1"

    def call(self, x):
        return x * float(self.table)

    def save_assets(self, folder):
        Path(folder, "table.txt").write_text(self.table)

    def load_assets(self, folder):
        self.table = Path(folder, "table.txt").read_text()


class NamelessOp(keras.Operation):
    """An operation that was given something that no config can hold."""

    def __init__(self, table, **kwargs):
        super().__init__(**kwargs)
        self.table = table

    def call(self, x):
        return x * ops.convert_to_tensor(self.table)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class LocalRegularizer(keras.regularizers.Regularizer):
    def __call__(self, x):
        return 0.1 * ops.sum(ops.abs(x))

    def get_config(self):
        return {}


def my_activation(x):
    return ops.tanh(x) * 2


class Trained(keras.Model):
    """A functional subclass that adds nothing to the constructor."""

    def twice(self):
        return 2


class WithArgument(keras.Model):
    def __init__(self, inputs, outputs, alpha=1.0, **kwargs):
        super().__init__(inputs, outputs, **kwargs)
        self.alpha = alpha


class OwnConstructor(keras.Model):
    def __init__(self, units):
        inputs = keras.Input((4,))
        super().__init__(inputs, layers.Dense(units)(inputs))


def encoder(name="encoder", width=6):
    inputs = keras.Input((8,), name=f"{name}_in")
    x = layers.Dense(width, activation="relu", name="dense")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    return keras.Model(inputs, x, name=name)


@entry
def residual_cnn():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.Add()([x, y])
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2)(x))


@entry
def sequential():
    return keras.Sequential(
        [keras.Input((8,), name="in"), layers.Dense(5), layers.Dropout(0.5, seed=1)],
        name="stack",
    )


@entry
def sequential_without_input():
    model = keras.Sequential([layers.Dense(5), layers.Dense(3, name="last")])
    model(np.zeros((2, 4), "float32"))
    return model


@entry
def sequential_of_models():
    head = keras.Sequential([keras.Input((6,)), layers.Dense(2)], name="head")
    return keras.Sequential([keras.Input((8,)), encoder(), head], name="outer")


@entry
def nested_three_deep():
    inner = encoder("inner")
    middle_in = keras.Input((8,))
    middle = keras.Model(middle_in, [inner(middle_in), middle_in], name="middle")
    inputs = keras.Input((8,))
    first, second = middle(inputs)
    head = keras.Sequential([layers.Dense(3), layers.ReLU()], name="head")
    return keras.Model(inputs, layers.Concatenate()([head(first), second]))


@entry
def nested_called_twice():
    shared = encoder()
    left, right = keras.Input((8,), name="l"), keras.Input((8,), name="r")
    x = layers.Subtract()([shared(left), shared(right)])
    return keras.Model([left, right], layers.Dense(1)(x))


@entry
def layer_called_three_times():
    dense = layers.Dense(8, name="shared")
    inputs = keras.Input((8,))
    return keras.Model(inputs, dense(dense(dense(inputs))))


@entry
def layer_inside_and_outside():
    dense = layers.Dense(8, name="shared")
    inner_in = keras.Input((8,))
    inner = keras.Model(inner_in, dense(inner_in) + 1.0, name="inner")
    inputs = keras.Input((8,))
    return keras.Model(inputs, dense(inner(inputs)))


@entry
def input_shared_with_inner_model():
    inputs = keras.Input((8,))
    inner = keras.Model(inputs, layers.Dense(4)(inputs), name="inner")
    return keras.Model(inputs, layers.Dense(2)(inner(inputs)))


@entry
def from_intermediate_tensor():
    inputs = keras.Input((8,))
    x = layers.Dense(6, name="before")(inputs)
    y = layers.Dense(4, name="after")(x)
    keras.Model(inputs, y)
    return keras.Model(x, y)


@entry
def dict_inputs_and_nested_outputs():
    one, two = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    x = layers.Add()([one, two])
    outputs = {"z": layers.Dense(2)(x), "y": [layers.Dense(3)(x), (x, one)]}
    return keras.Model({"b": one, "a": two}, outputs)


@entry
def tuple_of_inputs():
    one, (two, three) = keras.Input((4,)), (keras.Input((4,)), keras.Input((2,)))
    x = layers.Concatenate()([three, layers.Multiply()([one, two])])
    return keras.Model((one, (two, three)), (x, layers.Dense(1)(x)))


@entry
def input_is_output_and_output_twice():
    inputs, other = keras.Input((4,)), keras.Input((3,))
    x = layers.Dense(2)(inputs)
    return keras.Model([inputs, other], [x, inputs, x])


@entry
def dict_to_model_with_list():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    inner = keras.Model([a, b], layers.Subtract()([a, b]), name="inner")
    p, q = keras.Input((4,), name="p"), keras.Input((4,), name="q")
    return keras.Model([p, q], inner({"b": p, "a": q}))


@entry
def raw_operations():
    inputs = keras.Input((6, 4))
    x = inputs[..., 1:3]
    x = ops.concatenate([x, inputs[:, :, ::2], inputs[:, :, -2:-1]], axis=-1)
    first, second = ops.split(x, [2], axis=-1)
    x = ops.relu(first) * np.array([0.5, 2.0], "float32") - ops.mean(
        second, axis=-1, keepdims=True
    )
    x = ops.expand_dims(x[:, 0], 1) + x[:, None, -1]
    x = 1.0 / (ops.exp(x) + 1.0)
    x = ops.transpose(ops.pad(x, [[0, 0], [1, 0], [0, 0]]), (0, 2, 1))
    return keras.Model(inputs, ops.einsum("bij,bkj->bik", x, x))


@entry
def operation_without_config():
    inputs = keras.Input((3,))
    x = NamelessOp(np.array([1.0, 2.0, 3.0], "float32"), name="table")(inputs)
    return keras.Model(inputs, NamelessOp(np.ones(3, "float32"))(x))


@entry
def variable_as_operand():
    embedding = layers.Embedding(5, 4)
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Dense(4)(embedding(tokens))
    return keras.Model(tokens, ops.einsum("btd,vd->btv", x, embedding.embeddings))


@entry
def call_arguments():
    inputs, mask = keras.Input((5, 4)), keras.Input((5,), dtype="bool")
    x = layers.BatchNormalization()(inputs, training=False)
    x = layers.LSTM(3, return_sequences=True)(x, mask=mask)
    return keras.Model([inputs, mask], layers.Dropout(0.5, seed=1)(x, training=False))


@entry
def attention():
    inputs = keras.Input((5, 8))
    x = layers.MultiHeadAttention(2, 4, name="mha")(
        query=inputs, value=inputs, use_causal_mask=True
    )
    x = layers.LayerNormalization()(x + inputs)
    return keras.Model(inputs, x)


@entry
def masks():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(5, 4, mask_zero=True)(tokens)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    return keras.Model(
        tokens, layers.GlobalAveragePooling1D()(layers.GRU(2)(x)[:, None])
    )


@entry
def mask_in_sequential():
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(5, 4, mask_zero=True),
            layers.LSTM(3),
        ]
    )


@entry
def recurrent_states():
    inputs = keras.Input((5, 4))
    x, h, c = layers.LSTM(3, return_state=True, return_sequences=True)(inputs)
    return keras.Model(inputs, layers.LSTM(3)(x, initial_state=[h, c]))


@entry
def dtype_policies():
    inputs = keras.Input((8,))
    x = layers.Dense(6, dtype="mixed_bfloat16")(inputs)
    x = layers.Dense(5, dtype="float16")(x)
    return keras.Model(inputs, layers.Dense(4, dtype="float32")(x))


@entry
def mixed_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((8,))
        model = keras.Model(inputs, ops.relu(layers.Dense(4)(inputs)))
    finally:
        keras.config.set_dtype_policy(before)
    return model


@entry
def trainable_flags():
    frozen = encoder("frozen")
    frozen.trainable = False
    frozen.layers[1].trainable = True
    inputs = keras.Input((8,))
    attention = layers.TimeDistributed(layers.Dense(2))
    x = layers.Dense(4, trainable=False)(frozen(inputs))
    x = attention(layers.Reshape((2, 2))(x))
    last = layers.Dense(2)
    model = keras.Model(inputs, last(x))
    attention.layer.trainable = False
    last.kernel.trainable = False
    return model


@entry
def whole_model_frozen():
    model = encoder()
    model.trainable = False
    return model


@entry
def regularized():
    inputs = keras.Input((8,))
    x = layers.Dense(
        6,
        kernel_regularizer=keras.regularizers.L2(0.1),
        bias_constraint=keras.constraints.NonNeg(),
        kernel_initializer=keras.initializers.HeNormal(seed=3),
        activity_regularizer="l1",
    )(inputs)
    return keras.Model(
        inputs, layers.Dense(2, kernel_regularizer=LocalRegularizer())(x)
    )


@entry
def seeds():
    inputs = keras.Input((8,))
    x = layers.Dropout(0.5, seed=1)(inputs)
    x = layers.GaussianNoise(0.5)(x)
    model = keras.Model(inputs, layers.SpatialDropout1D(0.5)(x[:, None]))
    model(np.zeros((2, 8), "float32"), training=True)
    return model


@entry
def custom_layers():
    inputs = keras.Input((8,))
    x = Registered(3.0)(inputs)
    x = layers.TimeDistributed(Unregistered(0.5))(x[:, None])
    x = Unsaveable(lambda y: y * 2, layers.Dense(4))(x)
    x = Unmatched(5)(x)
    return keras.Model(inputs, layers.Dense(3, activation=my_activation)(x))


@entry
def lambdas():
    scale = 3.0
    inputs = keras.Input((8,))
    x = layers.Lambda(lambda y: keras.ops.relu(y) * scale)(inputs)
    x = layers.Lambda(my_activation, output_shape=(8,))(x)
    x = layers.Lambda(lambda y, power: y**power, arguments={"power": 2})(x)
    x = layers.Dense(4, activation=lambda y: ops.sin(y))(x)
    x = layers.TimeDistributed(layers.Dense(2, activation=lambda y: ops.cos(y)))(
        x[:, None]
    )
    return keras.Model(inputs, x)


@entry
def odd_variables():
    inputs = keras.Input((4,))
    return keras.Model(inputs, OddVariables()(inputs))


class OddVariables(layers.Layer):
    """Integer, boolean, unsigned and half-precision variables, some without name."""

    def build(self, shape):
        for dtype in ("int32", "bool", "uint8", "float16", "bfloat16"):
            self.add_weight((2, 2), "ones", dtype, trainable=False)
        self.first = self.add_weight(shape=(4,), name="twin", trainable=False)
        self.second = self.add_weight(shape=(4,), name="twin")

    def call(self, x):
        return x * self.first - self.second


@entry
def shared_inside_wrapper():
    dense = layers.Dense(4)
    inputs = keras.Input((3, 4))
    x = layers.TimeDistributed(dense)(inputs)
    return keras.Model(inputs, dense(x[:, 0]))


@entry
def functional_subclasses():
    inputs = keras.Input((8,))
    inner = Trained(inputs, layers.Dense(4)(inputs), name="inner")
    own = OwnConstructor(2)
    outer_in = keras.Input((8,))
    return WithArgument(outer_in, own(inner(outer_in)), alpha=0.25)


@entry
def normalization_with_state():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, 4)).astype("float32"))
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Rescaling(0.5)(layer(inputs)))


@entry
def state_beside_variables():
    lookup = Lookup()
    lookup.table = "2.5"
    inputs = keras.Input((4,))
    return keras.Model(inputs, lookup(inputs))


@entry
def unknown_grid():
    inputs = keras.Input((None, None, 3))
    x = layers.SeparableConv2D(4, 3, padding="same")(inputs)
    return keras.Model(inputs, layers.Conv2DTranspose(2, 2, strides=2)(x))


@entry
def fixed_batch():
    inputs = keras.Input(batch_shape=(2, 6))
    return keras.Model(inputs, layers.Dense(3)(inputs))
