"""What every search refuses before it begins, whoever builds it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_finite, is_whole
from keras_nas.search.executors import as_runner
from keras_nas.search.objectives import check_limits
from keras_nas.search.strategies.base import check_count


def check_settings(
    *,
    workers: int,
    executor: Any,
    constraints: Mapping[str, float] | None,
    time_limit_s: float | None,
    smoothing: float,
    finalists: int,
    final_repeats: int,
    keep: int,
    recycle: int = 25,
    max_draws: int = 100,
) -> None:
    """Refuses what no search can be run with; see `Search` for the meanings.

    Raises:
        InvalidRequestError: Something is no count, no time, or out of its range.
    """
    check_count("finalists", finalists, 0)
    check_count("final_repeats", final_repeats, 1)
    check_count("keep", keep, 0)
    check_count("recycle", recycle, 1)
    check_count("max_draws", max_draws, 1)
    as_runner(executor, workers, recycle)
    if constraints is not None and not isinstance(constraints, Mapping):
        raise InvalidRequestError(
            f"{constraints!r:.60} are no limits.\n\nGive a dict such as "
            f"{{'params': 100_000}}. Received: constraints={constraints!r:.60}"
        )
    check_limits(constraints)
    if time_limit_s is not None and not (is_finite(time_limit_s) and time_limit_s > 0):
        raise InvalidRequestError(
            f"A candidate cannot take {time_limit_s!r} seconds.\n\nGive a positive "
            f"number, or None for no limit. Received: time_limit_s={time_limit_s!r}"
        )
    if not (is_finite(smoothing) and 0 <= smoothing < 1):
        raise InvalidRequestError(
            f"{smoothing!r} of the old score cannot stay.\n\nGive a number from 0 "
            f"to below 1. Received: smoothing={smoothing!r}"
        )


def check_seed(seed: Any) -> int:
    """Returns a seed.

    Raises:
        InvalidRequestError: It is none.
    """
    if not is_whole(seed) or seed < 0:
        raise InvalidRequestError(
            f"{seed!r} is no seed.\n\nGive a whole number of at least 0. Received: "
            f"seed={seed!r}"
        )
    return int(seed)


def as_path(directory: Any) -> Path:
    """Returns the path of a directory.

    Raises:
        InvalidRequestError: It is none.
    """
    try:
        return Path(directory)
    except TypeError as error:
        raise InvalidRequestError(
            f"{directory!r:.60} is no directory.\n\nGive its name. Received: "
            f"directory={directory!r:.60}"
        ) from error


def check_directory(directory: Any) -> Path | None:
    """Returns where a run is to lie; None if nobody has said it.

    Raises:
        InvalidRequestError: It is no path, or that of a file.
    """
    if directory is None:
        return None
    path = as_path(directory)
    if path.exists() and not path.is_dir():
        raise InvalidRequestError(
            f"'{path}' is a file, and no directory.\n\nGive a new or empty directory, "
            f"or that of an earlier run. Received: directory={str(directory)!r}"
        )
    return path
