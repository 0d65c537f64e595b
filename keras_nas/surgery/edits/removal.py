"""Taking vertices out of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Graph, Seam, TensorRef, Vertex, reads, refs
from keras_nas.rules import leaves, split_masks
from keras_nas.surgery.edits.draft import Draft, Site, same_owner
from keras_nas.surgery.edits.finishing import finish
from keras_nas.surgery.edits.merging import listed_inputs, relist
from keras_nas.surgery.edits.settling import DIRECTIONS, Attempt
from keras_nas.surgery.options import Options


def remove_vertices(
    graph: Graph, names: Any, align: Sequence[str], connect: bool, options: Options
) -> Graph:
    """Returns the graph without some vertices. See `keras_nas.remove`."""
    draft = Draft(graph)
    sites = _sites(draft, names)
    owner = same_owner(sites, "The vertices to remove")
    removal = _Removal(draft, owner, [site.name for site in sites], connect)
    removal.run()
    return finish(draft, options, read_align(align))


def read_align(align: Any) -> list[Attempt]:
    """Returns the attempts that a user lists: ways to make sizes equal, in order."""
    listed = (align,) if isinstance(align, str) else align
    directions = tuple(listed) if isinstance(listed, (list, tuple)) else ()
    if not directions or any(way not in DIRECTIONS for way in directions):
        raise InvalidRequestError(
            "Sizes can be aligned by 'grow', 'shrink' or 'both'.\n\nGive one of them, "
            f"or several in the order in which to try them. Received: align={align!r}"
        )
    return [Attempt(direction) for direction in directions]


def _sites(draft: Draft, names: Any) -> list[Site]:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, (list, tuple)) or not listed:
        raise InvalidRequestError(
            "Nothing is named that could be removed.\n\nGive the name of a vertex, or a "
            f"list of names. Received: {names!r}"
        )
    sites = list(dict.fromkeys(draft.find(name) for name in listed))
    for site in sites:
        if draft.part(site).is_input:
            raise InvalidRequestError(
                f"'{site.path}' is an input of a model and cannot be removed.\n\nRemove "
                f"what it feeds instead. Received: {site.path!r}"
            )
    return sites


class _Removal:
    """Leads the readers of some vertices to what these vertices read."""

    def __init__(self, draft: Draft, owner: str, names: Sequence[str], connect: bool):
        self._draft = draft
        self._owner = owner
        self._names = set(names)
        self._connect = connect

    def run(self) -> None:
        draft, owner = self._draft, self._owner
        for name, vertex in draft.vertices(owner).items():
            if name in self._names:
                continue
            gone = [ref for ref in reads(vertex) if ref.vertex in self._names]
            if gone:
                self._mend(vertex, gone)
        for ref in refs(draft.outputs(owner)):
            if ref.vertex in self._names:
                draft.lead_outputs(owner, ref, self._output(ref))
        draft.drop(owner, self._names)

    def _mend(self, vertex: Vertex, gone: list[TensorRef]) -> None:
        inputs = listed_inputs(vertex)
        if inputs is None:
            for ref in dict.fromkeys(gone):
                source = self._one_source(vertex, ref)
                leaf = self._leaf(source, ref)
                self._draft.lead(self._owner, ref, lambda _, to=leaf: to, [vertex.name])
            return
        new: list[tuple[Any, Any]] = []
        for number, leaf in enumerate(inputs):
            if leaf.vertex not in self._names:
                new.append((number, leaf))
                continue
            sources = self._sources(leaf) if self._connect else []
            if len(sources) == 1:
                # Its place in the merge keeps its width until the sizes are settled.
                new.append((number, self._leaf(sources[0], leaf)))
            else:
                new.extend(((number, ref), ref) for ref in sources)
        if not new:
            raise InvalidRequestError(
                f"'{vertex.name}' would be left without inputs.\n\nRemove it as well. "
                f"Received: {sorted(self._names)!r}"
            )
        relist(self._draft, self._owner, vertex, new)

    def _leaf(self, source: TensorRef, gone: TensorRef) -> TensorRef | Seam:
        spec = self._draft.spec(self._owner, gone)
        return self._draft.seam(self._owner, source, spec, gone)

    def _output(self, ref: TensorRef) -> TensorRef:
        if not self._connect:
            raise InvalidRequestError(
                f"'{ref.vertex}' is an output of the model, which cannot be without "
                f"one.\n\nLeave out connect=False. Received: {sorted(self._names)!r}"
            )
        return self._only(f"the output '{ref.vertex}' of the model", self._sources(ref))

    def _one_source(self, vertex: Vertex, ref: TensorRef) -> TensorRef:
        if not self._connect:
            raise InvalidRequestError(
                f"'{vertex.name}' would be left without inputs.\n\nRemove it as well, "
                f"or leave out connect=False. Received: {sorted(self._names)!r}"
            )
        return self._only(f"'{vertex.name}'", self._sources(ref))

    def _only(self, reader: str, sources: list[TensorRef]) -> TensorRef:
        if len(sources) == 1:
            return sources[0]
        listed = " and ".join(f"'{ref.vertex}'" for ref in sources)
        raise InvalidRequestError(
            f"{reader} takes one tensor, but {listed} would come in place of what is "
            "removed.\n\nDisconnect all but one of them first, or remove what brings "
            f"them along, too. Received: {sorted(self._names)!r}"
        )

    def _sources(self, ref: TensorRef) -> list[TensorRef]:
        """Returns what comes in place of a tensor of a removed vertex, in order."""
        found: dict[TensorRef, None] = {}
        pending = [ref]
        while pending:
            ref = pending.pop()
            if ref.vertex in self._names:
                pending.extend(reversed(self._bypass(ref)))
            else:
                found[ref] = None
        return list(found)

    def _bypass(self, ref: TensorRef) -> list[TensorRef]:
        """Returns what a removed vertex reads in place of one of its outputs."""
        vertex = self._draft.vertices(self._owner)[ref.vertex]
        part = self._draft.old.parts[vertex.part]
        if part.is_operation or part.body is None:
            data, _ = split_masks(part.cls, vertex.args, vertex.kwargs)
        else:
            data = [vertex.args, dict(vertex.kwargs)]
        inputs = [leaf for leaf in leaves(data) if isinstance(leaf, TensorRef)]
        if len(vertex.outputs) == 1 or not inputs:
            return inputs
        if len(inputs) == len(vertex.outputs):
            return [inputs[ref.index]]
        if ref.index == 0 and len(inputs) == 1:
            return inputs
        raise InvalidRequestError(
            f"'{vertex.name}' has {len(vertex.outputs)} outputs and {len(inputs)} inputs, "
            f"so nothing can come in place of its output {ref.index}.\n\nRemove what "
            f"reads that output, too. Received: {sorted(self._names)!r}"
        )
