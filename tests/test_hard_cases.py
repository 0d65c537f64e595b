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
    """A weight by the path of its layer and its own name."""
    *names, weight = path.split("/")
    layer = model
    for name in names:
        layer = layer.get_layer(name)
    (found,) = [
        variable for variable in layer.weights if variable.path.endswith(weight)
    ]
    return ops.convert_to_numpy(found)


def assert_sliced(old, new, path: str, *index) -> None:
    """The new weight is the old one at the index arrays; None keeps all of an axis."""
    expected = array(old, path)
    for axis, positions in enumerate(index):
        if positions is not None:
            expected = np.take(expected, positions, axis)
    np.testing.assert_array_equal(array(new, path), expected)


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


# --- merging ----------------------------------------------------------------------------


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
    assert_kept(plan, **dict.fromkeys(everywhere, [0, 2, 3, 5]))
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


# --- convolutions -----------------------------------------------------------------------


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
    assert_kept(plan, **dict.fromkeys(names, [0, 2, 3, 5]), bottleneck=[0, 1])
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


# --- shapes -----------------------------------------------------------------------------


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
    assert_kept(plan, **dict.fromkeys([*middle, "stem", "pool"], [0, 1, 3]))
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
    check_shuffle(plan, channels, smaller)
    assert tuple(new.get_layer("parted").target_shape) == (4, 4, 2, smaller // 2)
    if what == "alone":
        assert_sliced(model, new, "head/kernel", plan.keep["shuffled"])
    else:
        assert array(new, "grouped/kernel").shape[2] == 2
        assert (np.bincount(plan.keep["shuffled"] // 4) == 2).all()
    check_shuffle(grown(model, {"stem": larger})[0], channels, larger)
    refused(model, {"stem": smaller + 1}, "'stem'")


def check_shuffle(plan: kn.Plan, old_size: int, size: int) -> None:
    """New position ``j * g + i`` holds what new position ``i * (C / g) + j`` held."""
    before, after = plan.keep["stem"], plan.keep["shuffled"]
    for i in range(2):
        for j in range(size // 2):
            old = before[i * (size // 2) + j]
            group, member = divmod(old, old_size // 2)
            assert after[j * 2 + i] == (-1 if old < 0 else member * 2 + group)


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
        assert_kept(grown(model, {"before": 10})[0], before=[*range(4), -1, 4, 5, 6, 7, -1])
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


# --- normalization ----------------------------------------------------------------------


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


# --- the tests --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_hard_case(name):
    CASES[name]()


def test_hard_cases_are_forty():
    numbers = sorted({int(name[:2]) for name in CASES})
    assert numbers == list(range(1, 41))
