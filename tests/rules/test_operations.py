"""Every rule of an operation against the operation itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from keras import ops
from models import IS_OLD
from operations_oracle import check, describe, fill_in, record

from keras_nas.rules import Undescribed, find_rule, known_operations, map_leaves

ROW = np.linspace(0.5, 1.5, 6, dtype="float32")


@dataclass(frozen=True)
class Case:
    """One call of an operation.

    Attributes:
        name: Of the test.
        shapes: Shapes of the inputs; ``b`` is an unknown size.
        build: Calls the operation.
        free: For each input, the numbers of its axes that can change.
        dtype: Of the inputs.
    """

    name: str
    shapes: str
    build: Callable
    free: str
    dtype: str = "float32"


UNARY = """abs absolute angle array arcsinh arctan arccos arccosh arcsin arctanh cbrt ceil celu
    conj conjugate convert_to_tensor copy cos cosh deg2rad elu empty_like erf erfc erfinv exp exp2 expm1 fabs floor gelu hard_shrink
    hard_sigmoid hard_silu hard_tanh i0 imag isfinite isinf isnan
    isneginf isposinf isreal leaky_relu log log10
    log1p log2 log_sigmoid logical_not nan_to_num negative ones_like rad2deg real reciprocal
    relu relu6 round rsqrt selu sigmoid sign signbit silu sin sinc
    sinh soft_shrink softplus softsign
    sparse_plus sparse_sigmoid sqrt square squareplus stop_gradient tan tanh tanh_shrink
    trunc zeros_like"""

BINARY = """add arctan2 divide divide_no_nan equal floor_divide fmax fmin fmod greater greater_equal
    heaviside hypot isclose less less_equal logaddexp logaddexp2 logical_and logical_or logical_xor maximum minimum
    mod multiply nextafter not_equal polar power subtract true_divide"""

INTEGER_UNARY = "bitwise_invert bitwise_not"

INTEGER_BINARY = """bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift
    bitwise_xor gcd lcm ldexp left_shift right_shift"""

REDUCTIONS = """all amax amin any average count_nonzero logsumexp max mean median min
    nanmax nanmean nanmin nanprod nanstd nansum nanvar prod ptp std sum var"""


def functions(names: str) -> list[tuple[str, Callable]]:
    """Finds functions of ``keras.ops``; older versions of Keras lack some."""
    return [(n, getattr(ops, n)) for n in names.split() if hasattr(ops, n)]


ELEMENTWISE = [
    *(Case(n, "b 4 6", f, "12") for n, f in functions(UNARY)),
    *(Case(n, "b 4 6, b 4 6", f, "12 12") for n, f in functions(BINARY)),
    *(Case(n, "b 4 6", f, "12", "int32") for n, f in functions(INTEGER_UNARY)),
    *(Case(n, "b 6, b 6", f, "1 1", "int32") for n, f in functions(INTEGER_BINARY)),
    Case("cast", "b 4 6", lambda x: ops.cast(x, "int32"), "12"),
    Case("saturate_cast", "b 6", lambda x: ops.saturate_cast(x, "uint8"), "1"),
    Case("clip", "b 4 6", lambda x: ops.clip(x, 0.2, 0.5), "12"),
    Case("threshold", "b 6", lambda x: ops.threshold(x, 0.5, 0.1), "1"),
    Case("full_like", "b 6", lambda x: ops.full_like(x, 2.0), "1"),
    Case("scalar", "b 6", lambda x: x + 1.0, "1"),
    Case("scalar_left", "b 6", lambda x: 1.0 - x, "1"),
    Case("numpy_scalar", "b 6", lambda x: x * np.float32(2), "1"),
    Case("row", "b 4 6", lambda x: x * ROW, "12"),
    Case("row_left", "b 6", lambda x: ops.add(ROW, x), "1"),
    Case("column", "b 4 6", lambda x: x * np.arange(4.0, dtype="f4")[:, None], "12"),
    Case("wide_constant", "b 1", lambda x: x * ROW, ""),
    Case("divide_by_row", "b 6", lambda x: x / ROW, "1"),
    Case("lower_rank", "b 4 6, 6", ops.add, "12 0"),
    Case("gate", "b 4 4 6, b 1 1 6", ops.multiply, "123 3"),
    Case("outer_product", "b 4 1, b 1 6", ops.multiply, "1 2"),
    Case("both_one", "b 1 6, b 1 6", ops.add, "12 12"),
    Case("where", "b 6, b 6, b 6", ops.where, "1 1 1", "bool"),
    Case("where_scalar", "b 6, b 6", lambda c, x: ops.where(c, x, 0), "1 1", "int32"),
]

REDUCTION = [
    *(
        Case(f"{n}_last", "b 4 6", lambda x, f=f: f(x, axis=-1), "12")
        for n, f in functions(REDUCTIONS)
    ),
    *(
        Case(f"{n}_last", "b 4 6", lambda x, f=f: f(x, 0.5, axis=-1), "12")
        for n, f in functions("percentile")
    ),
    *(
        Case(n, "b 4 6", lambda x, f=f: f(x, axis=1), "2")
        for n, f in functions(
            "argmax argmin nanargmax nanargmin cumsum cumprod nancumsum nancumprod"
        )
    ),
    Case("mean_spatial", "b 4 4 6", lambda x: ops.mean(x, (1, 2)), "123"),
    Case("mean_keepdims", "b 4 6", lambda x: ops.mean(x, 1, keepdims=True), "12"),
    Case("max_all", "b 4 6", ops.max, "12"),
    Case("sum_all_keepdims", "4 6", lambda x: ops.sum(x, keepdims=True), "01"),
    Case("norm", "b 4 6", lambda x: ops.norm(x, axis=-1), "12"),
    Case("norm_keepdims", "b 4 6", lambda x: ops.norm(x, 1, 2, True), "12"),
    Case("quantile", "b 4 6", lambda x: ops.quantile(x, 0.5, axis=1), "12"),
    Case("moments", "b 4 4 6", lambda x: ops.moments(x, [1, 2]), "123"),
    Case("argmax_last", "b 4 6", lambda x: ops.argmax(x, -1, True), "1"),
    Case("argpartition", "6", lambda x: ops.argpartition(x, 2), ""),
    Case("argmin_all", "4 6", ops.argmin, ""),
    Case("softmax", "b 4 6", ops.softmax, "12"),
    Case("log_softmax", "b 4 6", lambda x: ops.log_softmax(x, 1), "12"),
    Case("sparsemax", "b 4 6", ops.sparsemax, "12"),
    Case("normalize", "b 4 6", lambda x: ops.normalize(x, 1), "12"),
    Case("sort", "b 4 6", ops.sort, "1"),
    Case("argsort", "b 4 6", ops.argsort, "1"),
    Case("top_k", "b 4 6", lambda x: ops.top_k(x, 2), "1"),
    Case("diff", "b 4 6", lambda x: ops.diff(x, axis=1), "2"),
    Case("tril", "b 3 4 6", ops.tril, "1"),
    Case("triu", "b 3 4 6", ops.triu, "1"),
]

SHAPE = [
    Case("flatten", "b 4 6", lambda x: ops.reshape(x, (-1, 24)), "12"),
    Case("split_heads", "b 4 6", lambda x: ops.reshape(x, (-1, 4, 2, 3)), "12"),
    Case("infer_last", "2 4 6", lambda x: ops.reshape(x, (2, -1)), "012"),
    Case("infer_middle", "b 4 6", lambda x: ops.reshape(x, (-1, 2, 2, 6)), "12"),
    Case("insert_ones", "b 6", lambda x: ops.reshape(x, (-1, 1, 1, 6)), "1"),
    Case("drop_ones", "b 1 1 6", lambda x: ops.reshape(x, (-1, 6)), "3"),
    Case("into_batch", "b 4 6", lambda x: ops.reshape(x, (-1, 6)), "2"),
    Case("unknown_between", "4 b 6", lambda x: ops.reshape(x, (4, -1, 3, 2)), "02"),
    Case("cut_across", "b 4 6", lambda x: ops.reshape(x, (-1, 8, 3)), "12"),
    Case("cut_unevenly", "b 4 9", lambda x: ops.reshape(x, (-1, 6, 6)), "12"),
    Case("ravel", "4 6", ops.ravel, "01"),
    Case("ravel_unknown", "b 6", ops.ravel, ""),
    Case("transpose", "b 4 6", lambda x: ops.transpose(x, (0, 2, 1)), "12"),
    Case("transpose_all", "4 5 6", ops.transpose, "012"),
    Case("swapaxes", "b 4 6", lambda x: ops.swapaxes(x, 1, -1), "12"),
    Case("moveaxis", "b 4 5 6", lambda x: ops.moveaxis(x, -1, 1), "123"),
    Case("moveaxis_swap", "2 3 4", lambda x: ops.moveaxis(x, (0, 1), (1, 0)), "012"),
    Case("moveaxes", "2 3 4 5", lambda x: ops.moveaxis(x, (0, 2), (-1, 0)), "0123"),
    Case("expand_dims", "b 4 6", lambda x: ops.expand_dims(x, -2), "12"),
    Case("expand_twice", "b 6", lambda x: ops.expand_dims(x, (1, 3)), "1"),
    Case("squeeze", "b 1 6", lambda x: ops.squeeze(x, 1), "2"),
    Case("squeeze_all", "2 1 6 1", ops.squeeze, "02"),
    Case("broadcast", "b 1 6", lambda x: ops.broadcast_to(x, (3, 4, 6)), "2"),
    Case("broadcast_rank", "6", lambda x: ops.broadcast_to(x, (4, 6)), "0"),
    Case("tile", "b 4 6", lambda x: ops.tile(x, (1, 2, 3)), "12"),
    Case("tile_one", "b 1 6", lambda x: ops.tile(x, (1, 5, 1)), "2"),
    Case("tile_rank", "4 6", lambda x: ops.tile(x, (2, 1, 2)), "01"),
    Case("tile_short", "3 4 6", lambda x: ops.tile(x, (2,)), "012"),
    Case("repeat", "b 4 6", lambda x: ops.repeat(x, 2, axis=-1), "12"),
    Case("repeat_each", "b 3", lambda x: ops.repeat(x, [1, 2, 0], axis=1), ""),
    Case("repeat_flat", "4 6", lambda x: ops.repeat(x, 2), "01"),
    Case("flip", "b 4 6", lambda x: ops.flip(x, 1), "2"),
    Case("flip_all", "4 6", ops.flip, ""),
    *(Case(n, "4 6 3", f, "02") for n, f in functions("fliplr")),
    *(Case(n, "4 6 3", f, "12") for n, f in functions("flipud")),
    Case("roll", "b 4 6", lambda x: ops.roll(x, 1, axis=-1), "1"),
    Case("depth_to_space", "b 2 3 12", lambda x: ops.depth_to_space(x, 2), "123"),
    Case("space_to_depth", "b 2 4 3", lambda x: ops.space_to_depth(x, 2), "3"),
]

JOIN = [
    Case("concatenate", "b 4 6, b 4 3", lambda *xs: ops.concatenate(xs, -1), "12 12"),
    Case("concatenate_rows", "b 4 6, b 1 6", lambda *x: ops.concatenate(x, 1), "12 12"),
    Case("concatenate_twice", "b 6", lambda x: ops.concatenate([x, x], 1), "1"),
    Case("concatenate_batch", "b 6, b 6", lambda *x: ops.concatenate(x, 0), "1 1"),
    Case(
        "concatenate_constant",
        "2 6",
        lambda x: ops.concatenate([x, np.ones((2, 3), "f4")], 1),
        "1",
    ),
    Case("append", "b 6, b 4", lambda x, y: ops.append(x, y, 1), "1 1"),
    Case("hstack", "b 6, b 4", lambda *xs: ops.hstack(xs), "1 1"),
    Case("vstack", "2 6, 3 6", lambda *xs: ops.vstack(xs), "01 01"),
    Case("dstack", "b 4 6, b 4 2", lambda *xs: ops.dstack(xs), "12 12"),
    Case("stack", "b 6, b 6", lambda *xs: ops.stack(xs, -1), "1 1"),
    Case("stack_first", "b 6, b 6", lambda *xs: ops.stack(xs), "1 1"),
    Case("split", "b 4 6", lambda x: ops.split(x, 3, -1), "12"),
    Case("split_at", "b 4 6", lambda x: ops.split(x, [1, 4], -1), "12"),
    Case("split_at_ends", "b 6", lambda x: ops.split(x, [0, 4, 4], -1), "1"),
    Case("split_unknown", "b 6", lambda x: ops.split(x, 3, 0), "1"),
    Case("hsplit", "b 6 4", lambda x: ops.hsplit(x, 2), "12"),
    Case("vsplit", "4 6", lambda x: ops.vsplit(x, [1]), "01"),
    *(Case(n, "b 4 6", lambda x, f=f: f(x, [2]), "12") for n, f in functions("dsplit")),
    Case("array_split", "b 6", lambda x: ops.array_split(x, 3, 1), "1"),
    Case("array_split_unequal", "b 4 5", lambda x: ops.array_split(x, 3, -1), "1"),
    Case("unstack", "b 3 6", lambda x: ops.unstack(x, axis=1), "2"),
    Case("glu", "b 4 6", ops.glu, "12"),
    Case(
        "pad",
        "b 4 6",
        lambda x: ops.pad(x, ((0, 0), (1, 0), (2, 3)), "constant", 0.0),
        "12",
    ),
    Case(
        "pad_reflect",
        "b 4 6",
        lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), "reflect"),
        "2",
    ),
]

INDEX = [
    Case("first", "b 4 6", lambda x: x[:, 0], "12"),
    Case("last", "b 4 6", lambda x: x[:, -1], "12"),
    Case("inner_position", "b 6", lambda x: x[..., 2], "1"),
    Case("range", "b 4 6", lambda x: x[..., 1:4], "12"),
    Case("to", "b 6", lambda x: x[:, :4], "1"),
    Case("from", "b 6", lambda x: x[:, 2:], "1"),
    Case("negative", "b 6", lambda x: x[:, -4:-1], "1"),
    Case("beyond", "b 6", lambda x: x[:, 2:99], "1"),
    Case("batch", "b 6", lambda x: x[0], "1"),
    Case("batch_range", "b 6", lambda x: x[:2, 1:], "1"),
    Case("new_axis", "b 4 6", lambda x: x[:, None, 1:, ..., None], "12"),
    Case("several", "b 4 5 6", lambda x: x[:, 1:3, 0, -2:], "123"),
    Case("every_second", "b 4 6", lambda x: x[..., ::2], "12"),
    Case("every_third_from", "b 6", lambda x: x[..., 1::3], "1"),
    Case("every_second_uneven", "b 4 5", lambda x: x[..., ::2], "1"),
    Case("backwards", "b 4 6", lambda x: x[..., ::-1], "1"),
    Case("slice", "2 4 6", lambda x: ops.slice(x, (0, 1, 2), (2, 3, 2)), "012"),
    Case("slice_to_end", "4 6", lambda x: ops.slice(x, (1, 2), (-1, 3)), "01"),
    Case("take", "b 4 6", lambda x: ops.take(x, [0, 2, 2], axis=1), "2"),
    Case("take_one", "b 4 6", lambda x: ops.take(x, 3, axis=-1), "1"),
    Case("take_by_tensor", "4 6, b 5", lambda x, i: ops.take(x, i, 0), "1 1", "int32"),
    Case("one_hot", "b 4", lambda x: ops.one_hot(x, 5), "1", "int32"),
    Case("one_hot_axis", "b 4", lambda x: ops.one_hot(x, 5, axis=1), "1", "int32"),
]

CONTRACTION = [
    Case("matmul", "b 4 6, b 6 5", ops.matmul, "12 12"),
    Case("matmul_ranks", "b 3 4 6, 6 5", ops.matmul, "123 01"),
    Case("matmul_broadcast", "b 1 4 6, b 3 6 5", ops.matmul, "23 123"),
    Case("matmul_vector", "b 4 6, 6", ops.matmul, "12 0"),
    Case("vector_matmul", "6, b 6 4", ops.matmul, "0 12"),
    Case("matmul_constant", "b 6", lambda x: x @ np.ones((6, 2), "f4"), ""),
    Case("dot", "3 4 6, 2 6 5", ops.dot, "012 012"),
    Case("dot_vector", "4 6, 6", ops.dot, "01 0"),
    Case("inner", "4 6, 5 6", ops.inner, "01 01"),
    Case("outer", "4, 6", ops.outer, "0 0"),
    Case("vdot", "4 6, 4 6", ops.vdot, "01 01"),
    Case("tensordot", "4 6, 6 5", lambda x, y: ops.tensordot(x, y, 1), "01 01"),
    Case(
        "tensordot_axes",
        "3 4 6, 6 5 3",
        lambda x, y: ops.tensordot(x, y, [[2, 0], [0, 2]]),
        "012 012",
    ),
    *(
        Case(
            f"einsum_{equation}", shapes, lambda *x, e=equation: ops.einsum(e, *x), free
        )
        for equation, shapes, free in (
            ("bij,bjk->bik", "b 4 6, b 6 5", "12 12"),
            ("...i,...i->...", "b 4 6, b 4 6", "12 12"),
            ("bthd,bshd->bhts", "b 4 2 3, b 5 2 3", "123 123"),
            ("bij,jk", "b 4 6, 6 5", "12 01"),
            ("bij->bji", "b 4 6", "12"),
            ("bii->bi", "b 4 4", ""),
            ("bi,bj,bk->bijk", "b 2, b 3, b 4", "1 1 1"),
        )
    ),
]

def is_known(case: Case) -> bool:
    """Whether this Keras can record the call; an old one lacks some operations."""
    try:
        record(case.shapes, case.build, case.dtype)
    except (AttributeError, TypeError, ValueError):
        return not IS_OLD
    return True


CASES = [*ELEMENTWISE, *REDUCTION, *SHAPE, *JOIN, *INDEX, *CONTRACTION]
CASES = list(filter(is_known, CASES)) if IS_OLD else CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_operation_gives_the_kept_part_when_its_inputs_shrink_and_grow(case):
    node = record(case.shapes, case.build, case.dtype)
    plain = describe(node)
    assert " ".join(plain.free_axes()) == case.free
    for seed in range(2):
        rng = np.random.default_rng(seed)
        check(describe(node, rng if seed else None), rng)


if not IS_OLD:

    def test_every_rule_of_an_operation_has_a_case():
        covered = {
            type(record(case.shapes, case.build, case.dtype).operation).__name__
            for case in CASES
        }
        # Aliases that only other backends record; three that take seconds on TensorFlow.
        aliases = {"Abs", "Conj", "BitwiseNot"}
        slow = {"Nanmedian", "Nanpercentile", "Nanquantile"}
        assert described_by(FILES) - covered <= aliases | slow


# The operations of all other files are in the zoo of the contract.
FILES = {
    f"keras_nas.rules.operations_{family}"
    for family in (
        "contraction",
        "elementwise",
        "index",
        "join",
        "reduction",
        "shape",
    )
}


def described_by(modules: set[str]) -> set[str]:
    """Returns the operations whose rules stand in these modules."""
    return {name for name in known_operations() if module_of(name) in modules}


def module_of(name: str) -> str:
    operation = type(name, (), {"__module__": "keras.src.ops"})
    return find_rule(operation, is_operation=True).__module__


def settings(shapes: str, build: Callable, dtype: str = "float32") -> tuple:
    """Returns what a rule rewrites: settings and arguments, with sizes filled in."""
    described = describe(record(shapes, build, dtype))
    relation = described.relation
    return tuple(
        map_leaves(lambda leaf: fill_in(described, leaf, {}), part)
        for part in (relation.config, relation.arguments)
    )


@pytest.mark.parametrize(
    "key",
    [np.s_[..., -3:], np.s_[:, 2], np.s_[:, -1:], np.s_[..., :99], np.s_[1:, ::2]],
)
def test_index_stays_as_written_when_no_size_changes(key):
    _, arguments = settings("b 6", lambda x: x[key])
    written = [entry for entry in key if entry is not Ellipsis]
    assert list(arguments["key"])[-len(written) :] == written


def test_squeeze_names_its_axes_when_it_named_none():
    config, _ = settings("2 1 6 1", ops.squeeze)
    assert config == {"axis": (1, 3)}


def test_reshape_keeps_minus_one_and_sizes_when_nothing_changes():
    config, _ = settings("b 4 6", lambda x: ops.reshape(x, (-1, 4, 2, 3)))
    assert config == {"newshape": (-1, 4, 2, 3)}


def test_padding_is_filler_beside_neurons_and_fixed_on_a_grid():
    node = record("b 4 6", lambda x: ops.pad(x, ((0, 0), (1, 1), (2, 3))))
    described = describe(node)
    channels = described.relation.outputs[0].axes[2]
    assert [atom.is_filler for atom in channels.parts] == [True, False, True]
    assert [part.size for part in channels.parts] == [2, 6, 3]


def test_split_ties_only_the_sizes_of_its_sections():
    described = describe(record("b 6", lambda x: ops.split(x, 3, -1)))
    ((first, second, third),) = described.relation.equal
    assert len({first, second, third}) == 3


def test_constant_follows_the_neurons_it_is_added_to():
    described = describe(record("b 6", lambda x: ops.add(ROW, x)))
    (name,) = described.relation.arguments
    (axis,) = described.relation.arguments[name].axes
    atom = described.unifier.resolve(axis)
    assert name == "x1" and atom == described.tensors[0].axes[1]
    value = fill_in(described, described.relation.arguments[name], {atom: [1, 4, -1]})
    np.testing.assert_array_equal(value, ROW[[1, 4, 4]])


@pytest.mark.parametrize(
    ("shapes", "build", "is_partial"),
    [
        ("b 6", ops.log, True),
        ("b 6", ops.relu, False),
        ("b 6, b 6", ops.divide, True),
        ("b 6", lambda x: x / ROW, False),
        ("b 6", lambda x: x**2, False),
        ("b 6", lambda x: 2**x, False),
        ("b 6", lambda x: x**0.5, True),
        ("b 6", lambda x: (-2.0) ** x, True),
    ],
)
def test_partial_is_said_when_a_function_is_undefined_somewhere(
    shapes, build, is_partial
):
    described = describe(record(shapes, build))
    assert bool(described.relation.partial) == is_partial


@pytest.mark.parametrize(
    ("shapes", "build", "mixed"),
    [
        ("b 4 6", ops.softmax, [2]),
        ("b 4 6", lambda x: ops.mean(x, 1), [1]),
        ("b 4 6", lambda x: ops.cumsum(x, 1), []),
        ("b 4 6, b 6 5", ops.matmul, [2]),
        ("b 4 6", ops.relu, []),
    ],
)
def test_mixes_names_the_axes_of_the_first_input(shapes, build, mixed):
    described = describe(record(shapes, build))
    axes = described.tensors[0].axes
    named = {described.unifier.resolve(axis) for axis, _ in described.relation.mixes}
    assert named == {described.unifier.resolve(axes[number]) for number in mixed}


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda x: x + keras.Variable(ROW), "variable that belongs to no layer"),
        (lambda x: ops.clip(x, 0.0, ROW), "'x_min'|clips to an array"),
        (lambda x: ops.quantile(x, [0.1, 0.9], axis=1), "several quantiles"),
        (lambda x: ops.append(x, x), "flattens what it joins"),
        (lambda x: ops.cumsum(x), "flattened tensor"),
        (lambda x: ops.repeat(x, 2), "flattened tensor"),
        (lambda x: ops.outer(x, x), "unknown size"),
        (lambda x: ops.full_like(x, ROW), "fills with an array"),
    ],
)
def test_rule_gives_up_when_it_cannot_describe_a_call(build, match):
    with pytest.raises(Undescribed, match=match):
        describe(record("b 6", build))
