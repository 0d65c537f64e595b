"""What a model costs, call by call, as a table and as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keras_nas.axes import Atom
from keras_nas.graph import Analysis
from keras_nas.surgery.costs import Axes, call_costs, evaluate
from keras_nas.surgery.tables import listed, table


@dataclass(frozen=True)
class VertexCount:
    """What one vertex costs.

    Attributes:
        name: Path of the vertex.
        kind: Class of the layer or operation.
        params: Numbers in its weights, but for those of weights that a vertex before
            has too.
        macs: Multiply-accumulates of one call.
        weight_bytes: Bytes of these weights.
        activation_bytes: Bytes of its outputs.
        is_counted: Whether its multiply-accumulates are known.
    """

    name: str
    kind: str
    params: int
    macs: int
    weight_bytes: int
    activation_bytes: int
    is_counted: bool = True


@dataclass(frozen=True)
class Counts:
    """What a model costs; ``print`` it for a table.

    All numbers are for one sample (an axis of unknown size counts as one position),
    or for the whole batch where the model was made for a fixed one.

    Attributes:
        vertices: One `VertexCount` for each vertex, in the order in which they run.
        open_inputs: Inputs of the model of which other axes than the batch are of
            unknown size: FLOPs and activations are then no real ones, and those of
            layers on different grids cannot be compared.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        >>> counts = kn.count(model)
        >>> counts.params, counts.macs, counts.flops
        (16, 12, 24)
    """

    vertices: tuple[VertexCount, ...]
    open_inputs: tuple[str, ...] = ()

    @property
    def params(self) -> int:
        """Numbers in all weights, each shared weight once; as ``count_params()``."""
        return sum(vertex.params for vertex in self.vertices)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all sums of products.

        What is done to each number by itself (biases, activations, scaling, pooling)
        is left out, as in most published numbers.
        """
        return sum(vertex.macs for vertex in self.vertices)

    @property
    def flops(self) -> int:
        """Twice `macs`: multiplications and additions. Papers often mean `macs`."""
        return 2 * self.macs

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(vertex.weight_bytes for vertex in self.vertices)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the outputs of all vertices, as training keeps them."""
        return sum(vertex.activation_bytes for vertex in self.vertices)

    @property
    def memory(self) -> int:
        """Bytes of all weights and all outputs."""
        return self.weight_bytes + self.activation_bytes

    @property
    def not_counted(self) -> tuple[str, ...]:
        """Vertices whose multiply-accumulates are unknown and count as 0."""
        return tuple(v.name for v in self.vertices if not v.is_counted)

    def __getitem__(self, name: str) -> VertexCount:
        for vertex in self.vertices:
            if vertex.name == name:
                return vertex
        raise KeyError(name)

    def __str__(self) -> str:
        header = ("vertex", "params", "MACs", "weights B", "activations B", "class")
        rows = [
            (v.name, v.params, v.macs, v.weight_bytes, v.activation_bytes, v.kind)
            for v in self.vertices
        ]
        total = ("total", self.params, self.macs, self.weight_bytes)
        lines = table(header, [*rows, (*total, self.activation_bytes, "")])
        if self.open_inputs:
            lines += f"\n{self.remark}"
        if not self.not_counted:
            return lines
        shown = listed(f"'{name}'" for name in self.not_counted)
        return f"{lines}\nMACs unknown, counted as 0: {shown}."

    def __repr__(self) -> str:
        return str(self)

    @property
    def remark(self) -> str:
        """What has to be said about the numbers; empty if nothing has."""
        if not self.open_inputs:
            return ""
        names = ", ".join(f"'{name}'" for name in self.open_inputs)
        return (
            f"The shape of {names} is not known: each unknown axis counts as 1, so "
            "FLOPs and memory are no real ones. Give the model a fixed input shape."
        )


def count_analysis(
    analysis: Analysis, sizes: Mapping[Atom, int] | None = None
) -> Counts:
    """Counts what a graph costs, at new sizes of atoms if given."""

    def bytes_at(weighted: tuple[tuple[int, Axes], ...]) -> int:
        return sum(number * evaluate((axes,), sizes) for number, axes in weighted)

    return Counts(
        tuple(
            VertexCount(
                name=call.path,
                kind=call.part.cls.__name__,
                params=evaluate((axes for _, axes in cost.weights), sizes),
                macs=evaluate(cost.macs, sizes),
                weight_bytes=bytes_at(cost.weights),
                activation_bytes=bytes_at(cost.outputs),
                is_counted=cost.is_counted,
            )
            for call, cost in call_costs(analysis)
        ),
        tuple(
            ref.vertex
            for ref in analysis.flat.inputs
            if None in analysis.flat.specs[ref].shape[1:]
        ),
    )
