"""keras_nas on one net: times, peak memory, exactness.

python -m benchmarks.peers.keras_side ratio ResNet50 300
"""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np
from keras import layers

import keras_nas as kn
from benchmarks.applications import warm_up
from benchmarks.measuring import peak_bytes
from benchmarks.peers.common import (
    FRACTION,
    HARD_RATIO,
    HELD,
    ORACLE_IMAGE,
    RATIO,
    Meter,
)
from benchmarks.peers.keras_nets import net
from keras_nas.graph import analyze

REQUESTS = {
    "ratio": {"sparsity": RATIO, "importance": "group_l2"},
    "budget": {"flops": FRACTION},
}


def cut(request: str, name: str) -> dict[str, Any]:
    """Measures one cut, to a fraction of the neurons or to a budget of FLOPs."""
    model = net(name)
    warm_up()
    whole = kn.count(model)
    meter, new = Meter(), []

    def work() -> Any:
        with meter.phase("analyse"):
            graph = kn.Graph.from_model(model)
            analyze(graph)
        # Analyses once more: the time of the first is counted twice.
        with meter.phase("plan"):
            plan = graph.plan_prune(**REQUESTS[request])
        with meter.phase("cut"):
            new.append(plan.apply())
        return plan

    peak = peak_bytes(work)
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return {
        "params": trainable,
        "whole": whole.flops / 2,
        "peak_mb": peak / 1e6,
        "wall": meter.wall,
        "cpu": meter.cpu,
        "left": kn.count(new[0]).flops / whole.flops,
        "steps": 1,
    }


# --- exactness ------------------------------------------------------------------


def zeroed(model: keras.Model, plan: Any) -> keras.Model:
    """Returns a copy in which the dropped neurons are always zero."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if isinstance(layer, layers.MultiHeadAttention):
            _zero_attention(layer, plan)
        elif layer.weights and layer.name in plan.keep:
            dropped = _dropped(plan, layer.name)
            for weight in layer.weights if len(dropped) else ():
                _zero_weight(layer, weight, dropped)
    return copy


def _dropped(plan: Any, key: Any) -> np.ndarray:
    return np.setdiff1d(np.arange(plan.old_sizes[key]), plan.keep[key])


def _zero_weight(layer: layers.Layer, weight: Any, dropped: np.ndarray) -> None:
    """Zeroes the part of one weight that makes the dropped outputs."""
    if weight.name in ("moving_mean", "moving_variance", "seed_generator_state"):
        return
    value = weight.numpy()
    if isinstance(layer, (layers.LSTM, layers.GRU)):
        gates = value.shape[-1] // layer.units
        dropped = np.concatenate([g * layer.units + dropped for g in range(gates)])
    if isinstance(layer, layers.DepthwiseConv2D) and value.ndim == 4:
        flat = value.reshape(*value.shape[:2], -1)
        flat[..., dropped] = 0
        value = flat.reshape(value.shape)
    else:
        value[..., dropped] = 0
    weight.assign(value)


def _zero_attention(layer: layers.MultiHeadAttention, plan: Any) -> None:
    """A dropped head, or position of a head, adds nothing to any product."""
    heads, keys, values = (
        _dropped(plan, (layer.name, axis))
        for axis in ("num_heads", "key_dim", "value_dim")
    )
    outputs = _dropped(plan, layer.name)
    for weight in layer.weights:
        value = weight.numpy()
        part = weight.path.split("/")[-2]
        if "output" in part:
            value[..., outputs] = 0
        else:
            value[..., heads, :] = 0
            value[..., values if "value" in part else keys] = 0
        weight.assign(value)


def randomize(model: keras.Model) -> None:
    """Random statistics, scales and shifts, so that no channel looks like another."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        name = weight.name
        if "variance" in name or name == "gamma":
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif "mean" in name or "bias" in name or name == "beta":
            weight.assign(rng.normal(scale=0.1, size=weight.shape))


def exact(name: str) -> dict[str, Any]:
    """Cuts a net in float64 and compares it with the zeroed one."""
    keras.config.set_floatx("float64")
    is_vit = name.startswith("ViT")
    model = net(name, 224 if is_vit else ORACLE_IMAGE)
    ignore = ("patches",) if name == HELD else ()
    x = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:]))
    return compare(model, x, {"sparsity": RATIO, "ignore": ignore})


def compare(model: keras.Model, x: Any, request: dict) -> dict[str, Any]:
    """Prunes once; how far is the result from the model with zeroed neurons?"""
    randomize(model)
    plan = kn.plan_prune(model, importance="group_l2", **request)
    new = plan.apply()
    found = {
        "removed": 1 - plan.counts.params / plan.old_counts.params,
        "ties": len(new.weights) == len(model.weights),
        "notes": list(plan.notes)[:1],
    }
    expected = keras.tree.flatten(zeroed(model, plan)(x, training=False))
    actual = keras.tree.flatten(new(x, training=False))
    return found | {"difference": _difference(actual, expected)}


def _difference(actual: list, expected: list) -> float | None:
    """Returns the largest relative difference; none if shapes differ."""
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in zip(actual, expected, strict=True)]
    if any(x.shape != y.shape for x, y in pairs):
        return None
    return max(float(np.abs(x - y).max() / np.abs(y).max()) for x, y in pairs)


def hard(name: str) -> dict[str, Any]:
    """Cuts one of the small nets, every layer by the same fraction."""
    from benchmarks.peers import keras_hard

    keras.config.set_floatx("float64")
    keras.utils.set_random_seed(0)
    model = getattr(keras_hard, name)()
    rng = np.random.default_rng(0)
    shape = (2, *model.input_shape[1:])
    x = rng.normal(size=shape)
    if model.inputs[0].dtype == "int32":
        x = rng.integers(20, size=shape)
    return compare(model, x, {"sparsity": HARD_RATIO, "scope": "local"})


def main(kind: str, name: str, limit_s: str) -> dict[str, Any]:
    if kind in ("ratio", "budget"):
        return cut(kind, name)
    return {"exact": exact, "hard": hard}[kind](name)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
