"""The gradient of the loss of a model: the only file that differs by backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def compile_gradients(
    model: Any,
    variables: list,
    loss: Callable[[Any, Any, Any], Any],
    reduce: Callable[[list, list], Any],
) -> Callable[[Any, Any, Any], Any]:
    """Returns a compiled function of a batch.

    The model runs as in inference and none of its variables change.

    Args:
        model: A built model.
        variables: The variables that the loss is differentiated by.
        loss: ``(x, y, sample_weight) -> scalar``; calls the model.
        reduce: ``(values, gradients) -> tensor``: what is wanted of them. A gradient
            is None where the loss does not depend on a variable.

    Returns:
        ``(x, y, sample_weight) -> tensor``, what ``reduce`` makes of one batch.
    """
    makers = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    return makers[keras.backend.backend()](model, variables, loss, reduce)


def dense(gradient: Any) -> Any:
    """Returns a gradient as a tensor; that of a lookup is sparse on TensorFlow."""
    return gradient if gradient is None else keras.ops.convert_to_tensor(gradient)


def step_variable(optimizer: Any, size: int) -> Any:
    """Returns a float32 variable of shape ``(size,)`` that a training step may change.

    On JAX a step changes nothing but the variables that it is given, so there it has
    to be one of the optimizer.
    """
    if keras.backend.backend() == "jax":
        return optimizer.add_variable((size,), dtype="float32", name="contribution")
    return keras.Variable(
        initializer="zeros",
        shape=(size,),
        dtype="float32",
        trainable=False,
        name="contribution",
    )


def _tensorflow(model: Any, variables: list, loss: Any, reduce: Any) -> Any:
    import tensorflow as tf

    def step(x: Any, y: Any, sample_weight: Any) -> Any:
        values = [variable.value for variable in variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for value in values:
                tape.watch(value)
            result = loss(x, y, sample_weight)
        return reduce(values, [dense(g) for g in tape.gradient(result, values)])

    return tf.function(step, reduce_retracing=True, autograph=False)


def _jax(model: Any, variables: list, loss: Any, reduce: Any) -> Any:
    import jax

    others = [v for v in model.variables if all(v is not own for own in variables)]

    def pure(values: list, rest: list, batch: tuple) -> Any:
        mapping = [*zip(variables, values), *zip(others, rest)]
        with keras.StatelessScope(state_mapping=mapping):
            return loss(*batch)

    @jax.jit
    def step(values: list, rest: list, batch: tuple) -> Any:
        return reduce(values, jax.grad(pure)(values, rest, batch))

    def run(*batch: Any) -> Any:
        values = [variable.value for variable in variables]
        return step(values, [variable.value for variable in others], batch)

    return run


def _torch(model: Any, variables: list, loss: Any, reduce: Any) -> Any:
    import torch

    def step(x: Any, y: Any, sample_weight: Any) -> Any:
        values = [variable.value for variable in variables]
        with torch.enable_grad():
            result = loss(x, y, sample_weight)
            found = torch.autograd.grad(result, values, allow_unused=True)
        with torch.no_grad():
            return reduce(values, list(found))

    return step
