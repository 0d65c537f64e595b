"""What was measured, layer by layer, and what follows from it for other sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from keras_nas.latency.fitting import Line, fit_line
from keras_nas.latency.timing import duration
from keras_nas.records import Record

WHAT = "latency table"
VERSION = 1
_MAX_LISTED = 6


@dataclass(frozen=True)
class LatencyPoint:
    """One measurement.

    Attributes:
        macs: Multiply-accumulates, as `count` counts them.
        num_bytes: Bytes of all inputs and outputs, likewise.
        seconds: Median of the time.
        spread: Half the distance between the quartiles, in seconds.
    """

    macs: int
    num_bytes: int
    seconds: float
    spread: float

    @classmethod
    def read(cls, record: Record) -> LatencyPoint:
        """Reads what ``dataclasses.asdict`` wrote."""
        return cls(
            record.integer("macs", 0),
            record.integer("num_bytes", 0),
            record.number("seconds"),
            record.number("spread"),
        )


@dataclass(frozen=True)
class VertexLatency:
    """How long one vertex takes alone.

    Attributes:
        name: Path of the vertex.
        kind: Class of the layer or operation.
        points: What was measured at each width of the table, the present one first;
            empty if the vertex cannot run alone.
    """

    name: str
    kind: str
    points: tuple[LatencyPoint, ...]

    @cached_property
    def line(self) -> Line:
        """Seconds over multiply-accumulates and bytes, fitted to the points."""
        return fit_line(
            [point.macs for point in self.points],
            [point.num_bytes for point in self.points],
            [point.seconds for point in self.points],
        )

    @property
    def error(self) -> float:
        """Largest difference of the line from a point, in seconds."""
        differences = (
            abs(self.line.seconds(point.macs, point.num_bytes) - point.seconds)
            for point in self.points
        )
        return max(differences, default=0.0)


@dataclass(frozen=True)
class LatencyTable:
    """How long the vertices of a model take, at several widths; ``print`` it.

    A prediction is ``offset + scale * (sum of the lines of all vertices)``. Alone, a
    layer cannot be fused with the next one and finds other caches, so the sum is
    compared with the time of the whole model at each width, which gives `offset` and
    `scale`; what differs even then is the `error` of the table.

    Attributes:
        vertices: One `VertexLatency` for each, in the order in which they run.
        models: The whole model at each width: multiply-accumulates and bytes are the
            sums over all vertices.
        batch_size: Number of samples that run together.
        backend: Name of the Keras backend.
        device: What it ran on.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((64,)),
        ...     keras.layers.Dense(256, name="hidden"),
        ...     keras.layers.Dense(10, name="head"),
        ... ])
        >>> table = kn.measure_latency(model, repetitions=2)
        >>> [vertex.name for vertex in table.vertices], table.seconds > 0
        (['hidden', 'head'], True)
    """

    vertices: tuple[VertexLatency, ...]
    models: tuple[LatencyPoint, ...]
    batch_size: int
    backend: str
    device: str

    @property
    def seconds(self) -> float:
        """What the table says about the model that was measured."""
        return self._predicted[0]

    @property
    def measured_seconds(self) -> float:
        """What that model really took."""
        return self.models[0].seconds

    @cached_property
    def offset(self) -> float:
        """Seconds that no layer accounts for."""
        return self._calibration.fixed

    @cached_property
    def scale(self) -> float:
        """Seconds in the whole model for one second of layers alone."""
        return self._calibration.per_mac

    @property
    def error(self) -> float:
        """Largest relative difference between predicted and measured whole models."""
        pairs = zip(self._predicted, self.models, strict=True)
        return max(abs(p - m.seconds) / max(m.seconds, 1e-12) for p, m in pairs)

    @cached_property
    def lines(self) -> Mapping[str, Line]:
        """Name of each vertex -> its line, times `scale`."""
        return {
            vertex.name: Line(*(self.scale * number for number in vertex.line))
            for vertex in self.vertices
        }

    @cached_property
    def _sums(self) -> list[float]:
        """The sum of the lines at each width."""
        measured = [vertex for vertex in self.vertices if vertex.points]
        return [
            sum(
                v.line.seconds(v.points[width].macs, v.points[width].num_bytes)
                for v in measured
            )
            for width in range(len(self.models))
        ]

    @cached_property
    def _calibration(self) -> Line:
        seconds = [model.seconds for model in self.models]
        return fit_line(self._sums, [0.0] * len(seconds), seconds)

    @property
    def _predicted(self) -> list[float]:
        return [self._calibration.seconds(total, 0.0) for total in self._sums]

    def __str__(self) -> str:
        width = max((len(vertex.name) for vertex in self.vertices), default=6)
        head = f"{'vertex':{width}}  {'ms':>8}  {'+-':>8}  {'fit +-':>8}  class"
        rows = [
            f"{v.name:{width}}  {_row(v)}  {v.kind}" for v in self.vertices if v.points
        ]
        lines = [head, "-" * len(head), *rows, *map(self._of_model, range(self._count))]
        silent = [vertex.name for vertex in self.vertices if not vertex.points]
        if silent:
            names = ", ".join(f"'{name}'" for name in silent[:_MAX_LISTED])
            more = f" and {len(silent) - _MAX_LISTED} more"
            more = more if len(silent) > _MAX_LISTED else ""
            lines.append(f"Not measured, counted as 0: {names}{more}.")
        lines.append(
            f"Predictions of whole models were wrong by up to {self.error:.0%} "
            f"({self.backend} on {self.device}, batch size {self.batch_size})."
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    @property
    def _count(self) -> int:
        return len(self.models)

    def _of_model(self, width: int) -> str:
        model, predicted = self.models[width], self._predicted[width]
        share = model.macs / max(self.models[0].macs, 1)
        return (
            f"Whole model at {share:.0%} of the MACs: {duration(model.seconds)} "
            f"+- {duration(model.spread)}, predicted {duration(predicted)}."
        )

    # --- files --------------------------------------------------------------------

    def to_json(self) -> str:
        """Returns the measurements as JSON; everything else follows from them."""
        return json.dumps(
            {"kind": f"keras_nas {WHAT}", "version": VERSION, **asdict(self)}
        )

    @classmethod
    def from_json(cls, source: Any) -> LatencyTable:
        """Reads what `to_json` wrote.

        Args:
            source: JSON text, or the object that ``json.loads`` made of it.

        Raises:
            InvalidRequestError: It is something else, or damaged; says where.
        """
        record = Record.read(source, WHAT, VERSION)
        models = tuple(map(LatencyPoint.read, record.records("models")))
        if not models:
            record.refuse("has no measurement of the whole model", source)
        vertices = []
        for each in record.records("vertices"):
            points = tuple(map(LatencyPoint.read, each.records("points")))
            if len(points) not in (0, len(models)):
                each.refuse(f"has {len(points)} points, not {len(models)}", source)
            vertices.append(VertexLatency(each.text("name"), each.text("kind"), points))
        return cls(
            tuple(vertices),
            models,
            record.integer("batch_size", 1),
            record.text("backend"),
            record.text("device"),
        )

    def save(self, path: Any) -> None:
        """Writes a file of JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Any) -> LatencyTable:
        """Reads what `save` wrote.

        Raises:
            InvalidRequestError: The file holds something else, or is damaged.
            OSError: There is no such file.
        """
        return cls.from_json(Path(path).read_bytes())


def _row(vertex: VertexLatency) -> str:
    first = vertex.points[0]
    numbers = (first.seconds, first.spread, vertex.error)
    return "  ".join(f"{number * 1e3:8.4f}" for number in numbers)
