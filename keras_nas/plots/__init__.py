"""Pictures of networks and of plans."""

from keras_nas.plots.network import plot
from keras_nas.plots.picture import Picture

__all__ = ["Picture", "plot"]
