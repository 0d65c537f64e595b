"""Who proposes: strategies with `ask` and `tell`."""

from keras_nas.search.strategies.base import Duplicates, Strategy
from keras_nas.search.strategies.genetic_algorithm import GeneticAlgorithm
from keras_nas.search.strategies.nsga import NSGA2
from keras_nas.search.strategies.random_search import RandomSearch
from keras_nas.search.strategies.regularized_evolution import RegularizedEvolution
from keras_nas.search.strategies.selection import (
    select_by_tournament,
    select_universally,
)

__all__ = [
    "NSGA2",
    "Duplicates",
    "GeneticAlgorithm",
    "RandomSearch",
    "RegularizedEvolution",
    "Strategy",
    "select_by_tournament",
    "select_universally",
]
