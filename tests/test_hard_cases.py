"""Forty relations between sizes that defeat tools which only count channels.

Each case states which neurons belong together, in numbers, for one request that shrinks
and one that grows. Where the function is kept, the new model must compute it; where it
cannot be, the plan must say so; where nothing may change, the error must say why.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.applications.convnext import LayerScale
from models import dense, random_inputs, randomize

import keras_nas as kn

TIME_LIMIT_S = 10.0

CASES: dict[str, Callable[[], None]] = {}


def case(number: int, topic: str, *variants: Any) -> Callable:
    """Registers a check, once for each variant that it takes."""

    def register(check: Callable) -> Callable:
        name = f"{number:02d}-{topic}"
        if not variants:
            CASES[name] = check
        for variant in variants:
            CASES[f"{name}-{variant}"] = partial(check, variant)
        return check

    return register


def planned(model, requests: Mapping, keep: Mapping | None = None) -> kn.Plan:
    """Plans in time; ``keep`` names the neurons that matter most."""
    importance = "l2"
    if keep is not None:
        sizes = kn.plan(model, requests).old_sizes
        importance = {
            name: np.where(np.isin(np.arange(sizes[name]), wanted), 9.0, 1.0)
            for name, wanted in keep.items()
        }
    start = time.monotonic()
    plan = kn.plan(model, requests, importance=importance)
    assert time.monotonic() - start < TIME_LIMIT_S
    for key, size in requests.items():
        assert plan.sizes[key] == size
        assert len(plan.keep[key]) == size
    return plan


def shrunk(model, requests: Mapping, keep: Mapping | None = None):
    """The plan and the new model, which is the old one without what was dropped."""
    plan = planned(model, requests, keep)
    assert plan.exact, plan.notes
    checked = kn.verify(model, plan)
    assert checked.is_equal, str(checked)
    return plan, plan.apply()


def grown(model, requests: Mapping):
    """The plan and the new model, which computes what the old one did."""
    plan = planned(model, requests)
    assert plan.exact, plan.notes
    assert kn.verify(model, plan).is_equal
    for key, keep in plan.keep.items():
        assert set(range(plan.old_sizes[key])) <= set(keep.tolist()), key
    new = plan.apply()
    assert_same_outputs(model, new)
    return plan, new


def announced(model, requests: Mapping, match: str, keep: Mapping | None = None):
    """The plan and the new model, where the plan says that the function changes."""
    plan = planned(model, requests, keep)
    assert not plan.exact
    assert any(re.search(match, note) for note in plan.notes), plan.notes
    assert kn.verify(model, plan)
    return plan, plan.apply()


def refused(model, requests: Mapping, match: str) -> kn.InfeasibleError:
    """The error that names what stops a request."""
    start = time.monotonic()
    with pytest.raises(kn.InfeasibleError, match=match) as caught:
        kn.plan(model, requests)
    assert time.monotonic() - start < TIME_LIMIT_S
    return caught.value


def assert_same_outputs(old, new) -> None:
    inputs = random_inputs(old)
    for left, right in zip(
        keras.tree.flatten(old(inputs, training=False)),
        keras.tree.flatten(new(inputs, training=False)),
        strict=True,
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(left),
            ops.convert_to_numpy(right),
            rtol=1e-4,
            atol=1e-4,
        )


def assert_kept(plan: kn.Plan, **expected: Sequence[int]) -> None:
    """Compares keep arrays by the name of the layer."""
    for name, keep in expected.items():
        assert plan.keep[name].tolist() == list(keep), name


def array(model, path: str) -> np.ndarray:
    """A weight by the path of its layer and the end of its own, or the only one."""
    layer, names = model, path.split("/")
    while names and hasattr(layer, "get_layer"):
        layer = layer.get_layer(names.pop(0))
    end = "/" + "/".join(names) if names else ""
    (found,) = [weight for weight in layer.weights if weight.path.endswith(end)]
    return ops.convert_to_numpy(found)


def assert_sliced(old, new, path: str, *index) -> None:
    """The new weight is the old one at the index arrays; None keeps all of an axis."""
    expected = array(old, path)
    for axis, positions in enumerate(index):
        if positions is not None:
            expected = np.take(expected, positions, axis)
    np.testing.assert_array_equal(array(new, path), expected)


def same(names: Sequence[str], keep: Sequence[int]) -> dict[str, Sequence[int]]:
    """Several layers with the same keep array."""
    return {name: keep for name in names}


def head(x, units: int = 2):
    return layers.Dense(units, name="head")(x)


def finished(inputs, outputs) -> keras.Model:
    return randomize(keras.Model(inputs, outputs))


def image(*middle, channels: int = 4, shape=(4, 4, 3)) -> keras.Model:
    """``stem``, then the layers given, then a ``head`` over the pooled channels."""
    x = inputs = keras.Input(shape, name="image")
    x = conv(channels, "stem")(x)
    for layer in middle:
        x = layer(x)
    return finished(inputs, head(layers.GlobalAveragePooling2D(name="pool")(x)))


def conv(filters: int, name: str, size: int = 1, **settings) -> layers.Layer:
    settings = {"padding": "same", "activation": "tanh", **settings}
    return layers.Conv2D(filters, size, name=name, **settings)


def times(keep: Sequence[int], multiplier: int) -> list[int]:
    """Positions ``c * m + j`` for every kept ``c``."""
    return [c * multiplier + j for c in keep for j in range(multiplier)]


def blocks(keep: Sequence[int], width: int, count: int) -> list[int]:
    """The kept positions in each of several blocks."""
    return [block * width + position for block in range(count) for position in keep]


# --- merging --------------------------------------------------------------------------


@case(1, "residual", "Add", "Subtract", "Average", "Maximum", "Minimum")
def residual(merge):
    inputs = keras.Input((3,), name="in")
    x = dense(6, "stem")(inputs)
    for number in range(2):
        y = dense(6, f"branch{number}")(x)
        x = getattr(layers, merge)(name=f"merge{number}")([x, y])
    model = finished(inputs, head(x))
    everywhere = ("stem", "branch0", "branch1", "merge0", "merge1")
    plan, new = shrunk(model, {"branch1": 4}, keep={"branch0": [0, 2, 3, 5]})
    assert_kept(plan, **same(everywhere, [0, 2, 3, 5]))
    assert_sliced(model, new, "branch0/kernel", [0, 2, 3, 5], [0, 2, 3, 5])
    plan, _ = grown(model, {"merge0": 8})
    assert {plan.sizes[name] for name in everywhere} == {8}
    y = getattr(layers, merge)(name="merge")([inputs, dense(3, "fixed")(inputs)])
    refused(finished(inputs, head(y)), {"fixed": 2}, "model input 'in'")


@case(2, "concatenate", "channels", "steps")
def concatenate(axis):
    inputs = keras.Input((2, 3), name="in")
    if axis == "steps":
        a, b = dense(5, "a")(inputs), dense(5, "b")(inputs)
        joined = layers.Concatenate(axis=1, name="cat")([a, b])
        model = finished(inputs, head(joined))
        plan, _ = shrunk(model, {"b": 3}, keep={"a": [0, 1, 4]})
        assert_kept(plan, a=[0, 1, 4], b=[0, 1, 4], cat=[0, 1, 4])
        assert grown(model, {"cat": 6})[0].sizes["a"] == 6
        return
    a, b = dense(3, "a")(inputs), dense(5, "b")(inputs)
    model = finished(inputs, head(layers.Concatenate(name="cat")([a, b, a])))
    plan, new = shrunk(model, {"a": 2}, keep={"a": [0, 2]})
    rows = [0, 2, 3, 4, 5, 6, 7, 8, 10]
    assert_kept(plan, cat=rows)
    assert plan.input_sizes["cat"] == [2, 5, 2]
    assert_sliced(model, new, "head/kernel", rows)
    plan, _ = grown(model, {"a": 4})
    assert_kept(plan, cat=[0, 1, 2, -1, 3, 4, 5, 6, 7, 8, 9, 10, -1])


@case(3, "sum_of_concatenations")
def sum_of_concatenations():
    inputs = keras.Input((3,))
    a, b, c, d = (
        dense(n, name)(inputs) for name, n in zip("abcd", (3, 5, 4, 4), strict=True)
    )
    left = layers.Concatenate(name="left")([a, b])
    right = layers.Concatenate(name="right")([c, d])
    model = finished(inputs, head(layers.Add(name="add")([left, right])))
    # The pieces are [0:3], [3:4] and [4:8].
    plan, _ = shrunk(model, {"a": 2}, keep={"a": [0, 2]})
    assert_kept(plan, a=[0, 2], c=[0, 2, 3], b=range(5), d=range(4))
    assert_kept(plan, add=[0, 2, 3, 4, 5, 6, 7])
    plan, _ = shrunk(model, {"b": 3}, keep={"b": [0, 2, 4]})
    assert_kept(plan, b=[0, 2, 4], c=range(4), d=[1, 3], add=[0, 1, 2, 3, 5, 7])
    plan, _ = grown(model, {"d": 6})
    assert plan.sizes["b"] + plan.sizes["a"] == plan.sizes["add"] == 10
    for whole in ("left", "right"):
        np.testing.assert_array_equal(plan.keep[whole], plan.keep["add"])


@case(4, "one_weight_per_channel")
def one_weight_per_channel():
    model = image(
        layers.BatchNormalization(name="norm"),
        layers.PReLU(shared_axes=[1, 2], name="shared"),
        layers.PReLU(name="full"),
        channels=5,
    )
    plan, new = shrunk(model, {"norm": 3}, keep={"stem": [0, 3, 4]})
    keep = [0, 3, 4]
    assert_kept(plan, stem=keep, norm=keep, shared=keep, full=keep, pool=keep)
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        assert_sliced(model, new, f"norm/{name}", keep)
    assert_sliced(model, new, "shared/alpha", None, None, keep)
    assert_sliced(model, new, "full/alpha", None, None, keep)
    assert array(new, "full/alpha").shape == (4, 4, 3)
    assert len(new.get_layer("norm").non_trainable_variables) == 2
    grown(model, {"stem": 7})


# --- convolutions ---------------------------------------------------------------------


@case(5, "depthwise", 1, 2, 3)
def depthwise(multiplier):
    layer = layers.DepthwiseConv2D(3, depth_multiplier=multiplier, name="depthwise")
    model = image(layer)
    plan, new = shrunk(model, {"stem": 3}, keep={"stem": [0, 1, 3]})
    assert_kept(plan, depthwise=times([0, 1, 3], multiplier))
    assert_sliced(model, new, "depthwise/kernel", None, None, [0, 1, 3])
    assert_sliced(model, new, "head/kernel", times([0, 1, 3], multiplier))
    assert new.get_layer("depthwise").depth_multiplier == multiplier
    plan, _ = shrunk(model, {"depthwise": 2 * multiplier})
    assert plan.sizes["stem"] == 2
    grown(model, {"depthwise": 6 * multiplier})
    if multiplier > 1:
        plan, new = shrunk(model, {("depthwise", "depth_multiplier"): 1})
        assert_kept(plan, stem=range(4))
        (j,) = plan.keep["depthwise", "depth_multiplier"]
        assert_kept(plan, depthwise=[c * multiplier + j for c in range(4)])
        assert_sliced(model, new, "depthwise/kernel", None, None, None, [j])


@case(6, "separable", 1, 2)
def separable(rank):
    x = inputs = keras.Input((5,) * rank + (3,))
    x = dense(4, "stem")(x)
    layer = getattr(layers, f"SeparableConv{rank}D")
    x = layer(6, 3, depth_multiplier=2, activation="tanh", name="conv")(x)
    model = finished(inputs, head(x))
    plan, new = shrunk(model, {"stem": 2, "conv": 4}, keep={"stem": [1, 3]})
    anywhere = (None,) * rank
    assert_sliced(model, new, "conv/depthwise_kernel", *anywhere, [1, 3])
    outputs = plan.keep["conv"]
    rows = times([1, 3], 2)
    assert_sliced(model, new, "conv/pointwise_kernel", *anywhere, rows, outputs)
    assert_sliced(model, new, "conv/bias", outputs)
    assert_sliced(model, new, "head/kernel", outputs)
    grown(model, {"stem": 5, "conv": 7})


@case(7, "grouped_convolution")
def grouped_convolution():
    model = image(conv(8, "grouped", 3, groups=2), channels=6)
    keep = {"stem": [0, 1, 4, 5], "grouped": [0, 1, 2, 5, 6, 7]}
    plan, new = shrunk(model, {"stem": 4, "grouped": 6}, keep=keep)
    assert_kept(plan, **keep)
    old = array(model, "grouped/kernel")
    first = old[:, :, [0, 1]][..., [0, 1, 2]]
    second = old[:, :, [1, 2]][..., [5, 6, 7]]
    expected = np.concatenate([first, second], -1)
    np.testing.assert_array_equal(array(new, "grouped/kernel"), expected)
    assert new.get_layer("grouped").groups == 2
    grown(model, {"stem": 8, "grouped": 10})
    assert refused(model, {"stem": 5}, "'stem'").nearest == {"stem": (4, 6)}


@case(8, "before_grouped_convolutions", "concatenation", "two_numbers_of_groups")
def before_grouped_convolutions(what):
    inputs = keras.Input((4, 4, 3))
    if what == "concatenation":
        a, b = conv(3, "a")(inputs), conv(5, "b")(inputs)
        x = layers.Concatenate(name="joined")([a, b])
        makes = {2: 6}
    else:
        x = conv(12, "joined")(inputs)
        makes = {2: 4, 3: 6}
    convs = [conv(n, f"by{g}", 3, groups=g)(x) for g, n in makes.items()]
    x = layers.Concatenate()(convs) if len(convs) > 1 else convs[0]
    model = finished(inputs, head(layers.GlobalAveragePooling2D()(x)))
    old = 8 if what == "concatenation" else 12
    plan, new = shrunk(model, {"joined": 6})
    keep = plan.keep["joined"]
    for groups in makes:
        counts = np.bincount(keep // (old // groups), minlength=groups)
        assert counts.tolist() == [6 // groups] * groups
        assert array(new, f"by{groups}/kernel").shape[2] == 6 // groups
    if what == "concatenation":
        parts = np.concatenate([plan.keep["a"], plan.keep["b"] + 3])
        np.testing.assert_array_equal(keep, parts)
    plan, _ = grown(model, {"joined": old + 6})


@case(9, "squeeze_and_excite")
def squeeze_and_excite():
    inputs = keras.Input((4, 4, 3))
    trunk = conv(6, "trunk")(inputs)
    x = layers.GlobalAveragePooling2D(name="squeeze")(trunk)
    x = layers.Dense(2, "relu", name="bottleneck")(x)
    x = layers.Dense(6, "sigmoid", name="excite")(x)
    x = layers.Reshape((1, 1, 6), name="reshape")(x)
    x = layers.Multiply(name="scale")([trunk, x])
    model = finished(inputs, head(layers.GlobalMaxPooling2D()(x)))
    plan, new = shrunk(model, {"scale": 4}, keep={"trunk": [0, 2, 3, 5]})
    names = ("trunk", "squeeze", "excite", "reshape", "scale")
    assert_kept(plan, **same(names, [0, 2, 3, 5]), bottleneck=[0, 1])
    assert tuple(new.get_layer("reshape").target_shape) == (1, 1, 4)
    assert_sliced(model, new, "bottleneck/kernel", [0, 2, 3, 5])
    plan, _ = shrunk(model, {"bottleneck": 1})
    assert plan.sizes["trunk"] == 6
    grown(model, {"trunk": 7, "bottleneck": 3})


@case(10, "broadcast_from_one")
def broadcast_from_one():
    inputs = keras.Input((4, 4, 3))
    trunk = conv(6, "trunk")(inputs)
    other = conv(6, "other")(inputs)
    mask = conv(1, "mask", activation="sigmoid")(inputs)
    x = layers.Multiply(name="masked")([layers.Add(name="add")([trunk, other]), mask])
    model = finished(inputs, head(layers.GlobalAveragePooling2D()(x * 2.0 - 0.5)))
    plan, _ = shrunk(model, {"trunk": 4})
    assert plan.sizes["mask"] == 1
    np.testing.assert_array_equal(plan.keep["masked"], plan.keep["trunk"])
    # What becomes 1 still is not broadcast: both operands of the sum are 1.
    plan, _ = shrunk(model, {"trunk": 1})
    np.testing.assert_array_equal(plan.keep["other"], plan.keep["trunk"])
    plan, _ = grown(model, {"masked": 8})
    assert plan.sizes["mask"] == 1
    refused(model, {"mask": 2}, "'mask'")


# --- shapes ---------------------------------------------------------------------------


@case(11, "flatten", "channels_last", "channels_first")
def flatten(order):
    x = inputs = keras.Input((2, 3, 3))
    x = conv(4, "stem")(x)
    if order == "channels_first":
        x = layers.Permute((3, 1, 2))(x)
    model = finished(inputs, head(layers.Flatten(name="flatten")(x)))
    keep = [0, 1, 3]
    plan, new = shrunk(model, {"stem": 3}, keep={"stem": keep})
    rows = blocks(keep, 4, 6) if order == "channels_last" else times(keep, 6)
    assert_kept(plan, stem=keep, flatten=rows)
    assert_sliced(model, new, "head/kernel", rows)
    assert grown(model, {"stem": 6})[0].sizes["flatten"] == 36


@case(12, "pooling_and_padding")
def pooling_and_padding():
    middle = {
        "pad": layers.ZeroPadding2D(1, name="pad"),
        "max": layers.MaxPooling2D(2, name="max"),
        "up": layers.UpSampling2D(3, name="up"),
        "crop": layers.Cropping2D(1, name="crop"),
        "mean": layers.AveragePooling2D(2, name="mean"),
        "resize": layers.Resizing(5, 5, name="resize"),
    }
    model = image(*middle.values())
    plan, new = shrunk(model, {"resize": 3}, keep={"stem": [0, 1, 3]})
    assert_kept(plan, **same([*middle, "stem", "pool"], [0, 1, 3]))
    assert new.get_layer("resize").output.shape == (None, 5, 5, 3)
    grown(model, {"pool": 6})


@case(13, "reshape_of_channels", "split", "split_by_minus_one", "merged_back")
def reshape_of_channels(what):
    x = inputs = keras.Input((3,))
    x = dense(12, "before")(x)
    target = (3, -1) if what == "split_by_minus_one" else (3, 4)
    x = layers.Reshape(target, name="split")(x)
    if what == "merged_back":
        x = layers.Reshape((12,), name="merge")(layers.ReLU()(x))
    else:
        x = layers.Flatten()(dense(2, "inner")(x))
    model = finished(inputs, head(x))
    plan, new = shrunk(model, {"before": 9})
    keep = plan.keep["before"]
    # One and the same three positions of each group of four.
    np.testing.assert_array_equal(keep, blocks(keep[:3].tolist(), 4, 3))
    assert new.get_layer("split").output.shape == (None, 3, 3)
    if what == "merged_back":
        np.testing.assert_array_equal(plan.keep["merge"], keep)
        assert new.get_layer("merge").output.shape == (None, 9)
    else:
        assert_sliced(model, new, "inner/kernel", keep[:3])
    plan, _ = grown(model, {"before": 15})
    assert plan.sizes["split"] == 5


@case(14, "permute")
def permute():
    inputs = keras.Input((4, 3))
    x = dense(6, "before")(inputs)
    x = layers.Permute((2, 1), name="to_tokens")(x)
    x = dense(5, "tokens")(x)
    x = layers.Permute((2, 1), name="to_channels")(x)
    x = layers.Dense(2, name="channels")(x)
    model = finished(inputs, head(layers.Flatten(name="flatten")(x)))
    keep = [0, 2, 3, 5]
    plan, new = shrunk(model, {"before": 4}, keep={"before": keep})
    assert_kept(plan, to_tokens=range(4), to_channels=keep, tokens=range(5))
    assert_sliced(model, new, "tokens/kernel")
    assert_sliced(model, new, "channels/kernel", keep)
    plan, new = shrunk(model, {"tokens": 3}, keep={"tokens": [0, 1, 4]})
    assert_kept(plan, before=range(6), flatten=times([0, 1, 4], 2))
    assert_sliced(model, new, "head/kernel", times([0, 1, 4], 2))
    grown(model, {"before": 7, "tokens": 6})


@case(15, "channel_shuffle", "alone", "before_grouped_convolution")
def channel_shuffle(what):
    channels = 6 if what == "alone" else 12
    x = inputs = keras.Input((4, 4, 3))
    x = conv(channels, "stem")(x)
    x = layers.Reshape((4, 4, 2, channels // 2), name="parted")(x)
    x = layers.Permute((1, 2, 4, 3))(x)
    x = layers.Reshape((4, 4, channels), name="shuffled")(x)
    if what != "alone":
        x = conv(6, "grouped", 3, groups=3)(x)
    model = finished(inputs, head(layers.GlobalAveragePooling2D()(x)))
    smaller, larger = (4, 10) if what == "alone" else (6, 18)
    plan, new = shrunk(model, {"stem": smaller})
    check_shuffle(plan, channels, new)
    if what == "alone":
        assert tuple(new.get_layer("parted").target_shape) == (4, 4, 2, 2)
        assert_sliced(model, new, "head/kernel", plan.keep["shuffled"])
    else:
        assert array(new, "grouped/kernel").shape[2] == 2
        assert (np.bincount(plan.keep["shuffled"] // 4) == 2).all()
    plan, new = grown(model, {"stem": larger})
    check_shuffle(plan, channels, new)
    refused(model, {"stem": smaller + 1}, "'stem'")


def check_shuffle(plan: kn.Plan, old_size: int, new) -> None:
    """New position ``j * g + i`` holds what new position ``i * (C / g) + j`` held.

    The new number of groups ``g`` may be another than the old one, which is 2.
    """
    before, after = plan.keep["stem"], plan.keep["shuffled"]
    *_, groups, members = new.get_layer("parted").target_shape
    assert groups * members == len(before) == len(after)
    for i in range(groups):
        for j in range(members):
            old = before[i * members + j]
            group, member = divmod(old, old_size // 2)
            assert after[j * groups + i] == (-1 if old < 0 else member * 2 + group)


@case(16, "split", "in_equal_parts", "at_positions", "by_slices", "gated")
def split(how):
    inputs = keras.Input((3,))
    x = dense(8, "before")(inputs)
    parts = {
        "in_equal_parts": lambda: ops.split(x, 2, axis=-1),
        "at_positions": lambda: ops.split(x, [3], axis=-1),
        "by_slices": lambda: (x[:, :3], x[:, 3:]),
        "gated": lambda: ops.split(x, 2, axis=-1),
    }
    left, right = parts[how]()
    if how == "gated":
        model = finished(inputs, head(left * ops.sigmoid(right)))
        plan, new = shrunk(model, {"before": 6}, keep={"before": [0, 1, 3]})
        assert_kept(plan, before=[0, 1, 3, 4, 5, 7])
        assert_sliced(model, new, "head/kernel", [0, 1, 3])
        assert_kept(
            grown(model, {"before": 10})[0], before=[*range(4), -1, 4, 5, 6, 7, -1]
        )
        return
    joined = layers.Concatenate(name="cat")([left, dense(5, "branch")(right)])
    model = finished(inputs, head(joined))
    cut = 4 if how == "in_equal_parts" else 3
    plan, new = shrunk(model, {"before": 6})
    keep = plan.keep["before"]
    if how == "in_equal_parts":
        assert (keep < cut).sum() == (keep >= cut).sum() == 3
    assert_sliced(model, new, "branch/kernel", keep[keep >= cut] - cut)
    rows = [*keep[keep < cut], *(cut + np.arange(5))]
    assert_kept(plan, cat=rows)
    assert_sliced(model, new, "head/kernel", rows)
    plan, _ = grown(model, {"before": 12})
    assert plan.sizes["cat"] == plan.input_sizes["cat"][0] + 5


# --- normalization --------------------------------------------------------------------


@case(17, "normalization_over_channels", "Layer", "LayerOfSteps", "RMS", "Unit")
def normalization_over_channels(which):
    if which == "RMS" and not hasattr(layers, "RMSNormalization"):
        which = "Layer"
    layer = {
        "Layer": lambda: layers.LayerNormalization(name="norm"),
        "LayerOfSteps": lambda: layers.LayerNormalization(axis=[1, 2], name="norm"),
        "RMS": lambda: layers.RMSNormalization(name="norm"),
        "Unit": lambda: layers.UnitNormalization(name="norm"),
    }[which]()
    inputs = keras.Input((4, 3))
    model = finished(inputs, head(layer(dense(6, "before")(inputs))))
    keep = [0, 2, 3, 5]
    plan, new = announced(model, {"norm": 4}, "'norm'.*statistics", {"before": keep})
    assert_kept(plan, before=keep, norm=keep)
    for variable in model.get_layer("norm").weights:
        leading = (None,) * (len(variable.shape) - 1)
        assert_sliced(model, new, f"norm/{variable.name}", *leading, keep)
    assert_sliced(model, new, "head/kernel", keep)
    plan, _ = announced(model, {"before": 8}, "'norm'")
    assert_kept(plan, norm=[*range(6), -1, -1])


@case(18, "group_normalization", "groups", "instances")
def group_normalization(which):
    groups = 2 if which == "groups" else -1
    model = image(layers.GroupNormalization(groups, name="norm"), channels=8)
    keep = [0, 1, 2, 4, 6, 7]
    if which == "instances":
        plan, new = shrunk(model, {"norm": 6}, keep={"stem": keep})
        grown(model, {"norm": 9})
    else:
        plan, new = announced(model, {"norm": 6}, "'norm'", {"stem": keep})
        announced(model, {"norm": 10}, "'norm'")
        assert refused(model, {"norm": 7}, "'norm'").nearest == {"norm": (6, 8)}
        assert new.get_layer("norm").groups == 2
    assert_kept(plan, stem=keep, norm=keep)
    for name in ("gamma", "beta"):
        assert_sliced(model, new, f"norm/{name}", keep)


# --- attention ------------------------------------------------------------------------


@case(19, "multi_head_attention", "num_heads", "key_dim", "value_dim", "model")
def multi_head_attention(what):
    x = inputs = keras.Input((5, 3))
    x = dense(6, "stem")(x)
    # Keras itself cannot run another size of values on JAX.
    value_dim = 4 if keras.backend.backend() == "jax" else 5
    layer = layers.MultiHeadAttention(3, 4, value_dim, use_bias=False, name="attention")
    model = finished(inputs, head(layers.Add(name="add")([x, layer(x, x)])))
    keep = {name: None for name in ("model", "num_heads", "key_dim", "value_dim")}
    if what == "model":
        plan, new = shrunk(model, {"add": 4}, keep={"stem": [0, 1, 3, 5]})
        keep["model"] = [0, 1, 3, 5]
        assert_kept(plan, stem=keep["model"], attention=keep["model"])
        grown(model, {"add": 7})
    else:
        plan, new = shrunk(model, {("attention", what): 2})
        for width in ("num_heads", "key_dim", "value_dim"):
            keep[width] = plan.keep["attention", width]
        assert_kept(plan, stem=range(6))
        grown(model, {("attention", what): 6})
    d, h, k, v = keep.values()
    assert_sliced(model, new, "attention/key/kernel", d, h, k)
    assert_sliced(model, new, "attention/value/kernel", d, h, v)
    assert_sliced(model, new, "attention/attention_output/kernel", h, v, d)
    if what != "key_dim":
        assert_sliced(model, new, "attention/query/kernel", d, h, k)
        return
    # The layer divides scores by the root of 2 where it divided by the root of 4.
    expected = array(model, "attention/query/kernel")[..., k] * 0.5**0.5
    kernel = array(new, "attention/query/kernel")
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)


@case(20, "grouped_query_attention", "num_key_value_heads", "num_query_heads")
def grouped_query_attention(what):
    x = inputs = keras.Input((5, 3))
    x = dense(6, "stem")(x)
    layer = layers.GroupQueryAttention(2, 6, 3, use_bias=False, name="attention")
    model = finished(inputs, head(layer(x, x)))
    wanted, larger = {"num_key_value_heads": (2, 4), "num_query_heads": (3, 9)}[what]
    plan, new = shrunk(model, {("attention", what): wanted})
    groups = plan.keep["attention", "num_key_value_heads"]
    queries = plan.keep["attention", "num_query_heads"]
    # Query head i belongs to head i // 2 of key and value, before and after.
    ratio = len(queries) // len(groups)
    for position, old in enumerate(queries):
        assert old // 2 == groups[position // ratio]
    for name in ("key", "value"):
        assert_sliced(model, new, f"attention/{name}/kernel", None, groups)
    assert_sliced(model, new, "attention/query/kernel", None, queries)
    assert_sliced(model, new, "attention/attention_output/kernel", queries)
    grown(model, {("attention", what): larger})
    if what == "num_query_heads":
        refused(model, {("attention", what): 5}, "'attention'")


def in_heads(x, name: str, heads: int, size: int):
    """A projection to ``(B, heads, T, size)``."""
    x = layers.Dense(heads * size, name=name)(x)
    x = layers.Reshape((-1, heads, size), name=f"{name}_heads")(x)
    return layers.Permute((2, 1, 3))(x)


@case(21, "attention_by_hand")
def attention_by_hand():
    x = inputs = keras.Input((5, 3))
    x = dense(4, "stem")(x)
    query, key = (in_heads(x, name, 3, 2) for name in ("query", "key"))
    value = in_heads(x, "value", 3, 4)
    scores = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))))
    y = layers.Permute((2, 1, 3))(ops.matmul(scores, value))
    model = finished(inputs, head(layers.Reshape((-1, 12), name="joined")(y)))
    # The features of a head: the same for query and key, none of the value's. Scores
    # are a sum over them without weights.
    plan, new = announced(model, {"query": 3}, "'matmul.*sums")
    keep = plan.keep["query"]
    np.testing.assert_array_equal(keep // 2, [0, 1, 2])
    assert len(set((keep % 2).tolist())) == 1
    assert_kept(plan, key=keep, value=range(12), joined=range(12))
    assert_sliced(model, new, "key/kernel", None, keep)
    plan, new = shrunk(model, {"value": 9})
    keep = plan.keep["value"]
    np.testing.assert_array_equal(keep, blocks(keep[:3].tolist(), 4, 3))
    assert_kept(plan, query=range(6), joined=keep)
    assert_sliced(model, new, "head/kernel", keep)
    plan, _ = announced(model, {"key": 9}, "'matmul")
    assert plan.sizes["query"] == 9
    # Whole heads are summed by weights only, so there can be more of them.
    plan, _ = grown(model, {"key": 12, "value": 24})
    assert plan.sizes["key_heads"] == 2
    grown(model, {"value": 15})
    grown(model, {"stem": 5})


@case(22, "einsum_dense")
def einsum_dense():
    x = inputs = keras.Input((5, 3))
    x = dense(6, "stem")(x)
    x = layers.EinsumDense(
        "bti,ihk->bthk", (None, 3, 4), bias_axes="hk", name="spread"
    )(x)
    x = layers.EinsumDense("bthk,hkl->bthl", (None, 3, 2), name="each")(x)
    x = layers.EinsumDense("bthl,hlo->bto", (None, 5), bias_axes="o", name="gather")(x)
    model = finished(inputs, head(x))
    plan, new = shrunk(model, {"stem": 4}, keep={"stem": [0, 1, 3, 5]})
    assert_sliced(model, new, "spread/kernel", [0, 1, 3, 5])
    # A letter of input, kernel and output is one axis of all three.
    plan, new = shrunk(model, {("spread", "h"): 2})
    h = plan.keep["spread", "h"]
    for name in ("each", "gather"):
        assert_sliced(model, new, f"{name}/kernel", h)
    assert_sliced(model, new, "spread/kernel", None, h)
    assert_sliced(model, new, "spread/bias", h)
    plan, new = shrunk(model, {"spread": 3}, keep={"spread": [0, 2, 3]})
    assert_sliced(model, new, "spread/kernel", None, None, [0, 2, 3])
    assert_sliced(model, new, "each/kernel", None, [0, 2, 3])
    grown(model, {"stem": 7, ("spread", "h"): 4, "spread": 5, "each": 3, "gather": 6})


@case(23, "fused_projection", "reshape", "split")
def fused_projection(how):
    x = inputs = keras.Input((5, 4))
    x = layers.Dense(3 * 6, name="qkv")(x)
    if how == "reshape":
        x = layers.Reshape((-1, 3, 3, 2), name="parts")(x)
        query, key, value = ops.unstack(x, axis=2)
    else:
        parts = ops.split(x, 3, axis=-1)
        query, key, value = (layers.Reshape((-1, 3, 2))(part) for part in parts)
    scores = ops.softmax(ops.einsum("bthk,bshk->bhts", query, key))
    y = ops.einsum("bhts,bshk->bthk", scores, value)
    model = finished(inputs, head(layers.Reshape((-1, 6), name="joined")(y)))
    plan, new = announced(model, {"qkv": 9}, "'einsum.*sums")
    query, key, value = plan.keep["qkv"].reshape(3, 3)
    np.testing.assert_array_equal(key, query + 6)
    np.testing.assert_array_equal(value // 2, [6, 7, 8])
    assert len(set((value % 2).tolist())) == 1
    assert_kept(plan, joined=value - 12)
    assert_sliced(model, new, "qkv/kernel", None, plan.keep["qkv"])
    assert_sliced(model, new, "head/kernel", value - 12)
    assert announced(model, {"qkv": 27}, "'einsum")[0].sizes["joined"] == 9


class HardPosition(layers.Layer):
    """A learned offset for each position and neuron."""

    def build(self, shape):
        self.offset = self.add_weight(shape=shape[1:], name="offset")

    def call(self, x):
        return x + self.offset


@case(24, "bare_variables", "layer_scale", "class_token", "position", "bias_of_heads")
def bare_variables(which):
    x = inputs = keras.Input((4, 3))
    keep = [0, 2, 3, 5]
    x = dense(6, "stem")(x)
    if which == "layer_scale":
        x = LayerScale(0.1, 6, name="scale")(x)
    elif which == "class_token":
        pooled = layers.GlobalAveragePooling1D()(x)
        row = layers.Reshape((1, 6))(layers.Dense(6, name="token")(pooled))
        x = layers.Concatenate(axis=1, name="with_token")([row, x])
    elif which == "position":
        x = HardPosition(name="position")(x)
    else:
        heads = layers.Permute((2, 1))(HardPosition(name="bias")(x))
        x = layers.Permute((2, 1))(ops.softmax(heads))
    model = finished(inputs, head(x))
    plan, new = shrunk(model, {"stem": 4}, keep={"stem": keep})
    assert_sliced(model, new, "head/kernel", keep)
    if which == "layer_scale":
        assert_sliced(model, new, "scale", keep)
        assert new.get_layer("scale").projection_dim == 4
    elif which == "class_token":
        assert_kept(plan, token=keep, with_token=keep)
        assert new.get_layer("with_token").output.shape == (None, 5, 4)
    else:
        name = "position" if which == "position" else "bias"
        assert_sliced(model, new, f"{name}/offset", None, keep)
    grown(model, {"stem": 8})


# --- images ---------------------------------------------------------------------------


@case(25, "patch_merging", "slices", "windows")
def patch_merging(how):
    x = inputs = keras.Input((4, 4, 3))
    x = conv(4, "stem")(x)
    keep = [0, 1, 3]
    if how == "slices":
        parts = [x[:, i::2, j::2, :] for i in (0, 1) for j in (0, 1)]
        x = layers.Concatenate(name="merged")(parts)
    else:
        x = layers.Reshape((2, 2, 2, 2, 4), name="windows")(x)
        x = layers.Permute((1, 3, 2, 4, 5))(x)
        x = layers.Reshape((2, 2, 16), name="merged")(x)
    x = layers.Dense(8, use_bias=False, name="reduction")(x)
    model = finished(inputs, head(layers.GlobalAveragePooling2D()(x)))
    plan, new = shrunk(model, {"stem": 3}, keep={"stem": keep})
    rows = blocks(keep, 4, 4)
    assert_kept(plan, merged=rows, reduction=range(8))
    assert_sliced(model, new, "reduction/kernel", rows)
    assert grown(model, {"merged": 24})[0].sizes["stem"] == 6


@case(26, "transposed_convolution")
def transposed_convolution():
    inputs = keras.Input((5, 5, 3))
    skip = conv(4, "skip", 3)(inputs)
    x = conv(6, "down", 3, strides=2)(skip)
    settings = {"strides": 2, "padding": "same", "activation": "tanh"}
    x = layers.Conv2DTranspose(5, 3, name="up", **settings)(x)
    x = layers.Cropping2D(((0, 1), (0, 1)))(x)
    x = layers.Concatenate(name="cat")([skip, x])
    model = finished(inputs, conv(2, "head", activation=None)(x))
    keep = {"down": [0, 2, 3, 5], "up": [1, 2, 4], "skip": [0, 1, 3]}
    sizes = {name: len(kept) for name, kept in keep.items()}
    plan, new = shrunk(model, sizes, keep=keep)
    assert_kept(plan, **keep, cat=[0, 1, 3, 5, 6, 8])
    assert_sliced(model, new, "up/kernel", None, None, keep["up"], keep["down"])
    assert_sliced(model, new, "head/kernel", None, None, [0, 1, 3, 5, 6, 8])
    plan, _ = grown(model, {"cat": 12, "down": 7})
    assert sum(plan.input_sizes["cat"]) == 12


@case(27, "pixel_shuffle", "blocks_outside", "blocks_inside", "inverse", "operation")
def pixel_shuffle(order):
    x = inputs = keras.Input((2, 2, 3))
    x = conv(3 if order == "inverse" else 12, "stem")(x)
    if order == "blocks_outside":
        x = layers.Reshape((2, 2, 2, 2, 3), name="parted")(x)
        x = layers.Permute((1, 3, 2, 4, 5))(x)
    elif order == "blocks_inside":
        x = layers.Reshape((2, 2, 3, 2, 2), name="parted")(x)
        x = layers.Permute((1, 4, 2, 5, 3))(x)
    if order == "inverse":
        x = layers.Reshape((1, 2, 1, 2, 3))(x)
        x = layers.Permute((1, 3, 2, 4, 5))(x)
        x = layers.Reshape((1, 1, 12), name="shuffled")(x)
    elif order == "operation" and hasattr(ops, "depth_to_space"):
        x = ops.depth_to_space(x, 2)
    elif order == "operation":
        x = layers.Reshape((4, 4, 3))(x)
    else:
        x = layers.Reshape((4, 4, 3), name="shuffled")(x)
    x = layers.Conv2D(2, 1, name="after")(x)
    model = finished(inputs, head(layers.GlobalMaxPooling2D()(x)))
    small, large = (2, 5) if order == "inverse" else (8, 20)
    plan, new = shrunk(model, {"stem": small})
    keep = plan.keep["stem"]
    if order == "inverse":
        rows = blocks(keep.tolist(), 3, 4)
    elif order == "blocks_inside":
        rows = keep[::4] // 4
        np.testing.assert_array_equal(keep, times(rows.tolist(), 4))
    else:
        rows = keep[:2]
        np.testing.assert_array_equal(keep, blocks(rows.tolist(), 3, 4))
    assert_sliced(model, new, "after/kernel", None, None, rows)
    grown(model, {"stem": large})
    if order != "inverse":
        assert refused(model, {"stem": 9}, "'stem'").nearest == {"stem": (8, 12)}


# --- sharing --------------------------------------------------------------------------


@case(28, "shared_layer", "two_inputs", "own_output")
def shared_layer(how):
    inputs = keras.Input((3,))
    shared = dense(5, "shared")
    left, right = dense(5, "left")(inputs), dense(5, "right")(inputs)
    if how == "two_inputs":
        y = layers.Concatenate(name="cat")([shared(left), shared(right)])
    else:
        y = shared(shared(left))
    model = finished(inputs, head(y))
    keep = [0, 2, 4]
    plan, new = shrunk(model, {"shared": 3}, keep={"shared": keep})
    assert_kept(plan, shared=keep)
    np.testing.assert_array_equal(plan.keep["shared^1"], keep)
    if how == "two_inputs":
        assert_kept(plan, left=range(5), cat=[0, 2, 4, 5, 7, 9])
        assert_sliced(model, new, "shared/kernel", None, keep)
        plan, new = shrunk(model, {"left": 3}, keep={"left": keep})
        assert_kept(plan, right=keep, shared=range(5))
        assert_sliced(model, new, "shared/kernel", keep)
    else:
        assert_kept(plan, left=keep)
        assert_sliced(model, new, "shared/kernel", keep, keep)
    assert [layer.name for layer in new.layers].count("shared") == 1
    grown(model, {"shared": 7})


@case(29, "nested_models", "once", "twice")
def nested_models(how):
    x = source = keras.Input((4,))
    inner = keras.Sequential(
        [keras.Input((4,)), dense(6, "hidden"), dense(5, "inner_out")], name="inner"
    )
    middle = keras.Model(source, dense(4, "middle_out")(inner(x)), name="middle")
    inputs = keras.Input((3,), name="in")
    x = middle(dense(4, "before")(inputs))
    if how == "twice":
        x = middle(x)
    model = finished(inputs, head(x))
    keep = [0, 2, 3, 5]
    plan, new = shrunk(
        model, {"middle/inner/hidden": 4}, keep={"middle/inner/hidden": keep}
    )
    assert plan.keep["middle/inner/hidden"].tolist() == keep
    assert_sliced(model, new, "middle/inner/inner_out/kernel", keep)
    assert isinstance(new.get_layer("middle").get_layer("inner"), keras.Sequential)
    # The outer axes are the inner ones; called twice, both ends are one.
    plan, new = shrunk(model, {"before": 3}, keep={"before": [0, 1, 3]})
    assert_sliced(model, new, "middle/inner/hidden/kernel", [0, 1, 3])
    assert plan.sizes["middle/middle_out"] == (3 if how == "twice" else 4)
    grown(model, {"middle/inner/inner_out": 8, "middle/middle_out": 6})


class HardTiedHead(layers.Layer):
    """Scores of all tokens, from the very weights of an embedding."""

    def __init__(self, embedding, **settings):
        super().__init__(**settings)
        self.embedding = embedding

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.embedding.embeddings))


@case(30, "tied_variables", "embedding_and_head", "unknown_head")
def tied_variables(how):
    tokens = keras.Input((5,), dtype="int32")
    if how == "unknown_head" or not hasattr(layers, "ReversibleEmbedding"):
        embedding = layers.Embedding(7, 6, name="embedding")
        x = layers.Add(name="add")(
            [embedding(tokens), dense(6, "inner")(embedding(tokens))]
        )
        model = finished(tokens, HardTiedHead(embedding, name="tied")(x))
        refused(model, {"inner": 4}, "'tied'")
        return
    embedding = layers.ReversibleEmbedding(7, 6, name="embedding")
    x = embedding(tokens)
    x = layers.Add(name="add")([x, layers.Dense(6, name="inner")(x)])
    model = finished(tokens, embedding(x, reverse=True))
    keep = [0, 2, 3, 5]
    plan, new = shrunk(model, {"add": 4}, keep={"inner": keep})
    assert_kept(plan, embedding=keep, add=keep)
    assert_sliced(model, new, "embedding/embeddings", None, keep)
    assert_sliced(model, new, "inner/kernel", keep, keep)
    assert len(new.weights) == len(model.weights) == 3
    grown(model, {"inner": 8})


@case(31, "inputs_and_outputs")
def inputs_and_outputs():
    inputs = keras.Input((4,), name="in")
    x = dense(6, "feature")(inputs)
    y = dense(6, "branch")(x)
    added = layers.Add(name="add")([x, y])
    model = finished(inputs, [head(added), added])
    refused(model, {"in": 3}, "model input 'in'")
    refused(model, {"branch": 4}, "output of the model")
    plan, new = shrunk(model, {"add": 4}, keep={"feature": [0, 1, 2, 5]})
    assert_kept(plan, feature=[0, 1, 2, 5], branch=[0, 1, 2, 5], head=range(2))
    assert [y.shape for y in new.outputs] == [(None, 2), (None, 4)]
    released = kn.plan(model, {"branch": 4}, free_outputs=True)
    assert released.sizes["add"] == 4 and kn.verify(model, released).is_equal
    assert planned(model, {"head": 3}).sizes["head"] == 3


# --- recurrence and wrappers ----------------------------------------------------------

STEPS = (4, 3)


@case(32, "recurrent", "LSTM", "GRU", "SimpleRNN")
def recurrent(kind):
    inputs = keras.Input(STEPS)
    layer = getattr(layers, kind)
    first = layer(5, return_sequences=True, return_state=True, name="first")
    x, *states = first(dense(4, "before")(inputs))
    x = layer(5, name="second")(x, initial_state=states)
    model = finished(inputs, head(x))
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[kind]
    rows, keep = [0, 1, 3], [0, 2, 4]
    wanted = {"first": 3, "before": 3}
    plan, new = shrunk(model, wanted, keep={"first": keep, "before": rows})
    # The state that one starts from is the state that the other ends with.
    assert_kept(plan, second=keep)
    columns = blocks(keep, 5, gates)
    for name, inner in (("first", rows), ("second", keep)):
        leading = (None,) if kind == "GRU" else ()
        assert_sliced(model, new, f"{name}/kernel", inner, columns)
        assert_sliced(model, new, f"{name}/recurrent_kernel", keep, columns)
        assert_sliced(model, new, f"{name}/bias", *leading, columns)
    assert_sliced(model, new, "head/kernel", keep)
    grown(model, {"second": 7, "before": 6})


@case(33, "two_directions", "concat", "sum", "mul", "ave", "None")
def two_directions(mode):
    inputs = keras.Input(STEPS)
    merge = None if mode == "None" else mode
    layer = layers.Bidirectional(layers.LSTM(4), merge_mode=merge, name="both")
    y = layer(inputs)
    y = layers.Concatenate(name="cat")(y) if merge is None else y
    model = finished(inputs, head(y))
    both = "cat" if merge is None else "both"
    if mode in ("concat", "None"):
        wanted, keep = 4, [0, 2, 5, 7]
        forward, backward = [0, 2], [1, 3]
    else:
        wanted, keep = 3, [0, 2, 3]
        forward = backward = keep
    plan, new = shrunk(model, {both: wanted}, keep={both: keep})
    assert_kept(plan, **{both: keep})
    for name, kept in (("forward", forward), ("backward", backward)):
        columns = blocks(kept, 4, 4)
        for weight, rows in (("kernel", None), ("recurrent_kernel", kept)):
            path = f"both/{name}_lstm"
            layer, old = (
                next(
                    weight_
                    for weight_ in m.get_layer("both").weights
                    if f"/{name}" in weight_.path
                    and weight_.path.endswith(f"/{weight}")
                )
                for m in (new, model)
            )
            expected = ops.convert_to_numpy(old)[:, columns]
            expected = expected if rows is None else expected[rows]
            np.testing.assert_array_equal(ops.convert_to_numpy(layer), expected, path)
    assert_sliced(model, new, "head/kernel", keep)
    grown(model, {both: 12})
    if mode == "concat":
        assert refused(model, {both: 5}, "'both'").nearest == {both: (4, 6)}


@case(33, "stacked_cells")
def stacked_cells():
    inputs = keras.Input(STEPS)
    cells = [layers.LSTMCell(4, name="one"), layers.GRUCell(5, name="two")]
    model = finished(inputs, head(layers.RNN(cells, name="rnn")(inputs)))
    plan, new = shrunk(model, {("rnn", "cells/0"): 3})
    keep = plan.keep["rnn", "cells/0"]
    assert_sliced(model, new, "rnn/one/kernel", None, blocks(keep.tolist(), 4, 4))
    assert_sliced(model, new, "rnn/two/kernel", keep)
    grown(model, {"rnn": 7, ("rnn", "cells/0"): 6})


@case(33, "convolutional_lstm")
def convolutional_lstm():
    inputs = keras.Input((3, 4, 4, 2))
    x = layers.ConvLSTM2D(3, 2, padding="same", name="lstm")(inputs)
    model = finished(inputs, head(x))
    _, new = shrunk(model, {"lstm": 2}, keep={"lstm": [0, 2]})
    columns = blocks([0, 2], 3, 4)
    assert_sliced(model, new, "lstm/kernel", None, None, None, columns)
    assert_sliced(model, new, "lstm/recurrent_kernel", None, None, [0, 2], columns)
    grown(model, {"lstm": 5})


@case(34, "wrappers", "TimeDistributed", "SpectralNormalization")
def wrappers(which):
    inputs = keras.Input((3, 4, 4, 2) if which == "TimeDistributed" else (4, 4, 2))
    inner = conv(6, "inner", 3)
    x = dense(4, "before")(inputs)
    x = getattr(layers, which)(inner, name="wrapper")(x)
    model = finished(inputs, head(x))
    keep = {"before": [0, 1, 3], "wrapper": [0, 2, 3, 5]}
    plan, new = shrunk(model, {"before": 3, "wrapper": 4}, keep=keep)
    assert_kept(plan, **keep)
    assert_sliced(model, new, "wrapper/kernel", None, None, *keep.values())
    assert_sliced(model, new, "wrapper/bias", keep["wrapper"])
    assert_sliced(model, new, "head/kernel", keep["wrapper"])
    if which == "SpectralNormalization":
        assert_sliced(model, new, "wrapper/vector_u", None, keep["wrapper"])
    grown(model, {"before": 5, "wrapper": 8})


@case(35, "embedding")
def embedding():
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    x = layers.Embedding(7, 6, mask_zero=True, name="embedding")(tokens)
    y = dense(6, "beside")(x)
    x = layers.GlobalAveragePooling1D()(layers.Add(name="add")([x, y]))
    model = finished(tokens, head(x))
    keep = [0, 2, 3, 5]
    plan, new = shrunk(model, {"add": 4}, keep={"beside": keep})
    assert_kept(plan, embedding=keep, beside=keep)
    assert_sliced(model, new, "embedding/embeddings", None, keep)
    layer = new.get_layer("embedding")
    assert (layer.input_dim, layer.output_dim, layer.mask_zero) == (7, 4, True)
    grown(model, {"embedding": 8})


# --- operations on neurons ------------------------------------------------------------


@case(36, "products_of_branches", "dot", "matmul", "outer")
def products_of_branches(how):
    inputs = keras.Input((5, 4))
    a, b = dense(3, "a")(inputs), dense(3 if how != "outer" else 4, "b")(inputs)
    if how == "dot":
        y = layers.Dot(axes=2, name="product")([a, b])
    elif how == "matmul":
        y = ops.matmul(a, ops.transpose(b, (0, 2, 1)))
    else:
        y = ops.expand_dims(a, 3) * ops.expand_dims(b, 2)
        y = layers.Reshape((5, 12), name="flat")(y)
    model = finished(inputs, head(y))
    if how != "outer":
        # Contracted axes have one set of neurons, which are summed without weights.
        plan, _ = announced(model, {"a": 2}, "sums", {"a": [0, 2]})
        assert_kept(plan, a=[0, 2], b=[0, 2])
        assert announced(model, {"b": 5}, "sums")[0].sizes["a"] == 5
        return
    keep = {"a": [0, 2], "b": [0, 1, 3]}
    plan, new = shrunk(model, {"a": 2, "b": 3}, keep=keep)
    rows = [i * 4 + j for i in keep["a"] for j in keep["b"]]
    assert_kept(plan, **keep, flat=rows)
    assert_sliced(model, new, "head/kernel", rows)
    assert grown(model, {"a": 4, "b": 5})[0].sizes["flat"] == 20


@case(37, "padded_channels", "shortcut", "one_hot")
def padded_channels(how):
    if how == "one_hot":
        inputs = keras.Input((5,), dtype="int32", name="in")
        known = ops.one_hot(inputs, 4)
        x = dense(4, "branch")(known)
        model = finished(inputs, head(layers.Add(name="add")([x, known])))
        refused(model, {"add": 3}, "one_hot")
        return
    inputs = keras.Input((4, 4, 3))
    stem = conv(4, "stem")(inputs)
    shortcut = ops.pad(stem, ((0, 0), (0, 0), (0, 0), (1, 3)))
    x = layers.Add(name="add")([conv(8, "branch", 3)(stem), shortcut])
    model = finished(inputs, head(layers.GlobalAveragePooling2D()(x)))
    # The constants stand at 0 and at 5, 6, 7: they go with their partners alone.
    plan, new = shrunk(model, {"add": 6}, keep={"branch": [0, 1, 2, 3, 4, 6]})
    assert_kept(plan, add=[0, 1, 2, 3, 4, 6], branch=[0, 1, 2, 3, 4, 6], stem=range(4))
    assert_sliced(model, new, "head/kernel", [0, 1, 2, 3, 4, 6])
    plan, new = shrunk(model, {"stem": 3}, keep={"stem": [0, 1, 3]})
    keep = plan.keep["branch"]
    assert {1, 2, 4} <= set(keep.tolist()) and 3 not in keep
    np.testing.assert_array_equal(keep, plan.keep["add"])
    grown(model, {"stem": 6})
    assert grown(model, {"add": 11})[0].sizes["branch"] == 11


@case(38, "over_channels", "mean", "softmax", "amax", "argmax", "sort", "cumsum")
def over_channels(name):
    inputs = keras.Input((5, 4))
    x = dense(6, "before")(inputs)
    if name in ("mean", "amax"):
        weight = ops.sigmoid(getattr(ops, name)(x, axis=-1, keepdims=True))
        model = finished(inputs, head(layers.Multiply(name="gated")([x, weight])))
    elif name == "argmax":
        model = finished(inputs, head(ops.one_hot(ops.argmax(x, axis=-1), 6)))
    else:
        model = finished(inputs, head(getattr(ops, name)(x, axis=-1)))
    if name in ("argmax", "sort", "cumsum"):
        refused(model, {"before": 4}, f"'{name}")
        return
    keep = [0, 2, 3, 5]
    plan, new = announced(model, {"before": 4}, f"'{name}", {"before": keep})
    assert_kept(plan, before=keep)
    assert_sliced(model, new, "head/kernel", keep)
    announced(model, {"before": 8}, f"'{name}")


@case(39, "index_maps", "tile", "repeat", "stack", "flip", "roll", "take")
def index_maps(name):
    inputs = keras.Input((4,))
    x = dense(6, "before")(inputs)
    y = dense(6, "beside")(inputs)
    frozen = {
        "flip": lambda: ops.flip(x, axis=-1),
        "roll": lambda: ops.roll(x, 1, axis=-1),
        "take": lambda: ops.take(x, [5, 0, 2], axis=-1),
    }
    if name in frozen:
        model = finished(inputs, head(frozen[name]()))
        refused(model, {"before": 4}, f"'{name}")
        return
    mapped = {
        "tile": lambda: ops.tile(x, (1, 2)),
        "repeat": lambda: ops.repeat(x, 2, axis=-1),
        "stack": lambda: layers.Reshape((12,))(ops.stack([x, y], axis=-1)),
    }
    x = layers.Activation("tanh", name="mapped")(mapped[name]())
    model = finished(inputs, head(x))
    keep = [0, 2, 3, 5]
    plan, new = shrunk(model, {"before": 4}, keep={"before": keep})
    rows = blocks(keep, 6, 2) if name == "tile" else times(keep, 2)
    assert_kept(plan, before=keep, mapped=rows)
    if name == "stack":
        assert_kept(plan, beside=keep)
    assert_sliced(model, new, "head/kernel", rows)
    assert grown(model, {"before": 9})[0].sizes["mapped"] == 18


class HardUnknown(layers.Layer):
    """Works, but nobody said how."""

    def build(self, shape):
        size = shape[-1]
        self.mixing = self.add_weight(shape=(size, size), name="mixing")

    def call(self, x):
        return ops.cumsum(ops.matmul(x, self.mixing), axis=-1)


@case(40, "unknown", "lambda", "custom", "quantized", "lora")
def unknown(what):
    inputs = keras.Input((4,))
    x = dense(6, "before")(inputs)
    y = {
        "lambda": lambda: layers.Lambda(lambda t: t[:, ::-1], name="strange")(x),
        "custom": lambda: HardUnknown(name="strange")(x),
        "quantized": lambda: layers.Dense(6, name="strange")(x),
        "lora": lambda: layers.Dense(6, name="strange")(x),
    }[what]()
    z = dense(5, "free")(y)
    model = finished(inputs, head(z))
    if what == "quantized":
        model.get_layer("strange").quantize("int8")
    elif what == "lora":
        model.get_layer("strange").enable_lora(2)
    refused(model, {"before": 4}, "'strange['/]")
    # What does not touch it still changes, and the answer is right.
    plan, _ = shrunk(model, {"free": 3}, keep={"free": [0, 2, 4]})
    assert_kept(plan, free=[0, 2, 4], before=range(6))
    assert re.search("'strange['/]", kn.explain(model, "before"))


# --- the tests ------------------------------------------------------------------------


@pytest.fixture
def rule_of_position():
    """A rule that the tests of other files do not see."""
    kn.register_rule(HardPosition, "b t c -> b t c", weights={"offset": "t c"})
    yield
    kn.register_rule(HardPosition, None)


@pytest.mark.usefixtures("rule_of_position")
@pytest.mark.parametrize("name", CASES)
def test_hard_case(name):
    CASES[name]()


def test_hard_cases_are_forty():
    numbers = sorted({int(name[:2]) for name in CASES})
    assert numbers == list(range(1, 41))
