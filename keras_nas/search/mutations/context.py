"""What mutations respect: shields, importance and limits; and what they insert."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.numeric import is_whole
from keras_nas.search.spaces import Block


@dataclass(frozen=True)
class Context:
    """What all mutations of a run have in common.

    Attributes:
        shields: Names of vertices that stay bit for bit as they are, with what they
            read: paths (``"backbone/conv2"``), names, or patterns (``"block_1_*"``). A
            nested model stands for all that is inside it. Training may still change
            the weights, unless their layer is frozen in Keras.
        importance: What resizing and the choice of vertices call important: a name or
            criterion of `keras_nas.importance`, or a callable. None is the magnitude
            of the weights.
        space: The `Block` that new layers are sampled from; None fits one to the
            place.
        max_params: Mutations that would lead above this number of weights, or
            further above it, do nothing.
        max_vertices: Likewise for the number of vertices.

    Raises:
        InvalidRequestError: A limit below 1, a shield that is no text, or a space that
            is no block.

    Example:
        >>> from keras_nas.search.mutations import Context
        >>> Context(shields=("backbone", "head*"), max_params=10_000).shields
        ('backbone', 'head*')
    """

    shields: tuple[str, ...] = ()
    importance: Any = None
    space: Block | None = None
    max_params: int | None = None
    max_vertices: int | None = 300

    def __post_init__(self) -> None:
        shields: Any = self.shields
        is_listed = isinstance(shields, Iterable) and not isinstance(shields, str)
        shields = tuple(shields) if is_listed else (shields,)
        object.__setattr__(self, "shields", shields)
        if not all(isinstance(shield, str) for shield in shields):
            raise InvalidRequestError(
                "Shields are names of vertices or patterns such as 'block_*'.\n\nGive "
                f"texts. Received: shields={shields!r}"
            )
        for name in ("max_params", "max_vertices"):
            limit = getattr(self, name)
            if limit is not None and (not is_whole(limit) or limit < 1):
                raise InvalidRequestError(
                    f"The limit '{name}' has to be a whole number of at least 1.\n\n"
                    f"Give one, or None for no limit. Received: {name}={limit!r}"
                )
        if self.space is not None and not isinstance(self.space, Block):
            raise InvalidRequestError(
                f"New layers are sampled from a block, not from a "
                f"{type(self.space).__name__}.\n\nGive a block of "
                f"keras_nas.search.spaces. Received: space={self.space!r}"
            )

    def is_shielded(self, path: str) -> bool:
        """Whether a vertex must not change."""
        if not self.shields:
            return False
        words = re.sub(r"\^\d+", "", path).split("/")
        names = {*words, *("/".join(words[: n + 1]) for n in range(len(words)))}
        return any(
            fnmatch.fnmatchcase(name, shield)
            for shield in self.shields
            for name in names
        )
