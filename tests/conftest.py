"""Settings for all tests: the same examples in every run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from keras_nas.graph import names_kept

settings.register_profile(
    "keras_nas",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("keras_nas")


@pytest.fixture(autouse=True)
def names_start_anew():
    """No test depends on the names that Keras made up for the tests before it."""
    with names_kept():
        yield
