"""Changes the architecture of trained Keras networks without breaking them.

Example:
    >>> import keras, keras_nas as kn
    >>> model = keras.Sequential([
    ...     keras.Input((3,)),
    ...     keras.layers.Dense(4, name="hidden"),
    ...     keras.layers.Dense(2, name="head"),
    ... ])
    >>> kn.resize(model, "hidden", 3).get_layer("hidden").units
    3
"""

from keras_nas.requirements import import_keras as _import_keras

_import_keras()

from keras_nas import training as training
from keras_nas.errors import (
    BackendError,
    InfeasibleError,
    InternalError,
    InvalidRequestError,
    JournalError,
    KerasNasError,
    RuleError,
    SearchError,
    SolverError,
    UnknownLayerError,
    UnsupportedModelError,
)
from keras_nas.latency import LatencyPoint, LatencyTable, VertexLatency
from keras_nas.plots import Picture, plot, plot_importance
from keras_nas.rules import register_rule
from keras_nas.search import (
    Budget,
    EvolverCallback,
    KerasEvolver,
    Objective,
    Search,
    SearchResult,
)
from keras_nas.surgery import (
    Counts,
    Graph,
    LatencyCheck,
    OutputCheck,
    Plan,
    PrunePlan,
    Recipe,
    Verification,
    VertexCount,
    connect,
    count,
    disconnect,
    explain,
    insert,
    measure_latency,
    near,
    plan,
    plan_prune,
    prune,
    recipe,
    remove,
    replace,
    replay,
    resize,
    resize_inputs,
    summary,
    verify,
)
from keras_nas.training import (
    Cut,
    PrunedFit,
    PruningSchedule,
    fit_pruned,
    recalibrate,
    reconstruct,
)

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Budget",
    "Counts",
    "Cut",
    "EvolverCallback",
    "Graph",
    "InfeasibleError",
    "InternalError",
    "InvalidRequestError",
    "JournalError",
    "KerasEvolver",
    "KerasNasError",
    "LatencyCheck",
    "LatencyPoint",
    "LatencyTable",
    "Objective",
    "OutputCheck",
    "Picture",
    "Plan",
    "PrunePlan",
    "PrunedFit",
    "PruningSchedule",
    "Recipe",
    "RuleError",
    "Search",
    "SearchError",
    "SearchResult",
    "SolverError",
    "UnknownLayerError",
    "UnsupportedModelError",
    "Verification",
    "VertexCount",
    "VertexLatency",
    "connect",
    "count",
    "disconnect",
    "explain",
    "fit_pruned",
    "insert",
    "measure_latency",
    "near",
    "plan",
    "plan_prune",
    "plot",
    "plot_importance",
    "prune",
    "recalibrate",
    "recipe",
    "reconstruct",
    "register_rule",
    "remove",
    "replace",
    "replay",
    "resize",
    "resize_inputs",
    "summary",
    "verify",
]
