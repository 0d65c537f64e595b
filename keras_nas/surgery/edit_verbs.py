"""The functions that change which layers and edges a model has: wrap, edit, build."""

from __future__ import annotations

from typing import Any

from keras_nas.surgery.graph import Graph


def insert(
    model: Any,
    layers: Any,
    after: str,
    to: Any = None,
    *,
    identity: bool = False,
    **keywords: Any,
) -> Any:
    """Returns a new model with one or more layers put behind a layer.

    What read the output of ``after`` reads that of the last new layer instead, at the
    same places among its arguments. New layers get the widths that they were given; the
    layers behind them follow, and their weights that read new neurons start at zero.

    Args:
        model: A built functional or sequential `keras.Model`. Not changed.
        layers: A layer, a list of layers (a chain), or a functional model with one
            input and one output. They are not changed: a layer that is built brings
            its weights, another one is built for what it reads. A name that is taken
            gets a number.
        after: Name of the vertex to stand behind. Of several outputs, the first.
        to: Names of the readers that change over; all of them by default. If
            ``after`` gives an output of the model, the new layer gives it instead,
            unless ``to`` is given.
        identity: Whether the new layers start as the identity, so that the model
            computes the same function.
        **keywords: The shared keywords of `resize`. With ``strict=False`` a new layer
            may get another width where its own is impossible, with a `UserWarning`.

    Returns:
        A new `keras.Model`.

    Raises:
        InvalidRequestError: The layers cannot stand there, or not as the identity.
        InfeasibleError: No sizes fit.
        UnknownLayerError: No layer, or more than one, has a name.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(4, name="hidden"),
        ...     keras.layers.Dense(2, name="head"),
        ... ])
        >>> new = kn.insert(model, keras.layers.Dense(6, name="more"), after="hidden")
        >>> [layer.name for layer in new.layers]
        ['hidden', 'more', 'head']
        >>> tuple(new.get_layer("head").kernel.shape)
        (6, 2)

    Source: ``insert!`` of NaiveNASlib.jl; starting as the identity is the Net2DeeperNet
    of Chen 2016, "Net2Net", ICLR (arXiv 1511.05641).
    """
    return _edit(model).insert(layers, after, to, identity=identity, **keywords).build()


def remove(
    model: Any,
    names: Any,
    *,
    align: Any = ("grow", "shrink", "both"),
    connect: bool = True,
    **keywords: Any,
) -> Any:
    """Returns a new model without one or more layers.

    What read a removed vertex reads what that vertex read, at the same place among its
    arguments; a merge takes several tensors in its place. Where widths differ, they are
    made equal: position ``i`` of the reader reads neuron ``i`` of the new source.

    Args:
        model: A built functional or sequential `keras.Model`. Not changed.
        names: Name of a vertex, or a list of names: a whole block.
        align: How widths are made equal, in the order in which to try: ``"grow"`` (no
            neuron goes), ``"shrink"`` (none comes), ``"both"``.
        connect: Whether readers are led to what the removed vertices read. If not,
            merges just lose an input.
        **keywords: The shared keywords of `resize`.

    Returns:
        A new `keras.Model`. Whatever reaches no output any more is gone, too.

    Raises:
        InfeasibleError: No sizes fit, or an input would reach no output.
        InvalidRequestError: The readers cannot take what would come.
        UnknownLayerError: No layer, or more than one, has a name.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(4, name="one"),
        ...     keras.layers.Dense(6, name="two"),
        ...     keras.layers.Dense(2, name="head"),
        ... ])
        >>> new = kn.remove(model, "two")
        >>> [layer.name for layer in new.layers], new.get_layer("one").units
        (['one', 'head'], 6)

    Source: ``remove!`` of NaiveNASlib.jl.
    """
    return (
        _edit(model).remove(names, align=align, connect=connect, **keywords).build()
    )


