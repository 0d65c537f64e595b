"""The main job on real data: shrink a trained network, tune it, grow it back."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.errors import KerasNasError
from keras_nas.surgery import plan, summary, verify

_STAGE = "stage2"
_WIDTH = 32

_LOAD_IN_PLAIN_KERAS = """
import sys
import numpy as np
import keras

data = np.load(sys.argv[2])
model = keras.saving.load_model(sys.argv[1])
outputs = keras.ops.convert_to_numpy(model(data["x"], training=False))
assert not any(name.startswith("keras_nas") for name in sys.modules)
print(float(np.max(np.abs(outputs - data["y"]))))
"""


def run_demo(epochs: int = 12, seed: int = 0) -> None:
    """Trains a small CNN on handwritten digits and changes its architecture.

    The network has residual, inception and depthwise blocks. One residual stage is
    halved, tuned for one epoch, grown back, saved, and loaded in a process that knows
    nothing of keras_nas. Every number printed is measured in this run.

    Args:
        epochs: Epochs of the first training; 12 take under a minute on two cores.
        seed: Of weights, shuffling and the split.
    """
    import keras

    started = time.perf_counter()
    keras.utils.set_random_seed(seed)
    (x_train, y_train), (x_test, y_test) = _digits(seed)
    model = build_network(seed)
    _say(f"1. Train {model.count_params():,} parameters on {len(x_train)} digits.")
    _compile(model)
    model.fit(x_train, y_train, batch_size=64, epochs=epochs, verbose=0)
    before = _accuracy(model, x_test, y_test)
    print(f"   test accuracy {before:.4f} ({len(x_test)} images)")

    _say("2. What hangs together?")
    print(summary(model))

    half = _WIDTH // 2
    _say(f"3. Halve '{_STAGE}': {_WIDTH} -> {half} neurons.")
    halved = plan(model, _STAGE, half)
    print(halved)
    print(verify(model, halved, x_test[:64]))
    small = halved.apply()
    print(f"   parameters {model.count_params():,} -> {small.count_params():,}")

    after = _accuracy(small, x_test, y_test)
    small.fit(x_train, y_train, batch_size=64, epochs=1, verbose=0)
    tuned = _accuracy(small, x_test, y_test)
    _say("4. Accuracy on the test images.")
    print(f"   before {before:.4f}, after the cut {after:.4f}, ", end="")
    print(f"after one more epoch {tuned:.4f}")

    _say(f"5. Grow '{_STAGE}' back to {_WIDTH} neurons.")
    grown_plan = plan(small, _STAGE, _WIDTH)
    grown = grown_plan.apply()
    difference = _difference(small, grown, x_test)
    print(f"   largest change of any output: {difference:.2g}")
    print(f"   test accuracy {_accuracy(grown, x_test, y_test):.4f}")
    if difference > 1e-4:
        raise KerasNasError(
            f"Growth changed the outputs by {difference:.3g}.\n\nPlease report this. "
            f"Received: seed={seed}"
        )

    _say("6. Save, and load in a process without keras_nas.")
    print(f"   largest difference after loading: {_reload(grown, x_test[:64]):.2g}")
    print(f"\nDone in {time.perf_counter() - started:.0f} s.")


def build_network(seed: int = 0) -> Any:
    """Returns a small CNN with residual, inception and depthwise blocks."""
    import keras
    from keras import layers

    def norm(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    def conv(
        x: Any, filters: int, size: int, name: str | None = None, **settings: Any
    ) -> Any:
        return layers.Conv2D(
            filters, size, padding="same", use_bias=False, name=name, **settings
        )(x)

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1), name="image")
    x = norm(conv(inputs, 16, 3, "stem"))
    # Inception: three views of the same tensor side by side.
    views = [conv(x, 8, 1, "view1"), conv(x, 12, 3, "view3"), conv(x, 4, 5, "view5")]
    x = norm(layers.Concatenate(name="views")(views))
    # A residual stage: every block adds to the neurons of the first convolution.
    x = norm(conv(x, _WIDTH, 3, _STAGE, strides=2))
    for number in (1, 2):
        y = norm(conv(x, 24, 3, f"block{number}_in"))
        y = conv(y, _WIDTH, 3, f"block{number}_out")
        x = norm(layers.Add(name=f"block{number}_add")([x, y]))
    # Depthwise: its neurons are those of the stage.
    x = norm(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = norm(conv(x, 48, 1, "pointwise"))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(inputs, outputs, name="digits")


def _digits(seed: int) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Returns 8x8 handwritten digits: 1,437 to train and 360 to test."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise KerasNasError(
            "The demo needs the digits of scikit-learn, which is not installed.\n\n"
            "Install it: pip install scikit-learn. Received: python -m keras_nas demo"
        ) from None
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype("float32") / 16
    order = np.random.default_rng(seed).permutation(len(x))
    test, train = order[:360], order[360:]
    return (x[train], y[train]), (x[test], y[test])


def _compile(model: Any) -> None:
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])


def _accuracy(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    return float(
        model.evaluate(x, y, batch_size=360, verbose=0, return_dict=True)["accuracy"]
    )


def _difference(old: Any, new: Any, x: np.ndarray) -> float:
    outputs = [m.predict(x, batch_size=360, verbose=0) for m in (old, new)]
    return float(np.max(np.abs(outputs[0] - outputs[1])))


def _reload(model: Any, x: np.ndarray) -> float:
    """Loads a saved model in a plain Keras process; returns how outputs differ."""
    with tempfile.TemporaryDirectory() as folder:
        saved, data = Path(folder, "grown.keras"), Path(folder, "data.npz")
        model.save(saved)
        np.savez(data, x=x, y=np.asarray(model(x, training=False)))
        done = subprocess.run(
            [sys.executable, "-c", _LOAD_IN_PLAIN_KERAS, str(saved), str(data)],
            capture_output=True,
            check=False,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    if done.returncode != 0:
        raise KerasNasError(
            f"Plain Keras could not load the model: {done.stderr[-500:]}\n\nPlease "
            "report this. Received: the model that the demo has grown"
        )
    return float(done.stdout.strip().splitlines()[-1])


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)
