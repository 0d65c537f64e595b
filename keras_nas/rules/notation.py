"""Patterns of axes, in a notation close to that of einops.

``"... i -> ... o"`` describes the tensors of a dense layer, ``"i o"`` its kernel:

* a name stands for one axis; the same name twice makes both axes one;
* ``(a b)`` is an axis made of row-major combinations of ``a`` and ``b``;
* ``...`` stands for any number of axes that pass through unchanged;
* ``*`` stands for any number of axes that are fixed;
* a number is a fixed axis of that size.

A name that the inputs do not have is a width of the layer's own: its size stands in
the settings or in the shape of a weight. A name that only weights have is fixed. A
weight *reads* the axes whose names the inputs have and the outputs do not have.

Source: Rogozhnikov 2022, "Einops", ICLR, for the notation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from math import prod
from typing import Any

from keras_nas.axes import Expression, Fixed, product
from keras_nas.rules.call import RuleCall
from keras_nas.rules.relation import (
    INITIALIZER,
    AxisTensor,
    Relation,
    SizeOf,
    Undescribed,
    WeightAxes,
)

_TOKEN = re.compile(r"\.\.\.|\*|\d+|\w+|\([\w\s]+\)")

Token = tuple[str, ...]
PASS: Token = ("...",)
FIX: Token = ("*",)


def describe(
    call: RuleCall,
    tensors: str,
    *,
    weights: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    widths: Mapping[str, str] | None = None,
    new: Mapping[str, float | str] | None = None,
    channel: int = -1,
    kernels: tuple[str, ...] = (),
    **parts: Any,
) -> Relation:
    """Describes a call by patterns.

    Args:
        call: The call.
        tensors: ``"inputs -> outputs"``; several tensors are separated by commas.
        weights: Weight name -> pattern.
        config: Setting -> pattern of the axis whose size it holds.
        widths: Name of a further width -> pattern of its axis.
        new: Weight name -> value of its new positions, where not by initializer.
        channel: Index of the channel axis in the outputs.
        kernels: Weights that are multiplied and summed although they read no axis.
        **parts: Further fields of the `Relation`.

    Returns:
        The `Relation`; the axes of the inputs are tied as the pattern says.
    """
    inputs, outputs = (_split_tensors(side) for side in tensors.split("->"))
    match = _Match(call, config or {})
    match.learn_sizes(weights or {}, config or {})
    if len(call.tensors) != len(inputs):
        raise Undescribed(f"it is called on {len(call.tensors)} tensors")
    for tensor, tokens in zip(call.tensors, inputs, strict=True):
        match.read_input(tensor, tokens)
    results = [
        AxisTensor(match.write_output(number, tokens), channel)
        for number, tokens in enumerate(outputs)
    ]
    for name in [name for name in match.labels if name not in match.axes]:
        # A width between two weights of the layer, which no tensor outside has.
        match.own_width(name)
    read_names = _names(inputs) - _names(outputs)
    new = new or {}
    described = {
        name: match.write_weight(
            name, parse(pattern), read_names, new.get(name, INITIALIZER)
        )
        for name, pattern in (weights or {}).items()
        if name in call.weights
    }
    summed = [name for name, w in described.items() if w.reads or name in kernels]
    parts.setdefault(
        "macs",
        tuple(
            (*match.positions(outputs[0], results[0], weights or {}), *axes)
            for name in summed
            for axes in described[name].blocks
        ),
    )
    return Relation(
        outputs=tuple(results),
        weights=described,
        config={
            key: SizeOf(match.axis(parse(pattern)[0]))
            for key, pattern in (config or {}).items()
        },
        widths={
            key: match.axis(parse(pattern)[0])
            for key, pattern in (widths or {}).items()
        },
        **parts,
    )


@cache
def parse(pattern: str) -> tuple[Token, ...]:
    """Splits ``"b * (c m)"`` into ``(("b",), ("*",), ("c", "m"))``."""
    return tuple(tuple(token.strip("()").split()) for token in _TOKEN.findall(pattern))


def _split_tensors(side: str) -> list[tuple[Token, ...]]:
    return [parse(tensor) for tensor in side.split(",")]


def _names(tensors: Iterable[tuple[Token, ...]]) -> set[str]:
    return {name for tokens in tensors for token in tokens for name in token}


def _expand(tokens: tuple[Token, ...], rank: int) -> list[Token]:
    """Repeats ``...`` or ``*`` until there is one token for each axis."""
    missing = rank - len(tokens)
    result = []
    for token in tokens:
        result += [token] * (missing + 1) if token in (PASS, FIX) else [token]
    if len(result) != rank:
        raise Undescribed(f"it has {rank} axes, which its rule does not expect")
    return result


class _Match:
    """Names bound to axes while one call is described."""

    def __init__(self, call: RuleCall, config: Mapping[str, str]):
        self.call = call
        self.labels = {
            parse(pattern)[0][0]: key
            for key, pattern in config.items()
            if len(parse(pattern)[0]) == 1
        }
        self.axes: dict[str, Expression] = {}
        self.sizes: dict[str, int] = {}
        self.passed: list[Expression] = []

    def learn_sizes(
        self, weights: Mapping[str, str], config: Mapping[str, str]
    ) -> None:
        """Reads the sizes of names from settings and weight shapes."""
        for key, pattern in config.items():
            token, value = parse(pattern)[0], self.call.config.get(key)
            if len(token) == 1 and isinstance(value, int):
                self.sizes[token[0]] = value
        for name, pattern in weights.items():
            shape = self.call.weights.get(name)
            if shape is None:
                continue
            for token, size in zip(
                _expand(parse(pattern), len(shape)), shape, strict=True
            ):
                if len(token) == 1:
                    self.sizes.setdefault(token[0], size)

    def read_input(self, tensor: AxisTensor, tokens: tuple[Token, ...]) -> None:
        passed = []
        for axis, token in zip(tensor.axes, _expand(tokens, tensor.rank), strict=True):
            if token == PASS:
                passed.append(axis)
            elif token == FIX:
                self.call.freeze(axis, f"'{self.call.name}', which works across it")
            elif len(token) == 1:
                self._bind(token[0], axis)
            else:
                parts = self.call.unifier.factor(axis, self._factor_sizes(axis, token))
                for name, part in zip(token, parts, strict=True):
                    self._bind(name, part)
        self.passed = self.passed or passed

    def write_output(
        self, number: int, tokens: tuple[Token, ...]
    ) -> tuple[Expression, ...]:
        shape = self.call.output_shapes[number]
        passed = iter(self.passed)
        axes = []
        for size, token in zip(shape, _expand(tokens, len(shape)), strict=True):
            if token == PASS:
                axes.append(next(passed))
            elif token == FIX:
                axes.append(
                    self.call.fixed(size, f"a spatial axis of '{self.call.name}'")
                )
            else:
                self._own_widths(token, size)
                axes.append(self.axis(token))
        return tuple(axes)

    def write_weight(
        self,
        name: str,
        tokens: tuple[Token, ...],
        read_names: set[str],
        new: float | str,
    ) -> WeightAxes:
        shape = self.call.weights[name]
        dims: list[Expression] = []
        reads: set[int] = set()
        for number, (size, token) in enumerate(
            zip(shape, _expand(tokens, len(shape)), strict=True)
        ):
            if token == FIX or (len(token) == 1 and token[0] not in self.axes):
                dims.append(self.call.fixed(size))
                continue
            dims.append(self.axis(token))
            if read_names.intersection(token):
                reads.add(number)
        return WeightAxes((tuple(dims),), reads=frozenset(reads), new=new)

    def positions(
        self, tokens: tuple[Token, ...], output: AxisTensor, weights: Mapping[str, str]
    ) -> list[Expression]:
        """Returns the axes of an output that no weight makes.

        A weight is used once at each of their positions.
        """
        made = _names(map(parse, weights.values())) - {*PASS, *FIX}
        return [
            axis
            for axis, token in zip(output.axes, _expand(tokens, output.rank))
            if made.isdisjoint(token)
        ]

    def axis(self, token: Token) -> Expression:
        """Returns the axis that a token stands for."""
        factors = (
            Fixed(int(name)) if name.isdigit() else self.axes[name] for name in token
        )
        return self.call.resolve(product(factors))

    def _bind(self, name: str, axis: Expression) -> None:
        if name.isdigit():
            self.call.unify(axis, self.call.fixed(int(name)))
        elif name in self.axes:
            self.call.unify(self.axes[name], axis)
        else:
            self.axes[name] = axis

    def own_width(self, name: str, size: int | None = None) -> None:
        """Makes the neurons of a width that the inputs do not have."""
        size = self.sizes.get(name, size)
        if size is None:
            raise Undescribed(f"the size of its width '{name}' is unknown")
        self.axes[name] = self.call.atom(size, self.labels.get(name, name))

    def _own_widths(self, token: Token, size: int | None) -> None:
        """Makes the widths in an output axis; one of unknown size gets the rest."""
        unbound = [n for n in token if not n.isdigit() and n not in self.axes]
        for name in unbound:
            known = prod(
                int(n) if n.isdigit() else self._size(n) for n in token if n != name
            )
            self.own_width(name, None if size is None else size // known)

    def _size(self, name: str) -> int:
        return self.axes[name].size if name in self.axes else self.sizes.get(name, 1)

    def _factor_sizes(self, axis: Expression, token: Token) -> list[int]:
        sizes = [int(n) if n.isdigit() else self.sizes.get(n) for n in token]
        known = prod(size for size in sizes if size is not None)
        if sizes.count(None) > 1 or axis.size is None or axis.size % known:
            raise Undescribed(
                f"its axis of size {axis.size} is not {' x '.join(token)}"
            )
        return [axis.size // known if size is None else size for size in sizes]
