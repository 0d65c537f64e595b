"""Blocks made of blocks: choice, series, repetition, fork and residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.search.spaces.blocks import Accept, Block
from keras_nas.search.spaces.blueprints import Blueprint, fork, residual, series
from keras_nas.search.spaces.choosing import Scope
from keras_nas.search.spaces.grids import Grid


class Choice(Block):
    """One of several blocks.

    Args:
        *blocks: The candidates.
        **named: Candidates with a name that stands in the architecture; the others
            are known by their number.

    Raises:
        InvalidRequestError: There is no candidate, or one is no block.

    Example:
        >>> from keras_nas.search.spaces import Choice, LayerSpace, Nothing
        >>> pool = LayerSpace("MaxPooling2D", pool_size=2)
        >>> Choice(pool=pool, skip=Nothing()).outcomes((8, 8))
        {(4, 4): 1, (8, 8): 1}
    """

    def __init__(self, *blocks: Block, **named: Block):
        self.blocks = {**{str(n): b for n, b in enumerate(blocks)}, **named}
        _check_blocks("Choice", list(self.blocks.values()), least=1)

    def count(self, grid: Grid) -> Mapping[Grid, int]:
        """See `Block.count`."""
        found: dict[Grid, int] = {}
        for block in self.blocks.values():
            _add(found, block.outcomes(grid))
        return found

    def decide(
        self, scope: Scope, grid: Grid, accept: Accept
    ) -> tuple[Blueprint, Grid]:
        """See `Block.decide`."""
        possible = [n for n, b in self.blocks.items() if b.leads(grid, accept)]
        taken = scope.choose("kind", possible)
        # Its decisions are others than those of the other candidates.
        return self.blocks[taken].decide(scope.inside(taken), grid, accept)

    def __repr__(self) -> str:
        shown = (
            repr(block) if name.isdigit() else f"{name}={block!r}"
            for name, block in self.blocks.items()
        )
        return f"Choice({', '.join(shown)})"


class Series(Block):
    """Blocks one after the other.

    Args:
        *blocks: The blocks.
        **named: Blocks with a name that stands in the architecture and in the names of
            layers; the others are known by their number.

    Raises:
        InvalidRequestError: Something is no block.
    """

    def __init__(self, *blocks: Block, **named: Block):
        self.blocks = {**{str(n): b for n, b in enumerate(blocks)}, **named}
        _check_blocks("Series", list(self.blocks.values()))

    def count(self, grid: Grid) -> Mapping[Grid, int]:
        """See `Block.count`."""
        return _outcomes_in_turn(list(self.blocks.values()), grid)

    def decide(
        self, scope: Scope, grid: Grid, accept: Accept
    ) -> tuple[Blueprint, Grid]:
        """See `Block.decide`."""
        return _decide_in_turn(self.blocks, scope, grid, accept)

    def __repr__(self) -> str:
        shown = (
            repr(block) if name.isdigit() else f"{name}={block!r}"
            for name, block in self.blocks.items()
        )
        return f"Series({', '.join(shown)})"


class Repeat(Block):
    """A block several times, decided anew each time.

    Args:
        block: The block.
        times: Numbers of repetitions to choose from; 0 leaves it out.

    Raises:
        InvalidRequestError: It is no block, or there are no such numbers.

    Example:
        >>> from keras_nas.search.spaces import LayerSpace, Repeat
        >>> dense = LayerSpace("Dense", units=(8, 16))
        >>> Repeat(dense, (0, 1, 2)).outcomes(())
        {(): 7}
    """

    def __init__(self, block: Block, times: Sequence[int]):
        _check_blocks("Repeat", [block])
        self.block = block
        self.times = _counts("times", times, least=0)

    def count(self, grid: Grid) -> Mapping[Grid, int]:
        """See `Block.count`."""
        found: dict[Grid, int] = {}
        for number in self.times:
            _add(found, _outcomes_in_turn([self.block] * number, grid))
        return found

    def decide(
        self, scope: Scope, grid: Grid, accept: Accept
    ) -> tuple[Blueprint, Grid]:
        """See `Block.decide`."""
        possible = [
            number
            for number in self.times
            if any(map(accept, _outcomes_in_turn([self.block] * number, grid)))
        ]
        number = scope.choose("times", possible)
        blocks = {str(n): self.block for n in range(number)}
        return _decide_in_turn(blocks, scope, grid, accept)

    def __repr__(self) -> str:
        return f"Repeat({self.block!r}, {self.times})"


class Fork(Block):
    """Paths of the same kind side by side, concatenated; they keep the grid.

    Args:
        block: One path.
        paths: Numbers of paths to choose from.

    Raises:
        InvalidRequestError: It is no block, or there are no such numbers.
    """

    def __init__(self, block: Block, paths: Sequence[int]):
        _check_blocks("Fork", [block])
        self.block = block
        self.paths = _counts("paths", paths, least=1)

    def count(self, grid: Grid) -> Mapping[Grid, int]:
        """See `Block.count`."""
        ways = self.block.outcomes(grid).get(grid, 0)
        total = sum(ways**number for number in self.paths)
        return {grid: total} if total else {}

    def decide(
        self, scope: Scope, grid: Grid, accept: Accept
    ) -> tuple[Blueprint, Grid]:
        """See `Block.decide`."""
        number = scope.choose("paths", list(self.paths))
        paths = []
        for path in range(number):
            inside = scope.inside(f"path{path}")
            paths.append(self.block.decide(inside, grid, lambda end: end == grid)[0])
        return fork(paths, scope.layer_name("fork")), grid

    def __repr__(self) -> str:
        return f"Fork({self.block!r}, {self.paths})"


class Residual(Block):
    """A block that keeps the grid, added to its own input.

    Where it gives another width, the input is projected by a kernel of size 1.

    Args:
        block: The block.

    Raises:
        InvalidRequestError: It is no block.
    """

    def __init__(self, block: Block):
        _check_blocks("Residual", [block])
        self.block = block

    def count(self, grid: Grid) -> Mapping[Grid, int]:
        """See `Block.count`."""
        ways = self.block.outcomes(grid).get(grid, 0)
        return {grid: ways} if ways else {}

    def decide(
        self, scope: Scope, grid: Grid, accept: Accept
    ) -> tuple[Blueprint, Grid]:
        """See `Block.decide`."""
        inner, _ = self.block.decide(scope, grid, lambda end: end == grid)
        return residual(inner, scope.layer_name("residual")), grid

    def __repr__(self) -> str:
        return f"Residual({self.block!r})"


def _outcomes_in_turn(blocks: Sequence[Block], grid: Grid) -> dict[Grid, int]:
    found = {grid: 1}
    for block in blocks:
        following: dict[Grid, int] = {}
        for start, ways in found.items():
            _add(following, block.outcomes(start), ways)
        found = following
    return found


def _decide_in_turn(
    blocks: Mapping[str, Block], scope: Scope, grid: Grid, accept: Accept
) -> tuple[Blueprint, Grid]:
    parts, rest = [], list(blocks.values())
    for name, block in blocks.items():
        rest = rest[1:]

        def goes_on(end: Grid, rest: list[Block] = rest) -> bool:
            return any(map(accept, _outcomes_in_turn(rest, end)))

        part, grid = block.decide(scope.inside(name), grid, goes_on)
        parts.append(part)
    return series(parts), grid


def _add(found: dict[Grid, int], more: Mapping[Grid, int], factor: int = 1) -> None:
    for grid, ways in more.items():
        if ways:
            found[grid] = found.get(grid, 0) + factor * ways


def _check_blocks(kind: str, blocks: Sequence[Any], least: int = 0) -> None:
    for block in blocks:
        if not isinstance(block, Block):
            raise InvalidRequestError(
                f"A {kind} is made of blocks, not of a {type(block).__name__}.\n\nGive "
                "a LayerSpace, a Choice, a Series, a Repeat, a Fork, a Residual or "
                f"Nothing. Received: {block!r}"
            )
    if len(blocks) < least:
        raise InvalidRequestError(
            f"A {kind} needs at least {least} block.\n\nGive one or more. "
            f"Received: {list(blocks)!r}"
        )


def _counts(name: str, numbers: Any, least: int) -> tuple[int, ...]:
    listed = tuple(numbers) if isinstance(numbers, (tuple, list, range)) else ()
    if not listed or any(type(n) is not int or n < least for n in listed):
        raise InvalidRequestError(
            f"'{name}' has to list whole numbers of at least {least}.\n\nGive a tuple "
            f"or a range. Received: {name}={numbers!r}"
        )
    return listed
