"""The command that evolves a network from a file of images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.cli.files import load_model
from keras_nas.errors import InvalidRequestError


def evolve(options: argparse.Namespace) -> None:
    """Evolves a network, or goes on with the run in the folder."""
    import keras_nas as kn

    x, y = load_data(options.data)
    model = None if options.model is None else load_model(options.model)
    evolver = kn.KerasEvolver(
        model,
        population_size=options.population,
        generations=options.generations,
        directory=options.output,
        seed=options.seed,
        verbose=0 if options.json else 1,
    )
    result = evolver.fit(x, y, steps_per_generation=options.steps)
    target = Path(options.output) / "best.keras"
    evolver.best_model.save(target)
    if options.json:
        rows = list(result.leaderboard())
        print(json.dumps({"best": str(target), "leaderboard": rows}, indent=2))
    else:
        print(result.leaderboard())
        print(f"Written: {target}")


def load_data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels.

    Args:
        name: ``"digits"`` for those of scikit-learn, or a file of numpy with arrays
            ``x`` and ``y``.

    Raises:
        InvalidRequestError: There is no such file, or it holds something else.
    """
    if name == "digits":
        return _digits()
    if not Path(name).is_file():
        raise InvalidRequestError(
            f"There is no file {name!r}.\n\nGive 'digits', or a file that was written "
            f"with numpy.savez('name.npz', x=images, y=labels). Received: {name!r}"
        )
    try:
        # Objects inside of a file could be any code.
        with np.load(name, allow_pickle=False) as arrays:
            return arrays["x"], arrays["y"]
    except Exception as error:
        raise InvalidRequestError(
            f"{name!r} does not hold images and labels: {error}\n\nWrite it with "
            f"numpy.savez('name.npz', x=images, y=labels). Received: {name!r}"
        ) from error


def _digits() -> tuple[Any, Any]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InvalidRequestError(
            "The digits come with scikit-learn, which is not there.\n\nInstall it: "
            "pip install scikit-learn. Received: 'digits'"
        ) from error
    digits = load_digits()
    return (digits.images / 16).astype("float32")[..., None], digits.target
