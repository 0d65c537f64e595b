"""What a plan decided, as a file, to be done again on another copy of the model.

A plan is the keep arrays of its atoms; sizes, settings and weights follow from them.
Two models of one architecture have the same atoms in the same order, so the arrays
mean the same in both. A recipe holds them together with the architecture that they are
for: it is compared vertex by vertex before anything is done. Names may differ, as those
do that Keras makes up, unless that exchanges two vertices.

Recipes hold numbers and names only; reading one runs no code of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_nas.errors import InvalidRequestError
from keras_nas.graph import Analysis, Graph, analyze, wrap
from keras_nas.milp import Status
from keras_nas.records import Record
from keras_nas.surgery.names import Names
from keras_nas.surgery.options import Options
from keras_nas.surgery.plan import Plan

WHAT = "recipe"
VERSION = 1
_MAX_LISTED = 6


class Step(NamedTuple):
    """One vertex of the architecture that a recipe is for.

    Attributes:
        name: Path of the vertex.
        kind: Class of the layer or operation.
        outputs: Shape of each output, without the batch axis.
        weights: Shape of each weight.
        reads: ``(number of the vertex, number of its output)`` of each input.
    """

    name: str
    kind: str
    outputs: tuple
    weights: tuple
    reads: tuple

    def __str__(self) -> str:
        shapes = ", ".join(str(("batch", *shape)) for shape in self.outputs)
        return f"'{self.name}' ({self.kind}) that gives {shapes}".replace("None", "?")


class Piece(NamedTuple):
    """One atom.

    Attributes:
        size: Number of neurons before.
        keep: Old neurons in their new order, -1 for a new one; None if all stay.
    """

    size: int
    keep: tuple[int, ...] | None


@dataclass(frozen=True)
class Recipe:
    """What a plan decided, for any model of the same architecture.

    Made by `keras_nas.recipe`, done by `keras_nas.replay`.

    Attributes:
        steps: The architecture.
        pieces: What happens to each atom.
        seed: For the initializers of new weights.
        initializer: Of new weights; None for each layer's own.

    Example:
        >>> import keras, keras_nas as kn
        >>> def net():
        ...     return keras.Sequential([
        ...         keras.Input((3,)),
        ...         keras.layers.Dense(4, name="hidden"),
        ...         keras.layers.Dense(2, name="head"),
        ...     ])
        >>> text = kn.recipe(kn.plan(net(), "hidden", 3)).to_json()
        >>> kn.Recipe.from_json(text).plan(net()).sizes["hidden"]
        3
    """

    steps: tuple[Step, ...]
    pieces: tuple[Piece, ...]
    seed: int = 0
    initializer: Any = None

    def plan(self, model: Any) -> Plan:
        """Returns the plan for a model, checked and not yet done.

        Args:
            model: A built functional or sequential `keras.Model`, or a `Graph`.

        Raises:
            InvalidRequestError: It has another architecture; says where they differ.
        """
        graph = model if isinstance(model, Graph) else wrap(model)
        analysis = analyze(graph)
        _compare(self.steps, list(_steps(analysis)))
        atoms = analysis.all_atoms()
        sizes = [atom.size for atom in atoms]
        if sizes != [piece.size for piece in self.pieces]:
            raise InvalidRequestError(
                "The recipe is for a model whose neurons hang together differently: "
                f"it has {len(self.pieces)} atoms, the model {len(atoms)}."
                "\n\nMake the recipe from a plan for this architecture, with this "
                f"version of keras_nas. Received: a model with {sum(sizes)} neurons"
            )
        return Plan(
            graph=graph,
            analysis=analysis,
            requests=(),
            options=Options(seed=self.seed, initializer=self.initializer),
            atom_keep={
                atom: _frozen(piece.keep)
                for atom, piece in zip(atoms, self.pieces, strict=True)
                if piece.keep is not None
            },
            status=Status.OPTIMAL,
            names=Names(analysis),
            reason="as in the recipe",
        )

    # --- files --------------------------------------------------------------------

    def to_json(self) -> str:
        """Returns the recipe as JSON."""
        content = {
            "seed": self.seed,
            "initializer": self.initializer,
            "steps": [step._asdict() for step in self.steps],
            "pieces": [piece._asdict() for piece in self.pieces],
        }
        head = {"kind": f"keras_nas {WHAT}", "version": VERSION}
        return json.dumps({**head, "digest": _digest(content), "content": content})

    @classmethod
    def from_json(cls, source: Any) -> Recipe:
        """Reads what `to_json` wrote.

        Args:
            source: JSON text, or the object that ``json.loads`` made of it.

        Raises:
            InvalidRequestError: It is something else, or was changed or cut off.
        """
        record = Record.read(source, WHAT, VERSION)
        content = record.record("content")
        if record.text("digest") != _digest(dict(content.items())):
            record.refuse("was changed: its digest is another one", source)
        return cls(
            tuple(_read_step(each) for each in content.records("steps")),
            tuple(_read_piece(each) for each in content.records("pieces")),
            content.integer("seed"),
            _read_initializer(content),
        )

    def save(self, path: Any) -> None:
        """Writes a file of JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Any) -> Recipe:
        """Reads what `save` wrote.

        Raises:
            InvalidRequestError: The file holds something else, or is damaged.
            OSError: There is no such file.
        """
        return cls.from_json(Path(path).read_bytes())

    def __repr__(self) -> str:
        changed = sum(piece.keep is not None for piece in self.pieces)
        atoms = f"{changed} of {len(self.pieces)} atoms change"
        return f"Recipe({len(self.steps)} vertices, {atoms})"


