"""The default space for images: valid at every size, and of the size of the images."""

import json

import numpy as np
import pytest

import keras_nas as kn
from keras_nas.search.spaces import image_space

SHAPES = [(1, 1, 1), (2, 3, 1), (4, 4, 1), (8, 8, 1), (28, 28, 1), (32, 32, 3)]
LARGE = [(96, 96, 3), (224, 224, 3)]


@pytest.mark.parametrize("shape", SHAPES + LARGE)
def test_every_sample_is_valid(shape):
    space = image_space(shape, 10)
    for seed in range(150):
        architecture = space.sample(np.random.default_rng(seed))
        assert json.loads(json.dumps(architecture)) == architecture
        space.blueprint(architecture)
        if seed % 5:
            continue
        child = space.mutate(architecture, np.random.default_rng(seed))
        assert space.canonical(child) != space.canonical(architecture)


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_build_and_give_probabilities(shape):
    space = image_space(shape, 3)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    for seed in range(3):
        model = space.build(space.sample(np.random.default_rng(seed)))
        found = np.asarray(model(images, training=False))
        assert found.shape == (2, 3)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_thousands_of_samples_of_small_images_are_valid():
    space, seen = image_space((8, 8, 1), 10), set()
    for seed in range(2000):
        seen.add(space.canonical(space.sample(np.random.default_rng(seed))))
    assert len(seen) > 1990
    texts = " ".join(seen)
    for kind in ("MaxPooling2D", "AveragePooling2D", "strides=2", "residual[", " | "):
        assert kind in texts


def test_large_images_are_reduced_further_than_small_ones():
    for side, most in ((8, 2), (32, 8), (224, 16)):
        space = image_space((side, side, 3), 10)
        grids = [grid for grid in grids_of(space, 40)]
        assert min(grids) >= 2
        assert max(grids) <= max(most, 16)


def grids_of(space, count):
    """The grid in front of the head of some samples."""
    for seed in range(count):
        architecture = space.sample(np.random.default_rng(seed))
        halvings = sum(
            value
            for key, value in architecture.items()
            if key in ("first/times", "second/times")
        )
        decided = {"first/times", "second/times"} & architecture.keys()
        # Only one number is possible where none is decided.
        yield space.input_shape[0] // 2 ** (halvings + 2 - len(decided))


def test_normalization_learns_its_statistics_fast():
    space = image_space((8, 8, 1), 10)
    momenta = set()
    for seed in range(6):
        model = space.build(space.sample(np.random.default_rng(seed)))
        momenta |= {x.momentum for x in model.layers if hasattr(x, "momentum")}
    assert momenta == {0.9}


def test_candidates_can_be_given():
    space = image_space(
        (8, 8, 1), 4, activations=("tanh",), kernel_sizes=(3,), filters=((5,), (6, 7))
    )
    texts = " ".join(
        space.canonical(space.sample(np.random.default_rng(seed))) for seed in range(40)
    )
    assert "relu" not in texts and "kernel_size=5" not in texts
    assert "filters=5" in texts and "filters=6" in texts and "filters=8" not in texts


@pytest.mark.parametrize(
    ("shape", "classes", "match"),
    [
        ((8, 8), 10, "Images have three axes, but the shape .* has 2"),
        ((8, 8, 1), 1, "at least two classes"),
        ((8, 8, 1), 2.0, "at least two classes"),
        ("8x8", 10, "lists whole numbers"),
    ],
)
def test_what_is_no_image_is_refused(shape, classes, match):
    with pytest.raises(kn.InvalidRequestError, match=f"(?s){match}.*Received: "):
        image_space(shape, classes)
