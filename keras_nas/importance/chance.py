"""Random importance: what every criterion has to beat."""

from __future__ import annotations

import zlib
from collections.abc import Collection

import numpy as np

from keras_nas.axes import Atom
from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Graph
from keras_nas.importance.combining import Values
from keras_nas.importance.criterion import Criterion
from keras_nas.numeric import is_whole


class Random(Criterion):
    """Uniform numbers in [0, 1): the same for the same seed and the same network.

    Args:
        seed: A whole number, at least 0.

    Raises:
        InvalidRequestError: The seed is no whole number, or negative.

    Source: Blalock 2020, "What is the state of neural network pruning?", MLSys (arXiv
    2003.03033): report random pruning next to any other.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((1,)),
        ...     keras.layers.Dense(3, name="a"),
        ...     keras.layers.Dense(1),
        ... ])
        >>> chance = kn.importance.Random(seed=1)
        >>> kn.plan(model, "a", 2, importance=chance).sizes["a"]
        2
    """

    def __init__(self, seed: int = 0):
        if not is_whole(seed) or seed < 0:
            raise InvalidRequestError(
                "The seed must be a whole number, at least 0.\n\nGive an int. "
                f"Received: seed={seed!r}"
            )
        self.seed: int = int(seed)

    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """See `Criterion.utilities`."""
        return {
            atom: np.zeros(atom.size) if atom.is_filler else self._draw(atom)
            for atom in atoms
        }

    def _draw(self, atom: Atom) -> np.ndarray:
        """Draws by what an atom is called, whichever others are asked about."""
        name = zlib.crc32(atom.label.encode())
        return np.random.default_rng((self.seed, name, atom.serial)).random(atom.size)
