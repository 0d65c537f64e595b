"""What a person reads about a model: its summary, and what ties a layer."""

from __future__ import annotations

from collections.abc import Iterator

from keras_nas.axes import (
    Atom,
    Expression,
    Fixed,
    Product,
    Sum,
    fixed_reasons,
)
from keras_nas.graph import Analysis, Call, Graph, analyze
from keras_nas.importance import sized_layers
from keras_nas.surgery.names import Names
from keras_nas.surgery.tables import table

_MAX_LISTED = 6


def summary(graph: Graph) -> str:
    """Returns the table behind `keras_nas.summary`."""
    analysis = analyze(graph)
    names = Names(analysis)
    groups = _Groups(graph, analysis)
    rows = []
    for call in analysis.flat.calls:
        axis = analysis.channel_of(analysis.output_of(call.path))
        size = "" if axis is None or axis.size is None else axis.size
        refs = names.input_refs(call.path)
        inputs = ", ".join(dict.fromkeys(ref.vertex for ref in refs))
        further = " ".join(
            f"{name}={width.size}"
            for name, width in names.further_widths(call.path).items()
        )
        rows.append(
            (
                call.path,
                call.part.cls.__name__,
                size,
                groups.name(axis),
                further,
                _clip(inputs),
                _state(analysis, call, axis),
            )
        )
    header = ("vertex", "class", "size", "group", "further", "inputs", "can change?")
    return f"{table(header, rows)}\n{_summary_end(graph, analysis)}"


def explain(graph: Graph, name: str) -> str:
    """Returns the text behind `keras_nas.explain`."""
    analysis = analyze(graph)
    names = Names(analysis)
    path = names.find(name)
    axis = names.width(path)
    calls = {call.path: call for call in analysis.flat.calls}
    kind = calls[path].part.cls.__name__ if path in calls else "nested model"
    lines = [f"'{path}' ({kind}) has {axis.size} neurons."]
    if path in analysis.frozen:
        lines.append(f"Frozen: {analysis.frozen[path]}.")
    reasons = fixed_reasons(axis)
    if not axis.atoms:
        lines.append(f"They cannot change: fixed by {_listed(reasons, 'the model')}.")
    elif reasons:
        lines.append(f"Some of them cannot change: fixed by {_listed(reasons, '')}.")
    if axis.atoms:
        lines += list(_explain_free(graph, analysis, path, axis))
    for further, width in names.further_widths(path).items():
        state = "can change" if width.atoms else "cannot change"
        lines.append(f"Further width '{further}' of {width.size}: {state}.")
    for axis_, sentence in analysis.relations[path].mixes if path in calls else ():
        if analysis.resolve(axis_).atoms:
            lines.append(f"Not exact when they change: {sentence}.")
    return "\n".join(lines)


def form(axis: Expression, names: dict[Atom, str] | None = None) -> str:
    """Writes an axis as a formula of sizes: ``64 + 49 x 512``."""
    if isinstance(axis, Fixed):
        return f"{axis.size} fixed"
    if isinstance(axis, Atom):
        label = axis.label or "filler"
        return (
            f"{axis.size} of {label}" if not axis.is_filler else f"{axis.size} filler"
        )
    if isinstance(axis, Sum):
        parts = axis.parts
        shown = [form(part) for part in parts[:_MAX_LISTED]]
        if len(parts) > _MAX_LISTED:
            shown.append(f"{len(parts) - _MAX_LISTED} more")
        return " + ".join(shown)
    factors = [f"({form(p)})" if isinstance(p, Sum) else form(p) for p in axis.parts]
    return " x ".join(factors)


