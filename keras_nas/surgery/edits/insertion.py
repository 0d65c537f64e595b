"""Putting new layers into a graph."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Body,
    Graph,
    Seam,
    TensorRef,
    Vertex,
    flatten,
    refs,
    sort_vertices,
    wrap_layer,
)
from keras_nas.surgery.edits.draft import Draft, Site, same_owner
from keras_nas.surgery.edits.finishing import finish
from keras_nas.surgery.edits.identity import as_identity, is_nonnegative_after
from keras_nas.surgery.edits.new_parts import put_layer, read_layers
from keras_nas.surgery.edits.settling import Attempt
from keras_nas.surgery.options import Options
from keras_nas.surgery.planning import frames_to_the_user

# New layers have the widths that they were given, and the rest follows.
_HOLDS = (Attempt(holds=True),)
_ADAPTS = (Attempt(holds=True), Attempt())


def insert_layers(
    graph: Graph, layers: Any, after: str, to: Any, identity: bool, options: Options
) -> Graph:
    """Returns the graph with more vertices. See `keras_nas.insert`."""
    listed = read_layers(layers)
    draft = Draft(graph)
    site = draft.find(after)
    old = TensorRef(site.name)
    readers = _readers(draft, site, to)
    gives_output = to is None and old in refs(draft.outputs(site.owner))
    if not readers and not gives_output:
        raise InvalidRequestError(
            f"Nothing reads the first output of '{site.path}', so what is inserted "
            "there would reach no output.\n\nName another vertex. "
            f"Received: after={after!r}"
        )
    new, names = old, []
    for layer in listed:
        new = put_layer(draft, site.owner, layer, new, after=new.vertex)
        names.append(new.vertex)
    if identity:
        _start_as_identity(draft, site, names)
    spec = draft.spec(site.owner, old)
    leaf = draft.seam(site.owner, new, spec, old)
    draft.lead(site.owner, old, lambda _: leaf, readers)
    if gives_output:
        draft.lead_outputs(site.owner, old, new)
    result = finish(draft, options, _HOLDS if options.strict else _ADAPTS)
    _warn_of_other_widths(draft, site.owner, names, result)
    return result


def _readers(draft: Draft, site: Site, to: Any) -> list[str]:
    """Returns the vertices that are to read what is inserted."""
    readers = draft.readers(site.owner, TensorRef(site.name))
    if to is None:
        return readers
    names = [to] if isinstance(to, str) else to
    if not isinstance(names, (list, tuple, set, frozenset)) or not names:
        raise InvalidRequestError(
            "No vertex is named that should read the new layer.\n\nName readers of "
            f"'{site.path}', or leave `to` out for all of them. Received: to={to!r}"
        )
    chosen = [draft.find(name) for name in names]
    same_owner([site, *chosen], "A vertex and those that read it")
    for reader in chosen:
        if reader.name not in readers:
            raise InvalidRequestError(
                f"'{reader.path}' does not read '{site.path}'.\n\nIt is read by "
                f"{', '.join(map(repr, readers)) or 'no vertex'}. Received: to={to!r}"
            )
    return [reader.name for reader in chosen]


def _start_as_identity(draft: Draft, site: Site, names: list[str]) -> None:
    """Gives new layers the weights with which they are the identity together.

    Channels beyond those of the input are not read by anything: the weights that could
    read them start at zero.
    """
    old = TensorRef(site.name)
    spec = draft.spec(site.owner, old)
    vertices = {name: draft.vertices(site.owner)[name] for name in names}
    for name, vertex in vertices.items():
        if any(isinstance(leaf, Seam) for leaf in vertex.tensors):
            raise InvalidRequestError(
                f"'{name}' was built for another width than that of what it would "
                "read, so it cannot be the identity.\n\nGive a layer that is not "
                f"built, or leave out identity=True. Received: {name!r}"
            )
    # In place of all that comes before, under the same name.
    source = keras.layers.InputLayer(batch_shape=spec.shape, dtype=spec.dtype)
    key = f"what '{site.path}' gives"
    part = wrap_layer(source, key)[key]
    vertices[site.name] = Vertex(site.name, key, outputs=(spec,))
    body = Body(
        vertices=sort_vertices(vertices),
        inputs=old,
        outputs=TensorRef(names[-1]),
        cls=keras.Model,
        name="inserted",
    )
    fragment = Graph(body, {**draft.new_parts, key: part})
    is_nonnegative = is_nonnegative_after(draft.old, site.path)
    for new in as_identity(fragment, is_nonnegative=is_nonnegative).parts.values():
        if new is not part:
            draft.put_part(new)


def _warn_of_other_widths(
    draft: Draft, owner: str, names: list[str], result: Graph
) -> None:
    flat = flatten(result)
    paths = {home: path for path, home in flat.homes.items()}
    for name in names:
        before = draft.vertices(owner)[name].outputs[0].shape
        after = flat.specs[flat.tensor(paths[owner, name])].shape
        if before != after:
            warnings.warn(
                f"'{name}' cannot have the shape {before}; it gets {after}.",
                UserWarning,
                stacklevel=frames_to_the_user(),
            )
