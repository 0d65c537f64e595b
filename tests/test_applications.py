"""The checks of ``benchmarks/applications.py`` on six small models of all families."""

import pytest
from application_checks import (
    Subject,
    application_names,
    check_dead,
    check_growth,
    check_rebuild,
    check_requests,
    smaller_and_larger,
)

import keras_nas as kn

NAMES = (
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50V2",
)
# Layers of each model that are asked for two sizes.
NUM_REQUESTED = 20


@pytest.fixture(scope="module", params=NAMES)
def subject(request):
    return Subject.make(request.param)


def test_applications_are_all_found_when_keras_is_looked_through():
    names = application_names()
    assert len(names) >= 40
    assert set(NAMES) < set(names)


def test_outputs_are_equal_bit_for_bit_when_an_application_is_rebuilt(subject):
    check_rebuild(subject)


def test_sizes_are_exact_or_refused_when_layers_of_an_application_are_asked(subject):
    paths = subject.sample(NUM_REQUESTED, "requests")
    result = check_requests(subject, paths)
    assert result.exact >= 1.5 * len(paths)


def test_outputs_stay_when_a_layer_of_an_application_grows(subject):
    assert check_growth(subject, _exact(subject, "grow")) is not None


def test_outputs_stay_when_dead_neurons_of_an_application_go(subject):
    assert check_dead(subject, _exact(subject, "shrink")) is not None


def test_growth_is_inexact_when_a_layer_normalization_sees_new_channels():
    subject = Subject.make("ConvNeXtTiny")
    wide = [path for path in subject.sized if path.endswith("downsampling_conv_1")]
    assert check_growth(subject, wide[0]) is None


def _exact(subject, salt):
    """A layer that can grow and shrink without changing the function."""
    paths = subject.sample(len(subject.sized), salt)
    grown = ((path, smaller_and_larger(subject, path)[-1]) for path in paths)
    return next(p for p, size in grown if kn.plan(subject.graph, p, size).exact)
