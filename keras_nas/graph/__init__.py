"""Keras models as immutable graphs, and back."""

from keras_nas.graph.analysis import Analysis, analyze
from keras_nas.graph.build import build
from keras_nas.graph.flatten import Call, FlatGraph, flatten
from keras_nas.graph.structure import (
    Body,
    Graph,
    Part,
    TensorRef,
    TensorSpec,
    VariableRef,
    Vertex,
    refs,
)
from keras_nas.graph.weight import Weight
from keras_nas.graph.wrap import wrap

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
    "build",
    "flatten",
    "refs",
    "wrap",
]
