"""Five well-known architectures of plain layers: all widths change, and it reads well."""

from __future__ import annotations

import keras
import pytest
from architectures import MAKERS
from keras import layers
from models import randomize

import keras_nas as kn
from keras_nas.graph import TensorRef, analyze

# Name, request, and whether the function stays the same on what is kept.
REQUESTS = [
    ("transformer", {"encoder0_mlp_in": 48}, True),
    ("transformer", {("decoder0_cross", "num_heads"): 6}, True),
    ("transformer", {("decoder0_self", "key_dim"): 3}, True),
    ("transformer", {"encoder0_self_add": 24, "target_embedding": 12}, False),
    ("unet", {"up0_join": 20}, True),
    ("unet", {"down1_conv2": 10, "up1": 20}, True),
    ("unet", {"bottom_conv1": 40, "bottom_conv2": 7}, True),
    ("shufflenet", {"stage0_down_left_conv": 12}, True),
    ("shufflenet", {"stage0_unit1_shuffled": 8}, True),
    ("shufflenet", {"stage1_down_in_conv": 20, "last_conv": 50}, True),
    ("swin", {"stage0_block1_mlp_in": 30}, True),
    ("swin", {"stage0_block0_qkv": 24}, False),
    ("swin", {"patches": 18, "stage1_merge": 16}, False),
    ("mobilenet", {"block0_gated": 20, "block3_squeeze": 5}, True),
    ("mobilenet", {"block2_add": 9, "features": 80}, True),
]


@pytest.fixture(scope="module", params=MAKERS)
def architecture(request):
    """The name of an architecture, and a model of it."""
    return request.param, make(request.param)


def make(name: str) -> keras.Model:
    keras.utils.clear_session(free_memory=False)
    return randomize(MAKERS[name]())


def test_layers_change_when_an_architecture_is_of_plain_layers(architecture):
    name, model = architecture
    requests = [(request, exact) for n, request, exact in REQUESTS if n == name]
    for request, is_exact in requests:
        plan = kn.plan(model, request)
        assert {key: plan.sizes[key] for key in request} == request
        assert plan.exact is is_exact
        assert kn.verify(model, plan).is_equal or not is_exact


def test_nothing_is_frozen_when_an_architecture_is_of_plain_layers(architecture):
    _, model = architecture
    end = str(kn.summary(model)).splitlines()[-1]
    free, of, total = end.split()[:3]
    assert free == total and of == "of"
    assert end.endswith("can change; nothing is frozen.")


def test_summary_names_every_vertex_once_and_inputs_before_their_readers(architecture):
    _, model = architecture
    rows = str(kn.summary(model)).splitlines()[2:-1]
    names = [row.split()[0] for row in rows]
    assert len(names) == len(set(names))
    assert {layer.name for layer in model.layers} <= set(names)
    for call in analyze(kn.Graph.from_model(model)).flat.calls:
        for leaf in keras.tree.flatten((call.args, dict(call.kwargs))):
            if isinstance(leaf, TensorRef):
                assert names.index(leaf.vertex) < names.index(call.path)


def test_lines_of_a_branch_stand_together_in_a_summary():
    rows = str(kn.summary(make("transformer"))).splitlines()[2:-1]
    names = [row.split()[0] for row in rows]
    encoder = [n for n, name in enumerate(names) if name.startswith("encoder")]
    decoder = [n for n, name in enumerate(names) if name.startswith("decoder")]
    assert max(encoder) < names.index("target") < min(decoder)


def test_summary_writes_groups_and_steps_as_a_reader_would():
    rows = {row.split()[0]: row for row in str(kn.summary(make("swin"))).splitlines()}
    assert " 6xg2 " in rows["stage0_block0_qkv"]
    assert rows["stage0_block0_qkv"].endswith("yes, in steps of 6")
    assert " 4xg1 " in rows["stage1_merge_corners"]
    rows = {row.split()[0]: row for row in str(kn.summary(make("unet"))).splitlines()}
    assert " g2+g10 " in rows["up0_join"]
    assert "further" not in rows["vertex"]


EXPLANATIONS = {
    ("shufflenet", "stage0_unit1_out_conv"): """
'stage0_unit1_out_conv' (Conv2D) has 8 neurons.
They are 4 of 'stage0_down_out_conv' x 2.
They change in steps of 2, because of joining or splitting it one by one.
""",
    ("swin", "stage0_block0_qkv"): """
'stage0_block0_qkv' (Dense) has 36 neurons.
They are 6 x 6 of 'reshape_2'.
They change in steps of 6, because of
""",
    ("unet", "up0_join"): """
'up0_join' (Concatenate) has 16 neurons.
They are 8 of 'down0_conv2' + 8 of 'up0'.
Shares some neurons with 'down0_conv2' and 'up0'.
Read by 'down1_conv1' and 'up0_conv1'.
""",
    ("mobilenet", "block0_excite"): """
'block0_excite' (Conv2D) has 16 neurons.
The same neurons as in 'block0_expand' and 'block0_depthwise'.
Read by 'block0_squeeze' and 'block0_project'.
""",
}


@pytest.mark.parametrize(("name", "layer"), EXPLANATIONS)
def test_explain_says_what_neurons_are_made_of(name, layer):
    text = EXPLANATIONS[name, layer].strip()
    assert str(kn.explain(make(name), layer)).startswith(text)


def test_explain_says_what_a_layer_needs_once_for_all_its_axes_and_calls():
    source = keras.Input((4, 4, 3), name="in")
    x = layers.Conv2D(6, 1, name="first")(source)
    shared = layers.Conv2D(6, 1, groups=3, name="shared")
    model = keras.Model(source, layers.Dense(2, name="head")(shared(shared(x))))
    text = kn.explain(model, "shared")
    assert text.count("parts of one size") == 1
    assert "'shared' needs 3 parts of one size." in text
