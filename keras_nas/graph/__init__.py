"""Keras models as immutable graphs, and back."""

from keras_nas.graph.analysis import Analysis, analyze, analyze_region
from keras_nas.graph.build import build
from keras_nas.graph.check import check_graph, grid_problem, shape_problem
from keras_nas.graph.copying import create
from keras_nas.graph.flatten import Call, FlatGraph, flatten
from keras_nas.graph.inference import infer_outputs, spec_of
from keras_nas.graph.keras_private import names_anew, names_kept
from keras_nas.graph.rewiring import (
    drop_unused,
    exchange_weights,
    find_path,
    map_arguments,
    rename_vertices,
    sort_vertices,
)
from keras_nas.graph.seams import Joint
from keras_nas.graph.structure import (
    Body,
    Graph,
    Part,
    Seam,
    TensorRef,
    TensorSpec,
    VariableRef,
    Vertex,
    refs,
)
from keras_nas.graph.weight import Gather, Weight
from keras_nas.graph.wrap import wrap, wrap_layer

__all__ = [
    "Analysis",
    "Body",
    "Call",
    "FlatGraph",
    "Gather",
    "Graph",
    "Joint",
    "Part",
    "Seam",
    "TensorRef",
    "TensorSpec",
    "VariableRef",
    "Vertex",
    "Weight",
    "analyze",
    "analyze_region",
    "build",
    "check_graph",
    "create",
    "drop_unused",
    "exchange_weights",
    "find_path",
    "flatten",
    "grid_problem",
    "infer_outputs",
    "map_arguments",
    "names_anew",
    "names_kept",
    "refs",
    "rename_vertices",
    "shape_problem",
    "sort_vertices",
    "spec_of",
    "wrap",
    "wrap_layer",
]
