"""Operations that need all positions of some axes, and leave the others alone.

Positions there are pixels of a spectrum, rows of a matrix, numbers of classes: they
are frozen. All other axes pass.
"""

from __future__ import annotations

from keras_nas.rules.call import RuleCall
from keras_nas.rules.operations_contraction import contract
from keras_nas.rules.operations_shape import freeze_order, permute
from keras_nas.rules.registry import operation_rule
from keras_nas.rules.relation import AxisTensor, Relation, Undescribed

_MATRICES = """
    Cholesky CholeskyInverse Det Eig Eigh Inv Logdet LuFactor MatrixRank Pinv Qr SVD
"""

_SPECTRA = "FFT RFFT IRFFT STFT ISTFT ExtractSequences"

_SEGMENTS = "SegmentSum SegmentMax SegmentMin SegmentProd"


@operation_rule(_MATRICES)
def of_matrices(call: RuleCall) -> Relation:
    """The last two axes are a matrix."""
    return _last_fixed(call, 2)


@operation_rule(_SPECTRA)
def of_signals(call: RuleCall) -> Relation:
    """The last axis is time or frequency; two tensors are real and imaginary part."""
    return _last_fixed(call, 2 if call.cls.__name__ == "ISTFT" else 1)


@operation_rule("FFT2", "IFFT2")
def of_images(call: RuleCall) -> Relation:
    return _last_fixed(call, 2)


@operation_rule("ViewAsComplex")
def view_as_complex(call: RuleCall) -> Relation:
    return _last_fixed(call, 1)


@operation_rule("ViewAsReal")
def view_as_real(call: RuleCall) -> Relation:
    """The new axis has the real and the imaginary part."""
    return Relation(outputs=(AxisTensor((*call.x.axes, call.fixed(2))),))


@operation_rule("Rot90")
def rot90(call: RuleCall) -> Relation:
    first, second = map(call.normal_axis, call.setting("axes"))
    freeze_order(call, (first, second))
    order = list(range(call.x.rank))
    if call.setting("k") % 2:
        order[first], order[second] = second, first
    elif call.x.shape[first] != call.x.shape[second]:
        raise Undescribed("Keras records another shape for it than it has")
    output = permute(call.x, order)
    axes = tuple(map(call.resolve, output.axes))
    return Relation(outputs=(AxisTensor(axes, output.channel),))


@operation_rule("Diagonal", "Trace")
def diagonal(call: RuleCall) -> Relation:
    """The diagonal, if it is left, is the last axis."""
    numbers = {call.normal_axis(call.setting(name)) for name in ("axis1", "axis2")}
    for number in numbers:
        call.freeze(
            call.x.axes[number], f"'{call.name}', which reads a diagonal along it"
        )
    kept = tuple(a for n, a in enumerate(call.x.axes) if n not in numbers)
    (shape,) = call.output_shapes
    rest = tuple(map(call.fixed, shape[len(kept) :]))
    return Relation(outputs=(AxisTensor((*kept, *rest)),))


@operation_rule("Trapezoid")
def trapezoid(call: RuleCall) -> Relation:
    number = call.normal_axis(call.setting("axis"))
    freeze_order(call, (number,))
    kept = [place for place in range(call.x.rank) if place != number]
    return Relation(outputs=(permute(call.x, kept),))


@operation_rule("TakeAlongAxis")
def take_along_axis(call: RuleCall) -> Relation:
    """Picks by number along one axis; both tensors have the others."""
    table, indices = call.argument("x"), call.argument("indices")
    axis = call.setting("axis")
    if not isinstance(table, AxisTensor) or axis is None:
        raise Undescribed("it picks from a constant, or from a flattened tensor")
    if not isinstance(indices, AxisTensor):
        indices = AxisTensor(tuple(map(call.fixed, indices.shape)))
    number = call.normal_axis(axis, table.rank)
    call.freeze(table.axes[number], f"'{call.name}', which picks positions by number")
    axes = list(table.axes)
    axes[number] = call.fixed(1)
    picked = list(indices.axes)
    along, picked[number] = picked[number], call.fixed(1)
    rest = list(
        call.broadcast((AxisTensor(tuple(axes)), AxisTensor(tuple(picked)))).axes
    )
    rest[number] = along
    return Relation(outputs=(AxisTensor(tuple(rest), table.channel),))