def connect(
    model: Any,
    source: str,
    target: str,
    position: int | None = None,
    *,
    merge: str = "add",
    via: Any = None,
    align: Any = ("grow", "shrink", "both"),
    **keywords: Any,
) -> Any:
    """Returns a new model with one more edge.

    Where the target concatenates, the weights that read the new neurons start at zero,
    so the model computes the same function. Where it adds, the function changes.

    Args:
        model: A built functional or sequential `keras.Model`. Not changed.
        source: Name of the vertex whose (first) output is led on.
        target: Name of the vertex that is to read it. Either it takes a list of
            tensors (`Add`, `Concatenate`, ...), or it takes one: then a merge is put
            in front of it.
        position: Place among the inputs of the target, from 0. By default the last.
        merge: What is put in front of a target that takes one input: ``"add"`` or
            ``"concatenate"``.
        via: A layer, or a list of layers, that the new edge leads through, such as a
            projection, or a pooling where the grids differ.
        align: How widths that an addition ties are made equal; see `remove`.
        **keywords: The shared keywords of `resize`.

    Returns:
        A new `keras.Model`.

    Raises:
        InvalidRequestError: The edge would close a circle, or grids differ.
        InfeasibleError: No sizes fit.
        UnknownLayerError: No layer, or more than one, has a name.

    Example:
        >>> import keras, keras_nas as kn
        >>> inputs = keras.Input((3,))
        >>> x = keras.layers.Dense(4, name="one")(inputs)
        >>> y = keras.layers.Dense(5, name="two")(x)
        >>> y = keras.layers.Concatenate(name="joined")([y])
        >>> model = keras.Model(inputs, keras.layers.Dense(2, name="head")(y))
        >>> new = kn.connect(model, "one", "joined")
        >>> tuple(new.get_layer("head").kernel.shape)
        (9, 2)

    Source: ``create_edge!`` of NaiveNASlib.jl.
    """
    graph = _edit(model)
    new = graph.connect(
        source, target, position, merge=merge, via=via, align=align, **keywords
    )
    return new.build()


def disconnect(
    model: Any,
    source: str,
    target: str,
    occurrence: int = 0,
    *,
    tidy: bool = False,
    align: Any = ("grow", "shrink", "both"),
    **keywords: Any,
) -> Any:
    """Returns a new model with one edge less.

    Behind a concatenation, exactly the weights that read the lost neurons go.

    Args:
        model: A built functional or sequential `keras.Model`. Not changed.
        source: Name of the vertex that is read.
        target: Name of the vertex that reads it, and other tensors as well.
        occurrence: Which of several edges between the two, from 0.
        tidy: Whether a merge that is left with one input is removed.
        align: How widths are made equal; see `remove`.
        **keywords: The shared keywords of `resize`.

    Returns:
        A new `keras.Model`. Whatever reaches no output any more is gone, too.

    Raises:
        InvalidRequestError: There is no such edge, or the target needs it.
        InfeasibleError: No sizes fit, or an input would reach no output.
        UnknownLayerError: No layer, or more than one, has a name.

    Example:
        >>> import keras, keras_nas as kn
        >>> inputs = keras.Input((3,))
        >>> parts = [keras.layers.Dense(4, name="a")(inputs),
        ...          keras.layers.Dense(5, name="b")(inputs)]
        >>> x = keras.layers.Concatenate(name="joined")(parts)
        >>> model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
        >>> new = kn.disconnect(model, "a", "joined")
        >>> tuple(new.get_layer("head").kernel.shape)
        (5, 2)

    Source: ``remove_edge!`` of NaiveNASlib.jl, which keeps the first columns instead.
    """
    graph = _edit(model)
    new = graph.disconnect(
        source, target, occurrence, tidy=tidy, align=align, **keywords
    )
    return new.build()


def replace(model: Any, name: str, layer: Any, **keywords: Any) -> Any:
    """Returns a new model with another layer in the place of one.

    A layer that is not built takes the weights of the old one over where their axes
    agree. A kernel keeps each tap at the input that it read before, so that a
    convolution with a larger kernel (and ``padding="same"``) computes the same
    function; of a smaller one the outer taps go. Where the width changes, the first
    neurons are carried over, and the layers behind it follow. In place of `Add`, a
    `Concatenate` leaves the function as it is where it is read by weights.

    Args:
        model: A built functional or sequential `keras.Model`. Not changed.
        name: Name of the layer that goes. All its calls change.
        layer: The layer in its place, with the same number of inputs and outputs. A
            built one brings its own weights. One without a name of its own gets that
            of the old layer.
        **keywords: The shared keywords of `resize`.

    Returns:
        A new `keras.Model`.

    Raises:
        InvalidRequestError: The layer does not fit into the place.
        InfeasibleError: No sizes fit.
        UnknownLayerError: No layer, or more than one, has the name.

    Example:
        >>> import keras, keras_nas as kn
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
        >>> model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x))
        >>> new = kn.replace(model, "conv", keras.layers.Conv2D(4, 5, padding="same"))
        >>> tuple(new.get_layer("conv").kernel.shape)
        (5, 5, 3, 4)

    Source: ``KernelSizeMutation`` and ``ActivationFunctionMutation`` of
    NaiveGAflux.jl; the larger kernel is the Net2Net-like one of Wei 2016, "Network
    Morphism", ICML (arXiv 1603.01670).
    """
    return _edit(model).replace(name, layer, **keywords).build()


def _edit(model: Any) -> Graph:
    return Graph.from_model(model)
