"""The reference: every public name in the place where one would look for it.

The names come from ``__all__`` of the package and of the packages inside it, so none
can be forgotten: what no concept names stands on the page of its package.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_nas.docs.command_line import command_line_page


@dataclass(frozen=True)
class Concept:
    """One page of the reference.

    Attributes:
        slug: Name of its file.
        title: Its heading.
        text: What it is about, in Markdown.
        names: Names of `keras_nas`, in the order of the page.
        modules: Packages all of whose other public names follow.
        fits: A base class: names of `keras_nas` derived from it follow, too.
    """

    slug: str
    title: str
    text: str
    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    fits: type | None = None


_CONCEPTS = (
    Concept(
        "resizing",
        "Resize, plan, verify",
        "Change the number of neurons of layers; see before what will happen, and "
        "check afterwards that it did.",
        (
            *("resize", "resize_inputs", "near", "plan", "Plan", "summary", "explain"),
            *("verify", "Verification", "OutputCheck"),
        ),
    ),
    Concept(
        "editing",
        "Edit layers and edges",
        "Layers and edges come and go, and sizes follow. Every verb is a function on "
        "models and a method of `Graph`.",
        ("insert", "remove", "connect", "disconnect", "replace", "Graph"),
    ),
    Concept(
        "pruning",
        "Prune to a budget",
        "Count what a model costs, say what it may cost, and repeat a cut on a copy.",
        (
            *("count", "Counts", "VertexCount", "prune", "plan_prune", "PrunePlan"),
            *("measure_latency", "LatencyTable", "LatencyPoint", "VertexLatency"),
            *("LatencyCheck", "recipe", "replay", "Recipe"),
        ),
    ),
    Concept(
        "importance",
        "Importance",
        "Which neurons stay: everything that `importance=` takes, in "
        "`keras_nas.importance`.",
        modules=("keras_nas.importance",),
    ),
    Concept(
        "training",
        "Train before, during and after a cut",
        "Life after the cut, and before it.",
        ("fit_pruned", "PrunedFit", "PruningSchedule", "Cut"),
        ("keras_nas.training",),
    ),
    Concept(
        "pictures",
        "Pictures",
        "Networks, plans and importance as pictures.",
        ("plot", "plot_importance", "Picture"),
    ),
    Concept(
        "rules",
        "Your own layers",
        "Teach keras_nas a layer. `register_rule` takes patterns; where they do not "
        "suffice, a function from `RuleCall` to `Relation`.",
        ("register_rule",),
    ),
    Concept(
        "search",
        "Evolve and search",
        "`KerasEvolver` is the front door, `Search` the loop beneath it. The rest are "
        "the parts that it joins, each of which can be exchanged.",
        (
            *("KerasEvolver", "EvolverCallback", "Search", "Budget", "Objective"),
            "SearchResult",
        ),
        ("keras_nas.search",),
    ),
    Concept(
        "mutations",
        "Mutations",
        "Random changes of networks that keep what they have learned, in "
        "`keras_nas.search.mutations`.",
        modules=("keras_nas.search.mutations",),
    ),
    Concept(
        "spaces",
        "Search spaces",
        "All networks that a search may build, declared block by block, in "
        "`keras_nas.search.spaces`.",
        modules=("keras_nas.search.spaces",),
    ),
    Concept(
        "errors",
        "Errors",
        "Every error of the package is a `KerasNasError`. The message says what is "
        "wrong, what to do, and what was received. Nothing has changed after one.",
        ("KerasNasError", "InfeasibleError"),
        fits=Exception,
    ),
    Concept("more", "More", "Names that have no better place.", (), ("keras_nas",)),
)

# What a rule that is a function needs; the rest of that package is for its own rules.
_FOR_RULES = (
    *("RuleCall", "Relation", "AxisTensor", "WeightAxes", "SizeOf"),
    "Undescribed",
)


def concepts() -> dict[Concept, list[str]]:
    """Returns the pages of the reference, and the full names that stand on each.

    Every object stands on one page only, under the first of its names.

    Example:
        >>> from keras_nas.docs import concepts
        >>> pages = {concept.slug: names for concept, names in concepts().items()}
        >>> pages["resizing"][0]
        'keras_nas.resize'
    """
    reserved = {
        id(_value(f"keras_nas.{name}")) for c in _CONCEPTS for name in c.names
    }
    seen: set[int] = set()
    pages: dict[Concept, list[str]] = {}
    for concept in _CONCEPTS:
        page = [f"keras_nas.{name}" for name in concept.names]
        if concept.slug == "rules":
            page += [f"keras_nas.rules.{name}" for name in _FOR_RULES]
        seen.update(id(_value(name)) for name in page)
        for name in _further(concept):
            if id(_value(name)) not in seen | reserved:
                seen.add(id(_value(name)))
                page.append(name)
        if page:
            pages[concept] = page
    return pages


def documented() -> set[int]:
    """Returns the ``id`` of every object that has an entry in the reference."""
    return {id(_value(name)) for names in concepts().values() for name in names}


def write_reference(folder: Path) -> None:
    """Writes the pages of the reference as Markdown.

    Args:
        folder: Made by this function.
    """
    folder.mkdir()
    pages = concepts()
    lines = ["# Reference", "", "Every public name, by what one wants to do.", ""]
    lines += [f"* [{c.title}]({c.slug}.md): {c.text}" for c in pages]
    lines += ["* [Command line](command_line.md): What `--help` says of each command."]
    slugs = [*(c.slug for c in pages), "command_line"]
    lines += ["", "```{toctree}", ":hidden:", "", *slugs, "```", ""]
    (folder / "index.md").write_text("\n".join(lines), encoding="utf-8")
    (folder / "command_line.md").write_text(command_line_page(), encoding="utf-8")
    for concept, names in pages.items():
        text = "\n".join(_page(concept, names))
        (folder / f"{concept.slug}.md").write_text(text, encoding="utf-8")


def _further(concept: Concept) -> Iterator[str]:
    for module in concept.modules:
        public = importlib.import_module(module).__all__
        yield from (f"{module}.{name}" for name in public)
    if concept.fits is not None:
        for name in importlib.import_module("keras_nas").__all__:
            value = _value(f"keras_nas.{name}")
            if inspect.isclass(value) and issubclass(value, concept.fits):
                yield f"keras_nas.{name}"


def _page(concept: Concept, names: list[str]) -> Iterator[str]:
    yield from (f"# {concept.title}", "", concept.text, "", "| | |", "|---|---|")
    for name in names:
        yield f"| {{py:obj}}`{_short(name)} <{name}>` | {_first_sentence(name)} |"
    for name in names:
        yield from ("", "```{eval-rst}", *_directive(name), "```")


def _directive(name: str) -> Iterator[str]:
    value = _value(name)
    if inspect.isclass(value):
        is_error = issubclass(value, BaseException)
        yield f".. auto{'exception' if is_error else 'class'}:: {name}"
        yield "   :members:"
        if any(map(_is_known, value.__bases__)):
            yield "   :show-inheritance:"
    elif callable(value):
        yield f".. autofunction:: {name}"
    else:
        yield f".. autodata:: {name}"


def _is_known(base: type) -> bool:
    """Whether readers can look a base class up, here or in Python itself."""
    is_builtin = base.__module__ == "builtins" and base is not object
    return is_builtin or id(base) in documented()


def _first_sentence(name: str) -> str:
    value = _value(name)
    if not callable(value):
        return "a constant"
    return (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _value(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
