"""Blocks and spaces: what is sampled is always valid, equal networks have equal keys."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_nas as kn
from keras_nas.search.spaces import (
    Choice,
    Fork,
    LayerSpace,
    NetworkSpace,
    Nothing,
    Repeat,
    Residual,
    Series,
)


def conv(**settings) -> LayerSpace:
    defaults = {"filters": (2, 3), "kernel_size": (1, 3), "padding": "same"}
    return LayerSpace("Conv2D", **{**defaults, **settings})


POOL = LayerSpace("MaxPooling2D", pool_size=2)
GLOBAL = LayerSpace("GlobalMaxPooling2D")
SMALL = NetworkSpace(
    (4, 4, 1),
    Series(
        body=Repeat(Choice(plain=conv(), short=Residual(conv(filters=2))), (0, 1, 2)),
        pool=Choice(POOL, Nothing()),
        head=GLOBAL,
    ),
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_size_is_the_number_of_enumerated_architectures():
    every = list(SMALL.enumerate())
    # A place has 4 plain and 2 short convolutions: 1 + 6 + 36 rows, with pool or not.
    assert len(every) == SMALL.size() == 86
    assert len({json.dumps(architecture) for architecture in every}) == 86
    for architecture in every:
        assert json.loads(json.dumps(architecture)) == architecture
        SMALL.blueprint(architecture)


def test_sampling_reaches_everything():
    seen = {json.dumps(SMALL.sample(generator(seed))) for seed in range(4000)}
    assert seen == {json.dumps(architecture) for architecture in SMALL.enumerate()}


def test_the_same_seed_samples_the_same():
    for seed in range(20):
        assert SMALL.sample(generator(seed)) == SMALL.sample(generator(seed))


def test_models_have_the_decided_layers_under_the_same_names_each_time():
    architecture = {
        "body/times": 2,
        "body/0/kind": "short",
        "body/0/short/kernel_size": 3,
        "body/1/kind": "plain",
        "body/1/plain/filters": 3,
        "body/1/plain/kernel_size": 1,
        "pool/kind": "0",
    }
    models = [SMALL.build(architecture) for _ in range(2)]
    names = [[layer.name for layer in model.layers] for model in models]
    assert names[0] == names[1]
    assert set(names[0]) == {
        "input",
        "body_0_short_conv",
        "body_0_short_residual_shortcut_project",
        "body_0_short_residual_add",
        "body_1_plain_conv",
        "pool_0_max_pooling",
        "head_global_max_pooling",
    }
    model = models[0]
    assert model.get_layer("body_0_short_conv").kernel_size == (3, 3)
    assert model.get_layer("body_1_plain_conv").filters == 3
    assert model.get_layer("body_1_plain_conv").input.shape == (None, 4, 4, 2)
    assert model.get_layer("head_global_max_pooling").input.shape == (None, 2, 2, 3)


def test_equal_networks_have_equal_keys_and_others_do_not():
    block = conv(filters=(2,))
    space = NetworkSpace(
        (4, 4, 1),
        Series(Choice(Repeat(block, (1, 2)), Fork(block, (1, 2)), Nothing()), GLOBAL),
    )
    keys = {}
    for architecture in space.enumerate():
        keys.setdefault(space.canonical(architecture), []).append(architecture)
    # Kernels 1 or 3. Rows: 1, 3, 11, 13, 31, 33. Forks: 1 and 3 as the rows; 1|1, 1|3
    # (as 3|1), 3|3. And nothing.
    assert space.size() == 6 + 6 + 1
    assert len(keys) == 6 + 3 + 1
    assert sorted(map(len, keys.values())) == [1] * 7 + [2] * 3
    for same in keys.values():
        counts = {space.build(architecture).count_params() for architecture in same}
        assert len(counts) == 1


def test_dead_ends_are_never_offered():
    # Of the grid of 5, two poolings leave 1; a kernel of 3 without padding needs 3.
    valid = LayerSpace("Conv2D", filters=2, kernel_size=(1, 3), padding="valid")
    space = NetworkSpace(
        (5, 5, 1), Series(Repeat(POOL, (0, 1, 2, 3)), valid, Repeat(POOL, (0, 1)), GLOBAL)
    )
    found = {
        (a["0/times"], a.get("1/kernel_size", 1), a.get("2/times", 0))
        for a in space.enumerate()
    }
    # After one pooling the grid is 2, after two 1: then nothing more fits.
    assert found == {(0, 1, 0), (0, 1, 1), (0, 3, 0), (0, 3, 1), (1, 1, 0), (1, 1, 1)} | {
        (2, 1, 0)
    }
    assert space.size() == len(found)
    for architecture in space.enumerate():
        assert space.build(architecture).output_shape == (None, 2)


def test_a_residual_block_keeps_the_grid_and_any_width():
    inner = Series(Repeat(POOL, (0, 1)), conv(filters=(1, 4)), LayerSpace("ReLU"))
    space = NetworkSpace((4, 4, 1), Series(Residual(inner), GLOBAL))
    assert space.size() == 4
    for architecture in space.enumerate():
        model = space.build(architecture)
        assert "0_0_times" not in architecture
        width = architecture["0/1/filters"]
        assert model.output_shape == (None, width)
        projections = [x for x in model.layers if x.name.endswith("shortcut_project")]
        assert len(projections) == (width != 1)


def test_options_may_be_lists_and_come_back_from_json():
    space = NetworkSpace(
        (4, 4, 1), Series(conv(filters=1, kernel_size=((3, 1), (1, 3))), GLOBAL)
    )
    every = [json.loads(json.dumps(a)) for a in space.enumerate()]
    kernels = {space.build(a).layers[1].kernel_size for a in every}
    assert kernels == {(3, 1), (1, 3)}
    assert len({space.canonical(a) for a in every}) == 2


def test_spaces_of_vectors_and_of_sequences():
    dense = LayerSpace("Dense", units=(3, 5))
    vectors = NetworkSpace((7,), Series(Repeat(Residual(dense), (1, 2))))
    tokens = NetworkSpace(
        (6, 2),
        Series(
            Fork(LayerSpace("Conv1D", filters=2, kernel_size=(1, 3), padding="causal"), (2,)),
            LayerSpace("GlobalAveragePooling1D"),
        ),
    )
    for space, width in ((vectors, None), (tokens, 4)):
        for architecture in space.enumerate():
            model = space.build(architecture)
            found = model(np.ones((2, *space.input_shape), "float32"))
            assert np.isfinite(found).all()
            assert width is None or found.shape == (2, width)


@given(seed=st.integers(0, 10**6))
def test_a_mutation_is_another_network_of_the_space(seed):
    rng = generator(seed)
    old = SMALL.sample(rng)
    before = dict(old)
    new = SMALL.mutate(old, rng)
    assert old == before
    assert SMALL.canonical(new) != SMALL.canonical(old)
    assert json.dumps(new) in EVERY
    # One decision is another one; those behind it may have come or gone.
    changed = [key for key in old if key in new and old[key] != new[key]]
    assert len(changed) == 1


EVERY = {json.dumps(architecture) for architecture in SMALL.enumerate()}


@given(seed=st.integers(0, 10**6))
def test_a_child_has_the_decisions_of_its_parents(seed):
    rng = generator(seed)
    first, second = SMALL.sample(rng), SMALL.sample(rng)
    child = SMALL.crossover(first, second, rng)
    assert json.dumps(child) in EVERY
    for key, value in child.items():
        if key in first and key in second:
            assert value in (first[key], second[key])
    same = SMALL.crossover(first, first, rng)
    assert same == first


def test_mutations_reach_the_whole_space():
    rng, seen = generator(), set()
    architecture = SMALL.sample(rng)
    for _ in range(3000):
        architecture = SMALL.mutate(architecture, rng)
        seen.add(json.dumps(architecture))
    assert seen == EVERY


def test_a_space_without_decisions_has_one_architecture():
    space = NetworkSpace((3,), LayerSpace("Dense", units=2))
    assert space.size() == 1 and list(space.enumerate()) == [{}]
    assert space.mutate({}, generator()) == {}
    assert space.sample(generator()) == {}


def test_spaces_tell_what_they_are():
    assert repr(SMALL) == (
        "NetworkSpace((4, 4, 1), Series(body=Repeat(Choice("
        "plain=LayerSpace('Conv2D', filters=(2, 3), kernel_size=(1, 3), "
        "padding='same'), short=Residual(LayerSpace('Conv2D', filters=2, "
        "kernel_size=(1, 3), padding='same'))), (0, 1, 2)), "
        "pool=Choice(LayerSpace('MaxPooling2D', pool_size=2), Nothing()), "
        "head=LayerSpace('GlobalMaxPooling2D')))  # 86 architectures"
    )


def built(kind, **settings):
    space = NetworkSpace((4, 4, 1), Series(LayerSpace(kind, **settings), GLOBAL))
    return space.build(space.sample(np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LayerSpace("Conv9D"), "Keras has no layer 'Conv9D'"),
        (lambda: LayerSpace(3), "Keras has no layer 3"),
        (lambda: LayerSpace("Dense", units=()), "'units' of Dense has no options"),
        (lambda: Choice(), "needs at least 1 block"),
        (lambda: Series("Dense"), "made of blocks, not of a str"),
        (lambda: Repeat(POOL, (-1,)), "'times' has to list whole numbers"),
        (lambda: Repeat(POOL, 2), "'times' has to list whole numbers"),
        (lambda: Fork(POOL, (0, 1)), "whole numbers of at least 1"),
        (lambda: NetworkSpace((4, 4, 1), "conv"), "made of blocks, not of a str"),
        (lambda: NetworkSpace((0, 4, 1), POOL), "shape of the inputs lists whole"),
        (lambda: NetworkSpace(4, POOL), "shape of the inputs lists whole"),
        (lambda: NetworkSpace((1, 1, 1), Series(POOL, GLOBAL)), "No network of this"),
        (lambda: NetworkSpace((4, 4, 1), POOL), "No network .* and gives 1 axes"),
        (lambda: SMALL.build({"body/times": 0}), "does not decide 'pool/kind'"),
        (lambda: SMALL.build({"body/times": 9, "pool/kind": "0"}), "for 9, but the"),
        (
            lambda: SMALL.build({"body/times": 0, "pool/kind": "0", "x": 1}),
            r"decides \['x'\], which are not asked for",
        ),
        (lambda: built("LSTM", units=3), r"no LSTM here: .*ndim=3.*\(None, 4, 4, 1\)"),
        (lambda: built("Dense", units=3, cells=1), "no Dense here: Unrec.*cells"),
        (lambda: SMALL.canonical([1]), "a dict of plain values, not a list"),
        (lambda: SMALL.build({"body/times": {1}}), "a dict of plain values"),
    ],
)
def test_what_is_wrong_is_refused(make, match):
    with pytest.raises(kn.InvalidRequestError, match=f"(?s){match}.*Received: "):
        make()
