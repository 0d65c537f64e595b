"""Every model of the zoo keeps the contract, and every rule has a model."""

from __future__ import annotations

import keras
import pytest
from contract import check_model
from models import ZOO, build, random_inputs

from keras_nas.graph import Graph
from keras_nas.rules import find_rule, known_classes


@pytest.mark.parametrize("name", ZOO)
def test_contract_holds_for_model(name):
    model = build(name)
    check_model(model, random_inputs(model), trains=ZOO[name].trains)


def test_every_layer_with_a_rule_is_in_the_zoo():
    parts = [p for n in ZOO for p in Graph.from_model(build(n)).parts.values()]
    used = {part.cls for part in parts if not part.is_operation}
    names = {f"{cls.__module__}.{cls.__name__}" for cls in used}
    missing = [
        known
        for known in known_classes()
        if known not in used and not any(name.endswith(str(known)) for name in names)
    ]
    assert not missing


def test_no_model_of_the_zoo_has_a_layer_without_a_rule():
    for name in ZOO:
        for part in Graph.from_model(build(name)).parts.values():
            assert find_rule(part.cls, is_operation=part.is_operation), (name, part.key)


def test_zoo_makes_each_model_anew():
    first, second = (ZOO["dense"].make() for _ in range(2))
    assert isinstance(first, keras.Model) and first is not second
