"""The models of a run on the disk: those that somebody needs, and no others."""

from __future__ import annotations

from pathlib import Path

from keras_nas.search.pareto import pareto_front
from keras_nas.search.state import State
from keras_nas.search.trial import Status, best_first


class Files:
    """Where the models of a run are.

    Args:
        directory: Of the run.
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory)
        self.models = self.directory / "models"
        self.models.mkdir(exist_ok=True)

    def model(self, number: int) -> Path:
        """Returns the file of a trained model."""
        return self.models / f"{number:05d}.keras"

    def start(self, name: int | str) -> Path:
        """Returns the file of a model before training."""
        name = f"{name:05d}" if isinstance(name, int) else name
        return self.models / f"{name}.start.keras"

    def sweep_halves(self) -> None:
        """Deletes what an ended process left half written, or not yet trained."""
        for pattern in (".*.half.keras", "*.start.keras"):
            for path in self.models.glob(pattern):
                path.unlink(missing_ok=True)

    def worth_keeping(self, state: State, live: set[int], best: int) -> set[int]:
        """Returns the numbers of all trials whose models are needed.

        Args:
            state: What there is so far.
            live: Trials that may become parents, or are some already.
            best: How many of the best stay as well; with several objectives, the whole
                front does.
        """
        trials = state.trials
        owner = {trial.number: trial.owner for trial in trials}
        kept = {owner.get(number, number) for number in live}
        able = best_first(trial for trial in trials if trial.status is Status.DONE)
        kept |= {trial.number for trial in able[:best]}
        kept |= set(state.finals)
        if able and len(able[0].scores) > 1:
            front = pareto_front([trial.scores for trial in able])
            kept |= {able[position].number for position in front}
        return kept

    def sweep(self, kept: set[int]) -> None:
        """Deletes all trained models but those of some trials."""
        for path in self.models.glob("*.keras"):
            name = path.name.removesuffix(".keras")
            if name.isdigit() and int(name) not in kept:
                path.unlink(missing_ok=True)
