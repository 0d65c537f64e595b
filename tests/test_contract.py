"""Every model of the zoo keeps the contract, and every rule has a model."""

from __future__ import annotations

import keras
import models_attention
import models_of_images
import models_of_operations
import models_recurrent
import pytest
from contract import check_model
from models import IS_OLD, ZOO, build, random_inputs

import keras_nas as kn
from keras_nas.rules import find_rule, known_classes, known_operations

# These modules add their models to the zoo when they are imported.
PARTS_OF_THE_ZOO = (
    models_attention,
    models_of_images,
    models_of_operations,
    models_recurrent,
)


@pytest.mark.parametrize("name", ZOO)
def test_contract_holds_for_model(name):
    model = build(name)
    entry = ZOO[name]
    check_model(model, random_inputs(model), trains=entry.trains, runs=entry.runs_here)


if not IS_OLD:

    def test_every_rule_is_in_the_zoo_and_nothing_there_is_without():
        used, operations = set(), set()
        for name in ZOO:
            for cls, is_operation in classes_of(name):
                assert find_rule(cls, is_operation=is_operation), (name, cls)
                (operations if is_operation else used).add(cls)
        names = [f"{cls.__module__}.{cls.__name__}" for cls in used]
        missing = [
            known
            for known in known_classes()
            if known not in used and not any(name.endswith(str(known)) for name in names)
        ]
        assert not missing
        made = {cls.__name__ for cls in operations}
        # Functions that only some versions of Keras have, or that make another operation.
        assert set(known_operations()) - made <= {"Abs", "Conj", "BitwiseNot"}


def test_zoo_makes_each_model_anew():
    first, second = (ZOO["dense"].make() for _ in range(2))
    assert isinstance(first, keras.Model) and first is not second


def classes_of(name: str) -> set[tuple[type, bool]]:
    """Returns the classes in a model of the zoo, and whether each is an operation."""
    parts = kn.Graph.from_model(ZOO[name].make()).parts.values()
    return {(part.cls, part.is_operation) for part in parts}
