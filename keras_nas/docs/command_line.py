"""The page about the command line: what ``--help`` says, so that it is always right."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Sequence

from keras_nas.cli import main


def command_line_page() -> str:
    """Returns a page in Markdown with the help of every command.

    Example:
        >>> from keras_nas.docs.command_line import command_line_page
        >>> "## keras-nas prune" in command_line_page()
        True
    """
    overview = _help([])
    # Names of commands are indented by four spaces, what is said of them by more.
    commands = re.findall(r"(?m)^ {4}([a-z]\S*)(?: |$)", overview)
    parts = ["# Command line", "", *_block(overview)]
    for command in commands:
        parts += ["", f"## keras-nas {command}", "", *_block(_help([command]))]
    return "\n".join(parts) + "\n"


def _help(words: Sequence[str]) -> str:
    """What a command says of itself, in lines of 80 letters and without colours."""
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ.update(COLUMNS="80", NO_COLOR="1")
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*words, "--help"])
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    return printed.getvalue().strip()


def _block(text: str) -> list[str]:
    return ["```text", text, "```"]
