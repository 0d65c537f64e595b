"""Carries the shapes that an edit changes on to what reads them.

A grid that became larger or smaller passes through everything that takes any grid: a
convolution, a pooling, an activation. What does not, and every change of the channel
axis, gets a seam: its reader was made for another tensor, and the solver has to make
the sizes equal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Analysis,
    Call,
    Graph,
    Seam,
    TensorRef,
    TensorSpec,
    Vertex,
    flatten,
    infer_outputs,
    map_arguments,
    shape_problem,
)
from keras_nas.surgery.edits.draft import Draft, Origins


def spread(graph: Graph, draft: Draft, channels: Analysis | None = None) -> Graph:
    """Returns a rewired graph with a seam wherever a reader meets another shape.

    Args:
        graph: The rewired graph. Calls that the old graph has, too, were made for what
            they read there.
        draft: Knows the old graph, and which positions of a tensor are others now.
        channels: Knows which axis of a tensor has its channels. If it is given, other
            grids pass where they can.

    Raises:
        InvalidRequestError: A tensor would have more or fewer axes than its reader
            takes, or the grids of tensors that meet differ.
    """
    return _Spreading(graph, draft, channels).run()


class _Spreading:
    def __init__(self, graph: Graph, draft: Draft, channels: Analysis | None):
        self.graph = graph
        self.flat = flatten(graph)
        self._draft = draft
        self._channels = channels
        self._before = draft.flat.specs
        self._old_calls = draft.flat.by_path
        self._now = dict(self.flat.specs)
        self._changed: dict[tuple[str, str], Vertex] = {}
        self._moved = self._moved_tensors()
        # Tensors that are not, or not for sure, what they were before the edit.
        self._others = set(self._moved)

    def run(self) -> Graph:
        for call in self.flat.calls:
            if not self._is_as_before(call):
                self._update(call, self._visit(call))
        by_owner: dict[str, dict[str, Vertex]] = {}
        for (owner, name), vertex in self._changed.items():
            by_owner.setdefault(owner, {})[name] = vertex
        graph = self.graph
        for owner, vertices in by_owner.items():
            graph = graph.replace_vertices(owner, vertices)
        return graph

    def _is_as_before(self, call: Call) -> bool:
        """Whether a call is that of the old network and reads the same tensors."""
        return self._old_calls.get(call.path) is call and self._others.isdisjoint(
            call.reads
        )

    def _update(self, call: Call, outputs: tuple[TensorSpec, ...]) -> None:
        for ref, spec in zip(call.gives, outputs, strict=True):
            self._now[ref] = spec
            if spec != self._before.get(ref):
                self._others.add(ref)

    def _moved_tensors(self) -> dict[TensorRef, Origins]:
        """The tensors of the old opened network whose positions are others now."""
        flat = self._draft.flat
        moved: dict[TensorRef, Origins] = {}
        for (owner, ref), origins in self._draft.moved.items():
            for path, home in flat.homes.items():
                if home == (owner, ref.vertex):
                    moved[flat.tensor(path, ref.index)] = origins
        return moved

    def _visit(self, call: Call) -> tuple[TensorSpec, ...]:
        """Returns the shapes of a call's outputs, leaving seams where they belong."""
        seams = [
            self._seam_at(call, number, leaf)
            for number, leaf in enumerate(call.tensors)
        ]
        if not any(seams):
            return call.outputs
        outputs = call.outputs
        if self._channels is not None:
            call, seams, outputs = self._let_through(call, seams)
        vertex = _with_seams(call, seams)
        if outputs != vertex.outputs:
            vertex = replace(vertex, outputs=outputs)
        known = self._changed.setdefault(call.home, vertex)
        if known.outputs != vertex.outputs:
            raise InvalidRequestError(
                f"'{call.path}' is inside of a nested model that is called several "
                "times, and would see another shape at each call.\n\nEdit the model "
                f"around the calls instead. Received: {call.path!r}"
            )
        return outputs

    def _seam_at(self, call: Call, number: int, leaf: TensorRef | Seam) -> Seam | None:
        """Returns the seam between a tensor and its reader, None if none is needed."""
        if isinstance(leaf, Seam):
            seam = leaf
        else:
            old = self._read_before(call, number)
            if old is None:
                old = leaf
            if call.path not in self._old_calls or old not in self._before:
                return None
            key = self._draft.flat.homes.get(old.vertex, old.vertex), old.index
            seam = Seam(leaf, self._before[old], key, self._moved.get(old, {}))
        arriving = self._now[seam.ref]
        if len(arriving.shape) != len(seam.spec.shape):
            raise InvalidRequestError(
                f"'{call.path}' reads a tensor of {len(seam.spec.shape)} axes, "
                f"{seam.spec.shape}, but would get one of {len(arriving.shape)}, "
                f"{arriving.shape}.\n\nChange what changes the number of axes (such as "
                f"a Flatten or a pooling) together with it. Received: {call.path!r}"
            )
        if _agree(arriving, seam.spec) and not seam.origins:
            return None
        return seam

    def _read_before(self, call: Call, number: int) -> TensorRef | None:
        """Returns what a call read at a place in the old network.

        That is another tensor where a nested model now gives another one. None for a
        call whose own arguments were exchanged.
        """
        old = self._old_calls.get(call.path)
        if old is None or old.vertex is not call.vertex:
            return None
        return cast(TensorRef, old.tensors[number])

    def _let_through(self, call: Call, seams: list) -> tuple[Call, list, Any]:
        """Lets other grids pass where the call takes them."""
        arriving = [
            self._now[leaf.ref if isinstance(leaf, Seam) else leaf]
            for leaf in call.tensors
        ]
        passing = [
            spec if seam is None else self._with_grid(seam, spec)
            for seam, spec in zip(seams, arriving, strict=True)
        ]
        made_for = [
            spec if seam is None else seam.spec
            for seam, spec in zip(seams, arriving, strict=True)
        ]
        if passing == made_for:
            return call, seams, call.outputs
        if call.part.is_input:
            call = self._with_input_shape(call, passing[0])
        outputs = self._accepted(call, passing, made_for)
        if outputs is None:
            _refuse_grids(call, seams, arriving, passing, made_for)
            return call, seams, call.outputs
        seams = [
            self._closed(seam, spec, now)
            for seam, spec, now in zip(seams, passing, arriving, strict=True)
        ]
        return call, seams, outputs

    def _with_grid(self, seam: Seam, arriving: TensorSpec) -> TensorSpec:
        """The shape that the reader was made for, but on the grid that arrives."""
        channel = self._channel(seam) % len(arriving.shape)
        shape = tuple(
            wanted if number == channel else size
            for number, (size, wanted) in enumerate(
                zip(arriving.shape, seam.spec.shape, strict=True)
            )
        )
        return TensorSpec(shape, arriving.dtype)

    def _channel(self, seam: Seam) -> int:
        known = self._channels
        tensor = None if known is None else known.tensors.get(seam.ref)
        return -1 if tensor is None else tensor.channel

    def _accepted(
        self, call: Call, passing: list[TensorSpec], made_for: list[TensorSpec]
    ) -> tuple[TensorSpec, ...] | None:
        """Returns what a call gives for other grids; None if it does not take them."""
        if len(passing) > 1 and _broadcasts_anew(passing, made_for):
            return None
        if call.part.is_input:
            return (TensorSpec(passing[0].shape, call.outputs[0].dtype),)
        try:
            outputs = infer_outputs(self.graph, call, passing)
        except Exception:  # noqa: BLE001  Keras refuses in many ways.
            return None
        if len(outputs) != len(call.outputs):
            return None
        problem = shape_problem(self.graph, call, passing, outputs)
        return outputs if problem is None else None

    def _with_input_shape(self, call: Call, spec: TensorSpec) -> Call:
        """Changes the shape that an input of a nested model was declared with."""
        config = {**call.part.config, "batch_shape": spec.shape}
        part = replace(call.part, config=config)
        self.graph = self.graph.replace_parts({part.key: part})
        return replace(call, part=part)

    def _closed(
        self, seam: Seam | None, passing: TensorSpec, arriving: TensorSpec
    ) -> Seam | None:
        """Returns what is left of a seam once the grid has passed."""
        if seam is None:
            return None
        channel = self._channel(seam) % len(arriving.shape)
        origins = {n: o for n, o in seam.origins.items() if n == channel}
        if passing.shape == arriving.shape and not origins:
            return None
        return replace(seam, spec=passing, origins=origins)


