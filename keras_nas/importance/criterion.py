"""What all criteria have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

from keras_nas.axes import Atom
from keras_nas.graph import Analysis, Graph
from keras_nas.importance.combining import Values


class Criterion(ABC):
    """A way to say which neurons matter; any ``importance=`` takes one.

    A subclass needs `utilities` alone, which sees the weights of the whole network.
    """

    @abstractmethod
    def utilities(
        self, graph: Graph, analysis: Analysis, atoms: Collection[Atom]
    ) -> Values:
        """Returns the importance of the neurons of some atoms.

        Args:
            graph: The graph.
            analysis: Its axes.
            atoms: Atoms that are asked about.

        Returns:
            Atom -> float array of shape ``(atom.size,)``; higher is more important.
        """

    def __repr__(self) -> str:
        shown = (
            f"{name}={_short(value)}"
            for name, value in vars(self).items()
            if not name.startswith("_")
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"<{type(value).__name__}>"
