"""What the criteria have in common that put together what several layers say."""

from __future__ import annotations

from keras_nas.importance.combining import check_combining
from keras_nas.importance.criterion import Criterion


class Combined(Criterion):
    """A criterion that combines what several layers say about one neuron.

    Args:
        aggregation: ``"sum"``, ``"mean"`` or ``"max"`` over what speaks for a neuron.
        normalization: Of what each of them says: ``"mean"``, ``"max"``, ``"sum"``,
            ``"gaussian"`` or ``"none"``.

    Raises:
        InvalidRequestError: A setting that does not exist.
    """

    def __init__(self, *, aggregation: str = "sum", normalization: str = "mean"):
        check_combining(aggregation, normalization)
        self.aggregation = aggregation
        self.normalization = normalization
