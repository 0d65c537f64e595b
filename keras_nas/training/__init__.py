"""Life after a cut: statistics, weights and training of a model that was changed."""

from keras_nas.training.fitting import Cut, PrunedFit, fit_pruned
from keras_nas.training.recalibration import recalibrate
from keras_nas.training.reconstruction import reconstruct
from keras_nas.training.schedule import PruningSchedule

__all__ = [
    "Cut",
    "PrunedFit",
    "PruningSchedule",
    "fit_pruned",
    "recalibrate",
    "reconstruct",
]
