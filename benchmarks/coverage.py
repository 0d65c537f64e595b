"""Writes `benchmarks/results/coverage.md`: what keras_nas supports, found by trying.

Run it after a new rule, or with a new version of Keras::

    python benchmarks/coverage.py
"""

from __future__ import annotations

from pathlib import Path

from keras_nas.graph.coverage import coverage_table

PAGE = Path(__file__).parent / "results" / "coverage.md"

if __name__ == "__main__":
    PAGE.write_text(coverage_table(), encoding="utf-8")
    print(PAGE)
