"""Callbacks that see one training where there are several calls of ``fit``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

# Their memory is about one architecture: they compare a model with its own past.
_ABOUT_ONE_MODEL = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ReduceLROnPlateau,
)
_BEGIN, _END = "on_train_begin", "on_train_end"


class Relay(keras.callbacks.Callback):
    """Passes on what happens to an ordinary callback, but not that training restarts.

    Training begins and ends once. A callback whose memory is about one architecture (of
    Keras: `EarlyStopping`, `ReduceLROnPlateau`; others say so by an attribute
    ``restarts_at_cuts = True``) sees it begin and end with each model; the best value
    of a `ModelCheckpoint` is forgotten at each cut.

    Args:
        callback: The callback.
    """

    def __init__(self, callback: Any):
        super().__init__()
        self.callback = callback
        self.is_first = self.is_last = True
        self._best = getattr(callback, "best", None)
        self.restarts = isinstance(callback, _ABOUT_ONE_MODEL) or getattr(
            callback, "restarts_at_cuts", False
        )

    def set_model(self, model: Any) -> None:
        """Tells the callback which model is trained."""
        super().set_model(model)
        self.callback.set_model(model)

    def set_params(self, params: Any) -> None:
        """Tells the callback how it is trained."""
        super().set_params(params)
        self.callback.set_params(params)

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins once, or anew."""
        is_checkpoint = isinstance(self.callback, keras.callbacks.ModelCheckpoint)
        if is_checkpoint and not self.is_first:
            self.callback.best = self._best
        if self.is_first or self.restarts:
            self.callback.on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Ends once, or each time."""
        if self.is_last or self.restarts:
            self.callback.on_train_end(logs)


def _passing_on(name: str) -> Any:
    def hook(self: Relay, *args: Any, **kwargs: Any) -> None:
        getattr(self.callback, name)(*args, **kwargs)

    hook.__name__ = name
    return hook


def relay(callback: Any) -> Relay:
    """Returns a relay that has the hooks that the callback has.

    Keras looks at which hooks a callback overrides, and runs it faster without those of
    batches.
    """
    own = {
        name: _passing_on(name)
        for name in dir(keras.callbacks.Callback)
        if name.startswith("on_")
        and name not in (_BEGIN, _END)
        and _overrides(callback, name)
    }
    return type("Relay", (Relay,), own)(callback)


def _overrides(callback: Any, name: str) -> bool:
    default = getattr(keras.callbacks.Callback, name)
    method = getattr(callback, name)
    return getattr(method, "__func__", method) is not default


class Phase(keras.callbacks.Callback):
    """Ends the training of one model after an epoch.

    Args:
        last: Number of that epoch; the last one of all needs no help.

    Attributes:
        epoch: Number of the epochs that are over.
        was_stopped: Whether another callback ended the training.
    """

    def __init__(self, last: int):
        super().__init__()
        self._last = last
        self.epoch = 0
        self.was_stopped = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Looks whether others have stopped, and stops after the last epoch."""
        self.epoch = epoch + 1
        self.was_stopped = bool(self.model.stop_training)
        if epoch >= self._last:
            self.model.stop_training = True


def read_callbacks(callbacks: Any) -> list[Any]:
    """Returns the callbacks as a list, nested as they may be given."""
    if callbacks is None:
        return []
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    if isinstance(callbacks, Iterable):
        return keras.tree.flatten(list(callbacks))
    return [callbacks]
