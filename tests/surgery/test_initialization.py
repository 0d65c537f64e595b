"""A part of a weight is drawn as its initializer would draw it within the whole."""

import keras
import numpy as np
import pytest
from keras import initializers

from keras_nas.surgery.initialization import initialize

WHOLE = (3, 3, 40, 60)
PART = (slice(None), slice(None), slice(None), slice(50, 60))


@pytest.mark.parametrize(
    "initializer",
    [
        initializers.GlorotUniform(),
        initializers.GlorotNormal(),
        initializers.HeNormal(),
        initializers.HeUniform(),
        initializers.LecunNormal(),
        initializers.LecunUniform(),
        initializers.VarianceScaling(0.3, "fan_out", "untruncated_normal"),
        initializers.RandomNormal(0.1, 0.2),
        initializers.RandomUniform(-0.3, 0.1),
        initializers.TruncatedNormal(0.0, 0.4),
    ],
    ids=lambda initializer: type(initializer).__name__,
)
def test_part_has_mean_and_spread_of_the_whole_when_drawn_at_random(initializer):
    part = initialize(initializer, PART, WHOLE, "float32", 3)
    whole = keras.ops.convert_to_numpy(initializer(WHOLE))[PART]
    assert part.shape == whole.shape == (3, 3, 40, 10)
    assert part.std() == pytest.approx(whole.std(), rel=0.05)
    assert part.mean() == pytest.approx(
        whole.mean(), abs=0.05 * float(whole.std()) + 0.01
    )
    np.testing.assert_array_equal(
        part, initialize(initializer, PART, WHOLE, "float32", 3)
    )
    assert (part != initialize(initializer, PART, WHOLE, "float32", 4)).any()


@pytest.mark.parametrize("shape", [(7,), (30, 50), (5, 4, 6)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_limits_are_those_of_the_whole_when_scaled_by_its_fans(shape, mode):
    initializer = initializers.VarianceScaling(1.0, mode, "uniform", seed=1)
    part = (*(slice(None),) * (len(shape) - 1), np.array([0, 2]))
    draws = [
        np.abs(initialize(initializer, part, shape, "float32", seed)).max()
        for seed in range(200)
    ]
    whole = max(
        np.abs(
            initializers.VarianceScaling(1.0, mode, "uniform", seed=seed)(shape)
        ).max()
        for seed in range(50)
    )
    assert max(draws) == pytest.approx(whole, rel=0.02)


def test_part_is_cut_out_when_an_initializer_needs_the_whole():
    def positions(shape, dtype=None):
        return np.arange(np.prod(shape), dtype=dtype).reshape(shape)

    part = (slice(1, 3), np.array([0, 4]))
    values = initialize(positions, part, (3, 5), "float32", 0)
    np.testing.assert_array_equal(values, [[5, 9], [10, 14]])
    values = initialize(initializers.Identity(), part, (3, 5), "float32", 0)
    np.testing.assert_array_equal(values, np.eye(3, 5)[1:3][:, [0, 4]])