def _explain_free(
    graph: Graph, analysis: Analysis, path: str, axis: Expression
) -> Iterator[str]:
    if not isinstance(axis, Atom):
        yield f"They are made of: {form(axis)}."
    tied, sharing = [], []
    for other in sized_layers(graph, analysis):
        channel = analysis.channel_of(analysis.output_of(other))
        if other == path or channel is None or not channel.atoms & axis.atoms:
            continue
        (tied if channel == axis else sharing).append(other)
    if tied:
        yield f"The same neurons as in {_listed(map(repr, tied), '')}."
    if sharing:
        yield f"Shares some neurons with {_listed(map(repr, sharing), '')}."
    readers = list(_readers(analysis, axis))
    if readers:
        yield f"Read by {_listed(map(repr, readers), '')}."
    outputs = {
        ref.vertex
        for ref in analysis.flat.outputs
        if any(axis.atoms & other.atoms for other in analysis.axes_of(ref))
    }
    if outputs:
        yield (
            f"Held by the model output {_listed(map(repr, sorted(outputs)), '')}: ask "
            "for that very layer, or use `free_outputs=True`."
        )
    for other, relation in analysis.relations.items():
        for group in relation.equal:
            atoms = frozenset().union(*(analysis.resolve(a).atoms for a in group))
            if atoms & axis.atoms:
                yield f"'{other}' needs {len(group)} groups of one size."


def _readers(analysis: Analysis, axis: Expression) -> Iterator[str]:
    """Layers with a weight that reads neurons of an axis."""
    for path, relation in analysis.relations.items():
        reads = (
            analysis.resolve(block[number])
            for weight in relation.weights.values()
            for block in weight.blocks
            for number in weight.reads
        )
        if any(read.atoms & axis.atoms for read in reads):
            yield path


class _Groups:
    """Numbers the families of neurons, in the order of the layers that make them."""

    def __init__(self, graph: Graph, analysis: Analysis):
        self._numbers: dict[Atom, int] = {}
        for path in sized_layers(graph, analysis):
            axis = analysis.channel_of(analysis.output_of(path))
            for atom in sorted(axis.atoms, key=lambda a: a.serial) if axis else ():
                if atom.size > 1 or atom == axis:
                    self._numbers.setdefault(atom, len(self._numbers) + 1)

    def name(self, axis: Expression | None) -> str:
        """Writes an axis as families: ``g3``, ``g1+g2``, ``36xg3``."""
        if axis is None or not axis.atoms:
            return ""
        if isinstance(axis, Sum):
            names = dict.fromkeys(self.name(part) or "fixed" for part in axis.parts)
            shown = list(names)[:3]
            return "+".join(shown) + ("+..." if len(names) > len(shown) else "")
        if isinstance(axis, Product):
            return "x".join(filter(None, map(self._factor, axis.parts)))
        return f"g{self._numbers[axis]}" if axis in self._numbers else ""

    def _factor(self, part: Expression) -> str:
        """A factor of size 1, such as a depth multiplier, is not worth a word."""
        if part.size == 1:
            return ""
        name = self.name(part)
        return f"({name})" if "+" in name else name or str(part.size)


def _state(analysis: Analysis, call: Call, axis: Expression | None) -> str:
    if call.path in analysis.frozen:
        return f"frozen: {analysis.frozen[call.path]}"
    if axis is None or axis.size is None:
        return ""
    if not axis.atoms:
        return f"fixed: {_listed(fixed_reasons(axis)[:1], 'the model').split(', ')[0]}"
    is_output = any(
        axis.atoms & other.atoms
        for ref in analysis.flat.outputs
        for other in analysis.axes_of(ref)
    )
    if is_output:
        return "on request: model output"
    return "partly" if fixed_reasons(axis) else "yes"


def _summary_end(graph: Graph, analysis: Analysis) -> str:
    sized = sized_layers(graph, analysis)
    free = [
        path
        for path in sized
        if (axis := analysis.channel_of(analysis.output_of(path))) is not None
        and axis.atoms
    ]
    text = f"{len(free)} of {len(sized)} layers with a width can change"
    if analysis.frozen:
        listed = _listed(map(repr, analysis.frozen), "")
        return f"{text}; frozen: {listed}."
    return f"{text}; nothing is frozen."


def _clip(text: str, width: int = 40) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _listed(items, default: str) -> str:
    items = list(items)
    if not items:
        return default
    shown = items[:_MAX_LISTED]
    if len(items) > _MAX_LISTED:
        shown.append(f"{len(items) - _MAX_LISTED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
