"""Changes of models: request -> plan -> new graph -> new model."""

from keras_nas.surgery.comparison import Comparison, compare_models
from keras_nas.surgery.counting import Counts, VertexCount
from keras_nas.surgery.edit_verbs import (
    connect,
    disconnect,
    insert,
    remove,
    replace,
)
from keras_nas.surgery.graph import Graph
from keras_nas.surgery.measuring import LatencyCheck
from keras_nas.surgery.overview import VertexView, overview
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.prune_plan import PrunePlan
from keras_nas.surgery.prune_verbs import (
    count,
    measure_latency,
    plan_prune,
    prune,
)
from keras_nas.surgery.recipe import Recipe
from keras_nas.surgery.recipe_verbs import recipe, replay
from keras_nas.surgery.requests import near
from keras_nas.surgery.verbs import explain, plan, resize, resize_inputs, summary
from keras_nas.surgery.verification import OutputCheck, Verification, verify

__all__ = [
    "Comparison",
    "Counts",
    "Graph",
    "LatencyCheck",
    "OutputCheck",
    "Plan",
    "PrunePlan",
    "Recipe",
    "Verification",
    "VertexCount",
    "VertexView",
    "compare_models",
    "connect",
    "count",
    "disconnect",
    "explain",
    "insert",
    "measure_latency",
    "near",
    "overview",
    "plan",
    "plan_prune",
    "prune",
    "recipe",
    "remove",
    "replace",
    "replay",
    "resize",
    "resize_inputs",
    "summary",
    "verify",
]
