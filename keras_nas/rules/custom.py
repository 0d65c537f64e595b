"""Rules for the layers of users: `register_rule`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_nas.errors import RuleError
from keras_nas.rules.call import RuleCall
from keras_nas.rules.notation import Token, describe, parse
from keras_nas.rules.registry import Rule, forget_custom_rule, set_custom_rule
from keras_nas.rules.relation import (
    INITIALIZER,
    Relation,
    SizeOf,
    Undescribed,
    WeightAxes,
)

_PATTERN = re.compile(r"(\s*(\.\.\.|\*|[A-Za-z_]\w*|\d+|\(\s*\w+(\s+\w+)*\s*\)))*\s*")

# What new positions of a weight with this last name are, unless the layer has a
# setting for its initializer: they leave the values of other neurons as they are.
_USUAL_NEW = {
    "bias": 0.0,
    "beta": 0.0,
    "gamma": 1.0,
    "moving_mean": 0.0,
    "moving_variance": 1.0,
}

_STATE = "seed_generator_state"


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
    if callable(rule):
        _check_function(cls, rule, given)
        function = rule
    else:
        function = _Declared(
            cls, rule, channel, **{k: dict(v or {}) for k, v in given.items()}
        ).describe
    set_custom_rule(cls, lambda call: _checked(function, call))


@dataclasses.dataclass(frozen=True, eq=False)
class _Declared:
    """What a user declared, checked as far as it can be without a layer."""

    cls: type
    tensors: str
    channel: int
    weights: Mapping[str, str]
    config: Mapping[str, str]
    new: Mapping[str, float]
    reads: Mapping[str, str]
    mixes: Mapping[str, str]
    rescale: Mapping[str, tuple[str, float]]
    widths: Mapping[str, str]

    def __post_init__(self):
        if not isinstance(self.tensors, str) or self.tensors.count("->") != 1:
            raise _error(
                self.cls,
                f"the rule {self.tensors!r} has no arrow between inputs and outputs",
                'Write it as "... i -> ... o", or pass a function.',
            )
        for where, pattern in self._patterns():
            _check_pattern(self.cls, where, pattern)
        known = {name for _, p in self._patterns(with_widths=False) for name in _of(p)}
        used = {
            **{f"mixes[{name!r}]": name for name in self.mixes},
            **{f"rescale[{key!r}]": axis for key, (axis, _) in self.rescale.items()},
            **{
                f"widths[{key!r}]": name
                for key, pattern in self.widths.items()
                for name in _of(pattern)
            },
            **{
                f"reads[{key!r}]": name
                for key, pattern in self.reads.items()
                for name in _of(pattern)
            },
        }
        for where, name in used.items():
            if name not in known:
                raise _error(
                    self.cls,
                    f"{where} names the axis {name!r}, which no pattern has",
                    f"Use one of {sorted(known)}.",
                )
        for where in ("new", "reads", "rescale"):
            names = getattr(self, where)
            if not names.keys() <= self.weights.keys():
                odd = sorted(names.keys() - self.weights.keys())
                raise _error(
                    self.cls,
                    f"{where} names {odd}, which `weights` does not",
                    f"Use one of {sorted(self.weights)}.",
                )

    def describe(self, call: RuleCall) -> Relation:
        """The rule: translates names of weights, then describes the call."""
        self._check_settings(call)
        real = {name: _real_name(call, name) for name in self.weights}
        self._check_ranks(call, real)
        rescaled = {f"rescale {key}": axis for key, (axis, _) in self.rescale.items()}
        mixed = {f"mixes {name}": name for name in self.mixes}
        relation = describe(
            call,
            self.tensors,
            weights={real[key]: _joined(p) for key, p in self.weights.items()},
            config=self.config,
            widths={**self._widths(), **rescaled, **mixed},
            new={real[key]: self._new(call, key) for key in self.weights},
            channel=self.channel,
        )
        axes = relation.widths
        weights = dict(relation.weights)
        for key in self.weights:
            name = real[key]
            if name not in weights:
                continue
            found = weights[name]
            if key in self.rescale:
                power = self.rescale[key][1]
                scale = ((axes[f"rescale {key}"], power),)
                found = dataclasses.replace(found, rescale=scale)
            reads = self._reads(key, len(call.weights[name]))
            weights[name] = dataclasses.replace(found, reads=reads)
        return dataclasses.replace(
            relation,
            weights=weights,
            widths={
                name: axis
                for name, axis in axes.items()
                if name not in rescaled and name not in mixed
            },
            mixes=tuple(
                (axes[f"mixes {name}"], sentence)
                for name, sentence in self.mixes.items()
            ),
        )

    def _patterns(self, *, with_widths: bool = True) -> Iterator[tuple[str, str]]:
        for side in self.tensors.split("->"):
            for pattern in side.split(","):
                yield "the rule", pattern
        fields = ["weights", "config"] + ["widths", "reads"] * with_widths
        for field in fields:
            for key, pattern in getattr(self, field).items():
                yield f"{field}[{key!r}]", pattern

    def _check_settings(self, call: RuleCall) -> None:
        for key in self.config:
            if key not in call.config:
                raise _contradiction(
                    call,
                    f"the rule says that the setting {key!r} holds a size, but "
                    f"`get_config` does not return it (it has {sorted(call.config)})",
                )

    def _check_ranks(self, call: RuleCall, real: Mapping[str, str]) -> None:
        for key, pattern in self.weights.items():
            shape = call.weights.get(real[key])
            tokens = parse(_joined(pattern))
            if shape is None or len(_expanded(tokens, len(shape))) == len(shape):
                continue
            raise _contradiction(
                call,
                f"its weight '{real[key]}' has shape {tuple(shape)}, but the rule "
                f"gives it the axes {pattern!r}",
            )

    def _widths(self) -> dict[str, str]:
        """Settings that hold a width which is not the size of the layer."""
        inputs, outputs = self.tensors.split("->")
        last = parse(outputs.split(",")[0])[self.channel]
        main = last[0] if len(last) == 1 else None
        own = {
            key: pattern
            for key, pattern in self.config.items()
            if len(parse(pattern)[0]) == 1
            and parse(pattern)[0][0] != main
            and parse(pattern)[0][0] not in _of(inputs)
        }
        return {**own, **self.widths}

    def _new(self, call: RuleCall, key: str) -> float | str:
        if key in self.new:
            return self.new[key]
        last = key.rsplit("/", 1)[-1]
        if f"{last}_initializer" in call.config:
            return INITIALIZER
        return _USUAL_NEW.get(last, INITIALIZER)

    def _reads(self, key: str, rank: int) -> frozenset[int]:
        """Numbers of the axes along which a weight reads."""
        pattern = self.weights[key]
        tokens = _expanded(parse(_joined(pattern)), rank)
        if key in self.reads:
            read = _of(self.reads[key])
            return frozenset(n for n in _named(tokens) if read.intersection(tokens[n]))
        if "->" in pattern:
            made = len(parse(pattern.split("->")[1]))
            return frozenset(_named(tokens[: len(tokens) - made]))
        inputs, outputs = map(_of, self.tensors.split("->"))
        only_read = inputs - outputs
        if key.rsplit("/", 1)[-1] in _USUAL_NEW:
            return frozenset()
        places = list(_named(tokens))
        reading = [n for n in places if only_read.intersection(tokens[n])]
        return frozenset(reading or places[:-1])


def _checked(function: Rule, call: RuleCall) -> Relation:
    """Runs a rule and compares what it says with the layer."""
    try:
        relation = function(call)
    except (RuleError, Undescribed) as error:
        if isinstance(error, RuleError) or not _is_declared(function):
            raise
        raise _contradiction(call, str(error)) from error
    except Exception as error:
        raise _contradiction(call, f"{type(error).__name__}: {error}") from error
    if not isinstance(relation, Relation):
        raise _contradiction(
            call, f"the rule returned a {type(relation).__name__}, not a Relation"
        )
    _check_weights(call, relation.weights)
    _check_outputs(call, relation)
    for key, value in relation.config.items():
        size, real = getattr(value, "axis", None), call.config.get(key)
        if isinstance(value, SizeOf) and isinstance(real, int) and size.size != real:
            raise _contradiction(
                call,
                f"the setting {key!r} is {real}, but the axis that the rule gives it "
                f"has size {size.size}",
            )
    return relation


def _check_weights(call: RuleCall, weights: Mapping[str, WeightAxes]) -> None:
    if call.layer is not None and len(call.layer.variables) != len(call.weights):
        raise _contradiction(
            call, f"two of its weights have one name (it has {sorted(call.weights)})"
        )
    for name, shape in call.weights.items():
        if name in weights:
            described = weights[name].shape
            if described != tuple(shape):
                raise _contradiction(
                    call,
                    f"its weight '{name}' has shape {tuple(shape)}, but the rule gives "
                    f"it the shape {described}",
                )
        elif not name.endswith(_STATE):
            raise _contradiction(
                call,
                f"its weight '{name}' of shape {tuple(shape)} is not in the rule, "
                f"which names {sorted(weights)}",
            )


def _check_outputs(call: RuleCall, relation: Relation) -> None:
    shapes = [tensor.shape for tensor in relation.outputs]
    real = [tuple(shape) for shape in call.output_shapes]
    if [len(shape) for shape in shapes] == [len(shape) for shape in real]:
        pairs = (
            pair
            for left, right in zip(shapes, real, strict=True)
            for pair in zip(left, right, strict=True)
        )
        if all(None in (a, b) or a == b for a, b in pairs):
            return
    raise _contradiction(
        call, f"its outputs have shapes {real}, but the rule gives them {shapes}"
    )


def _real_name(call: RuleCall, name: str) -> str:
    """Returns the name of a weight whose path may go through attributes."""
    if name in call.weights or call.layer is None:
        return name
    found: list[tuple[Any, str]] = [(call.layer, "")]
    for step in name.split("/"):
        found = [
            (inner, prefix)
            for value, start in found
            for labels, inner, prefix in _inside(value, start)
            if step in labels
        ]
    names = (f"{prefix}{value.name}" for value, prefix in found if _is_weight(value))
    return next((known for known in names if known in call.weights), name)


def _inside(value: Any, prefix: str) -> Iterator[tuple[tuple, Any, str]]:
    """Yields ``(labels, thing, path of names)`` of all that a thing holds."""
    if isinstance(value, keras.Layer):
        items = list(vars(value).items())
        if isinstance(value, keras.Model):
            items.append(("layers", value.layers))
    elif isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        return
    for key, inner in items:
        if isinstance(inner, keras.Layer):
            yield (str(key), inner.name), inner, f"{prefix}{inner.name}/"
        elif _is_weight(inner):
            yield (str(key), inner.name), inner, prefix
        elif isinstance(inner, (dict, list, tuple)):
            yield (str(key),), inner, prefix
            if isinstance(value, keras.Layer):
                yield from _inside(inner, prefix)


def _is_weight(value: Any) -> bool:
    return isinstance(value, keras.Variable)


def _check_class(cls: Any) -> None:
    if not inspect.isclass(cls) or not issubclass(cls, keras.Layer):
        raise RuleError(
            "A rule is for a class of layers.\n\nPass the class itself, not its name "
            f"nor a layer of it. Received: cls={cls!r}"
        )


def _check_function(cls: type, rule: Callable, given: Mapping[str, Any]) -> None:
    extra = [name for name, value in given.items() if value]
    if extra:
        raise _error(
            cls,
            f"a function describes everything, but {extra} were given as well",
            "Leave them out, or pass a pattern instead of the function.",
        )


def _check_pattern(cls: type, where: str, pattern: Any) -> None:
    is_weight = where.startswith("weights")
    text = pattern.replace("->", " ", 1) if is_weight and _is_text(pattern) else pattern
    problem = None
    if not _is_text(text) or not _PATTERN.fullmatch(text):
        problem = "is no pattern of axes"
    elif sum(token in (("...",), ("*",)) for token in parse(text)) > 1:
        problem = "has more than one '...' or '*'"
    elif is_weight and "..." in text:
        problem = "has '...', which only tensors have"
    elif where.startswith(("config", "widths")) and len(parse(text)) != 1:
        problem = "is not one axis"
    elif where.startswith(("config", "widths")) and not _of(text):
        problem = "names no axis"
    if problem:
        raise _error(
            cls,
            f"{where} {problem}: {pattern!r}",
            "Write names of axes with spaces between them, such as "
            "'b * (heads key) 1'.",
        )


def _is_text(pattern: Any) -> bool:
    return isinstance(pattern, str)


def _of(pattern: str) -> set[str]:
    """Names of axes in a pattern."""
    tokens = parse(pattern.replace("->", " ").replace(",", " "))
    return {name for token in tokens for name in token if name.isidentifier()}


def _joined(pattern: str) -> str:
    return pattern.replace("->", " ")


def _expanded(tokens: tuple[Token, ...], rank: int) -> list[Token]:
    missing = rank - len(tokens)
    result: list[Token] = []
    for token in tokens:
        result += [token] * (missing + 1 if token == ("*",) else 1)
    return result


def _named(tokens: list[Token]) -> Iterator[int]:
    """Numbers of the tokens that name an axis."""
    for number, token in enumerate(tokens):
        if any(name.isidentifier() for name in token):
            yield number


def _is_declared(function: Rule) -> bool:
    return isinstance(getattr(function, "__self__", None), _Declared)


def _error(cls: type, problem: str, advice: str) -> RuleError:
    return RuleError(
        f"The rule for {cls.__name__} cannot be used: {problem}.\n\n{advice} "
        f"Received: cls={cls.__module__}.{cls.__qualname__}"
    )


def _contradiction(call: RuleCall, problem: str) -> RuleError:
    return RuleError(
        f"The rule for {call.cls.__name__} does not fit layer '{call.name}': "
        f"{problem}.\n\nCorrect it with another call of `keras_nas.register_rule`. "
        f"Received: weights={ {k: tuple(v) for k, v in call.weights.items()} }"
    )
