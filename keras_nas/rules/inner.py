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

from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import Rule, find_rule
from keras_nas.rules.relation import INITIALIZER, Relation, Undescribed, WeightAxes


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

    def __init__(
        self, call: RuleCall, serialized: Any, own_names: Sequence[str] = ()
    ):
        self._outer = call
        self._serialized = serialized
        self.cls = _class_of(serialized)
        self.config: Mapping[str, Any] = serialized["config"]
        self.name = self.config.get("name", "")
        rule = find_rule(self.cls, is_operation=False)
        if rule is None:
            raise Undescribed(f"no rule describes the {self.cls.__name__} inside it")
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
        )
        relation = self.rule(call)
        return dataclasses.replace(
            relation,
            weights={
                self._names[name]: self._with_initializer(name, axes)
                for name, axes in relation.weights.items()
                if name in self._names
            },
            config={
                **self._serialized,
                "config": {**self.config, **relation.config},
            },
        )

    def _with_initializer(self, name: str, axes: WeightAxes) -> WeightAxes:
        """Says where new values come from: the outer settings do not know it."""
        if axes.new != INITIALIZER or axes.initializer is not None:
            return axes
        setting = f"{name.rsplit('/', 1)[-1]}_initializer"
        return dataclasses.replace(axes, initializer=self.config.get(setting))


def _class_of(serialized: Any) -> type:
    """Returns the class of a serialized layer."""
    if not isinstance(serialized, Mapping) or "class_name" not in serialized:
        raise Undescribed("its settings do not hold the layer inside it")
    name = serialized["class_name"]
    if str(serialized.get("module")).split(".")[0] == "keras":
        cls = getattr(layers, name, None)
    else:
        registered = serialized.get("registered_name") or name
        cls = keras.saving.get_registered_object(registered)
    if not isinstance(cls, type) or not isinstance(serialized.get("config"), Mapping):
        raise Undescribed(f"the {name} inside it cannot be looked up")
    return cls
