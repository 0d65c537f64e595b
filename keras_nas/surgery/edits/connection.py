"""Adding and removing edges."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Graph, Seam, TensorRef, TensorSpec, Vertex, find_path, refs
from keras_nas.numeric import is_whole
from keras_nas.surgery.edits.draft import Draft, Origins, Site, same_owner
from keras_nas.surgery.edits.finishing import analyze_reach, finish
from keras_nas.surgery.edits.merging import data_inputs, listed_inputs, relist
from keras_nas.surgery.edits.new_parts import put_layer, put_parts, read_layers
from keras_nas.surgery.edits.positions import Merge
from keras_nas.surgery.edits.removal import origins_first, read_align
from keras_nas.surgery.options import Options

MERGES = {"add": keras.layers.Add, "concatenate": keras.layers.Concatenate}


def connect_vertices(
    graph: Graph,
    source: str,
    target: str,
    position: int | None,
    merge: str,
    via: Any,
    align: Any,
    options: Options,
) -> Graph:
    """Returns the graph with one more edge. See `keras_nas.connect`."""
    attempts = read_align(align)
    draft = Draft(graph)
    start, end = _ends(draft, source, target)
    _check_merge(merge)
    _refuse_circle(draft, start, end)
    owner, ref = end.owner, TensorRef(start.name)
    for layer in () if via is None else read_layers(via):
        ref = put_layer(draft, owner, layer, ref, after=ref.vertex)
    vertex = draft.vertex(end)
    inputs = listed_inputs(vertex)
    if inputs is None:
        _insert_merge(draft, end, ref, merge, position)
    else:
        place = _place(position, len(inputs), target)
        new: list[tuple[Any, Any]] = list(enumerate(inputs))
        leaf = _fitted(draft, owner, vertex, ref)
        new.insert(place, ("added", leaf))
        relist(draft, owner, vertex, new)
    return finish(draft, options, origins_first(draft, attempts))


def disconnect_vertices(
    graph: Graph,
    source: str,
    target: str,
    occurrence: int,
    tidy: bool,
    align: Any,
    options: Options,
) -> Graph:
    """Returns the graph without one edge. See `keras_nas.disconnect`."""
    attempts = read_align(align)
    draft = Draft(graph)
    start, end = _ends(draft, source, target)
    owner, vertex = end.owner, draft.vertex(end)
    every = data_inputs(draft, owner, vertex)
    gone = _occurrence(every, start, end, occurrence)
    inputs = listed_inputs(vertex)
    kept = [number for number in range(len(every)) if number != gone]
    if not kept:
        raise InvalidRequestError(
            f"'{end.path}' would be left without inputs.\n\nRemove it instead. "
            f"Received: source={source!r}, target={target!r}"
        )
    if len(kept) == 1 and tidy:
        _replace_by_input(draft, end, vertex, kept[0])
    elif inputs is None:
        raise InvalidRequestError(
            f"'{end.path}' needs all of its {len(kept) + 1} inputs.\n\nGive tidy=True "
            "to remove it where one input is left. "
            f"Received: source={source!r}, target={target!r}"
        )
    else:
        relist(draft, owner, vertex, [(number, every[number]) for number in kept])
    return finish(draft, options, origins_first(draft, attempts))


def _ends(draft: Draft, source: str, target: str) -> tuple[Site, Site]:
    start, end = draft.find(source), draft.find(target)
    same_owner([start, end], "Both ends of an edge")
    return start, end


# --- adding an edge ------------------------------------------------------------------


def _check_merge(merge: Any) -> None:
    if not isinstance(merge, str) or merge not in MERGES:
        raise InvalidRequestError(
            "Tensors are brought together by 'add' or 'concatenate'.\n\nGive one of "
            f"them. Received: merge={merge!r}"
        )


def _refuse_circle(draft: Draft, start: Site, end: Site) -> None:
    path = find_path(draft.old.body_of(start.owner), end.name, start.name)
    if path is not None:
        way = " -> ".join(map(repr, [*path, end.name]))
        raise InvalidRequestError(
            f"'{start.path}' computes from '{end.path}', so leading it back makes a "
            f"circle: {way}.\n\nA network has no loops: choose a target that comes "
            f"later. Received: source={start.path!r}, target={end.path!r}"
        )


def _place(position: Any, count: int, target: str) -> int:
    if position is None:
        return count
    if not is_whole(position):
        raise InvalidRequestError(
            "The position of an input is a whole number.\n\nGive one from 0 to "
            f"{count}, or leave it out for the last. Received: position={position!r}"
        )
    if not 0 <= position <= count:
        raise InvalidRequestError(
            f"'{target}' has {count} inputs, so there is no position {position} for "
            f"one more.\n\nGive one from 0 to {count}, or leave it out for the last. "
            f"Received: position={position!r}"
        )
    return int(position)


def _fitted(
    draft: Draft, owner: str, vertex: Vertex, ref: TensorRef
) -> TensorRef | Seam:
    """Returns what leads to one more input of a merge.

    Where the merge ties its inputs and the widths differ, it is a seam.
    """
    inputs = listed_inputs(vertex)
    specs = [draft.spec(owner, leaf) for leaf in inputs]
    new = draft.spec(owner, ref)
    if len(new.shape) != len(specs[0].shape):
        raise InvalidRequestError(
            f"'{vertex.name}' brings together tensors of {len(specs[0].shape)} axes, "
            f"but '{ref.vertex}' has {len(new.shape)}: {new.shape}.\n\nReshape or pool "
            f"it first. Received: source={ref.vertex!r}, target={vertex.name!r}"
        )
    shapes = [*(spec.shape for spec in specs), new.shape]
    if Merge().ties_unequal(draft.call(owner, vertex), shapes):
        return Seam(ref, specs[0], (owner, ref, vertex.name))
    return ref


def _insert_merge(
    draft: Draft, end: Site, ref: TensorRef, merge: str, position: Any
) -> None:
    """Puts a merge in front of a vertex that takes one input."""
    owner, vertex = end.owner, draft.vertex(end)
    old = _sole_input(draft, end)
    spec = draft.spec(owner, old)
    place = _place(position, 1, end.path)
    channel = _channel(draft, owner, old) % len(spec.shape)
    settings = {"axis": channel} if merge == "concatenate" else {}
    name = draft.free_name(owner, f"{end.name}_{merge}")
    part = put_parts(draft, owner, MERGES[merge](name=name, **settings), name)
    other: TensorRef | Seam = ref
    found = draft.spec(owner, ref)
    if len(found.shape) != len(spec.shape):
        raise InvalidRequestError(
            f"'{end.path}' reads a tensor of {len(spec.shape)} axes, but "
            f"'{ref.vertex}' has {len(found.shape)}: {found.shape}.\n\n"
            "Reshape or pool it first. "
            f"Received: source={ref.vertex!r}, target={end.path!r}"
        )
    _check_grids(spec, found, channel, ref.vertex, end.path)
    if merge == "add":
        other = draft.seam(owner, ref, spec, (ref, vertex.name))
    pair = [old, other] if place else [other, old]
    joined = Vertex(part.name, part.key, (pair,))
    joined = draft.with_outputs(owner, joined)
    leaf: TensorRef | Seam = TensorRef(part.name)
    if merge == "concatenate":
        known, new = np.arange(spec.shape[channel]), np.full(found.shape[channel], -1)
        order = (known, new) if place else (new, known)
        origins = {channel: np.concatenate(order)}
        leaf = Seam(TensorRef(part.name), spec, (owner, part.name), origins)
    draft.put(owner, joined, after=old.vertex)
    draft.lead(owner, old, lambda _: leaf, [vertex.name])


def _sole_input(draft: Draft, end: Site) -> TensorRef:
    """Returns the one tensor that a vertex is called on."""
    inputs = data_inputs(draft, end.owner, draft.vertex(end))
    if not inputs:
        raise InvalidRequestError(
            f"'{end.path}' is an input of a model, which reads nothing inside of it."
            f"\n\nConnect to what it feeds. Received: target={end.path!r}"
        )
    if len(inputs) != 1:
        raise InvalidRequestError(
            f"'{end.path}' takes {len(inputs)} tensors, and not as a list, so nothing "
            "can be added.\n\nConnect to what feeds it. "
            f"Received: target={end.path!r}"
        )
    return inputs[0]


def _check_grids(
    spec: TensorSpec, found: TensorSpec, channel: int, source: str, target: str
) -> None:
    for number, (wanted, size) in enumerate(zip(spec.shape, found.shape, strict=True)):
        if number != channel and wanted != size and number > 0:
            raise InvalidRequestError(
                f"'{source}' has the shape {found.shape}, but '{target}' reads "
                f"{spec.shape}: the grids differ.\n\nMake them equal first, with a "
                "pooling, a stride or an upsampling on one side. "
                f"Received: source={source!r}, target={target!r}"
            )


def _channel(draft: Draft, owner: str, ref: TensorRef) -> int:
    """Returns the number of the axis along which a tensor has its neurons."""
    path = draft.path(owner, ref.vertex)
    opened = draft.flat.tensor(path, ref.index)
    axes = range(len(draft.flat.specs[opened].shape))
    analysis = analyze_reach(draft.old, [(opened, axis) for axis in axes])
    return analysis.tensors[opened].channel


# --- removing an edge ----------------------------------------------------------------


def _occurrence(
    inputs: list[TensorRef], start: Site, end: Site, occurrence: Any
) -> int:
    """Returns the number of the edge among all tensors that the target reads."""
    found = [n for n, x in enumerate(inputs) if x.vertex == start.name]
    if not found:
        raise InvalidRequestError(
            f"'{end.path}' does not read '{start.path}'.\n\n"
            f"It reads {_listed(inputs)}. "
            f"Received: source={start.path!r}, target={end.path!r}"
        )
    if not is_whole(occurrence) or not 0 <= occurrence < len(found):
        times = "once" if len(found) == 1 else f"{len(found)} times"
        raise InvalidRequestError(
            f"'{end.path}' reads '{start.path}' {times}.\n\nCount the occurrences from "
            f"0 to {len(found) - 1}. Received: occurrence={occurrence!r}"
        )
    return found[occurrence]


def _listed(inputs: list[TensorRef]) -> str:
    names = dict.fromkeys(repr(leaf.vertex) for leaf in inputs)
    return ", ".join(names) or "nothing inside of its model"


def _replace_by_input(draft: Draft, end: Site, vertex: Vertex, number: int) -> None:
    """Leads the readers of a merge to the one input that is left."""
    owner, gone = end.owner, TensorRef(end.name)
    spec = draft.spec(owner, gone)
    kept = data_inputs(draft, owner, vertex)[number]
    origins = _origins_of_one(draft, owner, vertex, number)
    leaf: TensorRef | Seam = kept
    if origins or draft.spec(owner, kept).shape != spec.shape:
        leaf = Seam(kept, spec, (owner, gone), origins)
    draft.lead(owner, gone, lambda _: leaf, draft.readers(owner, gone))
    if gone in refs(draft.outputs(owner)):
        draft.lead_outputs(owner, gone, kept)
        # Readers outside of a nested model read this one now.
        draft.note_origins(owner, gone, origins)
    draft.drop(owner, [end.name])


def _origins_of_one(draft: Draft, owner: str, vertex: Vertex, number: int) -> Origins:
    """Returns where the positions of one input of a merge are in its output."""
    inputs = listed_inputs(vertex)
    if inputs is None:
        return {}
    merge, call = Merge(), draft.call(owner, vertex)
    labelled = [(n, draft.spec(owner, leaf).shape) for n, leaf in enumerate(inputs)]
    before = merge.axes(call, labelled, vertex.outputs[0].shape)
    return merge.origins(before, before and merge.input_axes(number))
