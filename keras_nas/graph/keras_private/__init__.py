"""The only folder that touches what Keras does not promise to keep.

Everything here is a plain function on Keras objects, so that a new Keras release
breaks this folder and no other.
"""

from keras_nas.graph.keras_private.copies import (
    copy_layer,
    copy_operation,
    shallow_copy,
)
from keras_nas.graph.keras_private.optimizers import (
    Slot,
    optimizer_rest,
    optimizer_scalars,
    optimizer_slots,
    optimizers,
    trained_variables,
)
from keras_nas.graph.keras_private.recorded import (
    CallRecord,
    calls,
    chain,
    flatten,
    functional_of,
    input_structure,
    is_functional_class,
    is_input_class,
    is_layer_class,
    output_structure,
)
from keras_nas.graph.keras_private.saving import (
    compile_arguments,
    dump_function,
    loss_settings,
    names_anew,
    names_kept,
    overrides_compile,
    unsafe_deserialization,
)
from keras_nas.graph.keras_private.values import (
    is_variable,
    numpy_dtype,
    own_memory,
    snapshot,
    to_numpy,
)
from keras_nas.graph.keras_private.variables import (
    forget_variable,
    named_variables,
    own_variables,
    owners,
    replace_variables,
    set_own_trainable,
    set_trainable_flags,
    share_layer,
    share_variable,
    track_variable,
    trainable_flags,
    untrack_variable,
)

__all__ = [
    "CallRecord",
    "Slot",
    "calls",
    "chain",
    "compile_arguments",
    "copy_layer",
    "copy_operation",
    "dump_function",
    "flatten",
    "forget_variable",
    "functional_of",
    "input_structure",
    "is_functional_class",
    "is_input_class",
    "is_layer_class",
    "is_variable",
    "loss_settings",
    "named_variables",
    "names_anew",
    "names_kept",
    "numpy_dtype",
    "optimizer_rest",
    "optimizer_scalars",
    "optimizer_slots",
    "optimizers",
    "output_structure",
    "overrides_compile",
    "own_memory",
    "own_variables",
    "owners",
    "replace_variables",
    "set_own_trainable",
    "set_trainable_flags",
    "shallow_copy",
    "share_layer",
    "share_variable",
    "snapshot",
    "to_numpy",
    "track_variable",
    "trainable_flags",
    "trained_variables",
    "unsafe_deserialization",
    "untrack_variable",
]
