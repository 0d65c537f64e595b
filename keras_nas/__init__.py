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

from keras_nas.errors import (
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
    OutputCheck,
    Plan,
    PrunePlan,
    Verification,
    VertexCount,
    connect,
    count,
    disconnect,
    explain,
    insert,
    near,
    plan,
    plan_prune,
    prune,
    remove,
    replace,
    resize,
    resize_inputs,
    summary,
    verify,
)

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Counts",
    "EvolverCallback",
    "Graph",
    "InfeasibleError",
    "InternalError",
    "InvalidRequestError",
    "JournalError",
    "KerasEvolver",
    "KerasNasError",
    "Objective",
    "OutputCheck",
    "Plan",
    "PrunePlan",
    "RuleError",
    "Search",
    "SearchError",
    "SearchResult",
    "SolverError",
    "UnknownLayerError",
    "UnsupportedModelError",
    "Verification",
    "VertexCount",
    "connect",
    "count",
    "disconnect",
    "explain",
    "insert",
    "near",
    "plan",
    "plan_prune",
    "prune",
    "register_rule",
    "remove",
    "replace",
    "resize",
    "resize_inputs",
    "summary",
    "verify",
]
