"""The command that evolves a network from a file of images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.cli.files import load_model, save_model
from keras_nas.errors import InvalidRequestError
from keras_nas.search.journal import plain


def evolve(options: argparse.Namespace) -> None:
    """Evolves a network, or goes on with the run in the folder."""
    import keras_nas as kn

    x, y = load_data(options.data)
    model = None
    if options.model is not None:
        model = load_model(options.model, unsafe=options.unsafe)
    evolver = kn.KerasEvolver(
        model,
        population_size=options.population,
        generations=options.generations,
        directory=options.output,
        seed=options.seed,
        verbose=1 if options.say.is_on and not options.json else 0,
    )
    result = evolver.fit(x, y, steps_per_generation=options.steps)
    target = Path(options.output) / "best.keras"
    save_model(evolver.best_model, target)
    if options.json:
        rows = list(result.leaderboard())
        values = plain({"best": str(target), "leaderboard": rows})
        print(json.dumps(values, indent=2))
    else:
        print(result.leaderboard())
        options.say.result(f"Written: {target}")


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
        # Objects inside of a file could be any code. numpy would leave a broken file
        # open, so it does not open it.
        with Path(name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
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
