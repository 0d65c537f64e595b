"""Pictures of networks, plans and importance."""

from keras_nas.plots.importance import plot_importance
from keras_nas.plots.network import plot
from keras_nas.plots.picture import Picture

__all__ = ["Picture", "plot", "plot_importance"]
