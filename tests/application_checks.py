"""What must hold for every model of ``keras.applications``.

The benchmark does all of them, the tests a few small ones, both by these functions.
A check asserts; what it returns is only for tables.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import keras
import numpy as np
from keras import layers

import keras_nas as kn
from keras_nas.axes import Expression, index_of
from keras_nas.graph import Analysis, analyze

SIZED = (layers.Dense, layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
TOLERANCE = 1e-4
# No application takes images smaller than this; each has its own limit.
IMAGE_SIZES = (64, 71, 75, 96, 128, 224, 331)
_MOST_TRIED_BETWEEN = 6


def application_names() -> list[str]:
    """Returns the names of all models that Keras comes with."""
    found = vars(keras.applications).items()
    return sorted(name for name, value in found if _is_application(name, value))


def _is_application(name: str, value: object) -> bool:
    return name[0].isupper() and callable(value)


@dataclass(eq=False)
class Subject:
    """One application with random weights, and what it computes.

    Attributes:
        model: The model; its outputs are logits, which never saturate.
        inputs: Images, shape ``(2, size, size, 3)``.
    """

    model: keras.Model
    inputs: np.ndarray

    @classmethod
    def make(cls, name: str, dtype: str = "float32") -> Subject:
        """Makes an application for the smallest images of `IMAGE_SIZES` it takes."""
        keras.utils.set_random_seed(_number(name))
        with _policy(dtype):
            model = _smallest(getattr(keras.applications, name))
        generator = np.random.default_rng(_number(name))
        images = _images(model, generator)
        _randomize(model, generator, images)
        return cls(model, images[:2])

    @cached_property
    def graph(self) -> kn.Graph:
        return kn.Graph.from_model(self.model)

    @cached_property
    def analysis(self) -> Analysis:
        return analyze(self.graph)

    @cached_property
    def outputs(self) -> np.ndarray:
        """What the model makes of the inputs; finite, and not the same for all."""
        outputs = run(self.model, self.inputs)
        assert np.isfinite(outputs).all()
        assert np.ptp(outputs, axis=0).max() > 1e-3 * np.abs(outputs).max()
        return outputs

    @cached_property
    def sensitivity(self) -> float:
        """How far outputs move when the images do by one rounding error of float32.

        Some deep models with random weights are chaotic: they amplify rounding errors
        a million times, and then only double precision can tell an error from one.
        """
        noise = 1 + np.finfo("float32").eps * np.sign(self.inputs)
        return relative_error(run(self.model, self.inputs * noise), self.outputs)

    @cached_property
    def sized(self) -> dict[str, type]:
        """Path of every layer that is asked for another size -> its class."""
        calls = self.analysis.flat.calls
        return {
            call.path: call.part.cls
            for call in calls
            if not call.part.is_operation and issubclass(call.part.cls, SIZED)
        }

    def sample(self, count: int, salt: str) -> list[str]:
        """Returns some layers that can change, always the same ones.

        One of each class comes first. A layer that only Flatten or an activation
        stands between and the output of the model cannot change.
        """
        output = self.analysis.axes_of(self.analysis.flat.outputs[0])[-1]
        free = [
            path
            for path in self.sized
            if path == self.output_path or not self.axis(path).atoms & output.atoms
        ]
        np.random.default_rng(_number(salt)).shuffle(free)
        first = {self.sized[path]: path for path in reversed(free)}
        return list(dict.fromkeys([*first.values(), *free]))[:count]

    @property
    def output_path(self) -> str:
        (ref,) = self.analysis.flat.outputs
        return ref.vertex

    def axis(self, path: str) -> Expression:
        return self.analysis.channel_of(self.analysis.output_of(path))



def run(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """Returns the only output of a model as an array."""
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def relative_error(new: np.ndarray, old: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest old value."""
    assert new.shape == old.shape
    return float(np.abs(new - old).max() / np.abs(old).max())


def check_rebuild(subject: Subject) -> None:
    """An unedited graph builds a model that computes the same, bit for bit."""
    rebuilt = subject.graph.build()
    np.testing.assert_array_equal(run(rebuilt, subject.inputs), subject.outputs)


@dataclass
class Requests:
    """What became of the requests for one size each.

    Attributes:
        exact: Number of plans with exactly the size.
        infeasible: Number of refusals, all with correct nearest sizes.
        seconds: Processor seconds of each plan, that of an already wrapped graph.
    """

    exact: int = 0
    infeasible: int = 0
    seconds: list[float] = field(default_factory=list)


