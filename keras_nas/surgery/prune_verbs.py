"""The functions that count and prune."""

from __future__ import annotations

from typing import Any

from keras_nas.graph import analyze
from keras_nas.latency import LatencyTable
from keras_nas.surgery.counting import Counts, count_analysis
from keras_nas.surgery.prune_plan import PrunePlan
from keras_nas.surgery.pruning import measure_graph
from keras_nas.surgery.verbs import as_graph


def count(model: Any) -> Counts:
    """Counts parameters, multiply-accumulates and memory of every vertex.

    The numbers follow from the axes that the rule of each layer states, so they need
    no list of layers: the size of a weight is the product of its axes; a kernel is
    used once at each position of the output that no weight makes; a matrix product
    takes the product of all axes that it goes over.

    Args:
        model: A built functional or sequential `keras.Model`, or a `Graph`.

    Returns:
        `Counts`: ``print`` it for a table; ``.params``, ``.macs``, ``.flops`` (twice
        the MACs), ``.weight_bytes``, ``.activation_bytes`` and ``.memory`` are
        totals for one sample; ``.not_counted`` names the vertices whose MACs are
        unknown.

    Raises:
        UnsupportedModelError: Anything else.

    Example:
        >>> import keras, keras_nas as kn
        >>> inputs = keras.Input((8, 8, 3))
        >>> outputs = keras.layers.Conv2D(4, 3, padding="same")(inputs)
        >>> kn.count(keras.Model(inputs, outputs)).macs == 8 * 8 * 3 * 3 * 3 * 4
        True
    """
    return count_analysis(analyze(as_graph(model)))


def measure_latency(
    model: Any, *, batch_size: int = 1, repetitions: int = 20, warm_up: int = 3
) -> LatencyTable:
    """Measures how long every vertex takes on this machine, at several widths.

    Each vertex runs alone, as a model of its own, compiled as the backend does it
    (``tf.function``, ``jax.jit``; torch runs without gradients), with all neurons and
    with 75, 50 and 25 % of those of each layer; calls that are alike share one
    measurement. What an empty model takes is subtracted. Everything runs in turn,
    ``repetitions`` times, and the median counts.

    The times of a vertex are fitted by a constant, a time per multiply-accumulate and
    a time per byte that is read or written. These are sums of products of sizes, so
    ``prune(latency=...)`` treats them as it treats FLOPs. The sum over all vertices is
    then compared with the time of the whole model at each of the widths. What
    differs in proportion is corrected; what differs even then is the ``error`` that the
    table and every plan made with it print. Steps between widths (a kernel that likes
    multiples of 8) are not in the model, and on a machine that does other things
    meanwhile the error is larger.

    Takes as long as ``2.5 * (repetitions + warm_up)`` runs of the model and of all its
    vertices, and some 20 ms for each different vertex and width to compile.

    Args:
        model: A built functional or sequential `keras.Model`, or a `Graph`, whose
            inputs have known sizes.
        batch_size: Number of samples that run together.
        repetitions: How often everything runs.
        warm_up: How often before, without a clock.

    Returns:
        A `LatencyTable`: ``print`` it; ``save(path)``, ``LatencyTable.load(path)``.

    Raises:
        InvalidRequestError: A setting is no whole number, or the shape of an input is
            unknown.
        UnsupportedModelError: ``model`` is of another kind.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((64,)),
        ...     keras.layers.Dense(256, name="hidden"),
        ...     keras.layers.Dense(10, name="head"),
        ... ])
        >>> table = kn.measure_latency(model, repetitions=2, batch_size=8)
        >>> plan = kn.plan_prune(model, flops=0.5, latency_table=table)
        >>> plan.latency <= plan.old_latency
        True

    Source: Cai 2019, "ProxylessNAS", ICLR (arXiv 1812.00332), for latency as the sum of
    what is measured layer by layer.
    """
    return measure_graph(
        as_graph(model),
        batch_size=batch_size,
        repetitions=repetitions,
        warm_up=warm_up,
    )


