"""When are two networks the same? And what are they, in a few words?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from keras_nas.graph import TensorRef, flatten
from keras_nas.surgery import Graph

# Inputs of these may be in any order.
_COMMUTATIVE = {"Add", "Average", "Maximum", "Minimum", "Multiply"}


def graph_key(graph: Graph) -> str:
    """Returns a text that is equal for equal networks, whatever their names.

    Each call is known by what it is and by what it reads, so that the key does not
    depend on the order in which branches are listed, nor on the order of the inputs of
    a sum. Weights and initializers do not count. Which calls share one layer does.

    Example:
        >>> import keras, keras_nas as kn
        >>> def make(name):
        ...     layers = [keras.Input((3,)), keras.layers.Dense(4, name=name)]
        ...     return kn.Graph.from_model(keras.Sequential(layers))
        >>> graph_key(make("a")) == graph_key(make("b"))
        True
    """
    flat = flatten(graph)
    known: dict[str, str] = {}
    by_part: dict[str, list[str]] = defaultdict(list)
    inputs = {ref.vertex: number for number, ref in enumerate(flat.inputs)}

    def read(leaf: Any) -> Any:
        ref = getattr(leaf, "ref", leaf)
        if isinstance(ref, TensorRef):
            return f"{known[ref.vertex]}:{ref.index}"
        return leaf

    for call in flat.calls:
        arguments = [_plain(call.args, read), _plain(call.kwargs, read)]
        if call.part.cls.__name__ in _COMMUTATIVE:
            # One list of inputs, or the two operands of an operation.
            whole = arguments[0]
            is_list = len(whole) == 1 and isinstance(whole[0], list)
            arguments[0] = sorted(whole[0] if is_list else whole, key=str)
        kind = call.part.cls.__name__
        config = _plain(_without_names(call.part.config), str)
        known[call.path] = _digest([kind, config, arguments, inputs.get(call.path)])
        by_part[call.part.key].append(known[call.path])
    outputs = [read(ref) for ref in flat.outputs]
    return _digest([outputs, sorted(sorted(calls) for calls in by_part.values())])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def text_key(value: Any) -> str:
    """Returns the key of a JSON value or a text."""
    return _digest(value)


def _plain(value: Any, leaf: Any) -> Any:
    """Brings arguments or settings to JSON, with a function for what is neither."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, leaf) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, leaf) for entry in value]
    if isinstance(value, slice):
        return ["slice", *map(str, (value.start, value.stop, value.step))]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    found = leaf(value)
    return found if isinstance(found, str) else str(found)


def _without_names(config: Any) -> Any:
    """Leaves out names of layers and initializers; a dtype policy keeps its name."""
    if isinstance(config, Mapping):
        is_layer = "trainable" in config or "batch_shape" in config or len(config) == 1
        is_policy = set(config) == {"name"} and "float" in str(config["name"])
        return {
            key: _without_names(value)
            for key, value in config.items()
            if not str(key).endswith("_initializer")
            and not (key == "name" and is_layer and not is_policy)
        }
    if isinstance(config, (list, tuple)):
        return [_without_names(entry) for entry in config]
    return config


def describe_graph(graph: Graph) -> str:
    """Returns the layers with weights in a few words, for people.

    Example:
        >>> import keras, keras_nas as kn
        >>> layers = [keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)]
        >>> describe_graph(kn.Graph.from_model(keras.Sequential(layers)))
        'Dense 4 2'
    """
    sizes: dict[str, list[str]] = {}
    others: Counter[str] = Counter()
    for call in flatten(graph).calls:
        kind = call.part.cls.__name__
        size = call.part.config.get("filters", call.part.config.get("units"))
        if size is not None:
            sizes.setdefault(kind, []).append(str(size))
        elif kind in ("Add", "Concatenate", "DepthwiseConv2D"):
            others[kind] += 1
    words = [f"{kind} {' '.join(all_)}" for kind, all_ in sizes.items()]
    words += [f"{count} {kind}" for kind, count in others.items()]
    return ", ".join(words)
