"""How each layer and operation ties the axes it touches.

One file for each family; `find_rule` looks them up. A new layer is one rule in one of
these files.
"""

from keras_nas.rules import (
    attention,
    convolution,
    dense,
    einsum,
    inputs,
    merging,
    normalization,
    operations_contraction,
    operations_elementwise,
    operations_index,
    operations_join,
    operations_reduction,
    operations_shape,
    pointwise,
    recurrent,
    reshaping,
    reversible_embedding,
    spatial,
    wrappers,
)
from keras_nas.rules.call import RuleCall, positional_names, split_masks
from keras_nas.rules.custom import register_rule
from keras_nas.rules.notation import describe
from keras_nas.rules.registry import (
    find_rule,
    known_classes,
    known_operations,
    layer_rule,
    operation_rule,
)
from keras_nas.rules.relation import (
    INITIALIZER,
    AxisTensor,
    Computed,
    Relation,
    SizeOf,
    Sliced,
    Undescribed,
    WeightAxes,
    leaves,
    map_leaves,
)

__all__ = [
    "INITIALIZER",
    "AxisTensor",
    "Computed",
    "Relation",
    "RuleCall",
    "SizeOf",
    "Sliced",
    "Undescribed",
    "WeightAxes",
    "attention",
    "convolution",
    "dense",
    "describe",
    "einsum",
    "find_rule",
    "inputs",
    "known_classes",
    "known_operations",
    "layer_rule",
    "leaves",
    "map_leaves",
    "merging",
    "normalization",
    "operation_rule",
    "operations_contraction",
    "operations_elementwise",
    "operations_index",
    "operations_join",
    "operations_reduction",
    "operations_shape",
    "pointwise",
    "positional_names",
    "recurrent",
    "register_rule",
    "reshaping",
    "reversible_embedding",
    "spatial",
    "split_masks",
    "wrappers",
]
