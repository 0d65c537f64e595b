"""From the names that users write to vertices and their widths."""

from __future__ import annotations

import difflib
import re
from typing import Any

from keras_nas.axes import Expression
from keras_nas.errors import InvalidRequestError, UnknownLayerError
from keras_nas.graph import Analysis, FlatGraph, TensorRef
from keras_nas.rules import leaves, split_masks

# Settings that hold the main width of a layer may name it, too.
_MAIN_WIDTHS = ("units", "filters", "output_dim", "channels", "size")


class Paths:
    """Finds vertices of one graph."""

    def __init__(self, flat: FlatGraph):
        self._calls = flat.by_path
        self._aliases = flat.aliases
        self._paths = [*self._calls, *flat.aliases]
        self._by_last: dict[str, list[str]] = {}
        for path in self._paths:
            self._by_last.setdefault(path.rsplit("/", 1)[-1], []).append(path)

    @property
    def paths(self) -> list[str]:
        """All vertices, then all nested models."""
        return list(self._paths)

    def find(self, name: Any) -> str:
        """Returns the path of a vertex.

        A vertex inside a nested model may be named without the path as long as only
        one vertex has that name.

        Raises:
            UnknownLayerError: No vertex has this name, or several have.
        """
        if not isinstance(name, str):
            raise UnknownLayerError(
                f"A layer is named by a string, not by a {type(name).__name__}.\n\n"
                f"Use the layer's name, such as layer.name. Received: {name!r}"
            )
        if name in self._calls or name in self._aliases:
            return name
        candidates = self._by_last.get(name, [])
        # One layer inside a nested model that is called twice is still one layer.
        if len(set(map(_first_call, candidates))) == 1:
            return candidates[0]
        if candidates:
            listed = ", ".join(map(repr, candidates))
            raise UnknownLayerError(
                f"Several layers are named {name!r}: {listed}.\n\n"
                f"Write the path of the one you mean. Received: {name!r}"
            )
        possible = dict.fromkeys((*self._paths, *self._by_last))
        close = difflib.get_close_matches(name, possible, n=3, cutoff=0.5)
        hint = (
            f"Did you mean {' or '.join(map(repr, close))}?"
            if close
            else "`keras_nas.summary(model)` lists all names."
        )
        raise UnknownLayerError(
            f"No layer of the model is named {name!r}.\n\n{hint} Received: {name!r}"
        )


class Names(Paths):
    """Finds vertices of one analysed graph, and their widths."""

    def __init__(self, analysis: Analysis):
        super().__init__(analysis.flat)
        self._analysis = analysis

    def width(self, path: str, axis_name: str | None = None) -> Expression:
        """Returns a width of a vertex: its channel axis, or a further one by name."""
        further = self.further_widths(path)
        if axis_name in further:
            return further[axis_name]
        if axis_name is None or axis_name in _MAIN_WIDTHS:
            return self._main_width(path)
        known = ", ".join(map(repr, further)) or "none"
        raise InvalidRequestError(
            f"'{path}' has no width named {axis_name!r}.\n\nLeave `axis` out for the "
            f"channel axis of its output; its further widths are: {known}. "
            f"Received: axis={axis_name!r}"
        )

    def find_width(self, key: Any) -> tuple[str, Expression]:
        """Returns the path and the width that a name, or ``(name, axis)``, stands for.

        Raises:
            UnknownLayerError: No vertex has this name, or several have.
            InvalidRequestError: The vertex has no such width.
        """
        is_pair = isinstance(key, tuple) and len(key) == 2
        name, axis_name = key if is_pair else (key, None)
        path = self.find(name)
        return path, self.width(path, axis_name)

    def further_widths(self, path: str) -> dict[str, Expression]:
        """Returns the widths that a vertex has beside the one of its output."""
        relation = self._analysis.relations.get(path)
        if relation is None:
            return {}
        resolve = self._analysis.resolve
        return {name: resolve(axis) for name, axis in relation.widths.items()}

    def input_axes(self, path: str) -> list[Expression | None]:
        """Returns the channel axis of each tensor that a vertex is called on."""
        if path not in self._calls:
            raise InvalidRequestError(
                f"'{path}' is a nested model, whose inputs are named inside it.\n\n"
                f"Name a layer such as '{path}/...'. Received: {path!r}"
            )
        return [self._analysis.channel_of(ref) for ref in self.input_refs(path)]

    def input_refs(self, path: str) -> list[TensorRef]:
        """Returns the tensors that a vertex is called on, in the order of arguments.

        Masks are no inputs: Keras passes them by itself.
        """
        call = self._calls[path]
        data, _ = split_masks(call.part.cls, call.args, call.kwargs)
        return [leaf for leaf in leaves(data) if isinstance(leaf, TensorRef)]

    def _main_width(self, path: str) -> Expression:
        ref = self._analysis.output_of(path)
        axis = self._analysis.channel_of(ref) if ref in self._analysis.tensors else None
        if axis is None or axis.size is None:
            raise InvalidRequestError(
                f"'{path}' has no size: its output has no channel axis.\n\n"
                f"Name a layer whose output has channels. Received: {path!r}"
            )
        return axis


def _first_call(path: str) -> str:
    """Returns the path of the same vertex at the first call of all nested models."""
    return re.sub(r"\^\d+/", "/", path)
