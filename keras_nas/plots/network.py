"""Draws the vertices of a network: what is tied or frozen, and what a plan changes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import analyze
from keras_nas.plots.boxes import Box, Boxes, boxes_of
from keras_nas.plots.picture import Picture
from keras_nas.surgery import Plan, VertexView, overview
from keras_nas.surgery.verbs import as_graph

# Lighter shades of the colours of Okabe and Ito, which colour-blind people tell apart.
COLORS = ("#a9d8f4", "#f6c76a", "#8fd3bd", "#e3b4cf", "#f7f0a0", "#9dbfe0", "#eeb08f")
PLAIN = "#f2f2f2"
HATCHED = ":".join(["#ffffff", "#e2e2e2"] * 6)
# Longer networks are folded, unless the caller says otherwise.
MANY = 30
LEGEND = (
    "one colour and g-number: the same neurons, their sizes change together\n"
    "grey: an input; hatched: cannot change, and why"
)
LEGEND_OF_PLAN = "\nthick frame: changes in the plan, old → new"


def plot(
    target: Any,
    path: str | Path | None = None,
    *,
    fold: bool | None = None,
    direction: str = "TB",
) -> Picture:
    """Draws a network with its families of tied sizes.

    Each box is a vertex (one call of a layer or operation) with its size. Vertices with
    the same neurons have one colour and one g-number; what is made of several families
    is striped. Frozen vertices are hatched and say why. Of a plan, the sizes before and
    after are shown.

    Args:
        target: A model, a `Graph`, a `Plan` or a `PrunePlan`.
        path: Where to write the picture: .png, .svg, .pdf or .dot; nowhere by default.
        fold: Whether vertices in a row with the same neurons share a box (a
            convolution, its normalization and activation). By default where there are
            more than 30 vertices.
        direction: ``"TB"`` from top to bottom, ``"LR"`` from left to right.

    Returns:
        The picture, which a notebook shows.

    Raises:
        UnsupportedModelError: The model cannot be wrapped, or Graphviz is not
            installed. A .dot file does not need it.
        InvalidRequestError: A file name with another ending, an unknown direction.

    Example:
        >>> import keras, keras_nas as kn
        >>> model = keras.Sequential([
        ...     keras.Input((3,)),
        ...     keras.layers.Dense(4, name="hidden"),
        ...     keras.layers.Dense(2, name="head"),
        ... ])
        >>> picture = kn.plot(model)
        >>> "hidden" in picture.source
        True
    """
    if direction not in ("TB", "LR"):
        raise InvalidRequestError(
            "A network is drawn from top to bottom, 'TB', or from left to right, 'LR'."
            f"\n\nGive one of them. Received: direction={direction!r}"
        )
    analysis, new_sizes = _read(target)
    views = overview(analysis)
    if fold is None:
        fold = len(views) > MANY
    boxes = boxes_of(views, new_sizes, fold=fold)
    is_plan = isinstance(target, Plan)
    picture = Picture(_source(boxes, direction, is_plan=is_plan))
    if path is not None:
        picture.save(path)
    return picture


def _read(target: Any) -> tuple[Any, Mapping[str, int]]:
    """Returns the axes of a network, and the sizes that a plan changes."""
    if isinstance(target, Plan):
        changes = {
            key: size
            for key, size in target.sizes.items()
            if isinstance(key, str) and size != target.old_sizes[key]
        }
        return target.analysis, changes
    return analyze(as_graph(target)), {}


def _source(boxes: Boxes, direction: str, *, is_plan: bool) -> str:
    legend = LEGEND + (LEGEND_OF_PLAN if is_plan else "")
    lines = [
        "digraph network {",
        f"rankdir={direction}; nodesep=0.25; ranksep=0.3; fontname=Helvetica;",
        f"fontsize=11; label={_quoted(legend)}; labelloc=b;",
        "node [shape=box, fontname=Helvetica, fontsize=12, margin=0.08, height=0.3];",
        "edge [arrowsize=0.6, color=gray35];",
    ]
    lines += [_node(box) for box in boxes.boxes]
    lines += [f"{_quoted(a)} -> {_quoted(b)};" for a, b in boxes.lines]
    return "\n".join([*lines, "}"])


def _node(box: Box) -> str:
    color, style = _fill(box.last)
    width = 3 if box.new_size is not None else 1
    return (
        f'{_quoted(box.name)} [label=<{_label(box)}>, style="{style}", '
        f'fillcolor="{color}", penwidth={width}];'
    )


def _fill(view: VertexView) -> tuple[str, str]:
    if _is_held(view):
        return HATCHED, "striped"
    colors = [_color(term) for term in view.group.split("+")]
    if len(set(colors)) == 1:
        return colors[0], "filled,rounded"
    return ":".join(colors), "striped"


def _is_held(view: VertexView) -> bool:
    """Whether its neurons cannot change, for another reason than being an input."""
    return view.is_frozen or (not view.group and bool(view.state and view.inputs))


def _color(term: str) -> str:
    """Returns the colour of one term of a group, such as ``36xg3``."""
    family = re.search(r"g(\d+)$", term)
    return COLORS[(int(family[1]) - 1) % len(COLORS)] if family else PLAIN


def _label(box: Box) -> str:
    """Writes a box: names and classes, then the size and the family."""
    lines = [
        f'<b>{escape(view.path)}</b> <font color="gray30" point-size="10">'
        f"{escape(view.kind)}</font>"
        for view in box.views
    ]
    last = box.last
    if last.size is not None:
        size = str(last.size)
        if box.new_size is not None:
            size = f"{size} → {box.new_size}"
        family = f" &#183; {escape(last.group)}" if last.group else ""
        lines.append(f"<b>{size}</b>{family}")
    if last.further:
        lines.append(escape(", ".join(f"{n}={s}" for n, s in last.further.items())))
    if _is_held(last):
        lines += map(escape, textwrap.wrap(last.state, 44))
    return "<br/>".join(lines)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n") + '"'
