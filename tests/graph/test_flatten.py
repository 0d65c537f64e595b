import keras
import pytest
from keras import layers
from zoo import ZOO

from keras_nas import Graph
from keras_nas.graph import TensorRef, flatten, refs


def encoder(name="encoder"):
    inputs = keras.Input((4,), name="in")
    return keras.Model(inputs, layers.Dense(4, name="dense")(inputs), name=name)


def by_path(flat):
    return {call.path: call for call in flat.calls}


def ref(path, index=0):
    return TensorRef(path, index)


def test_paths_are_vertex_names_when_nothing_is_nested():
    inputs = keras.Input((4,), name="in")
    dense = layers.Dense(4, name="dense")
    model = keras.Model(inputs, dense(dense(inputs)))
    flat = flatten(Graph.from_model(model))
    assert [call.path for call in flat.calls] == ["in", "dense", "dense^1"]
    calls = by_path(flat)
    assert calls["in"].args == ()
    assert calls["dense^1"].args == (ref("dense"),)
    assert calls["dense"].part is calls["dense^1"].part
    assert flat.inputs == (ref("in"),)
    assert flat.outputs == (ref("dense^1"),)
    assert flat.aliases == {}


def test_nested_models_are_opened_when_called_twice():
    inner = encoder()
    inputs = keras.Input((4,), name="outer_in")
    model = keras.Model(inputs, inner(layers.ReLU(name="relu")(inner(inputs))))
    flat = flatten(Graph.from_model(model))
    calls = by_path(flat)
    assert [call.path for call in flat.calls] == [
        "outer_in",
        "encoder/in",
        "encoder/dense",
        "relu",
        "encoder^1/in",
        "encoder^1/dense",
    ]
    assert calls["encoder/in"].args == (ref("outer_in"),)
    assert calls["encoder^1/in"].args == (ref("relu"),)
    assert calls["relu"].args == (ref("encoder/dense"),)
    assert calls["encoder^1/dense"].args == (ref("encoder^1/in"),)
    first, second = calls["encoder/dense"], calls["encoder^1/dense"]
    assert first.home == second.home == ("encoder", "dense")
    assert first.part is second.part
    assert first.part.key == "encoder/dense"
    assert flat.aliases["encoder"] == (ref("encoder/dense"),)
    assert flat.outputs == flat.aliases["encoder^1"] == (ref("encoder^1/dense"),)


def test_aliases_go_through_all_levels_when_nested_deeply():
    inner = encoder("inner")
    middle_in = keras.Input((4,), name="middle_in")
    middle = keras.Model(middle_in, [inner(middle_in), middle_in], name="middle")
    inputs = keras.Input((4,), name="outer_in")
    model = keras.Model(inputs, layers.Add(name="add")(middle(inputs)))
    flat = flatten(Graph.from_model(model))
    calls = by_path(flat)
    deepest = ref("middle/inner/dense")
    assert flat.aliases["middle/inner"] == (deepest,)
    assert flat.aliases["middle"] == (deepest, ref("middle/middle_in"))
    assert calls["add"].args == ([deepest, ref("middle/middle_in")],)
    assert calls["middle/inner/in"].args == (ref("middle/middle_in"),)
    assert calls["middle/inner/dense"].home == ("middle/inner", "dense")


def test_key_is_the_path_of_the_first_call_when_a_layer_is_in_two_bodies():
    dense = layers.Dense(4, name="dense")
    inner_in = keras.Input((4,), name="in")
    inner = keras.Model(inner_in, dense(inner_in), name="inner")
    inputs = keras.Input((4,), name="outer_in")
    model = keras.Model(inputs, dense(inner(inputs)))
    flat = flatten(Graph.from_model(model))
    calls = by_path(flat)
    assert calls["inner/dense"].part.key == calls["dense"].part.key == "inner/dense"
    assert calls["dense"].home == ("", "dense")


def test_tensors_go_by_name_when_a_dict_is_passed_to_a_list():
    flat = flatten(Graph.from_model(ZOO["dict_to_model_with_list"]()))
    calls = by_path(flat)
    assert calls["inner/a"].args == (ref("q"),)
    assert calls["inner/b"].args == (ref("p"),)


def test_inputs_and_outputs_are_in_the_order_of_keras_when_dicts():
    flat = flatten(Graph.from_model(ZOO["dict_inputs_and_nested_outputs"]()))
    assert flat.inputs == (ref("a"), ref("b"))
    kinds = [by_path(flat)[tensor.vertex].part.cls for tensor in flat.outputs]
    assert kinds == [layers.Dense, layers.Add, layers.InputLayer, layers.Dense]


def test_sequential_is_a_chain_when_masks_are_computed_inside():
    flat = flatten(Graph.from_model(ZOO["mask_in_sequential"]()))
    assert [type_name(call) for call in flat.calls] == [
        "InputLayer",
        "Embedding",
        "LSTM",
    ]
    assert all(call.kwargs == {} for call in flat.calls)


def type_name(call):
    return call.part.cls.__name__


def test_a_name_with_a_caret_does_not_clash_when_calls_are_numbered():
    inputs = keras.Input((4,), name="in")
    dense = layers.Dense(4, name="dense")
    other = layers.Dense(4, name="dense^1")
    model = keras.Model(inputs, dense(other(dense(inputs))))
    flat = flatten(Graph.from_model(model))
    assert [call.path for call in flat.calls] == ["in", "dense", "dense^1", "dense^2"]
    assert by_path(flat)["dense^2"].part.name == "dense"


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_tensor_is_made_before_it_is_used(name):
    graph = Graph.from_model(ZOO[name]())
    flat = flatten(graph)
    made = {}
    for call in flat.calls:
        for tensor in refs((call.args, dict(call.kwargs))):
            assert tensor.index < len(made[tensor.vertex].outputs)
        assert call.path not in made
        made[call.path] = call
        assert graph.body_of(call.home[0]).vertices[call.home[1]] is call.vertex
    for tensor in flat.inputs + flat.outputs:
        assert tensor.index < len(made[tensor.vertex].outputs)
    for tensors in flat.aliases.values():
        assert all(tensor.vertex in made for tensor in tensors)
