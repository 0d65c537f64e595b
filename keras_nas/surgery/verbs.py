"""The functions that users call on a model: wrap, edit, build."""

from __future__ import annotations

from typing import Any

from keras_nas.surgery import explanation, report
from keras_nas.surgery.graph import Graph
from keras_nas.surgery.options import Options
from keras_nas.surgery.plan import Plan


def resize(
    model: Any,
    requests: Any,
    size: Any = None,
    *,
    axis: str | None = None,
    importance: Any = "l2",
    solver: str = "auto",
    time_limit_s: float = 20.0,
    accept_incumbent: bool = False,
    locked: Any = (),
    bounds: Any = None,
    multiple_of: Any = None,
    strict: bool = True,
    free_outputs: bool = False,
    seed: int = 0,
    initializer: Any = None,
    carry_optimizer: bool = False,
    fold_constants: bool = False,
    data: Any = None,
) -> Any:
    """Returns a new model in which layers have other numbers of neurons.

    Everything that is tied to the layers changes consistently: the same neurons are
    kept wherever they are added, concatenated or reshaped, and nothing else moves.
    The given model is not changed, whatever happens.

    Growth keeps the function: new neurons get the layer's own initializer, and the
    weights that read them start at zero. Shrinking keeps the most important neurons;
    the rest of the network computes what it did without the dropped ones. Where that
    is impossible `plan` says so in ``plan.notes``.

    Args:
        model: A built functional or sequential `keras.Model`.
        requests: Name of a layer (inside a nested model by path, ``"encoder/conv"``),
            or a dict from name, or ``(name, axis)`` pair, to size.
        size: New number of neurons for one name: an int, or ``near(n)``.
        axis: Further width that is meant, such as ``"depth_multiplier"``. By default
            the channel axis of the layer's output.
        importance: Which neurons matter. ``"l2"``: magnitude of their weights; see
            `keras_nas.importance` for the other names and criteria. A dict from name
            to a scalar or an array of shape ``(neurons,)``, or a callable that gives
            the same for a name; layers not named count 1 per neuron. What tied layers
            say adds up.
        solver: ``"auto"`` (HiGHS), ``"highs"``, ``"glpk"`` or ``"cbc"``.
        time_limit_s: Seconds the solver may take.
        accept_incumbent: Whether the best sizes found until the time limit will do.
        locked: Names of layers whose neurons must all stay.
        bounds: Name -> ``(low, high)``, None where open.
        multiple_of: Sizes of layers that change become multiples of this int; or a
            dict from name to int.
        strict: Whether a size that is impossible raises. If not, a `UserWarning`
            names the nearest possible size, which is taken.
        free_outputs: Whether model outputs may change. By default only an output
            whose very layer is named may.
        seed: Seed of new weights.
        initializer: Keras initializer for new neurons, in place of the layer's own.
        carry_optimizer: Whether training goes on as if nothing had happened: momentum,
            moments and averages are kept for the same neurons as the weights, and
            iterations, learning rate and loss scale as they are. For new neurons the
            optimizer starts as it always does (mostly at zero), since no step has
            seen them. By default the optimizer is a fresh one of the same settings:
            its state takes memory, and a network that changed much is a new problem.
        fold_constants: Whether what dropped neurons contributed on average is added to
            the layers that read them: to the bias, or without one to the moving mean of
            the BatchNormalization behind it. So a neuron that never changes can go
            without any loss. ``plan.notes`` names the layers, and those where it is
            impossible. After a deep cut, layers see other things than before, and the
            old average may do harm: compare.
        data: Inputs on which this average is measured, as ``model.predict`` takes them.
            Without any, only dropped neurons count that are certainly constant: those
            whose weights are all zero, and what follows from them through activations,
            pooling, sums and the like.

    Returns:
        A new `keras.Model` of the same kind, names and nesting, compiled like the old.

    Raises:
        InfeasibleError: No sizes fit; ``error.nearest`` has the nearest that do.
        UnknownLayerError: No layer, or more than one, has a name.
        UnsupportedModelError: Not a built functional or sequential model.
        SolverError: The solver is missing or reached its time limit.
        KerasNasError: Any other wrong request; also a ValueError.
            ``carry_optimizer=True`` for a model whose optimizer was never built, say.

    Example:
        >>> import keras, keras_nas as kn
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.Conv2D(16, 3, padding="same", name="stem")(inputs)
        >>> y = keras.layers.Conv2D(16, 3, padding="same", name="branch")(x)
        >>> x = keras.layers.Add(name="add")([x, y])
        >>> outputs = keras.layers.Dense(4)(keras.layers.Flatten()(x))
        >>> smaller = kn.resize(keras.Model(inputs, outputs), "branch", 10)
        >>> smaller.get_layer("stem").filters
        10

    Source: the idea of stating size relations declaratively for a MILP solver is that
    of NaiveNASlib.jl (https://github.com/DrChainsaw/NaiveNASlib.jl).
    """
    keywords = _keywords(locals())
    return plan(model, requests, size, axis=axis, **keywords).apply()


