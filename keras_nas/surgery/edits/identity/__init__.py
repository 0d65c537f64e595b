"""Parts of a network as the identity function.

`search` finds weights for a whole part; `steps`, `merging`, `weights`, `kernels` and
`convolutions` know single layers, `table` which is which; `demand` and `activations`
are the words they share. `nonnegative` knows where a ReLU does nothing.
"""

from keras_nas.surgery.edits.identity.nonnegative import is_nonnegative_after
from keras_nas.surgery.edits.identity.search import as_identity

__all__ = ["as_identity", "is_nonnegative_after"]
