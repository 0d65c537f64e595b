"""Measuring how long a network takes: its vertices, and whole, at several widths."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import keras

from keras_nas.errors import InfeasibleError, InvalidRequestError
from keras_nas.graph import (
    Call,
    Graph,
    TensorRef,
    analyze,
    build,
    flatten,
    names_kept,
    wrap,
)
from keras_nas.latency import (
    LatencyPoint,
    LatencyTable,
    VertexLatency,
    device_name,
    duration,
    interleaved,
    isolate,
    runner,
)
from keras_nas.latency.isolated import sample, shape_of, signature
from keras_nas.latency.timing import Timing
from keras_nas.numeric import is_whole
from keras_nas.rules import map_leaves
from keras_nas.surgery.latency import Work, works

# Fractions of the neurons of each layer at which everything is measured.
WIDTHS = (1.0, 0.75, 0.5, 0.25)

# Fraction -> a graph with that fraction of the neurons.
Narrow = Callable[[float], Graph]


def measure(
    graph: Graph, narrow: Narrow, *, batch_size: int, repetitions: int, warm_up: int
) -> LatencyTable:
    """Measures every vertex alone and the whole model, at several widths.

    Raises:
        InvalidRequestError: A setting is no number, or the inputs have no fixed shape.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("repetitions", repetitions, 1),
        ("warm_up", warm_up, 0),
    ):
        check_count(name, value, least)
    check_inputs(graph)
    widths = _widths(graph, narrow)
    bench = _Bench(batch_size)
    with names_kept():
        empty = bench.whole(_nothing())
        models = [bench.whole(each) for each in widths]
    loads = [works(analyze(each)) for each in widths]
    places = [
        [bench.alone(each, work.call) for work in load]
        for each, load in zip(widths, loads, strict=True)
    ]
    timings = interleaved(bench.runners, repetitions, warm_up)
    overhead = timings[empty].seconds
    vertices = (
        _vertex(load, [None if n is None else timings[n] for n in place], overhead)
        for load, place in zip(zip(*loads), zip(*places), strict=True)
    )
    return LatencyTable(
        vertices=tuple(vertices),
        models=tuple(
            LatencyPoint(
                sum(work.macs for work in load),
                sum(work.num_bytes for work in load),
                *timings[model],
            )
            for load, model in zip(loads, models, strict=True)
        ),
        batch_size=int(batch_size),
        backend=keras.backend.backend(),
        device=device_name(),
    )


def _vertex(
    loads: Sequence[Work], timings: Sequence[Timing | None], overhead: float
) -> VertexLatency:
    """Says how long one vertex takes at each width, if it could run at all of them."""
    points = tuple(
        LatencyPoint(
            load.macs,
            load.num_bytes,
            max(timing.seconds - overhead, 0.0),
            timing.spread,
        )
        for load, timing in zip(loads, timings, strict=True)
        if timing is not None
    )
    call = loads[0].call
    known = points if len(points) == len(timings) else ()
    return VertexLatency(call.path, call.part.cls.__name__, known)


def _widths(graph: Graph, narrow: Narrow) -> list[Graph]:
    """The graph with all and with fewer neurons, each number of them once."""
    found = {_shapes(graph): graph}
    for fraction in WIDTHS[1:]:
        with contextlib.suppress(InfeasibleError):
            narrower = narrow(fraction)
            found.setdefault(_shapes(narrower), narrower)
    return list(found.values())


def _shapes(graph: Graph) -> tuple:
    return tuple(call.outputs for call in flatten(graph).calls)


def _nothing() -> Graph:
    inputs = keras.Input((1,), name="nothing")
    return wrap(keras.Model(inputs, keras.layers.Identity(name="same")(inputs)))


