"""Patterns of axes: parsing, and what they make of calls."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.axes import Atom, Expression, Fixed, Unifier, product, total
from keras_nas.rules import (
    INITIALIZER,
    AxisTensor,
    RuleCall,
    SizeOf,
    Undescribed,
    describe,
)
from keras_nas.rules.notation import parse


class Layer:
    """Stands for the class of a layer."""

    def call(self, inputs):
        return inputs


class World:
    """Makes axes and calls on them."""

    def __init__(self):
        self.unifier = Unifier()

    def atom(self, size: int, label: str = "x") -> Atom:
        return self.unifier.atom(size, label)

    def call(self, *tensors, outputs=(), config=None, weights=None) -> RuleCall:
        return RuleCall(
            self.unifier,
            Layer,
            "layer",
            config or {},
            weights or {},
            tuple(AxisTensor(axes) for axes in tensors),
            {},
            outputs,
        )

    def resolve(self, axis: Expression) -> Expression:
        return self.unifier.resolve(axis)


BATCH = Fixed(None)


@pytest.mark.parametrize(
    ("pattern", "tokens"),
    [
        ("... i", (("...",), ("i",))),
        ("b * (c m)", (("b",), ("*",), ("c", "m"))),
        ("u (4 u)", (("u",), ("4", "u"))),
        ("* 1 (g m)", (("*",), ("1",), ("g", "m"))),
        ("", ()),
    ],
)
def test_parse_splits_a_pattern_into_axes(pattern, tokens):
    assert parse(pattern) == tokens


def test_dense_reads_its_inputs_and_owns_its_outputs():
    world = World()
    inputs = world.atom(6)
    call = world.call(
        (BATCH, Fixed(4), inputs),
        outputs=[(None, 4, 5)],
        config={"units": 5},
        weights={"kernel": (6, 5), "bias": (5,)},
    )
    relation = describe(
        call,
        "... i -> ... o",
        weights={"kernel": "i o", "bias": "o", "scale": "o"},
        config={"units": "o"},
        new={"bias": 0.5},
    )
    (output,) = relation.outputs
    units = output.axes[2]
    assert output.axes[:2] == (BATCH, Fixed(4))
    assert isinstance(units, Atom) and units.size == 5 and units.label == "layer.units"
    assert relation.weights["kernel"].blocks == ((inputs, units),)
    assert relation.weights["kernel"].reads == {0}
    assert relation.weights["kernel"].new == INITIALIZER
    assert relation.weights["bias"].reads == frozenset()
    assert relation.weights["bias"].new == 0.5
    assert "scale" not in relation.weights
    assert isinstance(relation.config["units"], SizeOf)
    assert relation.config["units"].axis == units


def test_name_that_stands_twice_ties_both_axes():
    world = World()
    left, right = world.atom(6), world.atom(6)
    call = world.call((BATCH, left), (BATCH, right), outputs=[(None, 6)])
    relation = describe(call, "b c, b c -> b c")
    assert world.resolve(left) == world.resolve(right)
    assert world.resolve(relation.outputs[0].axes[1]) == world.resolve(left)


def test_star_fixes_what_it_stands_for():
    world = World()
    height, channels = world.atom(8), world.atom(6)
    call = world.call((BATCH, height, Fixed(9), channels), outputs=[(None, 4, 5, 6)])
    relation = describe(call, "b * c -> b * c")
    assert world.resolve(height) == Fixed(8)
    assert "works across it" in world.resolve(height).reason
    assert relation.outputs[0].axes == (BATCH, Fixed(4), Fixed(5), channels)


def test_brackets_are_row_major_in_weights_and_outputs():
    world = World()
    channels = world.atom(6)
    call = world.call(
        (BATCH, Fixed(9), channels),
        outputs=[(None, 9, 12)],
        config={"depth_multiplier": 2},
        weights={"kernel": (3, 6, 2), "bias": (12,)},
    )
    relation = describe(
        call,
        "b * c -> b * (c m)",
        weights={"kernel": "* c m", "bias": "(c m)"},
        config={"depth_multiplier": "m"},
        widths={"depth_multiplier": "m"},
    )
    multiplier = relation.widths["depth_multiplier"]
    assert multiplier.size == 2
    assert relation.weights["kernel"].blocks == ((Fixed(3), channels, multiplier),)
    assert relation.weights["kernel"].shape == (3, 6, 2)
    assert relation.weights["bias"].blocks == ((product((channels, multiplier)),),)
    assert relation.outputs[0].axes[2] == product((channels, multiplier))


def test_brackets_in_an_input_factor_its_axis():
    world = World()
    channels = world.atom(6)
    call = world.call((BATCH, channels), outputs=[(None, 3)], weights={"w": (2, 3)})
    relation = describe(call, "b (g i) -> b i", weights={"w": "g i"})
    groups, inner = relation.weights["w"].blocks[0]
    assert (groups.size, inner.size) == (2, 3)
    assert world.resolve(channels) == product((groups, inner))
    assert relation.weights["w"].reads == {0}


def test_number_is_a_fixed_axis_and_repeats_inside_brackets():
    world = World()
    call = world.call(
        (BATCH, world.atom(5)),
        outputs=[(None, 3)],
        config={"units": 3},
        weights={"recurrent": (3, 12), "kernel": (5, 12)},
    )
    relation = describe(
        call,
        "b i -> b u",
        weights={"recurrent": "u (4 u)", "kernel": "i (4 u)"},
        config={"units": "u"},
    )
    units = relation.outputs[0].axes[1]
    assert relation.weights["recurrent"].blocks == (
        (units, product((Fixed(4), units))),
    )


def test_name_that_only_weights_have_is_fixed():
    world = World()
    call = world.call(
        (BATCH, world.atom(5)), outputs=[(None, 5)], weights={"table": (7, 5)}
    )
    relation = describe(call, "b c -> b c", weights={"table": "rows c"})
    assert relation.weights["table"].blocks[0][0] == Fixed(7)


def test_sum_axis_passes_through_as_it_is():
    world = World()
    axis = total((world.atom(2), world.atom(4)))
    call = world.call((BATCH, axis), outputs=[(None, 6)], weights={"gamma": (6,)})
    relation = describe(call, "... c -> ... c", weights={"gamma": "c"})
    assert relation.weights["gamma"].blocks == ((axis,),)
    assert relation.outputs[0].axes == (BATCH, axis)


def test_channel_is_where_the_caller_says():
    world = World()
    call = world.call((BATCH, world.atom(6), Fixed(4)), outputs=[(None, 6, 4)])
    relation = describe(call, "b c * -> b c *", channel=1)
    assert relation.outputs[0].channel == 1


@pytest.mark.parametrize(
    ("pattern", "sizes", "match"),
    [
        ("b c -> b c", (3, 4, 5), "3 axes"),
        ("b (g i) -> b i", (3, 6), "is not g x i"),
        ("b (4 i) -> b i", (3, 6), "is not 4 x i"),
    ],
)
def test_describe_gives_up_when_the_tensor_does_not_fit(pattern, sizes, match):
    world = World()
    axes = tuple(world.atom(size) for size in sizes)
    call = world.call(axes, outputs=[sizes[:-1] + (1,)])
    with pytest.raises(Undescribed, match=match):
        describe(call, pattern)


def test_describe_gives_up_when_a_size_is_unknown():
    world = World()
    call = world.call((BATCH, Fixed(None)), outputs=[(None, None)])
    with pytest.raises(Undescribed, match="None is not"):
        describe(call, "b (2 i) -> b i")


def test_broadcast_stays_at_one_when_another_axis_is_longer():
    world = World()
    one, wide = world.atom(1), world.atom(6)
    call = world.call((BATCH, one), (BATCH, wide))
    output = call.broadcast(call.tensors)
    assert output.axes == (BATCH, wide)
    assert world.resolve(one) == Fixed(1)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (1.0, None),
        (np.float32(2), None),
        (None, None),
        ("axis", None),
        ([1.0, np.float32(2)], (2,)),
        (np.ones((1, 3)), (1, 3)),
        ([[1, 2], [3, 4]], (2, 2)),
    ],
)
def test_constant_has_axes_when_it_is_an_array(value, shape):
    tensor = World().call().constant(value)
    assert (tensor and tensor.shape) == shape
