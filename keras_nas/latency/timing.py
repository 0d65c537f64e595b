"""Running a compiled model and taking the time: the only file that differs by backend.

Single runs are disturbed by whatever else the machine does, and a machine gets slower
when it gets warm. So everything is run once per round, one after the other, for several
rounds: what disturbs a round disturbs all alike. The median is not moved by outliers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np


class Timing(NamedTuple):
    """Seconds of some runs.

    Attributes:
        seconds: The median.
        spread: Half the distance between the quartiles.
    """

    seconds: float
    spread: float


def interleaved(
    runners: Sequence[Callable[[], Any]], repetitions: int, warm_up: int
) -> list[Timing]:
    """Times functions in turn, round by round.

    Args:
        runners: Each returns when its result is there.
        repetitions: Number of rounds that count, at least 1.
        warm_up: Number of rounds before, which compile and fill caches.
    """
    found = np.zeros((repetitions, len(runners)))
    for number in range(-warm_up, repetitions):
        for place, run in enumerate(runners):
            start = time.perf_counter()
            run()
            if number >= 0:
                found[number, place] = time.perf_counter() - start
    low, middle, high = np.quantile(found, (0.25, 0.5, 0.75), axis=0)
    return [
        Timing(float(m), float(h - lo) / 2)
        for lo, m, h in zip(low, middle, high, strict=True)
    ]


def duration(seconds: float) -> str:
    """Writes a time with three digits and a unit that fits: ``"13.6 ms"``."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if abs(seconds) * factor >= 0.9995:
            number = seconds * factor
            return f"{number:.3g} {unit}" if number < 999.5 else f"{number:,.0f} {unit}"
    return f"{seconds * 1e6:.3g} us"


def runner(model: Any, inputs: Any) -> Callable[[], Any]:
    """Returns a function that runs a model compiled, as in inference, and waits.

    TensorFlow runs a ``tf.function``, JAX a ``jax.jit``, torch the model itself
    without gradients, since that is how Keras runs it.

    Args:
        model: A built model.
        inputs: Arrays, in the structure that the model takes.
    """
    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    makers = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    return makers[keras.backend.backend()](model, inputs)


def device_name() -> str:
    """Returns what the models run on, in the words of the backend."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    import tensorflow as tf

    names = tf.config.list_logical_devices("GPU")
    return "gpu" if names else "cpu"


def _tensorflow(model: Any, inputs: Any) -> Callable[[], Any]:
    import tensorflow as tf

    @tf.function(autograph=False)
    def run(tensors: Any) -> Any:
        return model(tensors, training=False)

    def wait() -> None:
        run(inputs)
        tf.test.experimental.sync_devices()

    return wait


def _jax(model: Any, inputs: Any) -> Callable[[], Any]:
    import jax

    @jax.jit
    def run(trained: list, others: list, tensors: Any) -> Any:
        return model.stateless_call(trained, others, tensors, training=False)[0]

    trained = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    return lambda: jax.block_until_ready(run(trained, others, inputs))


def _torch(model: Any, inputs: Any) -> Callable[[], Any]:
    import torch

    def wait() -> None:
        with torch.no_grad():
            model(inputs, training=False)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return wait