@operation_rule("CDist")
def cdist(call: RuleCall) -> Relation:
    """Distances between the rows of two tensors: a sum over their columns."""
    left, right = call.tensors
    batch = [f"batch{n}" for n in range(max(left.rank, right.rank) - 2, 0, -1)]
    labels = (
        [*batch[len(batch) - left.rank + 2 :], "row", "sum"],
        [*batch[len(batch) - right.rank + 2 :], "column", "sum"],
    )
    return contract(call, (left, right), labels, [*batch, "row", "column"])


@operation_rule(_SEGMENTS)
def segments(call: RuleCall) -> Relation:
    """Rows are added up by number; what a row consists of passes."""
    data, *others = call.tensors
    for tensor in others:
        for axis in tensor.axes:
            call.freeze(axis, f"'{call.name}', which numbers rows by it")
    call.freeze(data.axes[0], f"'{call.name}', which adds up its positions by number")
    rows = call.fixed(call.output_shapes[0][0])
    return Relation(outputs=(AxisTensor((rows, *data.axes[1:]), data.channel),))


@operation_rule("Digitize", "IsIn", "SearchSorted")
def looked_up(call: RuleCall) -> Relation:
    """Each value is looked up in a list that stays."""
    names = {
        "Digitize": ("x", "bins"),
        "IsIn": ("x1", "x2"),
        "SearchSorted": ("values", "sorted_sequence"),
    }
    values, table = map(call.argument, names[call.cls.__name__])
    if not isinstance(values, AxisTensor):
        raise Undescribed("it looks up constants")
    if isinstance(table, AxisTensor):
        for axis in table.axes:
            call.freeze(axis, f"'{call.name}', which looks values up in it")
    return call.same(AxisTensor(tuple(map(call.resolve, values.axes)), values.channel))


@operation_rule("InTopK")
def in_top_k(call: RuleCall) -> Relation:
    targets, predictions = call.argument("targets"), call.argument("predictions")
    if not isinstance(predictions, AxisTensor):
        raise Undescribed("its predictions are constants")
    call.freeze(predictions.axes[-1], "class numbers, which are data")
    batch = predictions.axes[0]
    if isinstance(targets, AxisTensor):
        call.unify(targets.axes[0], batch)
    return call.same(AxisTensor((call.resolve(batch),)))


@operation_rule("Select")
def select(call: RuleCall) -> Relation:
    """All conditions and choices are tied along every axis that does not broadcast."""
    tensors = call.tensors
    for name in ("condlist", "choicelist"):
        if not all(isinstance(item, AxisTensor) for item in call.argument(name)):
            raise Undescribed(f"its argument '{name}' has constants in it")
    return Relation(outputs=(call.broadcast(tensors),))


@operation_rule("BinaryCrossentropy")
def binary_crossentropy(call: RuleCall) -> Relation:
    return Relation(outputs=(call.broadcast(call.tensors),))


@operation_rule("CategoricalCrossentropy", "SparseCategoricalCrossentropy")
def crossentropy(call: RuleCall) -> Relation:
    """Classes are data, so they stay."""
    target, output = call.argument("target"), call.argument("output")
    number = call.normal_axis(call.setting("axis"), output.rank)
    call.freeze(output.axes[number], f"'{call.name}', where positions are classes")
    rest = [axis for place, axis in enumerate(output.axes) if place != number]
    if target.rank == output.rank:
        call.freeze(target.axes[number], f"'{call.name}', where positions are classes")
        others = [axis for place, axis in enumerate(target.axes) if place != number]
    else:
        others = list(target.axes)
    for left, right in zip(rest, others, strict=True):
        call.unify(left, right)
    return Relation(outputs=(AxisTensor(tuple(map(call.resolve, rest))),))


def _last_fixed(call: RuleCall, count: int) -> Relation:
    """Freezes the last axes; the outputs have the axes before them, then fixed ones."""
    first = call.x
    for tensor in call.tensors:
        for axis in tensor.axes[-count:]:
            call.freeze(axis, f"'{call.name}', which needs all of its positions")
        for left, right in zip(first.axes[:-count], tensor.axes[:-count], strict=True):
            call.unify(left, right)
    kept = tuple(map(call.resolve, first.axes[:-count]))
    if any(len(shape) < len(kept) for shape in call.output_shapes):
        raise Undescribed("it has an output of fewer axes than its input")
    return Relation(
        outputs=tuple(
            AxisTensor((*kept, *map(call.fixed, shape[len(kept) :])))
            for shape in call.output_shapes
        )
    )
