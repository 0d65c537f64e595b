"""Whether equations have any integer solution at all, limits aside.

Branch and bound proves that ``2 x - 2 y = 1`` has none by trying all x. Elimination
decides it at once, for any number of equations.

Source: the elimination of equalities in Pugh 1991 "The Omega test", section 2.3.1, with
the plain Euclidean step (a fresh variable for the quotient) instead of its symmetric
remainder.
"""

from __future__ import annotations

from collections.abc import Iterable

from keras_nas.milp.problem import Problem
from keras_nas.milp.system import Infeasible

Equation = tuple[dict[int, int], int]


def check_integers(problem: Problem) -> None:
    """Tests the equalities of a problem, and its steps without a choice.

    Raises:
        Infeasible: No integers, of either sign, satisfy them.
    """
    equations = [
        (dict(row.terms), row.low)
        for row in problem.rows
        if row.low is not None and row.low == row.high
    ]
    fresh = len(problem.pieces)
    for number, step in enumerate(problem.steps):
        if not step.is_choice:
            terms = dict(step.terms) | {fresh + number: -step.step}
            equations.append((terms, -step.constant))
    if not has_integer_solution(equations):
        raise Infeasible("the equalities have no solution in whole numbers")


def has_integer_solution(equations: Iterable[Equation]) -> bool:
    """Decides ``sum(coefficient * x) = value`` for all equations, x any integers.

    Args:
        equations: Pairs of a dict, variable number -> coefficient, and a value.
    """
    todo = [(dict(terms), value) for terms, value in equations]
    fresh = 1 + max((i for terms, _ in todo for i in terms), default=0)
    while todo:
        terms, value = todo.pop()
        terms = {i: c for i, c in terms.items() if c}
        if not terms:
            if value:
                return False
            continue
        pivot = min(terms, key=lambda i: (abs(terms[i]), i))
        c = terms[pivot]
        if all(other % c == 0 for other in terms.values()):
            if value % c:
                return False
            # x_pivot = value/c - sum of the others: it disappears everywhere.
            solved = {i: -other // c for i, other in terms.items() if i != pivot}
            todo = [_substitute(e, pivot, solved, value // c) for e in todo]
            continue
        # fresh = x_pivot + sum(q_i x_i) leaves only remainders below |c| beside it.
        quotients = {i: -(o // c) for i, o in terms.items() if i != pivot and o // c}
        todo.append((terms, value))
        todo = [_substitute(e, pivot, quotients | {fresh: 1}, 0) for e in todo]
        fresh += 1
    return True


def _substitute(
    equation: Equation, pivot: int, by: dict[int, int], constant: int
) -> Equation:
    """Replaces ``x_pivot`` by ``constant + sum(by)``."""
    terms, value = equation
    if not terms.get(pivot):
        return equation
    terms = dict(terms)
    factor = terms.pop(pivot)
    for i, c in by.items():
        terms[i] = terms.get(i, 0) + factor * c
    return terms, value - factor * constant
