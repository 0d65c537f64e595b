"""Size systems, solved as mixed integer linear programs.

Pure data in, pure data out; knows neither Keras nor axes. Pyomo is imported by the
first solve only.
"""

from keras_nas.milp.budgets import OverBudget, solve_budgets
from keras_nas.milp.cost import Budget, Cost
from keras_nas.milp.linearised import sizes_above
from keras_nas.milp.reach import reachable
from keras_nas.milp.solve import nearest, solve
from keras_nas.milp.solvers import INSTALL, is_available
from keras_nas.milp.system import (
    Infeasible,
    Key,
    Linear,
    Piece,
    Sizes,
    SizeSystem,
    Status,
)
from keras_nas.milp.tangents import positive_utilities

__all__ = [
    "INSTALL",
    "Budget",
    "Cost",
    "Infeasible",
    "Key",
    "Linear",
    "OverBudget",
    "Piece",
    "SizeSystem",
    "Sizes",
    "Status",
    "is_available",
    "nearest",
    "positive_utilities",
    "reachable",
    "sizes_above",
    "solve",
    "solve_budgets",
]
