"""One seed fixes everything: every draw has its own generator, named by its purpose.

A generator is never passed on from one draw to the next. What is drawn for trial 17
depends on the seed and on 17, and not on what was drawn before, so that a resumed run,
and one with more workers, draws the same.
"""

from __future__ import annotations

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """What a draw is for. The numbers are part of what a seed means: they stay."""

    ASK = 0
    BREED = 1
    TRAIN = 2
    BATCHES = 3
    SPLIT = 4
    FINAL = 5


def generator(seed: int, purpose: Purpose, *numbers: int) -> np.random.Generator:
    """Returns the generator of one event.

    Args:
        seed: The seed of the run; 0 is a seed like any other.
        purpose: What is drawn.
        numbers: Which event it is: the number of a trial, of a round.

    Example:
        >>> one = int(generator(0, Purpose.ASK, 3).integers(1000))
        >>> one == int(generator(0, Purpose.ASK, 3).integers(1000))
        True
    """
    return np.random.default_rng([int(seed), int(purpose), *map(int, numbers)])


def training_seed(seed: int, trial: int, repeat: int = 0) -> int:
    """Returns the seed for `keras.utils.set_random_seed` before one training."""
    drawn = generator(seed, Purpose.TRAIN, trial, repeat).integers(2**31 - 1)
    return int(drawn)
