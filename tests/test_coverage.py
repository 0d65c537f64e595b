"""The page of what is supported is current, and holds what was promised."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import pytest
from models import IS_OLD

from keras_nas.graph.coverage import coverage_table

PAGE = Path(__file__).parents[1] / "benchmarks" / "results" / "coverage.md"
_ROW = re.compile(r"^\| `(.+?)` \| (.+?) \| (.*?) ?\|$", re.MULTILINE)

# Layers that have a width and yet must keep it, each with a good reason.
FROZEN_ON_PURPOSE = re.compile(
    "vocabulary|colours|outside Keras|several layers|spectrum|cannot record|Python"
)


def rows(page: str) -> dict[str, tuple[str, str]]:
    """Name -> support and note."""
    return {name: (status, note) for name, status, note in _ROW.findall(page)}


def minor(page: str) -> str:
    """Keras version that a page was made with, without the last part."""
    return re.search(r"with Keras (\d+\.\d+)", page)[1]


@pytest.fixture(scope="module")
def current() -> str:
    return coverage_table()


def test_page_is_current_for_this_version_of_keras(current):
    page = PAGE.read_text(encoding="utf-8")
    made, known = rows(current), rows(page)
    if minor(page) == ".".join(keras.__version__.split(".")[:2]):
        assert made == known, "run benchmarks/coverage.py"
    else:
        lost = {
            name
            for name in made.keys() & known.keys()
            if made[name][0] == "frozen" and known[name][0] not in ("frozen", "no probe")
        }
        assert lost == set(), "no longer described"


def test_no_layer_is_frozen_without_a_good_reason(current):
    odd = {
        name: note
        for name, (status, note) in rows(current).items()
        if not name.startswith("ops.")
        and status != "resizable"
        and status != "passes"
        and not FROZEN_ON_PURPOSE.search(note)
    }
    assert odd == {}


KNOWN = [
    ("Dense", "resizable", "`units`"),
    ("Conv2D", "resizable", "`filters`"),
    ("SeparableConv2D", "resizable", "`filters`, `depth_multiplier`"),
    ("LayerNormalization", "passes", ""),
    ("StringLookup", "frozen", "vocabulary"),
    ("ops.concatenate", "passes", ""),
    ("ops.sort", "passes", "all axes but the last"),
]
if not IS_OLD:
    KNOWN.append(("ops.while_loop", "frozen", "Python function"))


@pytest.mark.parametrize(("name", "status", "note"), KNOWN)
def test_page_says_what_is_known(current, name, status, note):
    found = rows(current)[name]
    assert found[0] == status and note in found[1]
