"""A rule that a user declares in patterns of axes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from keras_nas.errors import RuleError
from keras_nas.rules.call import RuleCall
from keras_nas.rules.contradictions import contradiction
from keras_nas.rules.notation import Token, describe, parse
from keras_nas.rules.relation import INITIALIZER, Relation
from keras_nas.rules.weight_paths import real_name

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


@dataclasses.dataclass(frozen=True, eq=False)
class DeclaredRule:
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

    def __post_init__(self) -> None:
        if not isinstance(self.tensors, str) or self.tensors.count("->") != 1:
            raise rule_error(
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
                raise rule_error(
                    self.cls,
                    f"{where} names the axis {name!r}, which no pattern has",
                    f"Use one of {sorted(known)}.",
                )
        for where in ("new", "reads", "rescale"):
            names = getattr(self, where)
            if not names.keys() <= self.weights.keys():
                odd = sorted(names.keys() - self.weights.keys())
                raise rule_error(
                    self.cls,
                    f"{where} names {odd}, which `weights` does not",
                    f"Use one of {sorted(self.weights)}.",
                )

    def describe(self, call: RuleCall) -> Relation:
        """The rule: translates names of weights, then describes the call."""
        self._check_settings(call)
        real = {name: real_name(call, name) for name in self.weights}
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
            kernels=tuple(
                name
                for key, name in real.items()
                if name in call.weights and self._reads(key, len(call.weights[name]))
            ),
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
                raise contradiction(
                    call,
                    f"the rule says that the setting {key!r} holds a size, but "
                    f"`get_config` does not return it (it has {sorted(call.config)})",
                )

    def _check_ranks(self, call: RuleCall, real: Mapping[str, str]) -> None:
        for key, pattern in self.weights.items():
            shape = call.weights.get(real[key])
            tokens = parse(_joined(pattern))
            if shape is None or _fits(tokens, shape):
                continue
            raise contradiction(
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
        raise rule_error(
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


def _fits(tokens: tuple[Token, ...], shape: tuple[int, ...]) -> bool:
    """Whether a pattern has as many axes as a shape, and its numbers stand there."""
    expanded = _expanded(tokens, len(shape))
    return len(expanded) == len(shape) and all(
        not (len(token) == 1 and token[0].isdigit()) or int(token[0]) == size
        for token, size in zip(expanded, shape, strict=True)
    )


def _named(tokens: list[Token]) -> Iterator[int]:
    """Numbers of the tokens that name an axis."""
    for number, token in enumerate(tokens):
        if any(name.isidentifier() for name in token):
            yield number


def rule_error(cls: type, problem: str, advice: str) -> RuleError:
    """Returns the error that says what is wrong with a rule as it is written."""
    return RuleError(
        f"The rule for {cls.__name__} cannot be used: {problem}.\n\n{advice} "
        f"Received: cls={cls.__module__}.{cls.__qualname__}"
    )
