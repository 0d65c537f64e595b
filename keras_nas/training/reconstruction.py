"""New weights for the layers behind a cut, so that they give what they gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import keras
import numpy as np

from keras_nas.axes import Expression, index_of
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import TensorRef, names_kept
from keras_nas.importance.data import (
    check_data,
    copy_to_run,
    find_layer,
    run_batches,
)
from keras_nas.numeric import is_real
from keras_nas.surgery import Plan
from keras_nas.surgery.folding import watched
from keras_nas.surgery.readers import Reader, find_readers

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


def reconstruct(
    plan: Plan,
    x: Any,
    *,
    model: Any = None,
    ridge: float = 1e-3,
    batch_size: int = 32,
) -> Any:
    """Returns the model of a plan with weights that make up for what it drops.

    Layer by layer, from the inputs on, the kernel and the bias of each layer that reads
    dropped neurons become those with which it gives, from the neurons that are left and
    as they are by now, what it gave in the old model: the least squares over all data
    and positions, before its activation function. The kept neurons of correlated ones
    take over what the dropped ones did.

    It concerns layers with a kernel that can be taken apart: Dense, and convolutions
    without groups. All others stay as the plan leaves them.

    Args:
        plan: What `keras_nas.plan` or `keras_nas.plan_prune` returned.
        x: Inputs, as ``model.predict`` takes them, or something that yields batches;
            some hundred samples. Targets are left aside.
        model: The new model, if it is another one than ``plan.apply()``: trained on
            since, for one. Not changed.
        ridge: How much weights are held to where they are, against few data: added to
            the normal equations, times the mean square of what is read.
        batch_size: Number of samples that run together, for arrays.

    Returns:
        A new `keras.Model`.

    Raises:
        InvalidRequestError: The data do not fit, or the model is not one of the plan.

    Example:
        >>> import keras, numpy as np, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(2, kernel_initializer="ones", name="twice"),
        ...     keras.layers.Dense(1, kernel_initializer="ones", name="sum"),
        ... ])
        >>> x = np.random.default_rng(0).normal(size=(64, 2))
        >>> small = kn.reconstruct(kn.plan(model, "twice", 1), x, ridge=1e-9)
        >>> round(float(small.get_layer("sum").kernel[0, 0]), 3)
        2.0

    Source: He 2017, "Channel pruning for accelerating very deep neural networks" (arXiv
    1707.06168), and Luo 2017, "ThiNet" (arXiv 1707.06342). They choose neurons by the
    same error, which is not done here.
    """
    _check(plan, ridge)
    check_data(x, None, batch_size)
    new = _new_model(plan, model)
    old = copy_to_run(plan.graph).model
    for reader in find_readers(plan.analysis, plan.atom_keep):
        layer = find_layer(new, reader.key)
        if _can_be_solved(plan, reader, layer):
            _solve(plan, reader, old, new, x, ridge, batch_size)
    return new


def _check(plan: Any, ridge: Any) -> None:
    if not isinstance(plan, Plan):
        raise InvalidRequestError(
            f"A {type(plan).__name__} does not say which neurons were dropped.\n\nGive "
            "the plan: `plan = keras_nas.plan_prune(model, ...)`. "
            f"Received: plan={plan!r}"
        )
    if not is_real(ridge) or not 0 <= ridge < float("inf"):
        raise InvalidRequestError(
            "The ridge must be a number of at least 0.\n\nGive a small one, 0.001 by "
            f"default. Received: ridge={ridge!r}"
        )


def _new_model(plan: Plan, model: Any) -> Any:
    new = plan.apply()
    if model is None:
        return new
    shapes = [tuple(w.shape) for w in new.weights]
    if [tuple(w.shape) for w in model.weights] != shapes:
        raise InvalidRequestError(
            f"The model '{model.name}' is not what this plan leads to: its weights "
            "have other shapes.\n\nGive the model that came from `plan.apply()`. "
            f"Received: {model!r}"
        )
    new.set_weights(model.get_weights())
    return new


def _can_be_solved(plan: Plan, reader: Reader, layer: Any) -> bool:
    """Whether a copy of a layer can show the pieces of input that its kernel reads."""
    calls = [c for c in plan.analysis.flat.calls if c.part.key == reader.key]
    config = layer.get_config()
    return (
        len(calls) == 1
        and len(calls[0].reads) == len(calls[0].outputs) == 1
        and [w.name for w in layer.weights] in (["kernel", "bias"], ["kernel"])
        and config.get("groups", 1) == 1
        and ("units" in config or ("filters" in config and "strides" in config))
        and not isinstance(layer, _TRANSPOSED)
    )


@dataclass
class _Equations:
    """Normal equations of ``pieces @ change = missing``, with a constant column."""

    left: Any = 0.0
    right: Any = 0.0

    def add(self, pieces: np.ndarray, missing: np.ndarray) -> None:
        rows = np.concatenate([pieces, np.ones((len(pieces), 1))], axis=1)
        self.left = self.left + rows.T @ rows
        self.right = self.right + rows.T @ missing

    def solve(self, ridge: float, has_bias: bool) -> tuple[np.ndarray, np.ndarray]:
        size = len(self.left) if has_bias else len(self.left) - 1
        left, right = self.left[:size, :size], self.right[:size]
        scale = np.trace(self.left[:-1, :-1]) / max(len(self.left) - 1, 1)
        held = np.full(size, ridge * scale)
        if has_bias:
            held[-1] = 0.0
        # Of several solutions the smallest change.
        change = np.linalg.lstsq(left + np.diag(held), right, rcond=None)[0]
        if has_bias:
            return change[:-1], change[-1]
        return change, np.zeros(right.shape[1])


def _solve(
    plan: Plan,
    reader: Reader,
    old: Any,
    new: Any,
    x: Any,
    ridge: float,
    batch_size: int,
) -> None:
    """Gives one layer of the new model the weights that come closest to the old."""
    layer = find_layer(new, reader.key)
    channel, index = _outputs(plan, reader)
    equations = _Equations()
    seen: dict[str, Any] = {}
    pieces = _pieces_of(layer)

    def look_at(model: str) -> Callable[[Reader, Any, Any], None]:
        def look(_: Reader, linear: Callable[[Any], Any], inputs: Any) -> None:
            seen[model] = _rows(linear(inputs), channel)
            if model == "new":
                seen["pieces"] = _rows(pieces(inputs), channel)

        return look

    def step(inputs: Any, y: Any, sample_weight: Any) -> np.ndarray:
        for model in (old, new):
            model(inputs, training=False)
        target = seen["old"][:, np.maximum(index, 0)]
        # New neurons have nothing to be like.
        missing = np.where(index < 0, 0.0, target - seen["new"])
        equations.add(seen["pieces"], missing)
        return np.array(missing.sum())

    with watched(old, [reader], look_at("old")), watched(new, [reader], look_at("new")):
        for _ in run_batches(step, x, None, batch_size):
            pass
    kernel, bias = equations.solve(ridge, layer.use_bias)
    _add(layer.kernel, kernel.reshape(layer.kernel.shape))
    if layer.use_bias:
        _add(layer.bias, bias)


def _outputs(plan: Plan, reader: Reader) -> tuple[int, np.ndarray]:
    """Returns the channel axis of what a layer gives, and its index array."""
    ref = TensorRef(reader.path)
    tensor = plan.analysis.tensors[ref]
    axis = cast(Expression, plan.analysis.channel_of(ref))
    return tensor.channel % tensor.rank, index_of(axis, plan.atom_keep)


def _pieces_of(layer: Any) -> Callable[[Any], Any]:
    """Returns a function of an input that gives all that one kernel reads at once.

    It is the same layer with as many outputs as the kernel has inputs, and the unit
    matrix as kernel: padding, strides and dilation are those of the layer.
    """
    shape = tuple(layer.kernel.shape)
    count = int(np.prod(shape[:-1]))
    config = {**layer.get_config(), "use_bias": False, "activation": "linear"}
    config["units" if "units" in config else "filters"] = count
    config["dtype"] = "float32"
    with names_kept():
        twin = type(layer).from_config(config)

    def pieces(inputs: Any) -> Any:
        if not twin.built:
            with names_kept():
                twin.build(inputs.shape)
            twin.kernel.assign(np.eye(count).reshape((*shape[:-1], count)))
        return twin(keras.ops.cast(inputs, "float32"))

    return pieces


def _rows(tensor: Any, channel: int) -> np.ndarray:
    array = keras.ops.convert_to_numpy(tensor).astype(np.float64)
    array = np.moveaxis(array, channel, -1)
    return array.reshape(-1, array.shape[-1])


def _add(variable: Any, change: np.ndarray) -> None:
    old = keras.ops.convert_to_numpy(variable).astype(np.float64)
    variable.assign(old + change)
