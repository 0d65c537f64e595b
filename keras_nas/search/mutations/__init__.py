"""Random changes of networks that keep what they have learned.

Each mutation is called with a graph, a generator and a `Context`, and returns another
graph, or the same object where nothing can be done. `Chain`, `OneOf`, `Probability` and
`Retry` put them together; `default_mutation` is the one of `KerasEvolver`.
"""

from keras_nas.search.mutations.base import Mutation, VertexMutation
from keras_nas.search.mutations.cleaning import CleanUp
from keras_nas.search.mutations.composition import Chain, OneOf, Probability, Retry
from keras_nas.search.mutations.context import Context
from keras_nas.search.mutations.crossover import crossover
from keras_nas.search.mutations.defaults import default_mutation
from keras_nas.search.mutations.edges import AddEdge, RemoveEdge
from keras_nas.search.mutations.insertion import Insert
from keras_nas.search.mutations.places import check_shields, num_params, num_vertices
from keras_nas.search.mutations.removal import Remove
from keras_nas.search.mutations.settings import (
    ChangeActivation,
    DropoutRate,
    KernelSize,
    PoolingType,
)
from keras_nas.search.mutations.training import (
    OPTIMIZERS,
    crossover_training,
    mutate_training,
    sample_training,
)
from keras_nas.search.mutations.width import Width

__all__ = [
    "OPTIMIZERS",
    "AddEdge",
    "Chain",
    "ChangeActivation",
    "CleanUp",
    "Context",
    "DropoutRate",
    "Insert",
    "KernelSize",
    "Mutation",
    "OneOf",
    "PoolingType",
    "Probability",
    "Remove",
    "RemoveEdge",
    "Retry",
    "VertexMutation",
    "Width",
    "check_shields",
    "crossover",
    "crossover_training",
    "default_mutation",
    "mutate_training",
    "num_params",
    "num_vertices",
    "sample_training",
]