class _Bench:
    """Everything that is to be timed; calls that are alike are timed once."""

    def __init__(self, batch_size: int):
        self.runners: list[Callable[[], Any]] = []
        self._batch_size = batch_size
        self._known: dict[tuple, int | None] = {}

    def whole(self, graph: Graph) -> int:
        """Returns the number of the runner of a whole model."""
        return self._add(runner(build(graph), inputs_of(graph, self._batch_size)))

    def alone(self, graph: Graph, call: Call) -> int | None:
        """Returns the number of the runner of a call, None if it cannot run alone."""
        key = signature(graph, call)
        if key not in self._known:
            isolated = isolate(graph, call, self._batch_size)
            self._known[key] = self._tried(isolated)
        return self._known[key]

    def _tried(self, isolated: Any) -> int | None:
        if isolated is None:
            return None
        try:
            run = runner(*isolated)
            run()
        except Exception:  # noqa: BLE001  Each layer has reasons of its own not to.
            return None
        return self._add(run)

    def _add(self, run: Callable[[], Any]) -> int:
        self.runners.append(run)
        return len(self.runners) - 1


def inputs_of(graph: Graph, batch_size: int) -> Any:
    """Returns arrays that a model can be called on, in the structure that it takes."""
    specs = flatten(graph).specs

    def thaw(leaf: Any) -> Any:
        if not isinstance(leaf, TensorRef):
            return leaf
        spec = specs[leaf]
        shape = cast(tuple[int, ...], shape_of(spec, batch_size))
        return sample(shape, spec.dtype)

    return map_leaves(thaw, graph.body.inputs)


def check_inputs(graph: Graph) -> None:
    """Raises `InvalidRequestError` if the shape of an input is unknown."""
    flat = flatten(graph)
    for ref in flat.inputs:
        if shape_of(flat.specs[ref], 1) is None:
            raise InvalidRequestError(
                f"How long the model takes depends on the shape of '{ref.vertex}', "
                "which has unknown sizes.\n\nMake the model for inputs of a fixed "
                f"shape. Received: {flat.specs[ref].shape}"
            )


def check_count(name: str, value: Any, least: int) -> None:
    """Raises `InvalidRequestError` unless a setting is a whole number."""
    if not is_whole(value) or value < least:
        raise InvalidRequestError(
            f"{name!r} must be a whole number, at least {least}.\n\nGive an int. "
            f"Received: {name}={value!r}"
        )


@dataclass(frozen=True)
class LatencyCheck:
    """Two models timed in turn, next to what was predicted; ``print`` it.

    Attributes:
        old_seconds: Measured before.
        seconds: Measured after.
        spread: Half the distance between the quartiles of that.
        old_predicted: What the table says about the model before.
        predicted: What the table says about the model after.
        stated_error: By how much the table was wrong on the models it was made from.
    """

    old_seconds: float
    seconds: float
    spread: float
    old_predicted: float
    predicted: float
    stated_error: float

    @property
    def error(self) -> float:
        """Predicted over measured, minus 1."""
        return self.predicted / max(self.seconds, 1e-12) - 1

    def __str__(self) -> str:
        how = "long" if self.error > 0 else "short"
        return (
            f"measured: {_change(self.old_seconds, self.seconds)}, "
            f"+- {duration(self.spread)}\n"
            f"predicted: {_change(self.old_predicted, self.predicted)}, "
            f"{abs(self.error):.0%} too {how} "
            f"(the table was wrong by up to {self.stated_error:.0%})"
        )

    def __repr__(self) -> str:
        return str(self)


def _change(old: float, new: float) -> str:
    share = new / max(old, 1e-12)
    return f"{duration(old)} -> {duration(new)} ({share:.1%})"


def time_graphs(
    graphs: Sequence[Graph], batch_size: int, repetitions: int, warm_up: int
) -> list[Timing]:
    """Times whole models in turn."""
    bench = _Bench(batch_size)
    with names_kept():
        for graph in graphs:
            bench.whole(graph)
    return interleaved(bench.runners, repetitions, warm_up)
