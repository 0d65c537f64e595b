"""Training before and after a cut: sparsity, statistics, weights, schedules."""

from keras_nas.training.fitting import Cut, PrunedFit, fit_pruned
from keras_nas.training.recalibration import recalibrate
from keras_nas.training.reconstruction import reconstruct
from keras_nas.training.schedule import PruningSchedule
from keras_nas.training.sparsity import GroupSparsity

__all__ = [
    "Cut",
    "GroupSparsity",
    "PrunedFit",
    "PruningSchedule",
    "fit_pruned",
    "recalibrate",
    "reconstruct",
]
