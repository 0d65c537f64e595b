"""What a person reads about one vertex: what ties its neurons, and what stops them."""

from __future__ import annotations

from collections.abc import Iterator

from keras_nas.axes import Atom, Expression, fixed_reasons
from keras_nas.graph import Analysis, Graph, analyze
from keras_nas.surgery.names import Names
from keras_nas.surgery.tables import listed
from keras_nas.surgery.wording import Freedom, core, formula, tied_layers


def explain(graph: Graph, name: str) -> str:
    """Returns the text behind `keras_nas.explain`."""
    analysis = analyze(graph)
    names = Names(analysis)
    path = names.find(name)
    axis = names.width(path)
    calls = analysis.flat.by_path
    kind = calls[path].part.cls.__name__ if path in calls else "nested model"
    lines = [f"'{path}' ({kind}) has {_neurons(axis.size)}."]
    if path in analysis.frozen:
        lines.append(f"Frozen: {analysis.frozen[path]}.")
    if axis.atoms:
        lines += _what_is_free(axis)
        lines += _what_is_tied(graph, analysis, path, axis)
        lines += _what_holds(analysis, axis)
    else:
        reasons = listed(fixed_reasons(axis), "the model")
        subject = "It" if axis.size == 1 else "They"
        lines.append(f"{subject} cannot change: fixed by {reasons}.")
    lines += _further(names, path)
    for mixed, sentence in analysis.relations[path].mixes if path in calls else ():
        if analysis.resolve(mixed).atoms:
            lines.append(f"Not exact when they change: {sentence}.")
    return "\n".join(lines)


def _what_is_free(axis: Expression) -> Iterator[str]:
    if not isinstance(core(axis), Atom):
        yield f"They are {formula(axis)}."
    freedom = Freedom.of(axis)
    if freedom.num_fixed:
        reasons = listed(freedom.why_fixed, "the model")
        yield f"{freedom.num_fixed} of them cannot change: fixed by {reasons}."
    if freedom.step > 1:
        reasons = listed(freedom.why_step)
        because = f", because of {reasons}" if reasons else ""
        yield f"They change in steps of {freedom.step}{because}."


def _what_is_tied(
    graph: Graph, analysis: Analysis, path: str, axis: Expression
) -> Iterator[str]:
    same: list[str] = []
    sharing: list[str] = []
    for other, width in tied_layers(graph, analysis, path, axis).items():
        (same if core(width) == core(axis) else sharing).append(repr(other))
    if same:
        yield f"The same neurons as in {listed(same)}."
    if sharing:
        yield f"Shares some neurons with {listed(sharing)}."
    readers = list(_readers(analysis, axis))
    if readers:
        yield f"Read by {listed(map(repr, readers))}."


def _what_holds(analysis: Analysis, axis: Expression) -> Iterator[str]:
    outputs = {
        ref.vertex
        for ref in analysis.flat.outputs
        if any(axis.atoms & other.atoms for other in analysis.axes_of(ref))
    }
    if outputs:
        yield (
            f"Held by the model output {listed(map(repr, sorted(outputs)))}: ask for "
            "that very layer, or use `free_outputs=True`."
        )
    # Once for each layer: it may need that of several axes, and in every call.
    needs: dict[tuple[str, int], str] = {}
    for other, relation in analysis.relations.items():
        for group in relation.equal:
            atoms = frozenset().union(*(analysis.resolve(a).atoms for a in group))
            if atoms & axis.atoms:
                key = analysis.flat.by_path[other].part.key
                needs.setdefault((key, len(group)), other)
    for (_, count), other in needs.items():
        yield f"'{other}' needs {count} parts of one size."


def _further(names: Names, path: str) -> Iterator[str]:
    for name, width in names.further_widths(path).items():
        state = "can change"
        if not width.atoms:
            reasons = listed(fixed_reasons(width), "the model")
            state = f"cannot change, fixed by {reasons}"
        yield f"Further width '{name}' of {width.size}: {state}."


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


def _neurons(size: int) -> str:
    return f"{size} neuron" if size == 1 else f"{size} neurons"
