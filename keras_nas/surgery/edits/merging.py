"""Vertices that take a list of tensors: exchanging what is in the list."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from keras_nas.axes import MaybeNone
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Seam, TensorRef, Vertex
from keras_nas.rules import leaves, split_masks
from keras_nas.surgery.edits.draft import Draft, Origins
from keras_nas.surgery.edits.positions import Merge, joined_axis

Leaf = TensorRef | Seam


def listed_inputs(vertex: Vertex) -> list[Any] | MaybeNone:
    """Returns the tensors that a vertex takes as a list; None if it takes no list."""
    if not vertex.args or not isinstance(vertex.args[0], (list, tuple)):
        return None
    inputs = list(vertex.args[0])
    if not all(isinstance(leaf, (TensorRef, Seam)) for leaf in inputs):
        return None
    return inputs


def data_inputs(draft: Draft, owner: str, vertex: Vertex) -> list[TensorRef]:
    """Returns what a vertex is called on; masks, which Keras passes itself, are not."""
    part = draft.call(owner, vertex).part
    data: list[Any] = [vertex.args, dict(vertex.kwargs)]
    if part.body is None:
        data, _ = split_masks(part.cls, vertex.args, vertex.kwargs)
    return [leaf for leaf in leaves(data) if isinstance(leaf, TensorRef)]


def relist(
    draft: Draft, owner: str, vertex: Vertex, inputs: Sequence[tuple[Hashable, Leaf]]
) -> None:
    """Gives a merge another list of inputs.

    What its readers see at other positions than before is noted in ``draft.moved``.

    Args:
        draft: The graph under way.
        owner: The body.
        vertex: A vertex with `listed_inputs`.
        inputs: A label for each new input, and the input. The labels of the old inputs
            are their numbers in the list; pieces of an old one have its number and
            another.

    Raises:
        InvalidRequestError: It does not take these inputs.
    """
    old = listed_inputs(vertex)
    listed = type(vertex.args[0])(leaf for _, leaf in inputs)
    new = replace(vertex, args=(listed, *vertex.args[1:]))
    try:
        new = draft.with_outputs(owner, new, is_called=True)
    except Exception as error:
        shapes = [spec.shape for spec in draft.arriving(owner, new)]
        raise InvalidRequestError(
            f"'{vertex.name}' ({draft.call(owner, vertex).part.cls.__name__}) cannot "
            f"read {_counted(len(shapes))} of the shapes {shapes}: {error}\n\nMake the "
            f"shapes equal first, or choose another vertex. Received: {vertex.name!r}"
        ) from error
    origins = _origins(draft, owner, vertex, old, new, inputs)
    draft.put(owner, new)
    draft.note_origins(owner, TensorRef(vertex.name), origins)


def _counted(number: int) -> str:
    return "one tensor" if number == 1 else f"{number} tensors"


def _origins(
    draft: Draft,
    owner: str,
    vertex: Vertex,
    old: Sequence[Leaf],
    new: Vertex,
    inputs: Sequence[tuple[Hashable, Leaf]],
) -> Origins:
    """Returns where the positions of a merge's output were with the old inputs."""
    merge, call = Merge(), draft.call(owner, vertex)
    before = [(n, draft.spec(owner, leaf).shape) for n, leaf in enumerate(old)]
    after = [(label, draft.spec(owner, leaf).shape) for label, leaf in inputs]
    pieces: dict[int, list] = {}
    for label, shape in after:
        if isinstance(label, tuple):
            pieces.setdefault(label[0], []).append((label, shape))
    for number, found in pieces.items():
        whole = before[number][1]
        if joined_axis([piece for _, piece in found], whole) is not None:
            merge.compose(number, found, whole)
    shape = draft.spec(owner, TensorRef(vertex.name)).shape
    return merge.origins(
        merge.axes(call, before, shape),
        merge.axes(call, after, new.outputs[0].shape),
    )
