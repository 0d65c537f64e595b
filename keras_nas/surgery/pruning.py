"""From budgets to a plan, or to the reason why there is none."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np

from keras_nas.axes import Atom
from keras_nas.errors import InfeasibleError
from keras_nas.graph import Analysis, Graph, analyze
from keras_nas.importance import atom_utilities
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
from keras_nas.surgery.costs import as_cost, call_costs
from keras_nas.surgery.counting import Counts, count_analysis
from keras_nas.surgery.names import Names
from keras_nas.surgery.options import Options
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.planning import frames_to_the_user, keep_arrays
from keras_nas.surgery.system import BoundSystem, Job
from keras_nas.surgery.targets import COSTS, Targets


@dataclass(frozen=True, eq=False)
class PrunePlan(Plan):
    """A `Plan` of what pruning drops. Frozen; touches no weights.

    Attributes:
        targets: What was asked for: name -> most that may be left.
        sparsity: Fraction of the removable neurons that go.
        kept_importance: Fraction of the importance of all removable neurons that
            stays.
        removable: Number of the removable neurons.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(100, name="hidden"),
        ...     keras.layers.Dense(10, name="head"),
        ... ])
        >>> plan = kn.plan_prune(model, params=0.5)
        >>> plan.sizes["hidden"], plan.old_counts.params, plan.counts.params
        (49, 1910, 941)
    """

    targets: Mapping[str, int] = field(default_factory=dict)
    sparsity: float = 0.0
    kept_importance: float = 1.0
    removable: int = 0

    @cached_property
    def old_counts(self) -> Counts:
        """What the model costs before."""
        return count_analysis(self.analysis)

    @cached_property
    def counts(self) -> Counts:
        """What the model costs after."""
        return count_analysis(self.analysis, self._atom_sizes)

    def __str__(self) -> str:
        lines = []
        for name in COSTS:
            old, new = getattr(self.old_counts, name), getattr(self.counts, name)
            line = f"{name}: {old:,} -> {new:,} ({new / max(old, 1):.1%})"
            if name in self.targets:
                line += f", asked for at most {self.targets[name]:,}"
            lines.append(line)
        lines.append(
            f"neurons: {self.sparsity:.1%} dropped; "
            f"importance: {self.kept_importance:.1%} kept"
        )
        return f"{super().__str__()}\n" + "\n".join(lines)


def plan_pruning(graph: Graph, targets: Targets, options: Options) -> PrunePlan:
    """Plans which neurons go."""
    analysis = analyze(graph)
    names = Names(analysis)
    options = replace(options, locked=(*options.locked, *targets.ignore))
    job = Job(graph, analysis, names, (), options, direction="shrink")
    job.check_names()
    return _Pruning(job, targets).plan()


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
        system = self.system
        try:
            if self.targets.threshold is not None:
                system = self._above_threshold(system)
            if self.budgets:
                sizes = self._solve(system)
            else:
                sizes = _highest(system)
        except OverBudget as error:
            sizes = self._refuse(error)
        except Infeasible as error:
            raise InfeasibleError(
                f"No sizes satisfy all that was asked for: {error}.\n\nLeave out a "
                "keyword such as `multiple_of`, `bounds` or `min_fraction`. "
                f"Received: {self._received()}"
            ) from None
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
            targets={budget.name: budget.most for budget in self.budgets},
            sparsity=float(1 - stays / count) if count else 0.0,
            kept_importance=self._kept_importance(kept),
            removable=int(count),
        )

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
        rows = ()
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

    def _above_threshold(self, system: SizeSystem) -> SizeSystem:
        """Lowers the largest size of each piece to what the threshold leaves."""
        threshold = self.targets.threshold
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
    def budgets(self) -> list[Budget]:
        keys = [piece.key for piece in self.system.pieces]
        budgets = []
        for name, wanted in self.targets.budgets.items():
            if wanted is None:
                continue
            cost = cost_of(self.job.analysis, name, keys)
            present = cost.value(np.array([key.size for key in keys]))
            is_fraction = not isinstance(wanted, Integral)
            most = math.floor(wanted * present + 1e-9) if is_fraction else int(wanted)
            budgets.append(Budget(name, cost, max(most, 1)))
        if self.targets.sparsity is not None:
            pairs = zip(keys, self.removable, strict=True)
            neurons = [(1, [Linear({key: 1})]) for key, size in pairs if size]
            dropped = round(self.targets.sparsity * int(self.removable.sum()))
            most = int(self.removable.sum()) - dropped
            if neurons:
                budgets.append(Budget("neurons", Cost(keys, neurons), max(most, 1)))
        return budgets

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
            f"The model cannot get down to {most[name]:,} {name}: the least possible "
            f"is {least:,}."
            for name, least in broken.items()
        ]
        if self.job.options.strict:
            raise InfeasibleError(
                "\n".join(sentences) + "\n\nAsk for at least that much, or release "
                "what holds the model: `ignore`, `locked`, `min_fraction`, `bounds`, "
                f"`multiple_of`. Received: {self._received()}",
                broken,
            )
        warnings.warn(
            " ".join(sentences) + " The smallest sizes are taken.",
            UserWarning,
            stacklevel=frames_to_the_user(),
        )
        return error.sizes

    def _received(self) -> str:
        given = {
            "sparsity": self.targets.sparsity,
            **self.targets.budgets,
            "threshold": self.targets.threshold,
            "min_fraction": self.targets.min_fraction,
        }
        return ", ".join(f"{k}={v!r}" for k, v in given.items() if v is not None)


def cost_of(analysis: Analysis, name: str, keys: Sequence[Atom]) -> Cost:
    """Returns a cost of a graph over the sizes of its atoms."""
    weighted = []
    for _, cost in call_costs(analysis):
        if name == "params":
            weighted += [(1, axes) for _, axes in cost.weights]
        elif name == "flops":
            weighted += [(2, axes) for axes in cost.macs]
        else:
            weighted += [*cost.weights, *cost.outputs]
    return as_cost(keys, weighted)


def structures(analysis: Analysis) -> dict[Atom, Any]:
    """Returns, for each atom, what its neurons are in: weights, axes, fixed sizes.

    Two atoms are alike if their neurons occur in weights of the same names of layers
    of the same classes, along the same axes, with the same fixed axes beside them.

    Source: Fang 2024, "Isomorphic pruning for vision models", arXiv 2407.04616.
    """
    found: dict[Atom, Counter] = {}
    for call in analysis.flat.calls:
        relation = analysis.relations[call.path]
        for name, _ in call.part.named_weights:
            if name not in relation.weights:
                continue
            for block in relation.weights[name].blocks:
                axes = [analysis.resolve(axis) for axis in block]
                fixed = tuple(0 if axis.atoms else axis.size for axis in axes)
                for place, axis in enumerate(axes):
                    form = (call.part.cls, name, place, fixed)
                    for atom in axis.atoms:
                        found.setdefault(atom, Counter())[form] += 1
    return {atom: frozenset(forms.items()) for atom, forms in found.items()}


def _highest(system: SizeSystem) -> Sizes:
    totals = {
        piece.key: piece.high if piece.is_movable else piece.size
        for piece in system.pieces
    }
    return Sizes.from_totals(system.pieces, totals, Status.OPTIMAL)


def _count_above(piece: Any, threshold: float) -> int:
    return int((np.asarray(piece.utility) >= threshold).sum())


def _at_least(fraction: float, size: int) -> int:
    """The least whole number that is this fraction of a size, but for rounding."""
    return math.ceil(fraction * size - 1e-9)
