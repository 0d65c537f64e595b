"""Settings of single layers: kernels, activations, poolings and dropout rates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import layers

from keras_nas.axes import MaybeNone
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Part
from keras_nas.search.mutations.base import VertexMutation, check_range
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.guards import attempt, keywords
from keras_nas.search.mutations.places import Place, all_places
from keras_nas.surgery import Graph

_WINDOWED = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
ACTIVATIONS = ("relu", "elu", "gelu", "silu")
# Those that may be exchanged. Not softmax and sigmoid, which make probabilities and
# gates, and not linear, behind which an activation often stands by itself.
_EXCHANGED = {
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "swish", "mish"),
    *("celu", "tanh", "softplus", "softsign", "hard_silu", "hard_swish"),
}
# Activations that are layers of their own, with their names as functions.
_AS_LAYERS = {
    layers.ReLU: "relu",
    layers.LeakyReLU: "leaky_relu",
    layers.ELU: "elu",
}
_ACTIVATED = (
    layers.Activation,
    layers.Dense,
    layers.EinsumDense,
    *_WINDOWED,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)
_POOLINGS = {
    one: other
    for rank in (1, 2, 3)
    for maximum, average in [
        (
            getattr(layers, f"{word}MaxPooling{rank}D"),
            getattr(layers, f"{word}AveragePooling{rank}D"),
        )
        for word in ("", "Global")
    ]
    for one, other in [(maximum, average), (average, maximum)]
}
_DROPOUTS = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.AlphaDropout,
)


@dataclass(frozen=True)
class KernelSize(VertexMutation):
    """Larger or smaller kernels of convolutions that keep the grid.

    Taps keep the input that they read, so a larger kernel keeps the function.

    Args:
        step: Largest change of the size along each axis. Odd sizes stay odd.
        largest: No kernel becomes larger than this, nor than the grid (but for a
            position to make it odd).
        each: See `VertexMutation`.
        lean: See `VertexMutation`.

    Source: ``KernelSizeMutation`` of NaiveGAflux.jl.
    """

    step: int = 2
    largest: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("step", "largest"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise InvalidRequestError(
                    f"'{name}' has to be a whole number of at least 1.\n\nGive one. "
                    f"Received: {name}={getattr(self, name)!r}"
                )

    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """See `VertexMutation`."""
        part = place.part
        if part.cls not in _WINDOWED or context.is_shielded(place.path):
            return False
        return part.config["padding"] in ("same", "causal")

    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """See `VertexMutation`."""
        config = place.part.config
        old = config["kernel_size"]
        taps = list(old) if isinstance(old, (tuple, list)) else [old] * len(place.grid)
        grid = _arriving_grid(all_places(graph), place, config)
        change = int(rng.integers(1, self.step + 1)) * (1 if rng.integers(2) else -1)
        new = [self._size(k, change, s) for k, s in zip(taps, grid, strict=True)]
        if new == taps:
            return graph
        settings = {**config, "kernel_size": tuple(new)}
        options = keywords(graph, rng, context)
        return attempt(
            graph,
            context,
            lambda: graph.replace(
                place.path, place.part.cls.from_config(settings), **options
            ),
        )

    def _size(self, taps: int, change: int, size: int | None) -> int:
        most = self.largest if size is None else min(self.largest, size | 1)
        if taps % 2 and change % 2:
            change += 1 if change > 0 else -1
        found = taps + change
        return taps if found < 1 or (found > most and change > 0) else found


@dataclass(frozen=True)
class ChangeActivation(VertexMutation):
    """Another activation, as a setting of a layer or a layer of its own.

    Softmax and sigmoid stay, and so do the ends of the network.

    Args:
        activations: What to choose from.
        each: See `VertexMutation`.
        lean: See `VertexMutation`.

    Source: ``ActivationFunctionMutation`` of NaiveGAflux.jl.
    """

    activations: tuple[str, ...] = ACTIVATIONS

    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """See `VertexMutation`."""
        if place.is_end or context.is_shielded(place.path):
            return False
        return _activation_of(place.part) in _EXCHANGED

    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """See `VertexMutation`."""
        present = _activation_of(place.part)
        others = [name for name in self.activations if name != present]
        if not others:
            return graph
        name = others[int(rng.integers(len(others)))]
        if place.part.cls in _AS_LAYERS:
            layer = layers.Activation(name, name=place.part.name)
            options = keywords(graph, rng, context)
            return attempt(
                graph, context, lambda: graph.replace(place.path, layer, **options)
            )
        return _with_part(graph, _configured(place.part, activation=name))


@dataclass(frozen=True)
class PoolingType(VertexMutation):
    """Maximum in place of average, or the other way round; global ones, too.

    Args:
        each: See `VertexMutation`.
        lean: See `VertexMutation`.
    """

    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """See `VertexMutation`."""
        return place.part.cls in _POOLINGS and not context.is_shielded(place.path)

    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """See `VertexMutation`."""
        layer = _POOLINGS[place.part.cls].from_config(dict(place.part.config))
        options = keywords(graph, rng, context)
        return attempt(
            graph, context, lambda: graph.replace(place.path, layer, **options)
        )


@dataclass(frozen=True)
class DropoutRate(VertexMutation):
    """A higher or lower rate of a dropout; the function stays at inference.

    Args:
        step: Largest change.
        highest: No rate becomes higher.
        each: See `VertexMutation`.
        lean: See `VertexMutation`.
    """

    step: float = 0.1
    highest: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("step", self.step, 0, 1)
        check_range("highest", self.highest, 0, 0.99)

    def is_candidate(self, graph: Graph, place: Place, context: Context) -> bool:
        """See `VertexMutation`."""
        return place.part.cls in _DROPOUTS and not context.is_shielded(place.path)

    def change(
        self, graph: Graph, place: Place, rng: np.random.Generator, context: Context
    ) -> Graph:
        """See `VertexMutation`."""
        old = float(place.part.config["rate"])
        drawn = float(rng.uniform(old - self.step, old + self.step))
        rate = round(min(max(drawn, 0.0), max(self.highest, old)), 3)
        if rate == old:
            return graph
        return _with_part(graph, _configured(place.part, rate=rate))


def _activation_of(part: Part) -> Any:
    if part.cls in _AS_LAYERS:
        return _AS_LAYERS[part.cls]
    name = part.config.get("activation") if part.cls in _ACTIVATED else None
    return name if isinstance(name, str) else None


def _configured(part: Part, **settings: Any) -> Part:
    """Returns a part with other settings, which no axis depends on."""
    return replace(part, config={**part.config, **settings})


def _with_part(graph: Graph, part: Part) -> Graph:
    return graph.replace_parts({part.key: part})


def _arriving_grid(
    places: dict[str, Place], place: Place, config: Any
) -> tuple[int | MaybeNone, ...]:
    """Returns the grid that a convolution reads."""
    shape = places[place.reads[0]].spec.shape
    if config.get("data_format") == "channels_first":
        return tuple(shape[2:])
    return tuple(shape[1:-1])
