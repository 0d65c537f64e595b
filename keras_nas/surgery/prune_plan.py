"""What pruning will drop: a plan with what the model costs before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np

from keras_nas.axes import Atom
from keras_nas.errors import InvalidRequestError
from keras_nas.latency import LatencyTable, duration
from keras_nas.surgery.counting import Counts, count_analysis
from keras_nas.surgery.latency import latency_at, latency_cost
from keras_nas.surgery.measuring import LatencyCheck, check_count, time_graphs
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.targets import COSTS


# Without repr, a plan shows itself as its table, as any other plan does.
@dataclass(frozen=True, eq=False, repr=False)
class PrunePlan(Plan):
    """A `Plan` of what pruning drops. Frozen; touches no weights.

    Attributes:
        targets: What was asked for: name -> most that may be left; latency in
            seconds.
        sparsity: Fraction of the removable neurons that go.
        kept_importance: Fraction of the importance of all removable neurons that
            stays.
        latency_table: What latencies are predicted from, if any.
        removable_atoms: Atoms whose neurons could go.
        removable: Number of these neurons.

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

    targets: Mapping[str, float] = field(default_factory=dict)
    sparsity: float = 0.0
    kept_importance: float = 1.0
    latency_table: LatencyTable | None = None
    removable_atoms: frozenset[Atom] = frozenset()
    removable: int = 0

    @cached_property
    def old_counts(self) -> Counts:
        """What the model costs before."""
        return count_analysis(self.analysis)

    @cached_property
    def counts(self) -> Counts:
        """What the model costs after."""
        return count_analysis(self.analysis, self.atom_sizes)

    @cached_property
    def old_latency(self) -> float | None:
        """Seconds that the table predicts before; None without a table."""
        return self._predicted({})

    @cached_property
    def latency(self) -> float | None:
        """Seconds that the table predicts after; None without a table."""
        return self._predicted(self.atom_sizes)

    def check_latency(
        self, *, repetitions: int = 20, warm_up: int = 3
    ) -> LatencyCheck:
        """Measures the model before and after, in turn, next to the prediction.

        Args:
            repetitions: How often each model runs.
            warm_up: How often before, without a clock.

        Raises:
            InvalidRequestError: The plan has no latency table, or a setting is no
                whole number.
        """
        check_count("repetitions", repetitions, 1)
        check_count("warm_up", warm_up, 0)
        table = self.latency_table
        if table is None:
            raise InvalidRequestError(
                "The plan predicts no latency.\n\nGive `latency_table=` when it is "
                "made. Received: a plan without a latency table"
            )
        graphs = [self.graph, self.apply_to_graph()]
        old, new = time_graphs(graphs, table.batch_size, repetitions, warm_up)
        return LatencyCheck(
            old.seconds,
            new.seconds,
            new.spread,
            cast(float, self.old_latency),
            cast(float, self.latency),
            table.error,
        )

    def _predicted(self, sizes: Mapping[Atom, int]) -> float | None:
        if self.latency_table is None:
            return None
        keys = self.analysis.all_atoms()
        cost = latency_cost(self.analysis, self.latency_table, keys)
        return latency_at(cost, np.array([sizes.get(key, key.size) for key in keys]))

    def __str__(self) -> str:
        lines = []
        for name in COSTS:
            old, new = getattr(self.old_counts, name), getattr(self.counts, name)
            line = f"{name}: {old:,} -> {new:,} ({new / max(old, 1):.1%})"
            if name in self.targets:
                line += f", asked for at most {self.targets[name]:,}"
            lines.append(line)
        if self.latency_table is not None:
            lines.append(self._latency_line(self.latency_table))
        if self.counts.remark and self.targets.keys() & {"flops", "memory"}:
            lines.append(self.counts.remark)
        lines.append(
            f"neurons: {self.sparsity:.1%} dropped; "
            f"importance: {self.kept_importance:.1%} kept"
        )
        return f"{super().__str__()}\n" + "\n".join(lines)

    def _latency_line(self, table: LatencyTable) -> str:
        old, new = cast(float, self.old_latency), cast(float, self.latency)
        line = (
            f"latency: {duration(old)} -> {duration(new)} predicted "
            f"({new / old:.1%}; the table was wrong by up to "
            f"{table.error:.0%})"
        )
        if "latency" in self.targets:
            line += f", asked for at most {duration(self.targets['latency'])}"
        return line
