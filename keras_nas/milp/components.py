"""Independent parts of a problem, solved one batch after the other.

Pieces without a common row do not influence each other, and every objective is a sum
over pieces and near requests. So the best answers of the parts make up the best answer
of the whole, in each stage. Branch and bound, however, multiplies: 100 sizes that each
choose between two multiples are 2 ** 100 cases in one tree, and 2 each in 100 trees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from keras_nas.milp.problem import Problem, Terms


def batches(problem: Problem, most: int) -> list[tuple[int, ...]]:
    """Groups the pieces so that no row lies in two groups.

    Args:
        problem: Pieces and rows.
        most: A group has at most so many pieces, unless they hang together. Starting
            a solver has its price, so small parts share a group. Without steps there
            is little to branch on, and all parts share one.

    Returns:
        Piece numbers of each group, rising, the earliest piece first.
    """
    if not problem.steps:
        most = len(problem.pieces)
    groups: list[list[int]] = []
    for part in connected(problem):
        if groups and len(groups[-1]) + len(part) <= most:
            groups[-1] += part
        else:
            groups.append(list(part))
    return [tuple(sorted(group)) for group in groups]


def restrict(problem: Problem, members: Sequence[int]) -> Problem:
    """Returns the problem of one batch, its pieces numbered from 0."""
    number = {i: place for place, i in enumerate(members)}

    def pick(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[i] for i in members)

    def pick_rows(rows: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            replace(row, terms=tuple((number[i], c) for i, c in row.terms))
            for row in rows
            if row.terms and row.terms[0][0] in number
        )

    return Problem(
        pieces=pick(problem.pieces),
        low=pick(problem.low),
        high=pick(problem.high),
        rows=pick_rows(problem.rows),
        steps=pick_rows(problem.steps),
        nears=pick_rows(problem.nears),
    )


def connected(problem: Problem) -> list[list[int]]:
    """Returns the connected parts, ordered by their first pieces."""
    pairs = ((terms[0][0], i) for terms in _all_terms(problem) for i, _ in terms[1:])
    return joined(len(problem.pieces), pairs)


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups the numbers below a count so that no pair is apart, by union-find.

    Returns:
        The groups, ordered by their first numbers, which rise in each.
    """
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        first, second = sorted((root(i), root(j)))
        parent[second] = first
    groups: dict[int, list[int]] = {}
    for i in range(count):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def _all_terms(problem: Problem) -> Iterator[Terms]:
    for rows in (problem.rows, problem.steps, problem.nears):
        for row in rows:
            yield row.terms
