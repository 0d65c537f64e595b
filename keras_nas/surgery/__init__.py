"""Changes of models: request -> plan -> new graph -> new model."""

from keras_nas.surgery.graph import Graph
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.requests import near
from keras_nas.surgery.verbs import explain, plan, resize, resize_inputs, summary

__all__ = [
    "Graph",
    "Plan",
    "explain",
    "near",
    "plan",
    "resize",
    "resize_inputs",
    "summary",
]
