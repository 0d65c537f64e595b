"""Every exception that keras_nas raises on purpose.

Each class also inherits the builtin that a caller would catch without knowing this
package. Messages have two paragraphs: what is wrong, with the values; then what to
do. The last sentence starts with ``Received:``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class KerasNasError(Exception):
    """Base class of every error that keras_nas raises on purpose."""


class InvalidRequestError(KerasNasError, ValueError):
    """A request that no model could satisfy: a size of 0, a NaN, a wrong length."""


class InfeasibleError(KerasNasError, ValueError):
    """No sizes satisfy the request together with what ties the layers of the model.

    Attributes:
        nearest: Request key -> nearest feasible size: an int, or the two nearest as
            a tuple ``(below, above)`` where both sides have one. A key is missing
            where no size at all was found.
    """

    def __init__(self, message: str, nearest: Mapping[Any, Any] | None = None):
        super().__init__(message)
        self.nearest = dict(nearest or {})


class RuleError(KerasNasError, ValueError):
    """A rule of `register_rule` that cannot be read, or contradicts a layer."""


class UnknownLayerError(KerasNasError, ValueError):
    """A name that no vertex of the model has, or that several have."""


class UnsupportedModelError(KerasNasError, TypeError):
    """Something that is not a built functional or sequential Keras model."""


class SolverError(KerasNasError, RuntimeError):
    """The solver is missing, failed, or stopped at its time limit."""


class SearchError(KerasNasError, RuntimeError):
    """A search that cannot go on: a full disk, a second process, nothing that works."""


class JournalError(KerasNasError, ValueError):
    """A directory without a usable run: damaged, missing, or of other settings."""


class BackendError(KerasNasError, ImportError):
    """Keras without a backend that it could run on; raised by the import."""


class InternalError(KerasNasError, AssertionError):
    """A broken promise of this package. Please report it: it is not your mistake."""
