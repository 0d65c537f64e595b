"""The journal: appended, never changed, refused when damaged."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest

from keras_nas.errors import JournalError, SearchError
from keras_nas.search import journal
from keras_nas.search.journal import Journal

SETTINGS = {"seed": 0, "strategy": {"size": 3, "p": 0.5}}


def begin(directory, settings=SETTINGS):
    return Journal.open(directory, settings, {"keras": "3"})


def filled(directory, count=3):
    opened = begin(directory)
    for number in range(count):
        opened.append({"event": "trial", "number": number})
    opened.close()
    return directory / journal.NAME


def test_events_come_back_in_order_when_opened_again(tmp_path):
    filled(tmp_path)
    again = begin(tmp_path)
    again.append({"event": "trial", "number": 3})
    again.close()
    header, events = journal.read(tmp_path)
    assert header["settings"] == SETTINGS
    assert [event["number"] for event in events] == [0, 1, 2, 3]


def test_every_line_is_an_object_without_nan(tmp_path):
    opened = begin(tmp_path)
    opened.append(
        {"event": "x", "a": float("nan"), "b": (np.int64(3), np.float32(0.5), -np.inf)}
    )
    opened.close()
    line = (tmp_path / journal.NAME).read_text().splitlines()[1]
    found = json.loads(line, parse_constant=lambda name: pytest.fail(name))
    assert found == {"event": "x", "a": None, "b": [3, 0.5, None]}


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_torn_last_line_is_cut_off(tmp_path, cut):
    path = filled(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    opened = begin(tmp_path)
    assert [event["number"] for event in opened.events] == [0, 1]
    opened.append({"event": "trial", "number": 2})
    opened.close()
    assert path.read_bytes() == whole


def test_torn_first_line_is_begun_again(tmp_path):
    path = filled(tmp_path, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[:10])
    begin(tmp_path).close()
    assert path.read_bytes() == whole


def test_damaged_line_in_the_middle_is_refused_with_its_number(tmp_path):
    path = filled(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:9] + b"#" + lines[2][10:]
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    with pytest.raises(JournalError, match="Line 3 of the journal is damaged"):
        begin(tmp_path)
    assert path.read_bytes() == before


def test_other_settings_are_refused_with_the_difference(tmp_path):
    filled(tmp_path)
    other = {"seed": 1, "strategy": {"size": 3, "p": 0.25}, "new": True}
    with pytest.raises(JournalError) as caught:
        begin(tmp_path, other)
    text = str(caught.value)
    assert "seed: 0 in the journal, 1 now" in text
    assert "strategy.p: 0.5 in the journal, 0.25 now" in text
    assert "new: None in the journal, True now" in text
    assert "size" not in text


def test_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(JournalError, match="holds no run: 'thesis.tex' is in it"):
        begin(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_unknown_format_is_refused(tmp_path):
    (tmp_path / journal.NAME).write_text('{"event": "run", "format": 99}\n')
    with pytest.raises(JournalError, match="not that of a run in format 1"):
        begin(tmp_path)


def test_reading_where_nothing_is_names_the_file(tmp_path):
    with pytest.raises(JournalError, match="it has no 'journal.jsonl'"):
        journal.read(tmp_path)


def test_second_opening_is_refused_while_the_first_lasts(tmp_path):
    first = begin(tmp_path)
    with pytest.raises(SearchError, match="Another process is running this search"):
        begin(tmp_path)
    first.close()
    begin(tmp_path).close()


def test_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    opened = begin(tmp_path)
    opened.append({"event": "trial", "number": 0})
    before = (tmp_path / journal.NAME).read_bytes()

    def half_written(file, line):
        file.write(line[: len(line) // 2])
        file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_line", half_written)
        with pytest.raises(SearchError, match="cannot be written.*No space left"):
            opened.append({"event": "trial", "number": 1})
    assert (tmp_path / journal.NAME).read_bytes() == before
    assert len(opened.events) == 1
    opened.append({"event": "trial", "number": 1})
    opened.close()
    assert len(journal.read(tmp_path)[1]) == 2


def test_directory_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="No run can be kept in .*file"):
        begin(tmp_path / "file")
    with pytest.raises(JournalError, match="No run can be kept in .*run"):
        begin(tmp_path / "file" / "run")


def test_journal_of_another_run_is_known(tmp_path):
    assert not journal.is_of_another_run(tmp_path, SETTINGS)
    filled(tmp_path)
    assert not journal.is_of_another_run(tmp_path, SETTINGS)
    assert journal.is_of_another_run(tmp_path, {**SETTINGS, "seed": 1})
