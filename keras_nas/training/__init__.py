"""Training before and after a cut."""

from keras_nas.training.sparsity import GroupSparsity

__all__ = ["GroupSparsity"]
