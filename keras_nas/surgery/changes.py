"""What a plan changes, layer by layer, for its table and its diagram."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Change:
    """One width that loses or gains neurons.

    Attributes:
        path: The vertex.
        further: Name of a further width, None for the main one.
        kept: Number of neurons that stay.
        dropped: Number of those that go.
        added: Number of new ones.
    """

    path: str
    further: str | None
    kept: int
    dropped: int
    added: int

    @property
    def name(self) -> str:
        """As a reader sees it."""
        return f"{self.path} ({self.further})" if self.further else self.path


def changes_of(
    keep: Mapping[Any, np.ndarray], old_sizes: Mapping[Any, int]
) -> Iterator[Change]:
    """Yields the widths that a plan changes, in its order.

    Args:
        keep: ``plan.keep``.
        old_sizes: ``plan.old_sizes``.
    """
    for key, index in keep.items():
        old = old_sizes[key]
        if np.array_equal(index, np.arange(old)):
            continue
        path, further = key if isinstance(key, tuple) else (key, None)
        added = int((index < 0).sum())
        kept = len(index) - added
        yield Change(path, further, kept, old - kept, added)
