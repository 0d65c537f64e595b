"""What a space has decided for: a network that is not built yet.

A blueprint is a value. Its text is the same for equal networks, whatever decisions led
to them: what does nothing is left out, and the paths of a fork have no order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_nas.errors import InvalidRequestError

# Settings that hold the number of channels that a layer gives.
WIDTHS = ("filters", "units")


@dataclass(frozen=True)
class LayerBlueprint:
    """One Keras layer.

    Attributes:
        kind: Name of the class in ``keras.layers``.
        settings: Pairs of argument and value, sorted.
        name: What the layer will be called, as far as that name is free.
    """

    kind: str
    settings: tuple[tuple[str, Any], ...] = ()
    name: str = ""

    def __str__(self) -> str:
        values = ", ".join(f"{key}={value}" for key, value in self.settings)
        return f"{self.kind}({values})"

    @property
    def makes_width(self) -> bool:
        return any(key in WIDTHS for key, _ in self.settings)

    def build(self, x: Any, names: Names, width: int | None = None) -> Any:
        """Calls the layer on a tensor; see `Blueprint`."""
        settings = dict(self.settings)
        for key in WIDTHS:
            if width is not None and key in settings:
                settings[key] = width
        layer = getattr(keras.layers, self.kind)
        try:
            return layer(name=names(self.name), **settings)(x)
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InvalidRequestError(
                f"Keras makes no {self.kind} here: {reason:.200}\n\nTake it, or that "
                f"option of a setting, out of the space. Received: {self!s:.120} on a "
                f"tensor of shape {tuple(x.shape)}"
            ) from error


@dataclass(frozen=True)
class SeriesBlueprint:
    """One after the other; nothing at all without parts."""

    parts: tuple[Blueprint, ...] = ()

    def __str__(self) -> str:
        return " > ".join(map(str, self.parts)) or "nothing"

    @property
    def makes_width(self) -> bool:
        return any(part.makes_width for part in self.parts)

    def build(self, x: Any, names: Names, width: int | None = None) -> Any:
        """Calls the layers on a tensor; see `Blueprint`."""
        makers = [n for n, part in enumerate(self.parts) if part.makes_width]
        for number, part in enumerate(self.parts):
            is_last = bool(makers) and number == makers[-1]
            x = part.build(x, names, width if is_last else None)
        return x


@dataclass(frozen=True)
class ForkBlueprint:
    """Several paths, concatenated."""

    paths: tuple[Blueprint, ...]
    name: str = ""

    def __str__(self) -> str:
        return f"[{' | '.join(sorted(map(str, self.paths)))}]"

    @property
    def makes_width(self) -> bool:
        return True

    def build(self, x: Any, names: Names, width: int | None = None) -> Any:
        """Calls the layers on a tensor; see `Blueprint`."""
        paths = self.paths if width is None else self.paths[:width]
        shares = [None] * len(paths) if width is None else shared(width, len(paths))
        ends = [
            path.build(x, names, share)
            for path, share in zip(paths, shares, strict=True)
        ]
        if len(ends) > 1:
            x = keras.layers.Concatenate(name=names(f"{self.name}_concatenate"))(ends)
        else:
            (x,) = ends
        return x if width is None else with_width(x, width, names, self.name)


@dataclass(frozen=True)
class ResidualBlueprint:
    """Added to its own input, which is projected where the widths differ."""

    inner: Blueprint
    name: str = ""

    def __str__(self) -> str:
        return f"residual[{self.inner}]"

    @property
    def makes_width(self) -> bool:
        return True

    def build(self, x: Any, names: Names, width: int | None = None) -> Any:
        """Calls the layers on a tensor; see `Blueprint`."""
        y = self.inner.build(x, names, width)
        if width is not None:
            y = with_width(y, width, names, self.name)
        x = with_width(x, y.shape[-1], names, f"{self.name}_shortcut")
        return keras.layers.Add(name=names(f"{self.name}_add"))([x, y])


# Each has `build(x, names, width)`, which calls its layers on a symbolic tensor and
# returns what they give: with `width` channels, if that is given.
Blueprint = LayerBlueprint | SeriesBlueprint | ForkBlueprint | ResidualBlueprint

NOTHING = SeriesBlueprint()


class Names:
    """Gives each layer a name of its own: the wanted one, or with a number."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, wanted: str) -> str:
        name, number = wanted, 0
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def series(parts: Sequence[Blueprint]) -> Blueprint:
    """One after the other, with what does nothing left out."""
    flat: list[Blueprint] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, SeriesBlueprint) else [part])
    return flat[0] if len(flat) == 1 else SeriesBlueprint(tuple(flat))


def fork(paths: Sequence[Blueprint], name: str) -> Blueprint:
    """Paths side by side; a single one needs no concatenation."""
    if len(paths) < 2:
        return paths[0] if paths else NOTHING
    return ForkBlueprint(tuple(paths), name)


def residual(inner: Blueprint, name: str) -> Blueprint:
    """A way around; around nothing there is none."""
    return NOTHING if inner == NOTHING else ResidualBlueprint(inner, name)


def build_model(
    blueprint: Blueprint,
    input_shape: Sequence[int | None],
    *,
    name: str | None = None,
    width: int | None = None,
    input_name: str = "input",
    dtype: str | None = None,
) -> keras.Model:
    """Returns the Keras model of a blueprint; equal calls give equal names.

    Args:
        blueprint: The network.
        input_shape: Shape of one sample.
        name: Name of the model.
        width: Number of channels of the output; as decided by default.
        input_name: Name of the input.
        dtype: Of the input.
    """
    names = Names()
    inputs = keras.Input(tuple(input_shape), name=names(input_name), dtype=dtype)
    outputs = blueprint.build(inputs, names, width)
    if width is not None:
        outputs = with_width(outputs, width, names, "output")
    settings: dict[str, Any] = {} if name is None else {"name": name}
    return keras.Model(inputs, outputs, **settings)


def with_width(x: Any, width: int, names: Callable[[str], str], name: str) -> Any:
    """Returns a tensor with so many channels: projected, unless it has them."""
    if x.shape[-1] == width:
        return x
    name = names(f"{name}_project")
    rank = len(x.shape) - 2
    if rank == 0:
        return keras.layers.Dense(width, name=name)(x)
    convolution = getattr(keras.layers, f"Conv{rank}D")
    return convolution(width, 1, name=name)(x)


def shared(total: int, count: int) -> list[int]:
    """Splits a number into parts that differ by at most one: 13 into 4, 4, 5."""
    return [
        (number + 1) * total // count - number * total // count
        for number in range(count)
    ]
