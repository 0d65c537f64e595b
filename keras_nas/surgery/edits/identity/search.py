"""Weights that make a part of a network the identity function.

A part is inserted into a trained model without changing what the model computes, and
then trains like any other. So the weights have to be the identity, and no more of
them than needed: whatever nobody looks at keeps its random values, nothing is zero
twice in a row, and no two units are the same.

The search is three passes over the calls, so it always ends. Forward, it finds what
could arrive at each tensor. Backward, it passes on what has to. Forward again, it
writes the weights. It is not complete: where several operands could carry a channel,
it takes the one with the fewest weights on its way, and does not come back.

Sources: the identity kernels of Chen 2016 (Net2Net, arXiv 1511.05641); the last zero
of a residual block, Goyal 2017 (arXiv 1706.02677, section 5.1).
"""

from __future__ import annotations

import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import (
    Call,
    FlatGraph,
    Graph,
    TensorRef,
    Weight,
    exchange_weights,
    flatten,
)
from keras_nas.rules import leaves, split_masks
from keras_nas.surgery.edits.identity.demand import (
    ANY,
    ZERO,
    Demand,
    Facts,
    Impossible,
    Source,
)
from keras_nas.surgery.edits.identity.steps import Step, Writes
from keras_nas.surgery.edits.identity.table import step_of

_NUM_NAMES = 12


def as_identity(fragment: Graph, *, is_nonnegative: bool = False) -> Graph:
    """Returns a part of a network with weights that make it the identity function.

    At inference, and with ``n`` channels in the input, the first ``n`` channels of the
    output are the input. Further channels of the output are whatever their random
    weights make of it: consumers must ignore them. Kernels and batch normalization are
    exact to the last bit; functions such as GELU, which need two units for a value,
    to rounding error.

    Args:
        fragment: One input of shape ``(batch, ..., n)`` (or ``(batch, n, ...)``, if
            its layers have their channels first), one output. Not modified.
        is_nonnegative: Whether no value of the input is below 0. Then ReLU is the
            identity.

    Returns:
        A graph with the same structure and settings, and other weights of the same
        shapes. Weights that do not matter are the same objects as before.

    Raises:
        InvalidRequestError: No weights make it the identity, as far as is known; the
            message names the vertex and the reason.
    """
    flat = flatten(fragment)
    try:
        search = _Search(flat, is_nonnegative)
        search.ask()
        fills = search.give().items()
        filled = {key: _filled(weight, writes) for key, (weight, writes) in fills}
        return exchange_weights(fragment, filled)
    except Impossible as error:
        raise _refusal(flat, str(error)) from None


