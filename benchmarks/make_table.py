"""Makes the small real table of architectures that the tests of strategies look up.

256 architectures (four blocks, each a skip, an average pooling, a 1x1 or a 3x3
convolution) are trained on scikit-learn's digits from scratch, each with two seeds, and
their accuracies are written to `tests/search/data/digits_table.json`.

One supernet holds every architecture: a one-hot input chooses the operation of each
block. What is not chosen gets no gradient and, with Adam, no update, so that training
with fixed gates is training the network that they describe; but the program is compiled
once instead of 512 times, which is most of the time for networks so small.

Run it from the repository (three minutes on two cores with JAX):

    KERAS_BACKEND=jax python -m benchmarks.make_table
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

OPERATIONS = ("skip", "pool", "conv1", "conv3")
BLOCKS = 4
WIDTH = 12
EPOCHS = 8
BATCH_SIZE = 64
SEEDS = (0, 1)
PATH = Path(__file__).parents[1] / "tests" / "search" / "data" / "digits_table.json"


def digits() -> tuple:
    """Images `(n, 8, 8, 1)` and labels: 448 to train, 600 to choose, 749 to test."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x = (images[order].reshape(-1, 8, 8, 1) / 16.0).astype("float32")
    y = labels[order].astype("int32")
    return (x[:448], y[:448]), (x[448:1048], y[448:1048]), (x[1048:], y[1048:])


def operation(kind: str, x, name: str):
    """One operation of a block on a feature map that keeps its shape."""
    if kind == "skip":
        return x
    if kind == "pool":
        return keras.layers.AveragePooling2D(3, 1, padding="same", name=name)(x)
    size = int(kind[-1])
    x = keras.layers.Conv2D(
        WIDTH, size, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    # The default momentum of 0.99 would rank networks by how fast their statistics
    # converge: a training has 56 steps.
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def stem_and_head(blocks, inputs):
    """The whole network around a function for its blocks."""
    x = keras.layers.Conv2D(WIDTH, 3, strides=2, padding="same", name="stem")(inputs)
    x = keras.layers.ReLU(name="stem_relu")(x)
    x = blocks(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.layers.Dense(10, name="head")(x)


def standalone(architecture: tuple[str, ...]) -> keras.Model:
    """The network that one architecture describes, without gates."""
    inputs = keras.Input((8, 8, 1), name="image")

    def blocks(x):
        for number, kind in enumerate(architecture):
            x = operation(kind, x, f"block{number}_{kind}")
        return x

    return keras.Model(inputs, stem_and_head(blocks, inputs))


def supernet() -> keras.Model:
    """All architectures in one: a second input `(blocks, operations)` chooses."""
    inputs = keras.Input((8, 8, 1), name="image")
    gates = keras.Input((BLOCKS, len(OPERATIONS)), name="gates")

    def blocks(x):
        for number in range(BLOCKS):
            parts = []
            for position, kind in enumerate(OPERATIONS):
                gate = gates[:, number, position][:, None, None, None]
                parts.append(gate * operation(kind, x, f"block{number}_{kind}"))
            x = keras.layers.Add(name=f"block{number}")(parts)
        return x

    model = keras.Model([inputs, gates], stem_and_head(blocks, inputs))
    model.compile(
        optimizer=keras.optimizers.Adam(0.003),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def gates_of(architecture: tuple[str, ...], count: int) -> np.ndarray:
    """The one-hot gates of an architecture, once for each of `count` images."""
    gate = np.zeros((BLOCKS, len(OPERATIONS)), "float32")
    for number, kind in enumerate(architecture):
        gate[number, OPERATIONS.index(kind)] = 1.0
    return np.repeat(gate[None], count, 0)


def start_anew(model: keras.Model, seed: int) -> None:
    """Fresh weights by the layers' own initializers, and a fresh optimizer."""
    for number, layer in enumerate(model.layers):
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            initializer = keras.initializers.GlorotUniform(seed=seed * 1000 + number)
            layer.kernel.assign(initializer(layer.kernel.shape))
            if layer.use_bias:
                layer.bias.assign(np.zeros(layer.bias.shape, "float32"))
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(np.ones(layer.gamma.shape, "float32"))
            layer.beta.assign(np.zeros(layer.beta.shape, "float32"))
            layer.moving_mean.assign(np.zeros(layer.gamma.shape, "float32"))
            layer.moving_variance.assign(np.ones(layer.gamma.shape, "float32"))
    for variable in model.optimizer.variables:
        if "learning_rate" not in variable.path:
            variable.assign(np.zeros(variable.shape, variable.dtype))


def train_once(model, architecture, seed, data) -> tuple[float, float]:
    """Validation and test accuracy of one training from scratch."""
    train, validation, test = data
    start_anew(model, seed)
    # Keras shuffles by the global seed.
    keras.utils.set_random_seed(seed)
    inputs = [train[0], gates_of(architecture, len(train[0]))]
    model.fit(inputs, train[1], epochs=EPOCHS, batch_size=BATCH_SIZE, verbose=0)
    scores = []
    for x, y in (validation, test):
        logits = model.predict_on_batch([x, gates_of(architecture, len(x))])
        scores.append(float(np.mean(np.argmax(logits, -1) == y)))
    return scores[0], scores[1]


def main() -> None:
    """Trains everything, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--limit", type=int, help="only so many architectures")
    options = parser.parse_args()
    data = digits()
    model = supernet()
    model.optimizer.build(model.trainable_variables)
    architectures = list(itertools.product(OPERATIONS, repeat=BLOCKS))
    rows = []
    start = time.perf_counter()
    for architecture in architectures[: options.limit]:
        scores = [train_once(model, architecture, seed, data) for seed in SEEDS]
        rows.append(
            {
                "architecture": list(architecture),
                "params": standalone(architecture).count_params(),
                "val_accuracy": [round(score[0], 5) for score in scores],
                "test_accuracy": [round(score[1], 5) for score in scores],
            }
        )
        if len(rows) % 16 == 0:
            print(len(rows), round(time.perf_counter() - start), "s", flush=True)
    settings = {
        "data": "sklearn digits: 448 train, 600 validation, 749 test",
        "operations": list(OPERATIONS),
        "blocks": BLOCKS,
        "width": WIDTH,
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "seeds": list(SEEDS),
        "backend": keras.config.backend(),
        "keras": keras.__version__,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"settings": {json.dumps(settings)},\n"rows": [\n{lines}\n]}}\n'
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
