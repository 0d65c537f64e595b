"""Long chains of random edits on one graph, with everything checked on the way.

Used by the tests for a short chain on several seeds and by ``benchmarks/relentless.py``
for a long one.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from keras import layers
from models import randomize
from random_nets import KINDS, build

import keras_nas as kn

LARGEST_WIDTH = 8


@dataclass
class Record:
    """What happened to one graph.

    Attributes:
        done: Kind of edit -> how many succeeded.
        refused: Kind of edit -> how many were answered by an error.
        reasons: What was refused, and why.
        checked: How many graphs were built and run.
        unchanged: How many of these had to compute what the one before computed.
        seconds: ``(number of vertices, seconds)`` of each edit.
        errors: Largest difference between outputs that had to be equal.
    """

    done: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    reasons: list = field(default_factory=list)
    checked: int = 0
    unchanged: int = 0
    seconds: list = field(default_factory=list)
    error: float = 0.0


def network(seed: int, blocks: int = 4) -> keras.Model:
    """Returns a random network; in every third, a nested model is called twice."""
    rng = random.Random(seed)
    kinds = tuple((rng.choice(KINDS), rng.randint(1, 4)) for _ in range(blocks))
    model = build((rng.randint(2, 4), kinds, rng.random() < 0.5))
    return model if seed % 3 else _behind_a_nested_model(model)


def _behind_a_nested_model(model: keras.Model) -> keras.Model:
    inside = keras.Input((3, 3, 2), name="inside")
    x = layers.Conv2D(3, 3, padding="same", name="first")(inside)
    x = layers.Add(name="twins")([x, layers.Conv2D(3, 1, name="second")(x)])
    nested = keras.Model(inside, x, name="nested")
    source = keras.Input((3, 3, 2), name="source")
    other = layers.Conv2D(2, 1, name="other")(source)
    both = layers.Add(name="both")([nested(source), nested(other)])
    x = layers.Conv2D(2, 1, activation="tanh", name="bridge")(both)
    return randomize(keras.Model(source, model(x)))


def chain_of_edits(
    model: keras.Model,
    count: int,
    seed: int,
    *,
    max_vertices: int = 60,
    check_every: int = 10,
) -> Record:
    """Edits a graph again and again.

    Args:
        model: The network to start from, with one input and one output.
        count: How many edits have to succeed.
        seed: Of all choices.
        max_vertices: From here on, more vertices are removed than inserted.
        check_every: After so many edits the graph is built, run, saved and loaded.

    Raises:
        AssertionError: A graph that cannot be built, or computes something else than
            it should. The message names the seed and the edits since the last check.
    """
    rng = random.Random(seed)
    record, graph = Record(), kn.Graph.from_model(model)
    inputs = np.random.default_rng(seed).normal(size=(2, *model.input_shape[1:]))
    inputs = inputs.astype("float32")
    before, tries, since = _run(graph, inputs), 0, []
    while sum(record.done.values()) < count:
        tries += 1
        assert tries < 40 * count, f"seed {seed}: nearly every edit is refused"
        kind = rng.choice(_kinds(graph, max_vertices))
        description, edit, keeps = _KINDS[kind](graph, rng)
        start = time.process_time()
        try:
            new = edit()
        except kn.InternalError as error:
            raise AssertionError(f"seed {seed}, {description} after {since}") from error
        except kn.KerasNasError as error:
            assert isinstance(error, ValueError), f"{description}: {error!r}"
            record.refused[kind] += 1
            record.reasons.append(f"{description}: {error}")
            continue
        record.seconds.append((_size(graph), time.process_time() - start))
        record.done[kind] += 1
        since.append(description)
        if keeps and record.done.total() % check_every != 0:
            # Whether the function was kept can be seen only side by side.
            before, after = _run(graph, inputs), _run(new, inputs)
            _compare(record, before, after, f"seed {seed}: {description}")
        graph = new
        if record.done.total() % check_every == 0:
            _check_saved(graph, inputs, f"seed {seed}: {since}")
            record.checked += 1
            since = []
    return record


def _kinds(graph: kn.Graph, max_vertices: int) -> list[str]:
    if _size(graph) > max_vertices:
        return ["remove", "disconnect", "resize"]
    return list(_KINDS)


def _size(graph: kn.Graph) -> int:
    return sum(len(body.vertices) for _, body in graph.bodies())


def _compare(record: Record, before, after, label: str) -> None:
    error = float(np.abs(before - after).max())
    scale = max(1.0, float(np.abs(before).max()))
    assert error <= 1e-4 * scale, f"{label} changed the outputs by {error}"
    record.error = max(record.error, error / scale)
    record.unchanged += 1


def _run(graph: kn.Graph, inputs: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(graph.build()(inputs, training=False))


def _check_saved(graph: kn.Graph, inputs: np.ndarray, label: str) -> None:
    model = graph.build()
    outputs = keras.ops.convert_to_numpy(model(inputs, training=False))
    assert np.isfinite(outputs).all(), label
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.saving.load_model(path)
    again = keras.ops.convert_to_numpy(loaded(inputs, training=False))
    np.testing.assert_array_equal(outputs, again, err_msg=label)


# --- one random edit each: a description, the edit, and whether it keeps the function ---


def _names(graph: kn.Graph, *, inputs: bool = False) -> list[str]:
    names = []
    for owner, body in graph.bodies():
        prefix = f"{owner}/" if owner else ""
        for name, vertex in body.vertices.items():
            if inputs or not graph.parts[vertex.part].is_input:
                names.append(prefix + name)
    return names


def _resize(graph, rng):
    name, size = rng.choice(_names(graph)), rng.randint(1, LARGEST_WIDTH)
    return f"resize({name!r}, near({size}))", lambda: graph.resize(name, kn.near(size)), False


def _remove(graph, rng):
    name = rng.choice(_names(graph))
    return f"remove({name!r})", lambda: graph.remove(name), False


def _remove_block(graph, rng):
    names = [name for name in _names(graph) if "/" not in name]
    start = rng.randrange(len(names))
    block = names[start : start + rng.randint(2, 4)]
    return f"remove({block!r})", lambda: graph.remove(block), False


def _insert(graph, rng):
    after = rng.choice(_names(graph, inputs=True))
    rank = _rank(graph, after)
    layer = _new_layer(rng, rank)
    readers = _readers(graph, after)
    to = [rng.choice(readers)] if readers and rng.random() < 0.3 else None
    text = f"insert({type(layer).__name__}, {after!r}, to={to!r})"
    return text, lambda: graph.insert(layer, after, to), False


def _insert_identity(graph, rng):
    after = rng.choice(_names(graph, inputs=True))
    rank = _rank(graph, after)
    width = _spec(graph, after)[-1]
    if rank == 4:
        kernel = rng.randint(1, 4)
        layer = layers.Conv2D(width, kernel, padding="same", name="same")
    else:
        layer = layers.Dense(width, name="same")
    text = f"insert({type(layer).__name__}, {after!r}, identity=True)"
    return text, lambda: graph.insert(layer, after, identity=True), True


def _connect(graph, rng):
    source, target = rng.choice(_names(graph, inputs=True)), rng.choice(_names(graph))
    merge = rng.choice(["add", "concatenate"])
    position = rng.choice([None, 0])
    # Weights that read the new neurons start at zero.
    keeps = merge == "concatenate" and _has_kernel(graph, target)
    text = f"connect({source!r}, {target!r}, {position}, merge={merge!r})"
    return (
        text,
        lambda: graph.connect(source, target, position, merge=merge),
        keeps,
    )


def _disconnect(graph, rng):
    merges = [name for name in _names(graph) if _takes_list(graph, name)]
    if not merges:
        return _resize(graph, rng)
    target = rng.choice(merges)
    owner, vertex = _find(graph, target)
    ref = rng.choice(vertex.reads)
    source = f"{owner}/{ref.vertex}" if owner else ref.vertex
    tidy = rng.random() < 0.5
    text = f"disconnect({source!r}, {target!r}, tidy={tidy})"
    return text, lambda: graph.disconnect(source, target, tidy=tidy), False


def _replace(graph, rng):
    """A larger kernel in place of a smaller one, which keeps the function."""
    convolutions = [name for name in _names(graph) if _has_same_window(graph, name)]
    if not convolutions:
        return _resize(graph, rng)
    name = rng.choice(convolutions)
    _owner, vertex = _find(graph, name)
    config = graph.parts[vertex.part].config
    size = config["kernel_size"][0] + rng.randint(0, 2)
    layer = layers.Conv2D(
        config["filters"], size, padding="same", activation=config["activation"]
    )
    return f"replace({name!r}, kernel {size})", lambda: graph.replace(name, layer), True


def _prune(graph, rng):
    sparsity = rng.choice([0.1, 0.3])
    return f"prune({sparsity})", lambda: graph.prune(sparsity=sparsity), False


def _has_same_window(graph, path) -> bool:
    _, vertex = _find(graph, path)
    part = graph.parts[vertex.part]
    return (
        issubclass(part.cls, layers.Conv2D)
        and part.config["padding"] == "same"
        and part.config["groups"] == 1
        and part.config["kernel_size"][0] < 5
        and isinstance(part.config["activation"], str)
    )


_KINDS = {
    "resize": _resize,
    "remove": _remove,
    "remove block": _remove_block,
    "insert": _insert,
    "insert identity": _insert_identity,
    "connect": _connect,
    "disconnect": _disconnect,
    "replace": _replace,
    "prune": _prune,
}


def _find(graph, path):
    owner, _, name = path.rpartition("/")
    return owner, graph.body_of(owner).vertices[name]


def _spec(graph, path):
    _owner, vertex = _find(graph, path)
    return vertex.outputs[0].shape


def _rank(graph, path) -> int:
    return len(_spec(graph, path))


def _readers(graph, path) -> list[str]:
    owner, vertex = _find(graph, path)
    prefix = f"{owner}/" if owner else ""
    return [
        prefix + name
        for name, other in graph.body_of(owner).vertices.items()
        if any(ref.vertex == vertex.name and ref.index == 0 for ref in other.reads)
    ]


def _takes_list(graph, path) -> bool:
    _, vertex = _find(graph, path)
    return bool(vertex.args) and isinstance(vertex.args[0], (list, tuple))


def _has_kernel(graph, path) -> bool:
    _owner, vertex = _find(graph, path)
    part = graph.parts[vertex.part]
    is_kernel = issubclass(part.cls, (layers.Dense, layers.Conv2D))
    return is_kernel and part.config.get("groups", 1) == 1


def _new_layer(rng, rank: int):
    width = rng.randint(1, LARGEST_WIDTH)
    choices = [
        lambda: layers.ReLU(name="relu"),
        lambda: layers.Dropout(0.5, name="dropout"),
        lambda: layers.LayerNormalization(name="layer_norm"),
        lambda: layers.BatchNormalization(name="norm"),
        lambda: layers.Dense(width, activation="tanh", name="dense"),
    ]
    if rank == 4:
        kernel = rng.randint(1, 3)
        choices += [
            lambda: layers.Conv2D(width, kernel, padding="same", name="conv"),
            lambda: layers.DepthwiseConv2D(kernel, padding="same", name="depthwise"),
            lambda: layers.MaxPooling2D(2, strides=1, padding="same", name="pool"),
            lambda: _small_model(rng, width),
        ]
    return rng.choice(choices)()


def _small_model(rng, width):
    source = keras.Input((3, 3, width))
    x = layers.Conv2D(width, 1, activation="tanh", name="inner")(source)
    return keras.Model(source, layers.Add(name="sum")([x, source]), name="block")
