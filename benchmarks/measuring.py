"""Time, memory and the Markdown tables that results are written to."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
# Two-sided 95 % quantiles of Student's t for 2, 3, ..., 10 values.
_STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


def fastest(*functions: Callable[[], Any], times: int = 2) -> tuple[float, ...]:
    """Returns the shortest time of some calls of each function, called in turns."""
    spent = [[_seconds_once(f) for f in functions] for _ in range(times)]
    return tuple(map(min, zip(*spent, strict=True)))


def _seconds_once(function: Callable[[], Any]) -> float:
    gc.collect()
    start = time.perf_counter()
    result = function()
    end = time.perf_counter()
    del result
    return end - start


@contextlib.contextmanager
def timed(module: Any, name: str, spent: list[float]) -> Iterator[None]:
    """Notes the processor seconds of every call of a function of a module.

    As in `timeit`, no garbage is collected meanwhile: beside what TensorFlow holds, one
    collection takes longer than most of these calls.
    """
    function = getattr(module, name)

    def timed_function(*args: Any, **kwargs: Any) -> Any:
        gc.disable()
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(time.process_time() - start)
            gc.enable()

    setattr(module, name, timed_function)
    try:
        yield
    finally:
        setattr(module, name, function)


def peak_bytes(function: Callable[[], Any]) -> int:
    """Returns by how much the memory of the process grows while a function runs.

    What the function returns counts; what was there before does not. Linux only.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    result = function()
    after = _status_bytes("VmHWM")
    del result
    return after - before


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def weight_bytes(model: Any) -> int:
    """Returns the size of all weights of a model."""
    return sum(
        int(variable.numpy().nbytes) if not variable.shape else _num_bytes(variable)
        for variable in model.weights
    )


def _num_bytes(variable: Any) -> int:
    count = 1
    for size in variable.shape:
        count *= size
    return count * {"float64": 8, "int64": 8, "float16": 2, "bfloat16": 2}.get(
        variable.dtype, 4
    )


def header(title: str, command: str, text: str) -> str:
    """Returns the head of a result file: what, by which command, with what."""
    import keras
    import tensorflow

    return (
        f"# {title}\n\n{text}\n\n"
        f"    {command}\n\n"
        f"Python {platform.python_version()}, Keras {keras.__version__}, "
        f"TensorFlow {tensorflow.__version__} ({_num_cores()} CPU cores).\n"
    )


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


def row(cells: Iterable[Any]) -> str:
    """Returns one row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Returns a Markdown table with its first column to the left."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join([row(columns), row(rule), *map(row, rows)]) + "\n"


def mean_and_interval(values: Sequence[float]) -> str:
    """Returns the mean and the half width of its 95 % confidence interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.1f} ± {_STUDENT[len(values)] * error:.1f}"
