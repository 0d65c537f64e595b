"""Logs for TensorBoard, written without TensorFlow and TensorBoard.

The file is a row of records: a length, its checksum, an `Event` message, its checksum.
An event with scalars takes five kinds of fields of protocol buffers, which are encoded
here: so the logs can be written on any backend.

Source: the formats ``TFRecord``, ``event.proto`` and ``summary.proto`` of TensorFlow.
"""

from __future__ import annotations

import itertools
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_nas.search.callbacks import EvolverCallback
from keras_nas.search.setting_checks import as_path
from keras_nas.search.trial import Trial

_count = itertools.count()


class TensorBoardCallback(EvolverCallback):
    """Writes fitness, metrics and costs of candidates and generations as scalars.

    Look at them with ``tensorboard --logdir DIRECTORY``; a resumed run goes on in a
    further file of the same directory.

    Args:
        directory: Of the logs. Not that of the run.
    """

    def __init__(self, directory: str | Path):
        self._directory = as_path(directory)
        self._path: Path | None = None

    def on_candidate_end(self, trial: Trial) -> None:
        """Writes the numbers of one candidate, by the number of the trial."""
        if not trial.has_failed:
            numbers = {"fitness": trial.fitness, **trial.metrics, **trial.costs}
            self._write("candidate", numbers, trial.number)

    def on_generation_end(self, generation: int, logs: dict[str, Any]) -> None:
        """Writes the numbers of one generation."""
        numbers = {k: v for k, v in logs.items() if k != "generation" and v is not None}
        self._write("generation", numbers, generation)

    def _write(self, kind: str, numbers: Mapping[str, Any], step: int) -> None:
        now = time.time()
        named = {f"{kind}/{name}": float(value) for name, value in numbers.items()}
        with self._file().open("ab") as file:
            file.write(record(scalars_event(now, step, named)))

    def _file(self) -> Path:
        """The file of this run, which begins with the version of the format."""
        if self._path is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            now = time.time()
            unique = f"{int(now)}.{os.getpid()}.{next(_count)}"
            self._path = self._directory / f"events.out.tfevents.{unique}"
            self._path.write_bytes(record(version_event(now)))
        return self._path


def version_event(wall_time: float) -> bytes:
    """Returns the first event of a file."""
    return _double(1, wall_time) + _bytes(3, b"brain.Event:2")


def scalars_event(wall_time: float, step: int, scalars: Mapping[str, float]) -> bytes:
    """Returns an event with some scalars."""
    values = (
        _bytes(1, _bytes(1, tag.encode()) + _tag(2, 5) + struct.pack("<f", value))
        for tag, value in scalars.items()
    )
    summary = _bytes(5, b"".join(values))
    return _double(1, wall_time) + _tag(2, 0) + _varint(step) + summary


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _double(field: int, value: float) -> bytes:
    return _tag(field, 1) + struct.pack("<d", value)


def _bytes(field: int, content: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(content)) + content


def record(content: bytes) -> bytes:
    """Returns a record of the file."""
    length = struct.pack("<Q", len(content))
    return length + _masked_crc(length) + content + _masked_crc(content)


def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return table


_TABLE = _crc_table()


def _masked_crc(content: bytes) -> bytes:
    """The CRC-32C of some bytes, turned as the format wants it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    masked = (crc >> 15 | crc << 17) + 0xA282EAD8
    return struct.pack("<I", masked & 0xFFFFFFFF)
