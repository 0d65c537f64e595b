"""The append-only journal of a run: the truth, one JSON object a line.

Every line is on the disk before anything relies on it. The first line says what the
run is: its settings, and the versions that it was begun with. A process that is killed
in the middle of a line leaves a torn last line, which the next start cuts off; a line
that is broken anywhere else was not written by this package, and is refused.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_nas.errors import JournalError, SearchError
from keras_nas.records import loads

try:
    import fcntl
except ImportError:  # Windows: two runs in one directory are not noticed there.
    fcntl = None  # type: ignore[assignment]  # A module, or nothing.

FORMAT = 1
NAME = "journal.jsonl"


class Journal:
    """The journal of one directory, opened for appending.

    Attributes:
        path: The file.
        header: Its first line.
        events: The lines after the header, as dicts.
    """

    def __init__(self, path: Path, header: dict, events: list[dict], file: Any):
        self.path = path
        self.header = header
        self.events = events
        self._file = file

    @classmethod
    def open(cls, directory: Path, settings: Mapping, versions: Mapping) -> Journal:
        """Begins a journal, or goes on with the one that is there.

        Args:
            directory: Where it lies; made if missing.
            settings: JSON-able; all that the results depend on.
            versions: JSON-able; noted, but not compared.

        Raises:
            JournalError: The journal is of a run with other settings, or broken, or
                nothing can be written there.
            SearchError: Another process has it open, or the disk is full.
        """
        path = directory / NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            file = path.open("ab+")
        except OSError as error:
            raise JournalError(
                f"No run can be kept in '{directory}': {error}.\n\nGive a new or empty "
                f"directory that can be written to. Received: {str(directory)!r}"
            ) from error
        try:
            _lock(file, path)
            header, events, length = parse(path)
            file.truncate(length)
            journal = cls(path, header, events, file)
            if not header:
                _refuse_foreign(directory)
                journal.header = _begin(settings, versions)
                journal._write(journal.header)
            else:
                compare(header.get("settings", {}), plain(settings), path)
        except BaseException:
            file.close()
            raise
        return journal

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Writes one event, and returns when it is on the disk.

        Returns:
            The event as the journal holds it.

        Raises:
            SearchError: The disk is full. The journal is as it was before.
        """
        kept: dict[str, Any] = plain(event)
        self._write(kept)
        self.events.append(kept)
        return kept

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, allow_nan=False) + "\n"
        length = os.fstat(self._file.fileno()).st_size
        try:
            write_line(self._file, line.encode())
        except OSError as error:
            # What was written of the line goes, so that a later start finds none of it.
            os.ftruncate(self._file.fileno(), length)
            raise SearchError(
                f"The journal cannot be written: {error}.\n\nMake room, then start the "
                f"same run again: it goes on where it stopped. Received: {self.path}"
            ) from error

    def close(self) -> None:
        """Closes the file, which lets other processes open it."""
        self._file.close()


def write_line(file: Any, line: bytes) -> None:
    """Appends bytes, and waits until they are on the disk."""
    file.write(line)
    file.flush()
    os.fsync(file.fileno())


def read(directory: Path) -> tuple[dict, list[dict]]:
    """Returns header and events of a journal, and changes nothing.

    Raises:
        JournalError: There is none, or it is broken.
    """
    path = Path(directory) / NAME
    if not path.is_file():
        raise JournalError(
            f"There is no run in '{directory}': it has no '{NAME}'.\n\nGive the "
            f"directory of a run. Received: {str(directory)!r}"
        )
    header, events, _ = parse(path)
    if not header:
        raise JournalError(
            f"The run in '{directory}' was stopped before its first line was "
            f"written.\n\nStart it again. Received: {str(directory)!r}"
        )
    return header, events


def parse(path: Path) -> tuple[dict, list[dict], int]:
    """Returns header, events, and how many bytes of the file are whole lines.

    Raises:
        JournalError: A whole line that is no JSON object, or a strange header.
    """
    content = path.read_bytes()
    length = content.rfind(b"\n") + 1
    events = []
    for number, line in enumerate(content[:length].splitlines(), 1):
        event = _parse_line(line)
        if not isinstance(event, dict) or "event" not in event:
            raise JournalError(
                f"Line {number} of the journal is damaged: it is no event.\n\nRestore "
                f"the file from a copy, or delete the lines from number {number} on to "
                f"repeat what they told. Received: {str(path)!r}, "
                f"{line[:60].decode(errors='replace')!r}"
            )
        events.append(event)
    if not events:
        return {}, [], length
    header = events[0]
    is_run = header["event"] == "run" and isinstance(header.get("settings"), dict)
    if not is_run or header.get("format") != FORMAT:
        raise JournalError(
            f"The first line of the journal is not that of a run in format {FORMAT}."
            f"\n\nUse the version of keras_nas that wrote it, or another directory. "
            f"Received: {str(path)!r}, {str(header)[:60]!r}"
        )
    return header, events[1:], length


def _parse_line(line: bytes) -> Any:
    try:
        return loads(line)
    except ValueError:
        return None


def _begin(settings: Mapping, versions: Mapping) -> dict:
    header = {"event": "run", "format": FORMAT}
    return plain({**header, "settings": settings, "versions": versions})


def compare(old: Any, new: Any, path: Path) -> None:
    """Refuses settings that differ from those of the journal.

    Raises:
        JournalError: They do; lists every difference.
    """
    found = differences(old, new)
    if found:
        lines = "\n".join(
            f"  {key}: {was!r} in the journal, {now!r} now" for key, was, now in found
        )
        raise JournalError(
            f"The directory holds another run; its settings differ:\n{lines}\n\nUse "
            f"the old settings to go on with it, or another directory for a new run. "
            f"Received: {str(path.parent)!r}"
        )


def is_there(directory: Path | None) -> bool:
    """Whether there is a journal in a directory."""
    return directory is not None and (directory / NAME).is_file()


def is_of_another_run(directory: Path, settings: Mapping) -> bool:
    """Whether there is a journal in a directory whose settings differ from these.

    Raises:
        JournalError: It is broken.
    """
    header = parse(directory / NAME)[0] if is_there(directory) else {}
    return bool(header) and bool(differences(header["settings"], plain(settings)))


def differences(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Lists where two JSON values differ, as (path, old, new).

    Example:
        >>> differences({"seed": 0, "a": {"b": 1}}, {"seed": 0, "a": {"b": 2}})
        [('a.b', 1, 2)]
    """
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in sorted(old.keys() | new.keys()):
            longer = f"{key}.{name}" if key else name
            found += differences(old.get(name), new.get(name), longer)
        return found
    return [] if old == new else [(key, old, new)]


def plain(value: Any) -> Any:
    """Brings a value to what JSON gives back; NaN and infinity become None.

    Example:
        >>> plain({"loss": float("nan"), "sizes": (1, 2)})
        {'loss': None, 'sizes': [1, 2]}
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _lock(file: Any, path: Path) -> None:
    """Refuses a second process; the lock goes with the process, however it ends."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise SearchError(
            f"Another process is running this search.\n\nWait for it, or use another "
            f"directory. Received: {str(path.parent)!r}"
        ) from error


def _refuse_foreign(directory: Path) -> None:
    """Refuses to begin a run among files of something else."""
    strange = sorted(path.name for path in directory.iterdir() if path.name != NAME)
    if strange:
        (directory / NAME).unlink(missing_ok=True)
        raise JournalError(
            f"The directory is not empty and holds no run: '{strange[0]}' is in it.\n\n"
            f"Use a new or empty directory. Received: {str(directory)!r}"
        )
