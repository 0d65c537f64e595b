"""The algebra of axes: pure Python and numpy, knows neither Keras nor Pyomo."""

from keras_nas.axes.expressions import (
    Atom,
    Expression,
    Fixed,
    MaybeNone,
    Product,
    Sum,
    factors_of,
    fixed_reasons,
    product,
    terms_of,
    total,
)
from keras_nas.axes.selection import (
    index_of,
    is_unchanged,
    keep_for,
    scatter,
    size_of,
)
from keras_nas.axes.unifier import Unifier

__all__ = [
    "Atom",
    "Expression",
    "Fixed",
    "MaybeNone",
    "Product",
    "Sum",
    "Unifier",
    "factors_of",
    "fixed_reasons",
    "index_of",
    "is_unchanged",
    "keep_for",
    "product",
    "scatter",
    "size_of",
    "terms_of",
    "total",
]
