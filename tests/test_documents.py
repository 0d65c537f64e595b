"""What people copy from: the README and the demo run as printed."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import keras
import pytest

import keras_nas as kn
from keras_nas.cli import main

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def run(code: str, scope: dict) -> str:
    """Runs code; returns what it prints, a request that is refused included."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(compile(code, "README.md", "exec"), scope)  # noqa: S102  Ours.
        except kn.InfeasibleError as error:
            print(f"InfeasibleError: {error}")
    return printed.getvalue()


def comparable(text: str) -> str:
    """Leaves out numbers that rounding makes different on another machine."""
    return re.sub(r"(?m)^(\w+) +\S+ +\S+ +equal$", r"\1 is equal", text.rstrip())


def test_readme_prints_what_it_shows():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Resize") : text.index("## What is supported")]
    blocks = BLOCK.findall(section)
    assert len(blocks) > 8
    keras.utils.clear_session()  # Names that Keras makes up start anew.
    scope: dict = {}
    printed = ""
    for kind, content in blocks:
        if kind == "python":
            printed = run(content, scope)
            continue
        for line in content.splitlines():
            if line and line != "...":
                assert comparable(line) in comparable(printed)


def test_demo_keeps_its_promises(capsys):
    assert main(["demo", "--epochs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "stage2" in printed
    assert "equal" in printed
    grown = float(re.search(r"largest change of any output: (\S+)", printed)[1])
    loaded = float(re.search(r"after loading: (\S+)", printed)[1])
    assert grown < 1e-4
    assert loaded < 1e-5


def test_command_line_explains_itself(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--epochs", "0"])
    assert "must be at least 1" in capsys.readouterr().err