class _Search:
    """The three passes over the calls of one part."""

    def __init__(self, flat: FlatGraph, is_nonnegative: bool):
        if len(flat.inputs) != 1 or len(flat.outputs) != 1:
            raise Impossible(
                f"it has {len(flat.inputs)} inputs and {len(flat.outputs)} outputs"
            )
        (self._input,), (self._output,) = flat.inputs, flat.outputs
        first = next(c for c in flat.calls if c.path == self._input.vertex)
        shape = first.outputs[0].shape
        axis = 1 if _is_channels_first(flat) else len(shape) - 1
        if len(shape) < 2 or shape[axis] is None:
            raise Impossible(f"its input of shape {shape} has no known channels")
        self._source = Source(shape, axis, is_nonnegative)
        self._facts: dict[TensorRef, Facts] = {self._input: self._source.facts()}
        self._refs: dict[str, list[TensorRef]] = {}
        self._steps: dict[str, Step] = {}
        self._demands: dict[TensorRef, Demand] = {}
        self._asked: set[str] = set()
        for call in flat.calls:
            if call.path != self._input.vertex:
                self._look(call)

    def _look(self, call: Call) -> None:
        data, _ = split_masks(call.part.cls, call.args, call.kwargs)
        refs = [leaf for leaf in leaves(data) if isinstance(leaf, TensorRef)]
        inputs = [self._facts[ref] for ref in refs]
        step = step_of(call, inputs, self._source)
        self._refs[call.path], self._steps[call.path] = refs, step
        for index, spec in enumerate(call.outputs):
            facts = step.facts if index == 0 else step.facts.but(shape=spec.shape)
            reason = None
            if len(call.outputs) > 1:
                reason = f"{step.label} has {len(call.outputs)} outputs"
            elif not facts.channels:
                reason = f"{step.label} has an unknown number of channels"
            if reason is not None:
                facts = facts.but(blocked=reason, stuck=reason)
            self._facts[TensorRef(call.path, index)] = facts

    def ask(self) -> None:
        """Passes what is wanted from the output back to the input."""
        self._demands[self._output] = self._goal()
        for path, step in reversed(self._steps.items()):
            demand = self._demands.get(TensorRef(path))
            if demand is None or demand.is_empty:
                continue
            self._asked.add(path)
            if demand.carries and step.facts.blocked:
                raise Impossible(step.facts.blocked)
            asked = step.ask(demand)
            for ref, one in zip(self._refs[path], asked, strict=True):
                known = self._demands.get(ref)
                if known is not None:
                    one = known.and_also(one, ref.vertex)
                self._demands[ref] = one

    def _goal(self) -> Demand:
        facts, start = self._facts[self._output], self._source.facts()
        if facts.blocked:
            raise Impossible(facts.blocked)
        if facts.layout != start.layout or facts.padding != start.padding:
            raise Impossible(
                f"it makes a tensor of shape {facts.shape} of one of shape "
                f"{start.shape}, with the positions at other places"
            )
        if facts.channels < start.channels:
            raise Impossible(
                f"it ends with {facts.channels} channels, fewer than the "
                f"{start.channels} of its input"
            )
        rigid = np.full(facts.channels, ANY)
        rigid[: start.channels] = 2 * np.arange(start.channels)
        return Demand(rigid)

    def give(self) -> dict[int, tuple[Weight, list[tuple[str, Writes]]]]:
        """Returns what to write into each weight, by identity, and for which call."""
        contents = {self._input: 2 * np.arange(self._source.channels)}
        self._verify(self._input, contents[self._input])
        fills: dict[int, tuple[Weight, list]] = {}
        for path, step in self._steps.items():
            if path not in self._asked:
                continue
            ref = TensorRef(path)
            demand = self._demands[ref]
            arriving = [
                contents.get(ref, np.full(facts.channels, ANY))
                for ref, facts in zip(self._refs[path], step.inputs, strict=True)
            ]
            content = step.give(arriving)
            contents[ref] = np.where(demand.rigid <= ZERO, ZERO, content)
            self._verify(ref, contents[ref])
            for name, writes in step.fills.items():
                weight = step.weights[name]
                fills.setdefault(id(weight), (weight, []))[1].append((path, writes))
        self._refuse_silence()
        return fills

    def _refuse_silence(self) -> None:
        """Refuses a kernel of zeros that reads, elsewhere, what it makes itself.

        Its gradient would be zero times zero for ever.
        """
        calls: dict[str, list[Step]] = {}
        for step in self._steps.values():
            calls.setdefault(step.call.part.key, []).append(step)
        for steps in calls.values():
            asked = [step for step in steps if step.call.path in self._asked]
            for step in asked:
                if len(asked) < len(steps) and step.is_silent:
                    raise Impossible(
                        f"{step.label} would have to be zero, and is called more than "
                        "once, so that no gradient might reach it"
                    )

    def _verify(self, ref: TensorRef, content: np.ndarray) -> None:
        """Makes sure that a tensor holds what its consumers rely on."""
        demand = self._demands.get(ref)
        if demand is None:
            return
        expected = np.where(demand.rigid <= ZERO, ZERO, demand.rigid)
        wrong = (expected != ANY) & (expected != content)
        if wrong.any() or not demand.exact <= set(content.tolist()):
            raise Impossible(
                f"what follows '{ref.vertex}' needs other channels, or other signs of "
                "them, than can be there"
            )


def _is_channels_first(flat: FlatGraph) -> bool:
    settings = (call.part.config.get("data_format") for call in flat.calls)
    return "channels_first" in settings


def _filled(weight: Weight, writes: list[tuple[str, Writes]]) -> Weight:
    """Returns a weight that holds its old values where nothing is written.

    Raises:
        Impossible: Two calls of one layer write different values.
    """
    (path, first), *others = writes

    def fill(values: np.ndarray) -> np.ndarray:
        filled = values.copy()
        _write(filled, first)
        return filled

    if not others:
        return Weight.derived(weight, weight.shape, fill)
    merged = _written(weight, first)
    for other, more in others:
        written = _written(weight, more)
        is_free = np.isnan(merged)
        if not (is_free | np.isnan(written) | (merged == written)).all():
            raise Impossible(
                f"the calls '{path}' and '{other}' share the weight "
                f"'{weight.name}', and need different values of it"
            )
        merged[is_free] = written[is_free]
    return Weight.derived(
        weight, weight.shape, lambda values: np.where(np.isnan(merged), values, merged)
    )


def _written(weight: Weight, writes: Writes) -> np.ndarray:
    """Returns the values that are written, and NaN elsewhere."""
    values = np.full(weight.shape, np.nan)
    _write(values, writes)
    return values


def _write(values: np.ndarray, writes: Writes) -> None:
    for index, value in writes:
        values[index] = value


def _refusal(flat: FlatGraph, reason: str) -> InvalidRequestError:
    names = [f"'{c.path}' ({c.part.cls.__name__})" for c in flat.calls]
    names = names[1:] if len(names) > 1 else names
    if len(names) > _NUM_NAMES:
        names[_NUM_NAMES:] = [f"and {len(names) - _NUM_NAMES} more"]
    return InvalidRequestError(
        f"The inserted part cannot be made the identity function: {reason}.\n\nLeave "
        "out identity=True, or end the part with a residual connection: the input plus "
        "a branch whose last layer is a Dense or convolution without activation. "
        f"Received: {', '.join(names)}"
    )