def recipe_of(plan: Plan) -> Recipe:
    """Returns the recipe of a plan. See `keras_nas.recipe`."""
    if not isinstance(plan, Plan):
        raise InvalidRequestError(
            f"A recipe cannot be made of a {type(plan).__name__}.\n\nGive what "
            "`keras_nas.plan` or `keras_nas.plan_prune` returned. "
            f"Received: {plan!r}"
        )
    pieces = []
    for atom in plan.analysis.all_atoms():
        keep = plan.atom_keep.get(atom)
        pieces.append(Piece(atom.size, None if keep is None else tuple(keep.tolist())))
    return Recipe(
        tuple(_steps(plan.analysis)),
        tuple(pieces),
        int(plan.options.seed),
        _initializer_config(plan.options.initializer),
    )


def _steps(analysis: Analysis) -> Iterator[Step]:
    numbers = {call.path: n for n, call in enumerate(analysis.flat.calls)}
    for call in analysis.flat.calls:
        yield Step(
            call.path,
            call.part.cls.__name__,
            tuple(tuple(spec.shape[1:]) for spec in call.outputs),
            tuple(tuple(weight.shape) for weight in call.part.weights),
            tuple((numbers[ref.vertex], ref.index) for ref in call.reads),
        )


def _compare(expected: Sequence[Step], found: Sequence[Step]) -> None:
    """Raises unless two architectures are the same but for names."""
    lines = []
    if len(expected) != len(found):
        lines.append(f"the recipe has {len(expected)} vertices, not {len(found)}")
    names = {step.name for step in found}
    for number, (ours, theirs) in enumerate(zip(expected, found, strict=False)):
        is_exchanged = ours.name != theirs.name and ours.name in names
        if is_exchanged or ours[1:] != theirs[1:]:
            lines.append(
                f"vertex {number} of the recipe is {ours}, that of the model "
                f"{theirs}{_detail(ours, theirs)}"
            )
    if not lines:
        return
    shown = lines[:_MAX_LISTED]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    text = "".join(f"\n- {line}" for line in shown)
    raise InvalidRequestError(
        f"The recipe is for another architecture:{text}\n\nGive a model of the same "
        "architecture as the one that the plan was made for. "
        f"Received: a model of {len(found)} vertices"
    )


def _detail(ours: Step, theirs: Step) -> str:
    """Says what differs where that is not seen from names, classes and outputs."""
    if (ours.kind, ours.outputs) != (theirs.kind, theirs.outputs):
        return ""
    if ours.weights != theirs.weights:
        return f": weights {list(ours.weights)}, not {list(theirs.weights)}"
    return ": it reads other vertices" if ours.reads != theirs.reads else ""


# --- reading and writing ----------------------------------------------------------


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _frozen(keep: tuple[int, ...]) -> np.ndarray:
    index = np.array(keep, dtype=np.int64)
    index.flags.writeable = False
    return index


def _read_step(record: Record) -> Step:
    lists = [_read_rows(record, name) for name in Step._fields[2:]]
    return Step(record.text("name"), record.text("kind"), *lists)


def _read_rows(record: Record, name: str) -> tuple[tuple[int | None, ...], ...]:
    """Takes a list of shapes, or of pairs of numbers."""
    rows = record.values(name)
    for row in rows:
        is_list = isinstance(row, list)
        if not is_list or not all(x is None or type(x) is int for x in row):
            record.refuse(f"has {name} that are no lists of numbers", row)
    return tuple(map(tuple, rows))


def _read_piece(record: Record) -> Piece:
    size = record.integer("size", 1)
    if "keep" in record and dict(record.items())["keep"] is None:
        return Piece(size, None)
    keep = record.values("keep")
    kept = [index for index in keep if index != -1]
    are_ints = all(type(index) is int and -1 <= index < size for index in keep)
    if not are_ints or len(set(kept)) != len(kept):
        record.refuse(f"keeps other neurons than some of 0 to {size - 1}", keep)
    return Piece(size, tuple(keep))


def _initializer_config(initializer: Any) -> Any:
    """Returns an initializer as JSON, if it is one of Keras."""
    if initializer is None or isinstance(initializer, str):
        return initializer
    made = keras.initializers.get(initializer)
    name = type(made).__name__
    if getattr(keras.initializers, name, None) is not type(made):
        raise InvalidRequestError(
            f"A recipe cannot hold the initializer {made!r}, since it holds no code."
            "\n\nPlan with an initializer of Keras, or with none. "
            f"Received: initializer={initializer!r}"
        )
    return {"class_name": name, "config": made.get_config()}


def _read_initializer(record: Record) -> Any:
    value = dict(record.items()).get("initializer")
    if value is None or isinstance(value, str):
        name = value
    else:
        inner = record.record("initializer")
        name = inner.text("class_name")
        inner.record("config")
    if name is not None and getattr(keras.initializers, name, None) is None:
        record.refuse(f"names an initializer that Keras does not have: {name!r}", value)
    return value
