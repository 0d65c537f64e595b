"""From budgets to a plan, or to the reason why there is none."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from numbers import Integral, Real
from typing import Any, cast

import numpy as np

from keras_nas.axes import Atom
from keras_nas.errors import InfeasibleError
from keras_nas.graph import Graph, analyze
from keras_nas.importance import atom_utilities
from keras_nas.latency import LatencyTable, duration
from keras_nas.milp import (
    Budget,
    Cost,
    Infeasible,
    Linear,
    OverBudget,
    Sizes,
    SizeSystem,
    Status,
    sizes_above,
    solve_budgets,
)
from keras_nas.surgery.costs import cost_of, sizes_array
from keras_nas.surgery.latency import NANO, latency_cost
from keras_nas.surgery.measuring import measure
from keras_nas.surgery.names import Names
from keras_nas.surgery.options import Options
from keras_nas.surgery.planning import frames_to_the_user, keep_arrays
from keras_nas.surgery.prune_plan import PrunePlan
from keras_nas.surgery.structures import structures
from keras_nas.surgery.system import BoundSystem, Job
from keras_nas.surgery.targets import Targets

_LATENCY_ADVICE = (
    " What a call costs however small it is cannot be pruned; it is a smaller part of "
    "the latency with a larger `batch_size` in `measure_latency`."
)


def plan_pruning(graph: Graph, targets: Targets, options: Options) -> PrunePlan:
    """Plans which neurons go."""
    analysis = analyze(graph)
    names = Names(analysis)
    options = replace(options, locked=(*options.locked, *targets.ignore))
    job = Job(graph, analysis, names, (), options, direction="shrink")
    job.check_names()
    return _Pruning(job, targets).plan()


def measure_graph(
    graph: Graph, *, batch_size: int = 1, repetitions: int = 20, warm_up: int = 3
) -> LatencyTable:
    """Measures a graph, and what is left of it with fewer neurons everywhere."""

    def narrow(fraction: float) -> Graph:
        targets = Targets(sparsity=1 - fraction, scope="local")
        plan = plan_pruning(graph, targets, Options(importance=None))
        return plan.apply_to_graph()

    return measure(
        graph,
        narrow,
        batch_size=batch_size,
        repetitions=repetitions,
        warm_up=warm_up,
    )


class _Pruning:
    def __init__(self, job: Job, targets: Targets):
        self.job, self.targets = job, targets
        self.bound = self._bound()
        self.system = self.bound.system
        self.removable = np.array(
            [
                piece.size if piece.is_movable and not piece.key.is_filler else 0
                for piece in self.system.pieces
            ]
        )

    def plan(self) -> PrunePlan:
        sizes = self._sizes()
        kept = np.array([sizes.kept[piece.key] for piece in self.system.pieces])
        count = self.removable.sum()
        stays = kept[self.removable > 0].sum()
        return PrunePlan(
            graph=self.job.graph,
            analysis=self.job.analysis,
            requests=(),
            options=self.job.options,
            atom_keep=keep_arrays(self.job, self.bound, sizes),
            status=sizes.status,
            names=self.job.names,
            targets={b.name: _in_units(b.name, b.most) for b in self.budgets},
            latency_table=self.latency_table,
            removable_atoms=frozenset(
                piece.key
                for piece, size in zip(self.system.pieces, self.removable, strict=True)
                if size
            ),
            sparsity=float(1 - stays / count) if count else 0.0,
            kept_importance=self._kept_importance(kept),
            removable=int(count),
        )

    def _sizes(self) -> Sizes:
        """Finds the sizes, or says why there are none."""
        system = self.system
        try:
            if self.targets.threshold is not None:
                system = self._above_threshold(system, self.targets.threshold)
            return self._solve(system) if self.budgets else _highest(system)
        except OverBudget as error:
            return self._refuse(error)
        except Infeasible as error:
            raise InfeasibleError(
                f"No sizes satisfy all that was asked for: {error}.\n\nLeave out a "
                "keyword such as `multiple_of`, `bounds` or `min_fraction`. "
                f"Received: {self._received()}"
            ) from None

    def _bound(self) -> BoundSystem:
        """The size system with importance, and with the fractions to keep."""
        bound = self.job.system((), last_free=False)
        utilities = atom_utilities(
            self.job.graph,
            self.job.analysis,
            self.job.importance,
            {piece.key for piece in bound.system.pieces if piece.is_movable},
        )
        least = self.targets.min_fraction
        whole = least if isinstance(least, Real) else 0
        pieces = tuple(
            replace(
                piece,
                utility=utilities.get(piece.key, piece.utility),
                low=max(piece.low, _at_least(whole, piece.size)),
            )
            for piece in bound.system.pieces
        )
        rows: tuple[tuple[Linear, int, int | None], ...] = ()
        if isinstance(least, Mapping):
            axes = {
                self.job.names.width(self.job.names.find(name)): fraction
                for name, fraction in least.items()
            }
            rows = tuple(
                (bound.linear(axis), _at_least(fraction, axis.size), None)
                for axis, fraction in axes.items()
            )
        system = bound.system
        return replace(
            bound,
            system=replace(system, pieces=pieces, bounds=(*system.bounds, *rows)),
        )

    def _above_threshold(self, system: SizeSystem, threshold: float) -> SizeSystem:
        """Lowers the largest size of each piece to what the threshold leaves."""
        wanted = [
            piece.size if not piece.is_movable else _count_above(piece, threshold)
            for piece in system.pieces
        ]
        highest = sizes_above(system, wanted, self.job.options.solver)
        pieces = tuple(
            replace(piece, high=size) if piece.is_movable else piece
            for piece, size in zip(system.pieces, highest, strict=True)
        )
        return replace(system, pieces=pieces)

    @cached_property
    def latency_table(self) -> LatencyTable | None:
        """What was given, or is measured now."""
        table = self.targets.latency_table
        if table is None and self.targets.latency is not None:
            table = measure_graph(self.job.graph)
        return table

    @cached_property
    def budgets(self) -> list[Budget]:
        keys = [piece.key for piece in self.system.pieces]
        budgets = []
        for name, wanted in self.targets.budgets.items():
            if wanted is None:
                continue
            cost = cost_of(self.job.analysis, name, keys)
            present = cost.value(sizes_array(keys))
            is_fraction = not isinstance(wanted, Integral)
            most = math.floor(wanted * present + 1e-9) if is_fraction else int(wanted)
            budgets.append(Budget(name, cost, max(most, 1)))
        if self.targets.latency is not None:
            budgets.append(self._latency_budget(keys, self.targets.latency))
        if self.targets.sparsity is not None:
            pairs = zip(keys, self.removable, strict=True)
            neurons = [(1, [Linear({key: 1})]) for key, size in pairs if size]
            dropped = round(self.targets.sparsity * int(self.removable.sum()))
            most = int(self.removable.sum()) - dropped
            if neurons:
                budgets.append(Budget("neurons", Cost(keys, neurons), max(most, 1)))
        return budgets

    def _latency_budget(self, keys: list[Atom], wanted: Any) -> Budget:
        table = cast(LatencyTable, self.latency_table)
        cost = latency_cost(self.job.analysis, table, keys)
        most: float
        if isinstance(wanted, timedelta):
            most = wanted.total_seconds() * NANO
        elif isinstance(wanted, Integral):
            most = int(wanted) * NANO
        else:
            most = wanted * cost.value(sizes_array(keys))
        return Budget("latency", cost, max(math.floor(most + 1e-9), 1))

    def _solve(self, system: SizeSystem) -> Sizes:
        return solve_budgets(
            system,
            self.budgets,
            groups=self._groups(),
            solver=self.job.options.solver,
            time_limit_s=self.job.options.time_limit_s,
        )

    def _groups(self) -> list[int] | None:
        """The group of each piece, within which neurons are compared."""
        keys = [piece.key for piece in self.system.pieces]
        if self.targets.scope == "global":
            return None
        if self.targets.scope == "local":
            return list(range(len(keys)))
        forms = structures(self.job.analysis)
        numbers: dict[Any, int] = {}
        return [numbers.setdefault(forms.get(key), len(numbers)) for key in keys]

    def _kept_importance(self, kept: np.ndarray) -> float:
        stays = total = 0.0
        pairs = zip(self.system.pieces, kept, self.removable, strict=True)
        for piece, count, size in pairs:
            if size:
                falling = -np.sort(-np.nan_to_num(piece.utility, posinf=0.0))
                stays += float(falling[:count].sum())
                total += float(falling.sum())
        return stays / total if total else 1.0

    def _refuse(self, error: OverBudget) -> Sizes:
        """Raises; or takes the smallest sizes, if the user said so."""
        most = {budget.name: budget.most for budget in self.budgets}
        broken = {n: cost for n, cost in error.least.items() if cost > most[n]}
        sentences = [
            self._sparsity_sentence(least)
            if name == "neurons"
            else f"The model cannot get down to {_shown(name, most[name])}: the least "
            f"possible is {_shown(name, least, '')}."
            for name, least in broken.items()
        ]
        if self.job.options.strict:
            advice = "" if "latency" not in broken else _LATENCY_ADVICE
            raise InfeasibleError(
                "\n".join(sentences) + "\n\nAsk for at least that much, or release "
                "what holds the model: `ignore`, `locked`, `min_fraction`, `bounds`, "
                f"`multiple_of`.{advice} Received: {self._received()}",
                {
                    "sparsity" if name == "neurons" else name: self._reachable(name, n)
                    for name, n in broken.items()
                },
            )
        warnings.warn(
            " ".join(sentences) + " The smallest sizes are taken.",
            UserWarning,
            stacklevel=frames_to_the_user(),
        )
        return error.sizes

    def _sparsity_sentence(self, least: int) -> str:
        count = int(self.removable.sum())
        return (
            f"A sparsity of {self.targets.sparsity} cannot be reached: at least "
            f"{least:,} of the {count:,} neurons stay, a sparsity of "
            f"{self._reachable('neurons', least):.3g}."
        )

    def _reachable(self, name: str, least: int) -> float:
        """What can be asked for instead."""
        if name == "neurons":
            return 1 - least / int(self.removable.sum())
        return _in_units(name, least)

    def _received(self) -> str:
        given = {
            "sparsity": self.targets.sparsity,
            **self.targets.budgets,
            "latency": self.targets.latency,
            "threshold": self.targets.threshold,
            "min_fraction": self.targets.min_fraction,
        }
        return ", ".join(f"{k}={v!r}" for k, v in given.items() if v is not None)


def _in_units(name: str, value: int) -> float:
    """A cost as users see it: latency in seconds."""
    return value / NANO if name == "latency" else value


def _shown(name: str, value: int, unit: str | None = None) -> str:
    if name == "latency":
        return duration(value / NANO) + (" of latency" if unit is None else "")
    return f"{value:,}" + (f" {name}" if unit is None else "")


def _highest(system: SizeSystem) -> Sizes:
    totals = {
        piece.key: piece.high
        if piece.is_movable and piece.high is not None
        else piece.size
        for piece in system.pieces
    }
    return Sizes.from_totals(system.pieces, totals, Status.OPTIMAL)


def _count_above(piece: Any, threshold: float) -> int:
    return int((np.asarray(piece.utility) >= threshold).sum())


def _at_least(fraction: float, size: int) -> int:
    """The least whole number that is this fraction of a size, but for rounding."""
    return math.ceil(fraction * size - 1e-9)