def check_requests(subject: Subject, paths: list[str]) -> Requests:
    """A smaller and a larger size are had exactly, or refused for a good reason."""
    result = Requests()
    for path in paths:
        for size in smaller_and_larger(subject, path):
            start = time.process_time()
            try:
                plan = kn.plan(subject.graph, path, size)
            except kn.InfeasibleError as error:
                check_nearest(subject, path, size, error)
                result.infeasible += 1
            else:
                result.seconds.append(time.process_time() - start)
                assert plan.sizes[path] == size
                assert len(plan.keep[path]) == size
                check_exactness(subject, plan)
                result.exact += 1
    return result


def smaller_and_larger(subject: Subject, path: str) -> tuple[int, ...]:
    """Returns two sizes for a layer, always the same ones."""
    generator, size = np.random.default_rng(_number(path)), subject.axis(path).size
    larger = size + int(generator.integers(1, size // 2 + 2))
    smaller = int(generator.integers(max(1, size // 3), max(2, size)))
    return (smaller, larger) if smaller < size else (larger,)


def check_nearest(
    subject: Subject, path: str, size: int, error: kn.InfeasibleError
) -> None:
    """The sizes that a refusal offers work, and none between them does."""
    nearest = error.nearest[path]
    sides = nearest if isinstance(nearest, tuple) else (nearest,)
    for side in sides:
        assert kn.plan(subject.graph, path, side).sizes[path] == side
    low, high = min(*sides, size), max(*sides, size)
    between = [n for n in range(low, high + 1) if n not in sides]
    for other in sorted(between, key=lambda n: abs(n - size))[:_MOST_TRIED_BETWEEN]:
        try:
            kn.plan(subject.graph, path, other)
        except kn.InfeasibleError:
            continue
        raise AssertionError(f"{path}: {other} works, but {nearest} are the nearest")


def check_exactness(subject: Subject, plan: kn.Plan) -> None:
    """A plan is inexact just when a LayerNormalization sees other channels."""
    changed = [
        call.path
        for call in subject.analysis.flat.calls
        if issubclass(call.part.cls, layers.LayerNormalization)
        and plan.sizes[call.path] != plan.old_sizes[call.path]
    ]
    assert plan.exact == (not changed), plan.notes
    for path in changed:
        assert any(f"'{path}'" in note for note in plan.notes)


def check_growth(subject: Subject, path: str) -> float | None:
    """Growth of a layer leaves the outputs as they were.

    Returns:
        The relative error; None where the plan says that growth is not exact.
    """
    plan = kn.plan(subject.graph, path, smaller_and_larger(subject, path)[-1])
    model = plan.apply()
    _check_size(model, path, plan.sizes[path])
    grown = run(model, subject.inputs)
    assert np.isfinite(grown).all()
    if not plan.exact:
        return None
    error = relative_error(grown[:, _old_columns(subject, plan)], subject.outputs)
    assert error <= TOLERANCE, f"{path} grows: outputs differ by {error:.1e}"
    return error


def check_dead(subject: Subject, path: str) -> float | None:
    """Dropping neurons that nobody reads leaves the outputs as they were.

    Returns:
        The relative error; None where the plan says that it is not exact.
    """
    size = smaller_and_larger(subject, path)[0]
    wish = kn.plan(subject.graph, path, size)
    if not wish.exact:
        return None
    variables = list(_kill(subject, wish))
    try:
        before = run(subject.model, subject.inputs)
        mattered = not np.array_equal(before, subject.outputs)
        assert mattered or path == subject.output_path
        plan = kn.plan(subject.model, path, size, importance=_alive(subject, wish))
        model = plan.apply()
        _check_size(model, path, size)
        after = run(model, subject.inputs)
    finally:
        for variable, value in variables:
            variable.assign(value)
    columns = plan.keep[subject.output_path]
    error = relative_error(after, before[:, columns])
    assert error <= TOLERANCE, f"{path} shrinks: outputs differ by {error:.1e}"
    return error


def _kill(subject: Subject, plan: kn.Plan) -> Iterator[tuple[object, np.ndarray]]:
    """Zeroes the weights that read neurons a plan drops; yields the old values."""
    analysis = plan.analysis
    for key, relation in analysis.parts.items():
        for name, axes in relation.weights.items():
            if not axes.reads or len(axes.blocks) > 1:
                continue
            dropped = [
                _dropped(analysis.resolve(axes.blocks[0][number]), plan)
                for number in sorted(axes.reads)
            ]
            if not any(map(len, dropped)):
                continue
            variable = _variable(subject.model, key, name)
            value = keras.ops.convert_to_numpy(variable)
            yield variable, value
            zeroed = np.array(value)
            for number, positions in zip(sorted(axes.reads), dropped, strict=True):
                zeroed[(slice(None),) * number + (positions,)] = 0
            variable.assign(zeroed)


def _alive(subject: Subject, plan: kn.Plan) -> dict[str, np.ndarray]:
    """Returns importance 1 for every neuron that a plan keeps, 0 for the others."""
    importance = {}
    for path in subject.sized:
        axis = plan.names.width(path)
        if plan.is_changed(axis):
            importance[path] = np.ones(axis.size)
            importance[path][_dropped(axis, plan)] = 0
    return importance


def _dropped(axis: Expression, plan: kn.Plan) -> np.ndarray:
    return np.setdiff1d(np.arange(axis.size), index_of(axis, plan.atom_keep))


def _old_columns(subject: Subject, plan: kn.Plan) -> np.ndarray:
    """Returns where the old logits are among the new ones."""
    return np.flatnonzero(plan.keep[subject.output_path] >= 0)


def _check_size(model: keras.Model, path: str, size: int) -> None:
    layer = _layer(model, path)
    axis = 1 if getattr(layer, "data_format", None) == "channels_first" else -1
    assert layer.output.shape[axis] == size


def _layer(model: keras.Model, path: str) -> keras.Layer:
    for name in path.split("/"):
        model = model.get_layer(name)
    return model


def _variable(model: keras.Model, path: str, name: str) -> object:
    (variable,) = [v for v in _layer(model, path).weights if v.name == name]
    return variable


def _smallest(application) -> keras.Model:
    for size in IMAGE_SIZES:
        try:
            return application(
                weights=None, input_shape=(size, size, 3), classifier_activation=None
            )
        except ValueError as error:
            reason = error
    raise reason


@contextlib.contextmanager
def _policy(dtype: str) -> Iterator[None]:
    """Makes the layers inside compute in another precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _images(model: keras.Model, generator: np.random.Generator) -> np.ndarray:
    """Returns noise of another colour and contrast for each of 8 images."""
    shape = (8, *model.input_shape[1:])
    images = generator.uniform(-1, 1, shape) * generator.uniform(0, 0.5, (8, 1, 1, 3))
    images += generator.uniform(-0.5, 0.5, (8, 1, 1, 3))
    if any(isinstance(layer, layers.Rescaling) for layer in model.layers):
        images = 127.5 * (images + 1)
    return images.astype("float32")


def _randomize(
    model: keras.Model, generator: np.random.Generator, images: np.ndarray
) -> None:
    """Gives every weight that starts as a constant random values.

    Otherwise a neuron could take the place of another one without being noticed. The
    statistics of norms are about those of the images, so that no path fades away.
    """
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name in ("gamma", "variance"):
            variable.assign(generator.uniform(0.5, 1.5, shape))
        elif variable.name in ("beta", "bias", "mean"):
            variable.assign(generator.normal(0, 0.1, shape))
        elif variable.name == "kernel" and not _norms(model):
            variable.assign(variable * 1.4)  # Else every ReLU halves the variance.
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # It computes with copies of these two weights.
    _measure_statistics(model, images)
    for norm in _norms(model):
        # On average this neither amplifies nor damps, however many norms there are.
        shape, variance = tuple(norm.moving_variance.shape), norm.moving_variance
        deviation = keras.ops.sqrt(variance)
        norm.moving_mean.assign(
            norm.moving_mean + deviation * generator.normal(0, 0.1, shape)
        )
        variance.assign(variance * generator.uniform(0.6, 1.6, shape))


def _measure_statistics(model: keras.Model, images: np.ndarray) -> None:
    """Sets the moving statistics of all norms to those of one batch."""
    norms = _norms(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _norms(model: keras.Model) -> list[keras.Layer]:
    return [x for x in model.layers if isinstance(x, layers.BatchNormalization)]


def _number(text: str) -> int:
    return zlib.crc32(text.encode())