def resize_inputs(
    model: Any,
    layer: str,
    sizes: Any,
    *,
    importance: Any = "l2",
    solver: str = "auto",
    time_limit_s: float = 20.0,
    accept_incumbent: bool = False,
    locked: Any = (),
    bounds: Any = None,
    multiple_of: Any = None,
    strict: bool = True,
    free_outputs: bool = False,
    seed: int = 0,
    initializer: Any = None,
    carry_optimizer: bool = False,
    fold_constants: bool = False,
    data: Any = None,
) -> Any:
    """Returns a new model in which the inputs of one layer have other sizes.

    Args:
        model: A built functional or sequential `keras.Model`.
        layer: Name of the layer.
        sizes: One entry for each tensor that the layer is called on: an int, a
            ``near(n)``, or None where any size will do.
        importance: This and all other keywords are those of `resize`.
        solver: See `resize`.
        time_limit_s: See `resize`.
        accept_incumbent: See `resize`.
        locked: See `resize`.
        bounds: See `resize`.
        multiple_of: See `resize`.
        strict: See `resize`.
        free_outputs: See `resize`.
        seed: See `resize`.
        initializer: See `resize`.
        carry_optimizer: See `resize`.
        fold_constants: See `resize`.
        data: See `resize`.

    Returns:
        A new `keras.Model`.

    Raises:
        KerasNasError: As `resize`; also for a wrong number of sizes.

    Example:
        >>> import keras, keras_nas as kn
        >>> inputs = keras.Input((6,))
        >>> parts = [keras.layers.Dense(4)(inputs), keras.layers.Dense(5)(inputs)]
        >>> joined = keras.layers.Concatenate(name="joined")(parts)
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(joined))
        >>> new = kn.resize_inputs(model, "joined", [None, 3])
        >>> new.get_layer("joined").output.shape
        (None, 7)

    Source: ``Δnin!`` of NaiveNASlib.jl.
    """
    keywords = _keywords(locals())
    return Graph.from_model(model).resize_inputs(layer, sizes, **keywords).build()


def plan(
    model: Any,
    requests: Any,
    size: Any = None,
    *,
    axis: str | None = None,
    **keywords: Any,
) -> Plan:
    """Returns what `resize` would do, decided and checked, without doing it.

    Args:
        model: A built functional or sequential `keras.Model`, or a `Graph`.
        requests: See `resize`.
        size: See `resize`.
        axis: See `resize`.
        **keywords: All keywords of `resize`.

    Returns:
        A frozen `Plan`: print it for a table; ``plan.sizes``, ``plan.keep``,
        ``plan.input_sizes``, ``plan.exact``, ``plan.notes``; ``plan.apply()`` builds
        the model.

    Raises:
        KerasNasError: As `resize`.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(4, name="hidden"),
        ...     keras.layers.Dense(2, name="head"),
        ... ])
        >>> kn.plan(model, "hidden", 3).sizes["hidden"]
        3
    """
    return as_graph(model).plan(requests, size, axis=axis, **keywords)


def summary(model: Any) -> str:
    """Returns a table of all vertices: sizes, who shares them, what can change.

    Vertices of one group have the same neurons. ``print`` the result.

    Args:
        model: A built functional or sequential `keras.Model`, or a `Graph`.

    Raises:
        UnsupportedModelError: Anything else.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> print(kn.summary(model).splitlines()[-1])
        1 of 1 layers with a width can change; nothing is frozen.
    """
    return Text(report.summary(as_graph(model)))


def explain(model: Any, layer: str) -> str:
    """Returns what ties the neurons of a layer, and what stops them from changing.

    Args:
        model: A built functional or sequential `keras.Model`, or a `Graph`.
        layer: Name of a vertex.

    Raises:
        UnknownLayerError: No vertex, or more than one, has this name.
        UnsupportedModelError: ``model`` is of another kind.

    Example:
        >>> import keras, keras_nas as kn
        >>> inputs = keras.Input((3,), name="x")
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        >>> print(kn.explain(model, "x"))
        'x' (InputLayer) has 3 neurons.
        They cannot change: fixed by model input 'x'.
    """
    return Text(explanation.explain(as_graph(model), layer))


class Text(str):
    """A string that a notebook shows as it is."""

    def __repr__(self) -> str:
        return str(self)


def as_graph(model: Any) -> Graph:
    """Wraps a model; a graph is returned as it is."""
    return model if isinstance(model, Graph) else Graph.from_model(model)


def _keywords(given: dict[str, Any]) -> dict[str, Any]:
    """The shared keywords among the arguments of a verb."""
    return {key: given[key] for key in Options.__dataclass_fields__}
