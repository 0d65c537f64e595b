"""Exchanging a layer for another one in its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_nas.axes import MaybeNone
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Graph,
    Part,
    Seam,
    TensorRef,
    TensorSpec,
    Vertex,
    rename_vertices,
    wrap_layer,
)
from keras_nas.surgery.edits.carrying import carry_weights
from keras_nas.surgery.edits.draft import Draft, Site
from keras_nas.surgery.edits.finishing import finish
from keras_nas.surgery.edits.merging import listed_inputs
from keras_nas.surgery.edits.new_parts import called_copy, read_layers, shape_built_for
from keras_nas.surgery.edits.positions import Merge
from keras_nas.surgery.edits.settling import DIRECTIONS, Attempt
from keras_nas.surgery.options import Options


def replace_layer(graph: Graph, name: str, layer: Any, options: Options) -> Graph:
    """Returns the graph with another layer in the place of one.

    See `keras_nas.replace`.
    """
    (layer,) = read_layers([layer])
    draft = Draft(graph)
    site = draft.find(name)
    old = draft.part(site)
    if old.is_input:
        raise InvalidRequestError(
            f"'{site.path}' is an input of a model and cannot be replaced.\n\nInsert a "
            f"layer behind it instead. Received: {name!r}"
        )
    new = _new_part(draft, site, old, layer)
    draft.put_part(new)
    for owner, vertex in _calls(graph, old.key):
        _exchange(draft, owner, vertex, new, layer)
    result = finish(draft, options, _attempts(draft.vertex(site), options))
    if _is_named_by_user(layer) and layer.name != old.name:
        new_name = draft.free_name(site.owner, layer.name)
        result = rename_vertices(result, old.key, new_name)
    return result


def _attempts(vertex: Vertex, options: Options) -> list[Attempt]:
    """A layer has the width that it was given; a merge has none of its own."""
    if listed_inputs(vertex) is not None:
        return [Attempt(by_origin=True), *map(Attempt, DIRECTIONS)]
    attempts = [Attempt(holds=True, by_origin=True), Attempt(holds=True)]
    return attempts if options.strict else [*attempts, Attempt()]


def _new_part(draft: Draft, site: Site, old: Part, layer: Any) -> Part:
    """Returns the part of the new layer, under the key and name of the old one."""
    vertex = draft.vertex(site)
    specs = draft.arriving(site.owner, vertex)
    brings_weights = shape_built_for(layer, specs[0]) is not None
    if not brings_weights:
        layer = _called(layer, vertex, specs)
    parts = wrap_layer(layer, old.key)
    for key, part in parts.items():
        if key != old.key:
            draft.put_part(part)
    new = parts[old.key].named(old.name)
    if brings_weights or old.body is not None or old.is_operation:
        return new
    return carry_weights(old, new, _grid(specs[0], new))


def _called(layer: Any, vertex: Vertex, specs: Sequence[TensorSpec]) -> Any:
    """Returns a copy of the new layer, called on a tensor, or on a list as before."""
    if listed_inputs(vertex) is None:
        return called_copy(layer, specs[0])
    try:
        return called_copy(layer, list(specs))
    except InvalidRequestError:
        # A merge that takes equal shapes only: they are made equal later.
        return called_copy(layer, [specs[0]] * len(specs))


def _grid(spec: TensorSpec, part: Part) -> tuple[int | MaybeNone, ...]:
    if part.config.get("data_format") == "channels_first":
        return spec.shape[2:]
    return spec.shape[1:-1]


def _calls(graph: Graph, key: str) -> list[tuple[str, Vertex]]:
    """Returns all vertices that call a part, each with its body."""
    return [
        (owner, vertex)
        for owner, body in graph.bodies()
        for vertex in body.vertices.values()
        if vertex.part == key
    ]


def _exchange(
    draft: Draft, owner: str, vertex: Vertex, part: Part, layer: Any
) -> None:
    """Lets a vertex call the part of a new layer."""
    inputs = list(vertex.tensors)
    listed = listed_inputs(vertex)
    if listed is None and len(inputs) != 1:
        raise InvalidRequestError(
            f"'{vertex.name}' is called on {len(inputs)} tensors, so a layer with one "
            "input cannot take its place.\n\nReplace what is in front of or behind it. "
            f"Received: {vertex.name!r}"
        )
    argument: Any = inputs[0]
    if listed is not None:
        argument = _fitting(draft, owner, listed, part)
    else:
        spec = draft.spec(owner, argument)
        made_for = shape_built_for(layer, spec) or spec
        argument = draft.seam(owner, argument, made_for, part.key)
    new = replace(vertex, args=(argument,), kwargs={}, part=part.key)
    try:
        new = draft.with_outputs(owner, new)
    except Exception as error:
        shapes = [spec.shape for spec in draft.arriving(owner, new)]
        raise InvalidRequestError(
            f"A {part.cls.__name__} in the place of '{vertex.name}' does not take what "
            f"that reads, {shapes}: {error}\n\nGive a layer that does. "
            f"Received: {vertex.name!r}"
        ) from error
    if len(new.outputs) != len(vertex.outputs):
        raise InvalidRequestError(
            f"'{vertex.name}' has {len(vertex.outputs)} outputs, but the new layer has "
            f"{len(new.outputs)}.\n\nGive a layer with as many. "
            f"Received: {vertex.name!r}"
        )
    draft.put(owner, new)
    if listed is not None:
        _note_origins(draft, owner, vertex, new)


def _fitting(
    draft: Draft, owner: str, listed: Sequence[TensorRef], part: Part
) -> list[TensorRef | Seam]:
    """Returns the inputs of a merge, of one shape if the new one ties them."""
    specs = [draft.spec(owner, ref) for ref in listed]
    call = draft.call(owner, Vertex(part.name, part.key, (list(listed),)))
    shapes = [spec.shape for spec in specs]
    if not Merge().ties_unequal(call, shapes):
        return list(listed)
    return [
        draft.seam(owner, ref, specs[0], (part.key, number))
        for number, ref in enumerate(listed)
    ]


def _note_origins(draft: Draft, owner: str, old: Vertex, new: Vertex) -> None:
    """Notes where readers of a merge find what they read before."""
    shapes = [spec.shape for spec in draft.arriving(owner, new)]
    inputs = list(enumerate(shapes))
    merge = Merge()
    before = merge.axes(draft.old_call(owner, old), inputs, old.outputs[0].shape)
    after = merge.axes(draft.call(owner, new), inputs, new.outputs[0].shape)
    origins = merge.origins(before, after)
    draft.note_origins(owner, TensorRef(new.name), origins)


def _is_named_by_user(layer: Any) -> bool:
    """Whether a layer has another name than Keras makes up by itself."""
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", type(layer).__name__)
    made_up = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
    return re.fullmatch(rf"{re.escape(made_up)}(_\d+)?", layer.name) is None
