"""What is supported, found by trying: each layer and operation in a tiny model.

`probes` make up a call of each. The analysis then says what became of the neurons that
went in, and which widths came in addition; no list is kept by hand, so the page cannot
promise what the rules do not hold.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_nas.axes import Atom
from keras_nas.graph.analysis import Analysis, analyze
from keras_nas.graph.probes import Probe, layer_probes, operation_probes
from keras_nas.graph.wrap import wrap
from keras_nas.rules import SizeOf, find_rule, leaves, why_frozen

_SHAPES = ((4, 6), (6,), (4, 4, 6), (4, 4, 4, 6), (2, 4, 4), (2, 4, 4, 4, 6))

_HEADER = """\
# What keras_nas supports

Made by `benchmarks/coverage.py` with Keras {version}: each class was put into a tiny
model behind a dense layer, and asked what became of the neurons.

* **resizable**: it has widths of its own (named as `axis=` takes them), and takes an
  input of any size.
* **passes**: the size of its input goes through.
* **fixed**: a rule describes it, and the sizes it was tried with must stay.
* **frozen**: it is kept as it is, and everything it touches keeps its size.
* **no probe**: no call of it could be made up (it makes constants, say).
"""


@dataclass(frozen=True)
class Support:
    """What is supported of one public name.

    Attributes:
        name: ``"Dense"``, ``"ops.concatenate"``.
        status: ``"resizable"``, ``"passes"``, ``"fixed"``, ``"frozen"``, or ``"no
            probe"`` where no call of it could be made up.
        note: Names of its widths, or why it is frozen.
    """

    name: str
    status: str
    note: str = ""


def coverage_table() -> str:
    """Returns a page in Markdown: every public layer and operation, and its support.

    Takes some seconds. For the running version of Keras.
    """
    sections = (("Layers", layer_support()), ("Operations", operation_support()))
    lines = _HEADER.format(version=keras.__version__).splitlines()
    for title, supports in sections:
        rows = list(supports)
        counts = {
            status: sum(row.status == status for row in rows)
            for status in ("resizable", "passes", "fixed", "frozen", "no probe")
        }
        summary = ", ".join(f"{count} {name}" for name, count in counts.items())
        lines += ["", f"## {title}", "", f"{len(rows)}: {summary}.", ""]
        lines += ["| name | support | |", "|---|---|---|"]
        lines += [f"| `{r.name}` | {r.status} | {r.note} |" for r in rows]
    return "\n".join(lines) + "\n"


def layer_support() -> Iterator[Support]:
    """Yields the support of every class in ``keras.layers``."""
    for name in sorted(dir(layers)):
        cls = getattr(layers, name)
        if inspect.isclass(cls) and issubclass(cls, keras.Layer):
            if cls in (keras.layers.Layer, layers.InputLayer, layers.Wrapper):
                continue
            yield _layer_support(name, cls)


def operation_support() -> Iterator[Support]:
    """Yields the support of every function in ``keras.ops`` and ``keras.ops.image``."""
    for prefix, module in (("", ops), ("image.", ops.image)):
        for name in sorted(dir(module)):
            function = getattr(module, name)
            if name.startswith("_") or not inspect.isfunction(function):
                continue
            if prefix == "" and hasattr(ops.image, name):
                continue
            probes = operation_probes(prefix + name, function)
            yield _best(f"ops.{prefix}{name}", probes)


def _layer_support(name: str, cls: type) -> Support:
    known = why_frozen(cls, is_operation=False)
    if known and find_rule(cls, is_operation=False) is None:
        return Support(name, "frozen", known)
    return _best(name, layer_probes(name, cls))


def _best(name: str, probes: list[Probe]) -> Support:
    """Returns the best that any probe on any rank of input finds."""
    order = ("resizable", "passes", "fixed", "frozen")
    best = Support(name, "no probe")
    for shape in _SHAPES:
        for probe in probes:
            found = _tried(name, probe, shape)
            if found is None:
                continue
            if best.status == "no probe" or (
                order.index(found.status) < order.index(best.status)
            ):
                best = found
        if best.status in ("resizable", "passes"):
            break
    return best


def _tried(name: str, probe: Probe, shape: tuple[int, ...]) -> Support | None:
    """Runs one probe; None where Keras refuses the call."""
    inputs, tensors = _neurons(shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = keras.tree.flatten(probe(*tensors))
            outputs = [y for y in outputs if isinstance(y, keras.KerasTensor)]
            model = keras.Model(inputs, outputs)
            analysis = analyze(wrap(model))
    except Exception:  # noqa: BLE001  Most guesses do not fit most classes.
        return None
    made = _own_paths(analysis)
    if not made:
        return None
    for path in made:
        if path in analysis.frozen:
            return Support(name, "frozen", analysis.frozen[path])
    return _judged(name, analysis, made)


@cache
def _neurons(shape: tuple[int, ...]) -> tuple[Any, list[Any]]:
    """Returns an input, and two tensors all of whose axes but the batch can change."""
    inputs = keras.Input(batch_shape=(3, 5))
    tensors = [
        layers.Reshape(shape, name=f"in_{name}")(
            layers.Dense(int(np.prod(shape)), name=name)(inputs)
        )
        for name in ("first", "second")
    ]
    return inputs, tensors


def _own_paths(analysis: Analysis) -> list[str]:
    """Returns the calls that the probe has made."""
    given = {"first", "second", "in_first", "in_second"}
    return [
        call.path
        for call in analysis.flat.calls
        if call.path not in given and not call.part.is_input
    ]


def _judged(name: str, analysis: Analysis, made: list[str]) -> Support:
    incoming: set[Atom] = set()
    last: set[Atom] = set()
    for key in ("in_first", "in_second"):
        if key in analysis.relations:
            (tensor,) = analysis.relations[key].outputs
            axes = [analysis.resolve(axis) for axis in tensor.axes]
            incoming = incoming.union(*(axis.atoms for axis in axes))
            last |= axes[-1].atoms
    outgoing: set[Atom] = set()
    widths: dict[str, Any] = {}
    for path in made:
        relation = analysis.relations[path]
        for tensor in relation.outputs:
            for axis in tensor.axes:
                outgoing |= analysis.resolve(axis).atoms
        for key, axis in _named_axes(relation):
            own = analysis.resolve(axis).atoms - incoming
            if own:
                widths.setdefault(key, None)
    if widths:
        return Support(name, "resizable", ", ".join(f"`{w}`" for w in widths))
    if outgoing - incoming:
        return Support(name, "resizable", "its constant follows")
    if outgoing & incoming:
        return Support(name, "passes", "" if last else "all axes but the last")
    if incoming:
        return Support(name, "passes", "takes any size; its result has none of it")
    return Support(name, "fixed", "the positions it was tried with have a meaning")


def _named_axes(relation: Any) -> Iterator[tuple[str, Any]]:
    for key, value in relation.config.items():
        for leaf in leaves(value):
            if isinstance(leaf, SizeOf):
                yield key, leaf.axis
    yield from relation.widths.items()
