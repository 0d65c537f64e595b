"""The comparison with other packages: its own net in Keras, and its page."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import keras_nas as kn

ROOT = Path(__file__).parents[1]


@pytest.fixture
def peers(monkeypatch):
    """Imports a module of ``benchmarks/peers``, wherever pytest was started."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: import_module(f"benchmarks.peers.{name}")


def run(seconds: float, left: float, **more) -> dict:
    spent = {"analyse": seconds, "plan": 0.0, "cut": 0.0}
    costs = {"wall": spent, "cpu": spent, "peak_mb": 10 * seconds, "params": 7}
    return {**costs, "left": left, "steps": 3, **more}


def test_vision_transformer_loses_half_of_its_operations(peers):
    make = peers("keras_nets").vision_transformer
    model = make(image=8, patch=4, width=12, depth=1, heads=2, classes=3)
    block = 4 * (12 * 12 + 12) + (12 * 48 + 48) + (48 * 12 + 12) + 2 * 24
    others = (4 * 4 * 3 * 12 + 12) + 12 + 5 * 12 + 24 + (12 * 3 + 3)
    assert model.count_params() == block + others
    before = kn.count(model).flops
    small = kn.prune(model, flops=0.5)
    assert 0.45 * before < kn.count(small).flops <= 0.5 * before
    image = np.zeros((2, 8, 8, 3), "float32")
    assert small(image).shape == (2, 3)


def test_vision_transformer_is_exact_where_its_stream_stays(peers):
    make = peers("keras_nets").vision_transformer
    model = make(image=8, patch=4, width=12, depth=1, heads=2, classes=3)
    plan = kn.plan_prune(model, sparsity=0.4, ignore=("patches",))
    assert plan.exact and not plan.is_empty
    assert plan.sizes["patches"] == 12
    assert kn.verify(model, plan)


def test_page_tells_who_needs_less_and_who_missed_the_budget(peers):
    found = {
        "ratio": {
            "ResNet50": {"torch": run(1.0, 0.6), "keras": run(2.5, 0.45)},
            "DenseNet201": {"torch": run(30.0, 0.6), "keras": run(3.0, 0.45)},
        },
        "budget": {
            "ResNet50": {"torch": run(9.0, 0.49), "keras": run(3.0, 0.4999)},
            "DenseNet201": {
                "torch": run(90.0, 0.8, stopped_s=90.0),
                "keras": {"error": "MemoryError"},
            },
        },
    }
    page = peers("report").page(found)
    assert "Less processor time with Torch-Pruning: ResNet50 (2.5 times)." in page
    assert "Less processor time with keras_nas: DenseNet201 (10.0 times)." in page
    assert "| 49.00% | 2.00% |" in page
    assert "| 49.99% | 0.02% |" in page
    assert "| 80.00% | stopped |" in page
    assert "stopped after 90 s of the processor" in page
    assert "| DenseNet201 | keras_nas | MemoryError |" in page


def test_verdicts_name_what_went_wrong(peers):
    verdict = peers("report").verdict
    good = {"removed": 0.3, "difference": 2e-16, "ties": True}
    assert verdict(good) == "equal (2e-16)"
    assert verdict(good | {"difference": 0.2}) == "**wrong numbers**: off by 2e-01"
    assert "the tie is broken" in verdict(good | {"ties": False})
    assert verdict(good | {"difference": None}) == "the outputs have another shape"
    assert verdict(good | {"removed": 0.0}) == "refuses: nothing removed"
    assert verdict({"timeout_s": 60}).startswith("never ends: stopped after 60 s")
    assert verdict({"run_error": "ValueError: 3 | 4"}).endswith("ValueError: 3 \\| 4")
    assert verdict(good | {"difference": 0.2}, may_differ=True).endswith("as it must")
    assert verdict(good, may_differ=True) == "equal (2e-16)"
    assert verdict(None) == "not measured"
