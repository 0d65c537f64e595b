"""Search for architectures.

`KerasEvolver` is the front door for images; `Search` is the loop beneath it and every
other method. It joins five parts, each of which can be exchanged:

* a search space (`keras_nas.search.spaces`), made into candidates by a `Breeder`;
* a `Strategy`, who proposes: `RandomSearch`, `RegularizedEvolution`,
  `GeneticAlgorithm`, `NSGA2`;
* an `Evaluator`, who measures: `TrainingEvaluator`, `FunctionEvaluator`;
* a `Budget`, which says when to stop;
* a runner (`keras_nas.search.executors`), which says where candidates are evaluated.

What happens is written to a journal, so that a search can be killed at any moment and
goes on to the same end.
"""

from keras_nas.search.breeding import Breeder, Candidate, SpaceBreeder
from keras_nas.search.budget import Budget
from keras_nas.search.callbacks import EvolverCallback
from keras_nas.search.evaluation import Evaluator, FunctionEvaluator, Job
from keras_nas.search.evolver import KerasEvolver
from keras_nas.search.evolving import GraphBreeder
from keras_nas.search.executors import FutureRunner, ProcessRunner, RayExecutor
from keras_nas.search.objectives import Objective
from keras_nas.search.pareto import crowding_distances, front_ranks, pareto_front
from keras_nas.search.progress import Progress
from keras_nas.search.result import SearchResult
from keras_nas.search.search import Search
from keras_nas.search.strategies import (
    NSGA2,
    GeneticAlgorithm,
    RandomSearch,
    RegularizedEvolution,
    Strategy,
)
from keras_nas.search.tensorboard import TensorBoardCallback
from keras_nas.search.training import TrainingEvaluator
from keras_nas.search.trial import Proposal, Status, Trial

__all__ = [
    "NSGA2",
    "Breeder",
    "Budget",
    "Candidate",
    "Evaluator",
    "EvolverCallback",
    "FunctionEvaluator",
    "FutureRunner",
    "GeneticAlgorithm",
    "GraphBreeder",
    "Job",
    "KerasEvolver",
    "Objective",
    "ProcessRunner",
    "Progress",
    "Proposal",
    "RandomSearch",
    "RayExecutor",
    "RegularizedEvolution",
    "Search",
    "SearchResult",
    "SpaceBreeder",
    "Status",
    "Strategy",
    "TensorBoardCallback",
    "TrainingEvaluator",
    "Trial",
    "crowding_distances",
    "front_ranks",
    "pareto_front",
]
