"""Compares a search on a real local Ray with one in this process; run by hand.

    pip install ray && PYTHONPATH=.:tests/search python benchmarks/ray_check.py

No test of its own: Ray is no dependency of the tests.
"""

from __future__ import annotations

import tempfile

import ray
from search_fakes import TextBreeder, TextEvaluator, comparable

from keras_nas.search import (
    Budget,
    FutureRunner,
    GeneticAlgorithm,
    RayExecutor,
    Search,
)


def run(executor=None):
    """Three generations of an evolution that inherits weights."""
    return Search(
        TextBreeder(),
        GeneticAlgorithm(6, elites=1),
        TextEvaluator(),
        budget=Budget(generations=3),
        directory=tempfile.mkdtemp(),
        executor=executor,
    ).run()


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    remote = run(FutureRunner(RayExecutor({"num_cpus": 1}), workers=2))
    assert comparable(remote.trials) == comparable(run().trials)
    print(f"{len(remote.trials)} trials are the same with Ray {ray.__version__}.")
    ray.shutdown()
