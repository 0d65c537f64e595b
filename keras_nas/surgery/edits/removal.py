"""Taking vertices out of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Graph, Seam, TensorRef, Vertex, refs
from keras_nas.surgery.edits.draft import Draft, Site, same_owner
from keras_nas.surgery.edits.finishing import finish
from keras_nas.surgery.edits.merging import data_inputs, listed_inputs, relist
from keras_nas.surgery.edits.positions import Merge, joined_axis
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
    attempts = read_align(align)
    removal.run()
    return finish(draft, options, origins_first(draft, attempts))


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


def origins_first(draft: Draft, attempts: list[Attempt]) -> list[Attempt]:
    """Returns attempts of which the first leave readers exactly what they knew."""
    if not draft.has_origins():
        return attempts
    exact = [replace(attempt, by_origin=True) for attempt in attempts]
    return [*exact, Attempt(by_origin=True), *attempts]


def _sites(draft: Draft, names: Any) -> list[Site]:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, (list, tuple)) or not listed:
        raise InvalidRequestError(
            "Nothing is named that could be removed.\n\nGive the name of a vertex, or "
            f"a list of names. Received: {names!r}"
        )
    sites = list(dict.fromkeys(draft.find(name) for name in listed))
    for site in sites:
        if draft.part(site).is_input:
            raise InvalidRequestError(
                f"'{site.path}' is an input of a model and cannot be removed.\n\n"
                f"Remove what it feeds instead. Received: {site.path!r}"
            )
    return sites


def _always(leaf: Any) -> Callable[[Any], Any]:
    """Returns the function that gives a leaf for whatever it is called on."""
    return lambda _: leaf


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
            gone = [ref for ref in vertex.reads if ref.vertex in self._names]
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
                self._draft.lead(self._owner, ref, _always(leaf), [vertex.name])
            return
        new: list[tuple[Any, Any]] = []
        gone_at: dict[Any, TensorRef] = {}
        for number, leaf in enumerate(inputs):
            if leaf.vertex not in self._names:
                new.append((number, leaf))
                continue
            sources = self._sources(leaf) if self._connect else []
            if len(sources) == 1:
                # Its place in the merge keeps its width until the sizes are settled.
                new.append((number, self._leaf(sources[0], leaf)))
            else:
                several = self._several(number, leaf, sources)
                gone_at.update((label, leaf) for label, _ in several)
                new.extend(several)
        if not new:
            raise InvalidRequestError(
                f"'{vertex.name}' would be left without inputs.\n\nRemove it as well. "
                f"Received: {sorted(self._names)!r}"
            )
        if gone_at and self._are_tied(vertex, new):
            new = [
                (label, self._across(leaf, gone_at.get(label))) for label, leaf in new
            ]
        relist(self._draft, self._owner, vertex, new)

    def _several(
        self, number: int, gone: TensorRef, sources: list[TensorRef]
    ) -> list[tuple[Any, Any]]:
        """Returns labels and inputs of a merge, several in the place of one.

        Either they are the pieces of that one, or the first of them takes its place.
        """
        pieces: list[tuple[Any, Any]] = [
            ((number, place), ref) for place, ref in enumerate(sources)
        ]
        spec = self._draft.spec(self._owner, gone)
        shapes = [self._draft.spec(self._owner, ref).shape for ref in sources]
        if pieces and joined_axis(shapes, spec.shape) is None:
            pieces[0] = (number, self._leaf(sources[0], gone))
        return pieces

    def _across(self, leaf: TensorRef | Seam, gone: TensorRef | None) -> Any:
        """Returns an input across a seam if it comes in place of a removed one."""
        if gone is None or isinstance(leaf, Seam):
            return leaf
        return self._leaf(leaf, gone)

    def _are_tied(self, vertex: Vertex, inputs: list[tuple[Any, Any]]) -> bool:
        """Whether a merge needs equal sizes where it would get different ones."""
        call = self._draft.call(self._owner, vertex)
        shapes = [self._draft.spec(self._owner, leaf).shape for _, leaf in inputs]
        return Merge().ties_unequal(call, shapes)

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
        sources = list(dict.fromkeys(sources))
        if len(sources) == 1:
            return sources[0]
        listed = " and ".join(f"'{ref.vertex}'" for ref in sources)
        raise InvalidRequestError(
            f"{reader} takes one tensor, but {listed} would come in place of what is "
            "removed.\n\nDisconnect all but one of them first, or remove what brings "
            f"them along, too. Received: {sorted(self._names)!r}"
        )

    def _sources(self, ref: TensorRef) -> list[TensorRef]:
        """Returns what comes in place of a tensor of a removed vertex, in order.

        A merge that reads a tensor twice passes it on twice. A tensor that several ways
        through a removed block lead to comes once: a residual block becomes its input.
        """
        direct = self._bypass(ref)
        if all(source.vertex not in self._names for source in direct):
            return direct
        found: dict[TensorRef, None] = {}
        seen: set[TensorRef] = set()
        pending = [ref]
        while pending:
            ref = pending.pop()
            if ref.vertex not in self._names:
                found[ref] = None
            elif ref not in seen:
                seen.add(ref)
                pending.extend(reversed(self._bypass(ref)))
        return list(found)

    def _bypass(self, ref: TensorRef) -> list[TensorRef]:
        """Returns what a removed vertex reads in place of one of its outputs."""
        vertex = self._draft.vertices(self._owner)[ref.vertex]
        inputs = data_inputs(self._draft, self._owner, vertex)
        if listed_inputs(vertex) is None:
            # Attention to itself reads one tensor, however often it is named.
            inputs = list(dict.fromkeys(inputs))
        if len(vertex.outputs) == 1 or not inputs:
            return inputs
        if len(inputs) == len(vertex.outputs):
            return [inputs[ref.index]]
        if ref.index == 0 and len(inputs) == 1:
            return inputs
        raise InvalidRequestError(
            f"'{vertex.name}' has {len(vertex.outputs)} outputs and {len(inputs)} "
            f"inputs, so nothing can come in place of its output {ref.index}.\n\n"
            f"Remove what reads that output, too. Received: {sorted(self._names)!r}"
        )