def _with_seams(call: Call, seams: list[Seam | None]) -> Vertex:
    """Returns a vertex that reads across seams.

    The references in a vertex are those of its body, not of the opened network.
    """
    if call.part.is_input:
        seam = seams[0]
        args = () if seam is None else (replace(seam, ref=None),)
        return replace(call.vertex, args=args)
    waiting = iter(seams)

    def cross(leaf: Any) -> Any:
        if not isinstance(leaf, (TensorRef, Seam)):
            return leaf
        seam = next(waiting)
        ref = leaf.ref if isinstance(leaf, Seam) else leaf
        return ref if seam is None else replace(seam, ref=ref)

    return map_arguments(call.vertex, cross)


def _agree(arriving: TensorSpec, expected: TensorSpec) -> bool:
    """Whether two shapes are the same as far as they are known."""
    return all(
        a == b or None in (a, b)
        for a, b in zip(arriving.shape, expected.shape, strict=True)
    )


def _broadcasts_anew(passing: list[TensorSpec], made_for: list[TensorSpec]) -> bool:
    """Whether an axis became 1, and would be repeated along the others' axes."""
    return any(
        size == 1 != was
        for new, old in zip(passing, made_for, strict=True)
        for size, was in zip(new.shape, old.shape, strict=True)
    )


def _refuse_grids(
    call: Call,
    seams: list[Seam | None],
    arriving: list[TensorSpec],
    passing: list[TensorSpec],
    made_for: list[TensorSpec],
) -> None:
    """Raises where tensors of different grids meet: no number of neurons mends that."""
    if len(seams) < 2:
        return
    shapes = [spec.shape for spec in passing]
    longest = max(map(len, shapes))
    for back in range(1, longest):
        sizes = {shape[-back] for shape in shapes if len(shape) > back}
        was = {spec.shape[-back] for spec in made_for if len(spec.shape) > back}
        if len(sizes - {1}) > 1 and len(was - {1}) < 2:
            listed = " and ".join(str(spec.shape) for spec in arriving)
            raise InvalidRequestError(
                f"'{call.path}' would bring together tensors on different grids: "
                f"{listed}.\n\nMake the grids equal first, with a pooling, a stride or "
                f"an upsampling on one side. Received: {call.path!r}"
            )
