"""Hundreds of random edits on one graph: everything holds together all the way."""

import keras
import pytest
from random_edits import chain_of_edits, network


@pytest.mark.parametrize("seed", range(3))
def test_a_network_survives_two_hundred_random_edits(seed):
    keras.backend.clear_session()
    record = chain_of_edits(network(seed), 200, seed)
    assert record.done.total() == 200
    assert record.checked == 20
    assert record.unchanged > 0
    # Refusing everything would survive, too.
    assert record.refused.total() < 2 * record.done.total()
    assert set(record.done) == {
        "connect",
        "disconnect",
        "insert",
        "insert identity",
        "prune",
        "remove",
        "remove block",
        "replace",
        "resize",
    }
