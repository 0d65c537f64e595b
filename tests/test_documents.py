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
from keras_nas.docs import PAGES

ROOT = Path(__file__).resolve().parents[1]
# What is shown "for example" may have other numbers: they come out of a training.
EXAMPLE = "{code-block} text\n:caption: For example"
BLOCK = re.compile(rf"```(python|text|{re.escape(EXAMPLE)})\n(.*?)```", re.DOTALL)
WITH_CODE = [
    path
    for path in sorted(PAGES.rglob("*.md"))
    if BLOCK.search(path.read_text(encoding="utf-8"))
]


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


def without_numbers(text: str) -> str:
    """Leaves out all numbers, and how wide they make the columns of a table."""
    text = re.sub(r"\d[\d,.]*", "#", text)
    return re.sub(r"-+", "-", re.sub(r"\s+", " ", text)).strip()


def check_blocks(text: str) -> int:
    """Runs the blocks of a page one after the other; returns how many were compared."""
    keras.utils.clear_session()  # Names that Keras makes up start anew.
    scope: dict = {}
    printed, compared = "", 0
    for kind, content in BLOCK.findall(text):
        if kind == "python":
            printed = run(content, scope)
            continue
        compared += 1
        simplified = without_numbers if kind == EXAMPLE else comparable
        for line in content.splitlines():
            if line and line != "...":
                assert simplified(line) in simplified(printed)
    return compared


def test_readme_prints_what_it_shows():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## In 20 seconds") : text.index("## Learn more")]
    assert check_blocks(section) > 3


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


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.stem)
def test_page_prints_what_it_shows(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_blocks(path.read_text(encoding="utf-8")) > 0


def test_blocks_that_print_something_else_are_found():
    shown = "```python\nprint('width 3')\n```\n```text\nwidth 4\n```"
    with pytest.raises(AssertionError, match="width 4"):
        check_blocks(shown)
    assert check_blocks(shown.replace("```text", f"```{EXAMPLE}\n")) == 1
