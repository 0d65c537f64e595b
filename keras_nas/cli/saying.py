"""Says how far the work is, on the error stream, so that results stay apart."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass
class Saying:
    """What a command tells about its work.

    Args:
        quiet: Whether nothing but results and errors is to be seen.
        verbose: Whether every step is told even if nobody sits at a terminal.
    """

    quiet: bool = False
    verbose: bool = False
    _start: float = field(default_factory=time.monotonic)

    @property
    def is_on(self) -> bool:
        """Whether somebody wants to know how far the work is."""
        return not self.quiet and (self.verbose or sys.stderr.isatty())

    def step(self, text: str) -> None:
        """Tells what begins now, with the seconds since the start."""
        if self.is_on:
            seconds = time.monotonic() - self._start
            print(f"[{seconds:5.1f} s] {text}", file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """Tells what has been done, to scripts as well."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)
