"""Layers inside layers: the rule of the inner one runs on a call of its own.

The settings of the outer layer hold the inner one as Keras serializes it, and its
weights are named by their path, ``"forward_lstm/lstm_cell/kernel"``. What the inner
rule says is handed back in the names of the outer layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from keras_nas.axes import Expression
from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import Rule, find_rule, is_from_keras
from keras_nas.rules.relation import (
    AxisTensor,
    Relation,
    SizeOf,
    Undescribed,
    with_initializer,
)

_ADVICE = ", for which `keras_nas.register_rule` would help"


class InnerLayer:
    """A layer that another one owns.

    Args:
        call: Call of the outer layer.
        serialized: The inner layer as the settings of the outer one hold it.
        own_names: Names of the inner layer's weights that the outer layer has taken as
            its own, so that they have no path.

    Attributes:
        cls: Class of the inner layer.
        config: Its settings.
        rule: What describes it.

    Raises:
        Undescribed: The class is not known, or has no rule.
    """

    def __init__(self, call: RuleCall, serialized: Any, own_names: Sequence[str] = ()):
        _check_serialized(serialized)
        self._outer = call
        self._serialized = serialized
        self.config: Mapping[str, Any] = serialized["config"]
        self.name = self.config.get("name", "")
        self._layer = _find_layer(call.layer, self.name)
        self.cls = _class_of(serialized, self._layer)
        is_chain = self.cls is keras.Sequential
        rule = _chain if is_chain else find_rule(self.cls, is_operation=False)
        if rule is None and (not is_from_keras(self.cls) or _is_model(self.cls)):
            rule = call.learn_inner
        if rule is None:
            advice = "" if is_from_keras(self.cls) else _ADVICE
            raise Undescribed(
                f"no rule describes the {self.cls.__name__} inside it{advice}"
            )
        self.rule: Rule = rule
        prefix = f"{self.name}/"
        self._names = {
            name.removeprefix(prefix): name
            for name in call.weights
            if name.startswith(prefix) or name in own_names
        }

    def describe(
        self, *args: Any, output_shapes: Sequence[tuple] = (), **kwargs: Any
    ) -> Relation:
        """Returns the relation of the inner layer on some arguments.

        Args:
            *args: Positional call arguments, with `AxisTensor` leaves.
            output_shapes: Shape of each output, where the rule needs to know.
            **kwargs: Keyword call arguments.

        Returns:
            A `Relation` whose weights have the names of the outer layer and whose
            ``config`` is the inner layer as the outer settings must hold it.
        """
        call = RuleCall(
            self._outer.unifier,
            self.cls,
            f"{self._outer.name}/{self.name}",
            self.config,
            {name: self._outer.weights[path] for name, path in self._names.items()},
            args,
            kwargs,
            output_shapes,
            self._layer,
            self._outer.learn_activation,
            self._outer.learn_inner,
        )
        try:
            relation = self.rule(call)
        except KeyError as error:
            # A layer that is called directly, too, may have its weights elsewhere.
            raise Undescribed(f"'{call.name}' lacks the weight {error}") from error
        return dataclasses.replace(
            relation,
            weights={
                self._names[name]: with_initializer(axes, name, self.config)
                for name, axes in relation.weights.items()
                if name in self._names
            },
            config={
                **self._serialized,
                "config": {**self.config, **relation.config},
            },
        )

    def state_sizes(self) -> list[tuple[int, ...]]:
        """Returns the shape of each state of a cell, without the batch axis."""
        sizes = getattr(self._layer, "state_size", None)
        if sizes is None:
            raise Undescribed(f"the {self.cls.__name__} inside it has no states")
        entries = sizes if isinstance(sizes, (list, tuple)) else (sizes,)
        return [
            tuple(size) if isinstance(size, (list, tuple)) else (size,)
            for size in entries
        ]

    def output_shape(self, shape: tuple) -> tuple:
        """Returns the shape of the one output for an input of some shape."""
        try:
            layer = keras.saving.deserialize_keras_object(dict(self._serialized))
            return tuple(layer.compute_output_shape(shape))
        except Exception as error:
            raise Undescribed(
                f"the output shape of the {self.cls.__name__} inside it is unknown"
            ) from error


def _chain(call: RuleCall) -> Relation:
    """A sequential model inside a layer.

    Each of its layers that makes neurons, but for the last layer, has a further width
    of its name.
    """
    x = call.x
    known = {atom for axis in x.axes for atom in call.resolve(axis).atoms}
    entries: list[Any] = []
    relations: list[Relation] = []
    widths: dict[str, Expression] = {}
    for entry in call.setting("layers"):
        if entry["class_name"] == "InputLayer":
            entries.append(_resized_input(entry, x))
            continue
        inner = InnerLayer(call, entry)
        shape = inner.output_shape(x.shape)
        relation = inner.describe(x, output_shapes=[shape])
        if relation.outputs[0].shape[1:] != shape[1:]:
            raise Undescribed(f"'{inner.name}' inside it has the shape {shape}")
        x = relation.outputs[0]
        width = call.resolve(x.axes[x.channel])
        if not width.atoms <= known:
            widths[inner.name] = width
        known |= width.atoms
        widths.update({f"{inner.name}/{k}": v for k, v in relation.widths.items()})
        relations.append(relation)
        entries.append(relation.config)
        last = inner.name
    if not relations:
        raise Undescribed("the model inside it has no layers")
    widths.pop(last, None)
    config: dict[str, Any] = {"layers": entries}
    if call.config.get("build_input_shape"):
        config["build_input_shape"] = _shape(call.x)
    return Relation(
        outputs=(x,),
        weights={k: v for r in relations for k, v in r.weights.items()},
        config=config,
        widths=widths,
        equal=tuple(group for r in relations for group in r.equal),
        mixes=tuple(mixed for r in relations for mixed in r.mixes),
        partial=tuple(mixed for r in relations for mixed in r.partial),
        macs=tuple(axes for r in relations for axes in r.macs),
    )


def _resized_input(entry: Mapping[str, Any], x: AxisTensor) -> dict[str, Any]:
    """Returns a serialized input layer whose shape follows a tensor."""
    return {**entry, "config": {**entry["config"], "batch_shape": _shape(x)}}


def _shape(x: AxisTensor) -> tuple:
    return tuple(SizeOf(axis) if axis.atoms else axis.size for axis in x.axes)


def _is_model(cls: type) -> bool:
    return issubclass(cls, keras.Model)


def _check_serialized(serialized: Any) -> None:
    is_layer = isinstance(serialized, Mapping) and "class_name" in serialized
    if not is_layer or not isinstance(serialized.get("config"), Mapping):
        raise Undescribed("its settings do not hold the layer inside it")


def _class_of(serialized: Mapping[str, Any], layer: Any) -> type:
    """Returns the class of a serialized layer, which may be at hand."""
    if layer is not None:
        return type(layer)
    name = serialized["class_name"]
    if str(serialized.get("module")).split(".")[0] == "keras":
        cls = getattr(layers, name, None) or getattr(keras, name, None)
    else:
        registered = serialized.get("registered_name") or name
        cls = keras.saving.get_registered_object(registered)
    if not isinstance(cls, type):
        raise Undescribed(f"the {name} inside it cannot be looked up")
    return cls


def _find_layer(outer: Any, name: str) -> Any:
    """Returns the layer of this name among the attributes of another, or None."""
    for value in vars(outer).values() if outer is not None else ():
        for inner in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(inner, keras.Layer) and inner.name == name:
                return inner
    return None