def prune(
    model: Any,
    *,
    sparsity: float | None = None,
    params: float | None = None,
    flops: float | None = None,
    memory: float | None = None,
    latency: Any = None,
    latency_table: LatencyTable | None = None,
    threshold: float | None = None,
    scope: str = "global",
    importance: Any = "auto",
    multiple_of: Any = None,
    ignore: Any = (),
    min_fraction: Any = None,
    **keywords: Any,
) -> Any:
    """Returns a new model without its least important neurons.

    Budgets are hit in one call: the new model costs at most what was asked for, and
    at least 99 % of it where sizes allow, which comes before importance. Several may
    be given; all are kept, and the tightest is used up. The inputs and outputs of the
    model stay, and the given model is not changed.

    Method: a cost is a sum of products of sizes, so choosing sizes is not a linear
    problem. It is linearised at the sizes so far and solved again until nothing is
    gained: the tangent of the cost gives each neuron a price, neurons stay in the
    order of importance per price, and prices are taken anew. Sizes tied by rows (a
    grouped convolution, ``multiple_of``) are respected in every step; where single
    sizes cannot move alone, the linearised problem goes to the solver as one more
    row. What is left of the budget at last is filled, and single neurons are
    exchanged as long as that keeps more importance; models with few sizes try all.
    Dropping in the order of importance alone is one of the starts, so the result does
    not keep less than that at equal cost. It is no proven optimum: on small systems
    that can be checked, nine of ten answers were, and the worst kept 4.6 % less.

    Args:
        model: A built functional or sequential `keras.Model`.
        sparsity: Fraction of the removable neurons to drop, over the whole model.
        params: Most parameters that may be left: a float is a fraction of the present
            ones, an int an absolute number.
        flops: The same for floating point operations: twice the multiply-accumulates
            of `count`.
        memory: The same for bytes of weights and of the outputs of all vertices.
        latency: The same for the time that one batch takes: a float is a fraction of
            what the table says about the present model, an int whole seconds, a
            ``datetime.timedelta`` what it says. What counts is the prediction, whose
            error the plan prints; ``plan_prune(...).check_latency()`` measures.
        latency_table: What `measure_latency` returned for this model, or one with the
            same vertices and other sizes. Without it, ``latency`` measures first.
        threshold: Neurons whose importance is below it go, but never the last one of
            a layer; sizes that must be equal keep as many as the largest needs.
        scope: ``"global"``: all neurons compete. ``"local"``: each layer keeps the
            same fraction. ``"isomorphic"``: layers of alike structure compete, and
            each such group keeps the same fraction.
        importance: Which neurons matter, as in `resize`. By default ``"group_lamp"``
            where a cost is to be reached: what neurons of different layers are worth
            is weighed against what they cost, so the numbers have to be comparable;
            those of ``"l2"`` (about 1 for every neuron) are not, and lead to networks
            whose expensive layers are nearly empty. With data, `Taylor` is as good or
            better. With ``threshold``, or ``sparsity`` alone, it is ``"l2"``.
        multiple_of: As in `resize`.
        ignore: Names of layers that keep all neurons.
        min_fraction: Fraction of its neurons that each layer keeps at least; or a
            dict from name to fraction.
        **keywords: All further keywords of `resize`. With ``strict=False`` a budget
            that cannot be reached gives a `UserWarning` and the smallest model. After
            ``time_limit_s`` the best sizes so far are taken: they keep the budgets.

    Returns:
        A new `keras.Model` of the same kind, names and nesting, compiled like the old.

    Raises:
        InfeasibleError: A budget is below the least that is possible, which
            ``error.nearest`` has by its name.
        KerasNasError: As `resize`; also for a budget that is no number, not above 0,
            or a float above 1.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(100, name="hidden"),
        ...     keras.layers.Dense(10, name="head"),
        ... ])
        >>> kn.prune(model, params=0.5).count_params(), model.count_params()
        (941, 1910)

    Source: Fang 2024, arXiv 2407.04616, for the isomorphic scope.
    """
    targets = {
        "sparsity": sparsity,
        "params": params,
        "flops": flops,
        "memory": memory,
        "latency": latency,
        "latency_table": latency_table,
        "threshold": threshold,
        "scope": scope,
        "ignore": ignore,
        "min_fraction": min_fraction,
    }
    return plan_prune(
        model, importance=importance, multiple_of=multiple_of, **targets, **keywords
    ).apply()


def plan_prune(model: Any, **keywords: Any) -> PrunePlan:
    """Returns what `prune` would do, decided and checked, without doing it.

    Args:
        model: A built functional or sequential `keras.Model`, or a `Graph`.
        **keywords: All keywords of `prune`.

    Returns:
        A frozen `PrunePlan`: a `Plan` with what the model costs before and after.

    Raises:
        KerasNasError: As `prune`.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(100, name="hidden"),
        ...     keras.layers.Dense(10, name="head"),
        ... ])
        >>> kn.plan_prune(model, sparsity=0.3).sizes["hidden"]
        70
    """
    return as_graph(model).plan_prune(**keywords)
