"""Rules for the layers of users: `register_rule`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_nas.errors import RuleError
from keras_nas.rules.contradictions import checked
from keras_nas.rules.declared import DeclaredRule, rule_error
from keras_nas.rules.registry import Rule, forget_custom_rule, set_custom_rule


def register_rule(
    cls: type,
    rule: str | Rule | None,
    *,
    weights: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    new: Mapping[str, float] | None = None,
    reads: Mapping[str, str] | None = None,
    mixes: Mapping[str, str] | None = None,
    rescale: Mapping[str, tuple[str, float]] | None = None,
    widths: Mapping[str, str] | None = None,
    channel: int = -1,
) -> None:
    """Teaches keras_nas how a layer class of your own ties its axes.

    A pattern names the axes of a tensor or weight. The same name is the same axis
    everywhere; ``(a b)`` is an axis of row-major combinations; a number is an axis
    that stays; ``...`` stands for axes that pass; ``*`` for axes that are fixed.

    A weight *reads* some axes and makes the others; what it reads of new neurons is
    zero, so that growth keeps the function. Write ``"h -> c"`` to say that it reads
    ``h`` and makes ``c``. Without an arrow it reads the names that the outputs do not
    have; if there are none, all of several names but the last, as the kernels of
    Keras do. A weight of one name and a ``bias``, ``beta`` or ``gamma`` read nothing.

    Args:
        cls: The layer class. Subclasses that override neither ``call`` nor ``build``
            have the same rule. A second rule for a class takes the place of the
            first, and comes before a rule that keras_nas has for it.
        rule: ``"inputs -> outputs"``, tensors separated by commas, as in
            ``"... i -> ... o"``. Or a function from `keras_nas.rules.RuleCall` to
            `keras_nas.rules.Relation`, which may raise `keras_nas.rules.Undescribed`
            to freeze a call. Or None, which forgets what was registered.
        weights: Name of a weight -> pattern. A weight of an inner layer is named by
            its path, through attributes or names of layers: ``"up/kernel"``,
            ``"blocks/0/kernel"``. Every weight must be named; names of weights that a
            layer lacks (no bias) are passed over.
        config: Setting of ``get_config`` -> pattern of the axis whose size it holds.
            Names that only weights have need one, or they stay as they are. Such a
            setting is a width of its own: ``kn.resize(model, "block", 64,
            axis="hidden")``.
        new: Name of a weight -> value of its new positions. By default the layer's
            setting ``<weight>_initializer``, else 1 for ``gamma``, 0 for ``beta`` and
            ``bias``, and Glorot's uniform initializer for all others.
        reads: Name of a weight -> names of the axes that it reads, where neither the
            arrow nor the order of its axes can say it. Of two weights whose results
            are multiplied and summed, as query and key, one reads that axis.
        mixes: Name of an axis -> sentence that says why the function must change with
            this axis, as under a softmax or a normalization over it. It becomes a
            note of the plan.
        rescale: Name of a weight -> ``(name of an axis, power)``: its values are
            multiplied by ``(new size / old size) ** power``, where the layer divides
            by a power of that size.
        widths: Further widths: name for ``axis=`` -> pattern of the axis.
        channel: Index of the axis of the outputs that is the size of the layer.

    Raises:
        RuleError: A pattern cannot be read, or uses a name that nothing defines.
            Where the rule contradicts a real layer, the error comes when a model
            with that layer is analysed first, and names the weight.

    Example:
        A factor for each neuron, as in vision transformers:

        >>> import keras, keras_nas as kn
        >>> class LayerScale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.gamma = self.add_weight((shape[-1],), name="gamma")
        ...     def call(self, x):
        ...         return x * self.gamma
        >>> kn.register_rule(LayerScale, "... c -> ... c", weights={"gamma": "c"})

        A gated MLP, with a width inside:

        >>> class GatedMLP(keras.layers.Layer):
        ...     def __init__(self, units, hidden, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.units, self.hidden = units, hidden
        ...         self.up = keras.layers.Dense(hidden)
        ...         self.gate = keras.layers.Dense(hidden, activation="silu")
        ...         self.down = keras.layers.Dense(units)
        ...     def build(self, shape):
        ...         self.up.build(shape)
        ...         self.gate.build(shape)
        ...         self.down.build((*shape[:-1], self.hidden))
        ...     def call(self, x):
        ...         return self.down(self.up(x) * self.gate(x))
        ...     def get_config(self):
        ...         own = {"units": self.units, "hidden": self.hidden}
        ...         return {**super().get_config(), **own}
        >>> kn.register_rule(
        ...     GatedMLP,
        ...     "... i -> ... o",
        ...     weights={
        ...         "up/kernel": "i -> h", "up/bias": "h",
        ...         "gate/kernel": "i -> h", "gate/bias": "h",
        ...         "down/kernel": "h -> o", "down/bias": "o",
        ...     },
        ...     config={"units": "o", "hidden": "h"},
        ... )
        >>> x = inputs = keras.Input((4,))
        >>> x = GatedMLP(6, 12, name="block")(LayerScale()(x))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(x))
        >>> kn.resize(model, "block", 8, axis="hidden").get_layer("block").hidden
        8
    """
    _check_class(cls)
    if rule is None:
        forget_custom_rule(cls)
        return
    given = {
        "weights": weights,
        "config": config,
        "new": new,
        "reads": reads,
        "mixes": mixes,
        "rescale": rescale,
        "widths": widths,
    }
    is_function = callable(rule)
    if callable(rule):
        _check_function(cls, given)
        function = rule
    else:
        patterns: dict[str, Any] = {key: dict(v or {}) for key, v in given.items()}
        function = DeclaredRule(cls, rule, channel, **patterns).describe
    set_custom_rule(cls, lambda call: checked(function, call, may_refuse=is_function))


def _check_class(cls: Any) -> None:
    if not inspect.isclass(cls) or not issubclass(cls, keras.Layer):
        raise RuleError(
            "A rule is for a class of layers.\n\nPass the class itself, not its name "
            f"nor a layer of it. Received: cls={cls!r}"
        )


def _check_function(cls: type, given: Mapping[str, Any]) -> None:
    extra = [name for name, value in given.items() if value]
    if extra:
        raise rule_error(
            cls,
            f"a function describes everything, but {extra} were given as well",
            "Leave them out, or pass a pattern instead of the function.",
        )
