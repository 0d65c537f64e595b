"""The graph of a model as an immutable value."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_nas.axes import MaybeNone
from keras_nas.errors import InternalError, InvalidRequestError
from keras_nas.graph import keras_private
from keras_nas.graph.weight import Weight
from keras_nas.rules import leaves

if TYPE_CHECKING:
    from typing_extensions import Self  # noqa: UP035  In typing since Python 3.11.

_NOTHING: Mapping = MappingProxyType({})


@dataclass(frozen=True)
class TensorRef:
    """A tensor, as a leaf of arguments, inputs and outputs.

    Attributes:
        vertex: Name of a vertex of the same body.
        index: Position among the flat outputs of that vertex.
    """

    vertex: str
    index: int = 0

    def __hash__(self) -> int:
        # A string keeps its hash, a tuple of fields would compute it again; few
        # vertices have several outputs.
        return hash(self.vertex)


@dataclass(frozen=True)
class VariableRef:
    """A variable of a part, used directly as an argument of an operation.

    Attributes:
        part: Key of the part that owns the variable.
        index: Position in the weights of that part.
    """

    part: str
    index: int


@dataclass(frozen=True)
class TensorSpec:
    """Shape (None where unknown) and dtype of a tensor as it was recorded."""

    shape: tuple[int | MaybeNone, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class Seam:
    """A tensor that an edit leads to a reader that was made for another one.

    Stands in place of a `TensorRef` among the arguments of a vertex while an edit is
    under way: the shapes on its two sides have yet to be made equal. No finished graph
    holds one.

    Attributes:
        ref: The tensor that arrives; None for what arrives at the input of a nested
            model.
        spec: What the reader was made for.
        key: Readers with the same key and the same arriving tensor see one tensor.
        origins: Axis -> int array over the positions that arrive: where the reader has
            each of them, -1 if it does not have it. The positions of the other axes
            are those of the reader, as far as there are any.
    """

    ref: TensorRef | MaybeNone
    spec: TensorSpec
    key: Hashable
    origins: Mapping[int, np.ndarray] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, eq=False)
class Part:
    """One layer or operation object, shared by all its calls.

    Attributes:
        key: Unique in the graph: the path of its first call, ``"encoder/conv2"``.
        name: Name of the Keras object.
        cls: Class of the Keras object.
        config: What ``get_config`` gave. Never changed in place.
        weights: All variables in the order of ``layer.variables``, states of seed
            generators included. Empty for a nested model: its parts have them.
        weight_names: Name of each of them inside this layer, where that is not the
            name of the weight: another part that has the same weight named it first.
        body: The inside of a nested functional or sequential model, else None.
        template: Where ``cls.from_config(config)`` may not work (a custom class, a
            class without a usable ``get_config``): the original layer, or a copy of
            the original operation. Only ever copied, never used itself.
        original_config: The config of ``template``; a part whose config is another
            object has been edited and cannot be copied from the template.
        is_opaque: ``get_config`` fails: only a copy of the template can be made.
        custom_objects: Name -> class or function that deserializing needs.
        trainable: Flags of the layer and all its sub-layers, outermost first.
        inner: Path inside the layer -> key of the part that this sub-layer is too,
            where a layer is wrapped by one layer and called directly as well.
        assets: File name -> content, of layers with state beside their variables.
        constants: Name of a weight -> what the layer computes with instead.
    """

    key: str
    name: str
    cls: type[Any]
    config: Mapping[str, Any]
    weights: tuple[Weight, ...] = ()
    weight_names: tuple[str, ...] | None = None
    body: Body | MaybeNone = None
    template: Any = None
    original_config: Mapping[str, Any] | None = None
    is_opaque: bool = False
    custom_objects: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    trainable: tuple[bool, ...] = ()
    inner: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    assets: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)
    constants: Mapping[str, Weight] = field(default_factory=lambda: _NOTHING)

    @property
    def is_operation(self) -> bool:
        """Whether this is a raw ``keras.ops`` operation and not a layer."""
        return not keras_private.is_layer_class(self.cls)

    @property
    def is_input(self) -> bool:
        """Whether this is an ``InputLayer``."""
        return keras_private.is_input_class(self.cls)

    @property
    def named_weights(self) -> tuple[tuple[str, Weight], ...]:
        """Every weight with its name inside this part, as rules know it."""
        names = self.weight_names or [weight.name for weight in self.weights]
        return tuple(zip(names, self.weights, strict=True))

    def named(self, name: str) -> Part:
        """Returns the part under another name; a nested model has it twice."""
        if self.body is None:
            return replace(self, name=name)
        body = replace(self.body, name=name)
        return replace(self, name=name, config={"name": name}, body=body)

    @property
    def is_edited(self) -> bool:
        """Whether the config is no longer the one of the original object."""
        return self.config is not self.original_config


class HasArguments:
    """What is called on arguments: a vertex, or a call of the opened network."""

    args: tuple
    kwargs: Mapping[str, Any]

    @cached_property
    def leaves(self) -> tuple:
        """All that stands in the arguments, in flat order."""
        return tuple(leaves((self.args, self.kwargs)))

    @cached_property
    def tensors(self) -> tuple[TensorRef | Seam, ...]:
        """The tensors among the arguments, in flat order."""
        found = (x for x in self.leaves if isinstance(x, (TensorRef, Seam)))
        return tuple(found)

    @cached_property
    def reads(self) -> tuple[TensorRef, ...]:
        """The same across seams.

        What arrives at the input of a nested model from outside is none of them.
        """
        found = (x.ref if isinstance(x, Seam) else x for x in self.tensors)
        return tuple(ref for ref in found if ref is not None)

    @cached_property
    def variables(self) -> tuple[VariableRef | Weight, ...]:
        """The variables among the arguments."""
        return tuple(x for x in self.leaves if isinstance(x, (VariableRef, Weight)))

    @cached_property
    def has_seams(self) -> bool:
        """Whether an edit has left it between two shapes."""
        return any(isinstance(leaf, Seam) for leaf in self.tensors)


@dataclass(frozen=True, eq=False)
class Vertex(HasArguments):
    """One call of a part.

    Attributes:
        name: Name of the part; ``name^1``, ``name^2`` for its further calls in the
            same body, in graph order.
        part: Key of the part.
        args: Positional arguments, nested as they were, with `TensorRef` leaves.
        kwargs: Keyword arguments, likewise.
        outputs: What the call returned, flat. Those of a nested model are not updated
            by edits: what its inside gives counts.
    """

    name: str
    part: str
    args: tuple = ()
    kwargs: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    outputs: tuple[TensorSpec, ...] = ()

    @cached_property
    def memo(self) -> dict:
        """What was found out about it; a vertex never changes, graphs share it."""
        return {}


@dataclass(frozen=True)
class Body:
    """The inside of a functional or sequential model.

    Attributes:
        vertices: Name -> vertex, producers before consumers.
        inputs: Structure of `TensorRef` leaves, as the model was made with.
        outputs: Likewise.
        cls: Class of the model.
        name: Name of the model.
        trainable: Flag of the model itself.
        is_sequential: Whether the model was a ``keras.Sequential``.
        dtype_policy: Policy of the model itself.
        init_kwargs: Further arguments for the constructor of a model subclass.
        compile_state: Settings of ``compile``, or None.
    """

    vertices: Mapping[str, Vertex]
    inputs: Any
    outputs: Any
    cls: type[Any]
    name: str
    trainable: bool = True
    is_sequential: bool = False
    dtype_policy: Any = None
    init_kwargs: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    compile_state: Any = None


@dataclass(frozen=True, eq=False)
class Graph:
    """A model as an immutable value: what it calls, with what, and all weights.

    Attributes:
        body: The outermost model.
        parts: Key -> part, over all levels of nesting, in order of first call. Each
            Keras object is one part, however many bodies call it.
    """

    body: Body
    parts: Mapping[str, Part]

    @property
    def compile_state(self) -> Any:
        """Settings of ``compile`` of the outermost model, or None."""
        return self.body.compile_state

    def check_optimizer(self) -> None:
        """Raises `InvalidRequestError` unless there is an optimizer with a state."""
        state = self.compile_state
        if state is None:
            problem = "is not compiled, so it has no optimizer to go on with"
            remedy = "Compile and train it first"
        elif state.optimizer is None:
            problem = "has an optimizer that was not built: it has no state yet"
            remedy = "Train it first, or build its optimizer"
        else:
            return
        raise InvalidRequestError(
            f"The model '{self.body.name}' {problem}.\n\n{remedy}, or leave "
            "carry_optimizer out. Received: carry_optimizer=True"
        )

    def with_optimizer(self, carries: bool = True) -> Self:
        """Returns a graph whose models get the state of the optimizer, or do not.

        Raises:
            InvalidRequestError: There is none.
        """
        state = self.compile_state
        if carries:
            self.check_optimizer()
        if state is None or state.carries_optimizer == carries:
            return self
        state = replace(state, carries_optimizer=carries)
        return self.replace_body("", replace(self.body, compile_state=state))

    def without_compilation(self) -> Self:
        """Returns a graph whose models are not compiled."""
        return self.replace_body("", replace(self.body, compile_state=None))

    def bodies(self) -> Iterator[tuple[str, Body]]:
        """Yields each body with the key of the part it is the inside of, "" first."""
        yield "", self.body
        for key, part in self.parts.items():
            if part.body is not None:
                yield key, part.body

    def body_of(self, owner: str) -> Body:
        """Returns the body of a part, or the outermost one for ``""``."""
        body = self.body if owner == "" else self.parts[owner].body
        if body is None:
            raise InternalError(
                f"Part '{owner}' is not a nested model.\n\nPlease report this. "
                f"Received: owner={owner!r}"
            )
        return body

    def replace_parts(self, parts: Mapping[str, Part]) -> Self:
        """Returns a graph with some parts exchanged (or added) by key."""
        return replace(self, parts={**self.parts, **parts})

    def replace_body(self, owner: str, body: Body) -> Self:
        """Returns a graph with the inside of one model exchanged."""
        if owner == "":
            return replace(self, body=body)
        return self.replace_parts({owner: replace(self.parts[owner], body=body)})

    def replace_vertices(self, owner: str, vertices: Mapping[str, Vertex]) -> Self:
        """Returns a graph with some vertices of one body exchanged by name."""
        body = self.body_of(owner)
        return self.replace_body(
            owner, replace(body, vertices={**body.vertices, **vertices})
        )


def refs(structure: Any) -> list[TensorRef]:
    """Returns all tensors of a structure in the flat order that Keras uses."""
    leaves = keras_private.flatten(structure)
    return [leaf for leaf in leaves if isinstance(leaf, TensorRef)]
