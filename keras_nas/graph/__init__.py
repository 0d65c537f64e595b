"""Keras models as immutable graphs, and back."""

from keras_nas.graph.analysis import Analysis, analyze
from keras_nas.graph.flatten import Call, FlatGraph, flatten
from keras_nas.graph.structure import (
    Body,
    Graph,
    Part,
    TensorRef,
    TensorSpec,
    VariableRef,
    Vertex,
    map_leaves,
    refs,
)
from keras_nas.graph.weight import Weight

__all__ = [
    "Analysis",
    "Body",
    "Call",
    "FlatGraph",
    "Graph",
    "Part",
    "TensorRef",
    "TensorSpec",
    "VariableRef",
    "Vertex",
    "Weight",
    "analyze",
    "flatten",
    "map_leaves",
    "refs",
]
