"""Wrong requests: each is refused with its values, and changes nothing."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
from keras import layers
from nets import chain, concatenated, nested, residual

import keras_nas as kn

NAN = float("nan")


@pytest.fixture(scope="module")
def model():
    """One model for all tests here; every test checks that it is as before."""
    return residual()


def state(model: keras.Model) -> tuple:
    """Everything that an edit could have changed."""
    nodes = [
        (layer.name, len(layer._inbound_nodes), len(layer._outbound_nodes))
        for layer in model.layers
    ]
    weights = [keras.ops.convert_to_numpy(w).tobytes() for w in model.weights]
    return model.get_config(), nodes, weights


def refuse(model, error, match: str, request=("branch", 3), verb=kn.resize, **keywords):
    """Asserts that a request fails with this error and leaves the model alone."""
    before = state(model)
    with pytest.raises(error, match=match) as caught:
        verb(model, *request, **keywords)
    assert state(model) == before
    problem, advice = str(caught.value).rsplit("\n\n", 1)
    assert problem and "Received: " in advice
    assert isinstance(caught.value, kn.KerasNasError)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("brunch", r"named 'brunch'.*Did you mean 'branch'"),
        ("ad", r"named 'ad'.*Did you mean 'add'"),
        ("xyz", r"named 'xyz'.*summary"),
        (7, r"string.*not by a int.*Received: 7"),
        (None, r"string.*not by a NoneType.*Received: None"),
    ],
)
def test_unknown_layer_is_refused_with_close_names(model, name, match):
    refuse(model, kn.UnknownLayerError, f"(?s){match}", (name, 3))


def test_unknown_layer_is_refused_in_every_keyword(model):
    error = kn.UnknownLayerError
    refuse(model, error, "named 'no'", locked=("no",))
    refuse(model, error, "named 'no'", bounds={"no": (1, 2)})
    refuse(model, error, "named 'no'", multiple_of={"no": 2})
    refuse(model, error, "named 'no'", importance={"no": 1.0})
    refuse(model, error, "named 'no'", ("no", [3]), verb=kn.resize_inputs)


def test_path_is_suggested_when_a_name_in_a_nested_model_is_misspelt():
    refuse(nested(), kn.UnknownLayerError, "'encoder/inner'", ("encoder/iner", 3))
    refuse(nested(), kn.UnknownLayerError, "Did you mean 'inner'", ("iner", 3))


def test_ambiguous_name_is_refused_with_all_paths():
    def block(name):
        source = keras.Input((4,))
        return keras.Model(source, layers.Dense(4, name="same")(source), name=name)

    source = keras.Input((4,))
    model = keras.Model(source, block("second")(block("first")(source)))
    refuse(model, kn.UnknownLayerError, "'first/same', 'second/same'", ("same", 3))
    new = kn.resize(model, "first/same", 3)
    assert new.get_layer("first").get_layer("same").units == 3


@pytest.mark.parametrize(
    ("size", "match"),
    [
        (0, "'branch' would fall below 1.*Received: 0"),
        (-3, "'branch' would fall below 1.*Received: -3"),
        (np.int64(0), "would fall below 1"),
        (2.5, "'branch' is not a whole number.*Received: 2.5"),
        (4.0, "'branch' is not a whole number.*Received: 4.0"),
        (NAN, "'branch' is not a number.*Received: nan"),
        (float("inf"), "'branch' is not a whole number.*Received: inf"),
        (True, "whole number, but it is a bool.*Received: True"),
        (np.bool_(True), f"whole number, but it is a bool.*Received: {np.bool_(True)!r}"),
        ("4", "whole number, but it is a str.*Received: '4'"),
        (None, "whole number, but it is a NoneType.*Received: None"),
        ([4], r"whole number, but it is a list.*Received: \[4\]"),
        (1 + 0j, "whole number, but it is a complex"),
    ],
)
def test_size_that_is_no_size_is_refused(model, size, match):
    refuse(model, kn.InvalidRequestError, f"(?s){match}", ("branch", size))
    refuse(model, kn.InvalidRequestError, f"(?s){match}", ({"branch": size},))


@pytest.mark.parametrize("size", [0, -1, 1.5, NAN, True, None])
def test_near_refuses_what_is_no_size(size):
    with pytest.raises(kn.InvalidRequestError, match=re.escape(f"Received: {size!r}")):
        kn.near(size)


@pytest.mark.parametrize("size", [2**24 + 1, 10**12, 10**30])
def test_size_beyond_any_memory_is_refused_at_once(model, size):
    error, match = kn.InvalidRequestError, f"would be {size} neurons, but at most 16777"
    refuse(model, error, match, ("branch", size))
    refuse(model, error, match, ("branch", kn.near(size)))
    refuse(model, error, match, ("add", [size, None]), verb=kn.resize_inputs)
    refuse(model, error, match, bounds={"head": (size, None)})
    refuse(model, error, f"multiples of {size}: at most 16777", multiple_of=size)
    assert kn.plan(model, "branch", 3, bounds={"head": (1, size)}).sizes["stem"] == 3


def test_integers_of_numpy_are_sizes(model):
    for size in (np.int64(3), np.uint8(3), np.array(3)):
        assert kn.plan(model, "branch", size).sizes["stem"] == 3


def test_no_request_at_all_is_refused(model):
    refuse(model, kn.InvalidRequestError, "No layer is named", ({},))


def test_layer_without_a_size_is_refused():
    source = keras.Input((4,))
    x = layers.Dense(3, name="d")(source)
    total = keras.ops.sum(x, axis=-1)
    model = keras.Model(source, [total, x])
    name = model.operations[-1].name
    refuse(model, kn.InvalidRequestError, f"'{name}' has no size", (name, 2))


def test_unknown_width_is_refused_with_those_there_are(model):
    match = r"(?s)no width named 'heads'.*none.*Received: axis='heads'"
    refuse(model, kn.InvalidRequestError, match, axis="heads")
    refuse(model, kn.InvalidRequestError, match, ({("branch", "heads"): 2},))


def test_two_sizes_for_one_layer_are_refused():
    model = nested()
    requests = {"inner": 3, "encoder/inner": 4}
    refuse(model, kn.InvalidRequestError, "3 by 'inner' and 4 by", (requests,))


def test_contradictory_requests_are_infeasible(model):
    refuse(model, kn.InfeasibleError, "'stem'", ({"stem": 3, "branch": 4},))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_model_that_is_no_graph_is_refused():
    subclassed = Subclassed()
    subclassed(np.zeros((1, 3)))
    for wrong, match in (
        (subclassed, "Subclassed"),
        (keras.Sequential([layers.Dense(3, name="d")]), "(?s)built|shape"),
        (layers.Dense(3), "Dense"),
        (None, "NoneType"),
        ("model.keras", "str"),
    ):
        for verb in (kn.resize, kn.plan):
            with pytest.raises(kn.UnsupportedModelError, match=match) as caught:
                verb(wrong, "d", 2)
            assert "\n\n" in str(caught.value)
        with pytest.raises(kn.UnsupportedModelError, match=match):
            kn.summary(wrong)


@pytest.mark.parametrize(
    ("importance", "match"),
    [
        ({"branch": [1.0, 2.0]}, r"'branch' has shape \(2,\).*has 6 neurons"),
        ({"branch": np.ones((6, 1))}, r"'branch' has shape \(6, 1\)"),
        ({"branch": [1, 2, NAN, 4, 5, NAN]}, r"'branch' is NaN at \[2, 5\]"),
        ({"branch": NAN}, "'branch' is NaN"),
        ({"branch": "much"}, "'branch' is not made of numbers"),
        (lambda name: [1.0], r"has shape \(1,\)"),
        (lambda name: NAN, "is NaN"),
        ("taylor", "no importance named 'taylor'"),
        (3.0, "cannot be a float"),
    ],
)
def test_wrong_importance_is_refused(model, importance, match):
    error = kn.InvalidRequestError
    refuse(model, error, f"(?s){match}", importance=importance)


def test_wrong_importance_of_a_layer_out_of_reach_is_refused():
    refuse(
        chain(3, 4, 2),
        kn.InvalidRequestError,
        r"'d1' has shape \(3,\).*4 neurons",
        ("d0", 2),
        importance={"d1": [1, 2, 3]},
    )


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        ({"solver": "gurobi"}, "no solver named 'gurobi'.*'highs'"),
        ({"time_limit_s": 0}, "above 0.*Received: time_limit_s=0"),
        ({"time_limit_s": -1.0}, "above 0"),
        ({"time_limit_s": NAN}, "above 0.*time_limit_s=nan"),
        ({"time_limit_s": "1"}, "above 0"),
        ({"time_limit_s": True}, "above 0"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"seed": None}, "seed=None"),
        ({"multiple_of": 0}, "multiple_of=0"),
        ({"multiple_of": 2.0}, "multiple_of=2.0"),
        ({"multiple_of": {"branch": -2}}, "multiple_of=-2"),
        ({"bounds": {"branch": 4}}, "not a pair.*'branch': 4"),
        ({"bounds": {"branch": (4, 2)}}, "contradict.*at least 4.*at most 2"),
        ({"bounds": {"branch": (0, 2)}}, r"not a size.*\(0, 2\)"),
        ({"bounds": {"branch": (1.5, 2)}}, r"not a size.*\(1.5, 2\)"),
        ({"bounds": {"branch": (True, 2)}}, "not a size"),
        ({"bounds": [("branch", 2)]}, "bounds"),
        ({"initializer": "nonsense"}, "no such initializer.*initializer='nonsense'"),
        ({"initializer": 3}, "no such initializer.*initializer=3"),
        ({"locked": 3}, "locked"),
    ],
)
def test_wrong_keyword_is_refused(model, keywords, match):
    refuse(model, kn.InvalidRequestError, f"(?s){match}", **keywords)


def test_unknown_keyword_is_a_type_error(model):
    for verb in (kn.resize, kn.plan):
        with pytest.raises(TypeError, match="lock"):
            verb(model, "branch", 3, lock=("stem",))
    with pytest.raises(TypeError, match="axes"):
        kn.resize_inputs(model, "add", [3, 3], axes=1)


def test_bounds_that_contradict_the_request_are_infeasible(model):
    match = r"'branch' cannot have 3.*bound to \(4, None\)"
    refuse(model, kn.InfeasibleError, f"(?s){match}", bounds={"branch": (4, None)})
    with pytest.raises(kn.InfeasibleError, match="nearest") as caught:
        kn.resize(model, "branch", 3, bounds={"add": (4, 5)})
    assert caught.value.nearest == {"branch": 4}


def test_bounds_of_two_tied_layers_that_contradict_are_infeasible(model):
    bounds = {"stem": (1, 3), "branch": (4, 8)}
    refuse(model, kn.InfeasibleError, "'stem' is bound", bounds=bounds)


def test_bounds_that_a_fixed_layer_breaks_are_refused(model):
    refuse(
        model,
        kn.InvalidRequestError,
        "'in' has 4.*cannot change",
        bounds={"in": (5, 6)},
    )


def test_other_size_of_an_input_is_infeasible(model):
    refuse(model, kn.InfeasibleError, "model input 'in'", ("in", 3))
    with pytest.raises(kn.InfeasibleError, match="4") as caught:
        kn.plan(model, "in", 3)
    assert caught.value.nearest == {"in": 4}


def test_output_that_is_not_named_is_held_with_advice():
    source = keras.Input((3,))
    a = layers.Dense(4, name="a")(source)
    model = keras.Model(source, layers.Add(name="add")([a, layers.Dense(4)(source)]))
    refuse(model, kn.InfeasibleError, "(?s)output of the model.*free_outputs", ("a", 3))


def test_wrong_number_of_input_sizes_is_refused(model):
    def of_inputs(match, name, sizes, error=kn.InvalidRequestError):
        refuse(model, error, match, (name, sizes), verb=kn.resize_inputs)

    of_inputs("'add' has 2 inputs, but 3 sizes", "add", [1, 2, 3])
    of_inputs("'head' has 1 inputs, but 2 sizes", "head", [1, 2])
    of_inputs("No input of 'add' gets a size", "add", [None, None])
    of_inputs("add input 1.*below 1", "add", [None, 0])
    of_inputs("'in' has 0 inputs", "in", [2])


def test_unavailable_solver_is_refused_with_how_to_install_it(model, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for solver, package in (("glpk", "glpk-utils"), ("cbc", "coinor-cbc")):
        refuse(model, kn.SolverError, f"(?s){solver}.*{package}", solver=solver)


def test_time_limit_that_expires_is_an_error():
    model = concatenated(7, 9, 11, 13, 15, 17)
    match = "time limit.*time_limit_s=1e-09"
    refuse(model, kn.SolverError, f"(?s){match}", ("cat", 31), time_limit_s=1e-9)
