"""The rules of EinsumDense and Dot against the layers themselves."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from operations_oracle import fill_in

from keras_nas.axes import Fixed, Unifier, index_of, size_of
from keras_nas.rules import AxisTensor, RuleCall, Undescribed, find_rule, map_leaves


class Run:
    """A layer called on random numbers, and what its rule says about it."""

    def __init__(self, layer, *shapes):
        self.layer, self.unifier = layer, Unifier()
        self.values = [np.random.default_rng(0).normal(size=s) for s in shapes]
        self.tensors = [
            AxisTensor((Fixed(None), *(self.unifier.atom(n) for n in shape[1:])))
            for shape in shapes
        ]
        inputs = [keras.Input(shape[1:]) for shape in shapes]
        self.output = layer(inputs if len(inputs) > 1 else inputs[0])
        self.relation = find_rule(type(layer), is_operation=False)(
            RuleCall(
                self.unifier,
                type(layer),
                "layer",
                layer.get_config(),
                {weight.name: tuple(weight.shape) for weight in layer.weights},
                (self.tensors if len(shapes) > 1 else self.tensors[0],),
                {},
                [self.output.shape],
            )
        )

    def index(self, axis, keep, size):
        axis = self.unifier.resolve(axis)
        return np.arange(size) if axis.size is None else index_of(axis, keep)

    def take(self, values, axes, keep):
        indices = [
            self.index(axis, keep, size)
            for axis, size in zip(axes, values.shape, strict=True)
        ]
        return np.asarray(values)[np.ix_(*indices)]

    def rebuilt(self, keep):
        """The layer with rewritten settings and sliced weights, on sliced inputs."""
        config = map_leaves(
            lambda leaf: fill_in(self, leaf, keep), self.relation.config
        )
        layer = type(self.layer).from_config({**self.layer.get_config(), **config})
        values = [
            self.take(value, tensor.axes, keep)
            for value, tensor in zip(self.values, self.tensors, strict=True)
        ]
        argument = values if len(values) > 1 else values[0]
        layer(argument)
        for old, new in zip(self.layer.weights, layer.weights, strict=True):
            (axes,) = self.relation.weights[old.name].blocks
            new.assign(self.take(old, axes, keep))
        return np.asarray(layer(argument))

    def original(self):
        return np.asarray(
            self.layer(self.values if len(self.values) > 1 else self.values[0])
        )


EQUATIONS = [
    ("abc,cd->abd", (None, 5), "d", (2, 4, 6)),
    ("abc,cde->abde", (None, 2, 5), "de", (2, 4, 6)),
    ("abcd,cde->abe", (None, 5), "e", (2, 4, 3, 6)),
    ("...x,xy->...y", 5, "y", (2, 4, 6)),
    # Not 6 but 8 at the end: Keras on TensorFlow adds a bias of shape (n, 1) to the
    # last axis where that happens to be n long.
    ("ab...,bc->ac...", 5, "c", (2, 4, 8)),
    ("abc,bcd->abd", (4, 5), "bd", (2, 4, 6)),
    ("abc,c->abc", (None, 6), "c", (2, 4, 6)),
    ("abc,cd->abd", (4, 5), None, (2, 4, 6)),
]


@pytest.mark.parametrize(("equation", "output_shape", "bias_axes", "shape"), EQUATIONS)
def test_einsum_dense_keeps_its_outputs_when_unread_axes_shrink(
    equation, output_shape, bias_axes, shape
):
    layer = layers.EinsumDense(
        equation, output_shape, bias_axes=bias_axes, bias_initializer="normal"
    )
    run = Run(layer, shape)
    output = run.relation.outputs[0]
    # Dropping an axis that the layer sums over changes its result; all others may go.
    free = {a for axis in output.axes for a in run.unifier.resolve(axis).atoms}
    keep = {atom: np.arange(0, atom.size, 2) for atom in free}
    expected = run.take(run.original(), output.axes, keep)
    assert expected.shape != run.output.shape
    np.testing.assert_allclose(run.rebuilt(keep), expected, atol=1e-5)


def test_einsum_dense_reads_the_letters_that_its_output_lacks():
    run = Run(layers.EinsumDense("abcd,cde->abe", (None, 5)), (2, 4, 3, 6))
    kernel = run.relation.weights["kernel"]
    assert kernel.reads == {0, 1}
    assert kernel.shape == (3, 6, 5)
    assert not run.relation.mixes


def test_einsum_dense_has_a_width_for_each_letter_of_its_own():
    run = Run(layers.EinsumDense("abc,cde->abde", (None, 2, 5)), (2, 4, 6))
    assert {key: axis.size for key, axis in run.relation.widths.items()} == {
        "d": 2,
        "e": 5,
    }


def test_einsum_dense_mixes_a_letter_that_is_summed_without_weights():
    run = Run(layers.EinsumDense("abc,cd->ad", 5), (2, 4, 6))
    assert [axis for axis, _ in run.relation.mixes] == [run.tensors[0].axes[1]]


def test_einsum_dense_gives_up_when_it_has_lora_weights():
    with pytest.raises(Undescribed, match="LoRA"):
        layer = layers.EinsumDense("abc,cd->abd", (None, 5))
        layer.build((2, 4, 6))
        layer.enable_lora(2)
        Run(layer, (2, 4, 6))


@pytest.mark.parametrize(
    ("axes", "shapes", "normalize"),
    [
        (-1, ((2, 6), (2, 6)), False),
        (1, ((2, 6, 3), (2, 6, 4)), False),
        ((2, 1), ((2, 3, 6), (2, 6, 4)), True),
        ((1, 1), ((2, 6, 3), (2, 6)), False),
    ],
)
def test_dot_keeps_its_outputs_when_unsummed_axes_shrink(axes, shapes, normalize):
    run = Run(layers.Dot(axes, normalize), *shapes)
    output = run.relation.outputs[0]
    free = {a for axis in output.axes for a in run.unifier.resolve(axis).atoms}
    keep = {atom: np.arange(0, atom.size, 2) for atom in free}
    expected = run.take(run.original(), output.axes, keep)
    np.testing.assert_allclose(run.rebuilt(keep), expected, atol=1e-5)
    ((mixed, _),) = run.relation.mixes
    assert run.unifier.resolve(mixed) == run.unifier.resolve(
        run.tensors[1].axes[axes[1] if isinstance(axes, tuple) else axes]
    )
    keep = {atom: np.arange(3) for atom in run.unifier.resolve(mixed).atoms}
    sizes = {atom: len(kept) for atom, kept in keep.items()}
    assert run.rebuilt(keep).shape[1:] == tuple(
        size_of(run.unifier.resolve(axis), sizes) for axis in output.axes[1:]
    )
