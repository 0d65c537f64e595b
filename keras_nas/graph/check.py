"""Checks a graph against the rules of its calls, by plain numbers.

Independent of how an edit came to its result: no axis is tied, no plan is read. Each
call is asked whether the shapes that arrive fit its weights and settings and give the
shapes that are recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_nas.axes import Fixed, Unifier
from keras_nas.errors import InternalError
from keras_nas.graph.flatten import Call, FlatGraph, flatten
from keras_nas.graph.inference import infer_outputs
from keras_nas.graph.structure import (
    Body,
    Graph,
    Seam,
    TensorRef,
    TensorSpec,
    VariableRef,
    refs,
)
from keras_nas.graph.weight import Weight
from keras_nas.rules import (
    AxisTensor,
    Relation,
    RuleCall,
    SizeOf,
    Undescribed,
    find_rule,
    map_leaves,
)


def check_graph(graph: Graph, old: Graph | None = None) -> None:
    """Makes sure that a graph can be built and computes something.

    Every reference must lead to an earlier vertex, so that there is no cycle; shapes
    must fit weights and settings. Linear in the number of calls.

    Args:
        graph: The graph.
        old: A graph that was checked before; shapes of calls that are the same in it
            are not looked at again.

    Raises:
        InternalError: It does not hold together, which is a mistake of this package.
    """
    for owner, body in graph.bodies():
        _check_references(graph, owner, body)
    flat = flatten(graph)
    before = None if old is None else flatten(old)
    others = set() if before is None else flat.other_tensors(before)
    for call in flat.calls:
        if before is not None and _is_as_before(call, before, others):
            continue
        arriving = [flat.specs[ref] for ref in call.reads]
        problem = shape_problem(graph, call, arriving, call.outputs)
        if problem is not None:
            _fail(call.path, problem)


def grid_problem(graph: Graph, size: int | None = None) -> tuple[str, str] | None:
    """Finds a call that what really arrives does not fit.

    A nested model that was made for a grid of any size is recorded without one, so the
    recorded shapes do not tell what its readers get on the grid that it is called on.

    Args:
        graph: The graph.
        size: Stands for the sizes that the inputs of the network leave to the data;
            None asks nothing of these.

    Returns:
        Path of the call and a sentence, or None.
    """
    flat = flatten(graph)
    if size is None and not any(_is_called_on_more(flat, call) for call in flat.calls):
        return None
    real: dict[TensorRef, TensorSpec] = {}
    for call in flat.calls:
        found = call.reads
        arriving = [real[ref] for ref in found]
        outputs = call.outputs
        if call.part.is_input and found:
            outputs = (TensorSpec(arriving[0].shape, outputs[0].dtype),)
        elif call.part.is_input and size is not None:
            outputs = tuple(_of_size(spec, size) for spec in outputs)
        elif arriving != [flat.specs[ref] for ref in found]:
            try:
                outputs = infer_outputs(graph, call, arriving)
            except Exception as error:  # noqa: BLE001  Keras refuses in many ways.
                return call.path, f"it does not take what arrives: {error}"
            problem = shape_problem(graph, call, arriving, outputs)
            if problem is not None:
                return call.path, problem
        for number, spec in enumerate(outputs):
            real[TensorRef(call.path, number)] = spec
    return None


def _of_size(spec: TensorSpec, size: int) -> TensorSpec:
    """Fills in the sizes that a shape leaves open, but for the batch."""
    filled = (size if axis is None else axis for axis in spec.shape[1:])
    return TensorSpec((*spec.shape[:1], *filled), spec.dtype)


def _is_called_on_more(flat: FlatGraph, call: Call) -> bool:
    """Whether an input of a nested model gets a shape that it does not tell."""
    found = call.reads if call.part.is_input else []
    return bool(found) and flat.specs[found[0]].shape != call.outputs[0].shape


def shape_problem(
    graph: Graph,
    call: Call,
    arriving: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> str | None:
    """Says why shapes do not fit the weights and settings of a call.

    Args:
        graph: The graph of the call.
        call: The call.
        arriving: Spec of each tensor among its arguments, in flat order.
        outputs: Spec of each output.

    Returns:
        A sentence, or None if they fit or nobody can tell.
    """
    rule = find_rule(call.part.cls, is_operation=call.part.is_operation)
    if rule is None:
        return None
    fixed = [AxisTensor(tuple(map(Fixed, spec.shape))) for spec in arriving]
    rule_call = rule_call_on(graph, call, Unifier(), fixed, outputs)
    try:
        relation = rule(rule_call)
    except Undescribed:
        return None  # Frozen: it has the shapes that Keras recorded or inferred.
    except ValueError as error:
        return f"what arrives does not fit together: {error}"
    return _weight_problem(call, relation) or _output_problem(relation, outputs)


def rule_call_on(
    graph: Graph,
    call: Call,
    unifier: Unifier,
    tensors: Sequence[AxisTensor],
    outputs: Sequence[TensorSpec],
) -> RuleCall:
    """Returns what a rule sees of a call on tensors that are made up.

    Args:
        graph: The graph of the call.
        call: The call.
        unifier: That of the tensors.
        tensors: What stands for each tensor among the arguments, in flat order.
        outputs: Spec of each output.
    """
    waiting = iter(tensors)

    def with_axes(leaf: Any) -> Any:
        if isinstance(leaf, (TensorRef, Seam)):
            return next(waiting)
        if isinstance(leaf, VariableRef):
            leaf = graph.parts[leaf.part].weights[leaf.index]
        if isinstance(leaf, Weight):
            return AxisTensor(tuple(map(Fixed, leaf.shape)))
        return leaf

    return RuleCall(
        unifier,
        call.part.cls,
        call.path,
        call.part.config,
        {name: weight.shape for name, weight in call.part.named_weights},
        map_leaves(with_axes, tuple(call.args)),
        map_leaves(with_axes, dict(call.kwargs)),
        [spec.shape for spec in outputs],
        None if call.part.is_operation else call.part.template,
    )


def _weight_problem(call: Call, relation: Relation) -> str | None:
    for name, weight in call.part.named_weights:
        axes = relation.weights.get(name)
        if axes is not None and axes.shape != tuple(weight.shape):
            return (
                f"its weight '{name}' has shape {weight.shape}, but what arrives "
                f"asks for {axes.shape}"
            )
    for setting, value in relation.config.items():
        if isinstance(value, SizeOf) and setting in call.part.config:
            wanted, found = value.axis.size, call.part.config[setting]
            if isinstance(found, int) and wanted != found:
                return f"its setting '{setting}' is {found}, but should be {wanted}"
    return None


def _output_problem(
    relation: Relation, outputs: Sequence[TensorSpec]
) -> str | None:
    for tensor, spec in zip(relation.outputs, outputs, strict=True):
        sizes = zip(tensor.shape, spec.shape, strict=True)
        if any(None not in pair and pair[0] != pair[1] for pair in sizes):
            return f"it gives the shape {tensor.shape}, but {spec.shape} is recorded"
    return None


def _check_references(graph: Graph, owner: str, body: Body) -> None:
    """Every argument and output is a tensor of an earlier vertex of the same body."""
    counts: dict[str, int] = {}
    for name, vertex in body.vertices.items():
        part = graph.parts.get(vertex.part)
        if part is None or vertex.name != name:
            _fail(name, f"its part '{vertex.part}' does not exist")
        if vertex.has_seams:
            _fail(name, "an edit has left it between two shapes")
        for ref in vertex.reads:
            _check_reference(counts, ref, name)
        counts[name] = len(vertex.outputs)
    where = f"the outputs of '{owner or body.name}'"
    for ref in (*refs(body.inputs), *refs(body.outputs)):
        _check_reference(counts, ref, where)
    for ref in refs(body.inputs):
        if not graph.parts[body.vertices[ref.vertex].part].is_input:
            _fail(ref.vertex, "it stands for an input of the model and is none")


def _check_reference(counts: dict[str, int], ref: TensorRef, reader: str) -> None:
    if ref.vertex not in counts:
        _fail(reader, f"it reads '{ref.vertex}', which does not come before it")
    if not 0 <= ref.index < counts[ref.vertex]:
        _fail(reader, f"it reads output {ref.index} of '{ref.vertex}'")


def _is_as_before(call: Call, before: FlatGraph, others: set[TensorRef]) -> bool:
    """Whether another graph has the same call of tensors of the same shape."""
    if before.by_path.get(call.path) is not call or call.variables:
        return False
    return others.isdisjoint(call.reads)


def _fail(path: str, problem: str) -> None:
    raise InternalError(
        f"An edit would break '{path}': {problem}.\n\nNothing was changed. Please "
        f"report this. Received: {path!r}"
    )
