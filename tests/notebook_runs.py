"""Runs notebooks in fresh kernels: whole, to store what they show, or shortened."""

from __future__ import annotations

import ast
import copy
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PARAMETERS = "parameters"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
# Paths of whoever ran a notebook, on any system.
MACHINE_PATH = re.compile(
    r"(?<![\w/:.])/(?:home|root|tmp|Users|usr|opt|var|mnt|work|private)/"
    r"|\b[A-Z]:\\\w|ipykernel_\d|site-packages"
)


def paths() -> list[Path]:
    """All notebooks, in the order of their names."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> Any:
    """Returns a notebook; raises if it is none."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_parameters(cell: Any) -> bool:
    """Whether a cell has the tag of papermill for what may be set from outside."""
    return PARAMETERS in cell.metadata.get("tags", ())


def short_values(cell: Any) -> dict[str, Any]:
    """Name -> what it is in a short run; the cell of parameters says so itself."""
    return dict(cell.metadata.get("short", {}))


def assigned(cell: Any) -> set[str]:
    """Names that the statements of a cell assign to."""
    return {
        target.id
        for statement in ast.parse(cell.source).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def shortened(notebook: Any) -> Any:
    """Returns a copy that takes less time.

    As papermill does, what is set from outside is appended to the cell of parameters.
    """
    copied = copy.deepcopy(notebook)
    for cell in filter(is_parameters, copied.cells):
        lines = [f"{name} = {value!r}" for name, value in short_values(cell).items()]
        cell.source = "\n".join([cell.source, *lines])
    return copied


def run(notebook: Any, timeout_s: float = 300) -> Any:
    """Runs a copy in a fresh kernel and an empty folder.

    Args:
        notebook: A notebook.
        timeout_s: Seconds for each cell.

    Returns:
        The copy, with what the cells show.

    Raises:
        CellExecutionError: A cell fails; says which, and how.
    """
    copied = copy.deepcopy(notebook)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            copied,
            timeout=timeout_s,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    return copied


def cleaned(notebook: Any) -> Any:
    """Returns a copy as it is stored: nothing of this machine, run or version.

    What libraries write to the error stream is about the machine, and left out.
    """
    copied = copy.deepcopy(notebook)
    copied.metadata = nbformat.from_dict(METADATA)
    for cell in code_cells(copied):
        kept: list[Any] = []
        for output in cell.outputs:
            if output.output_type == "stream":
                if output.name == "stderr":
                    continue
                if kept and kept[-1].output_type == "stream":
                    kept[-1].text += output.text
                    continue
            kept.append(output)
        cell.outputs = kept
    return copied


def error_stream(notebook: Any) -> str:
    """What libraries wrote beside the outputs."""
    return "".join(
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    )


def kinds(cell: Any) -> list[str]:
    """What a cell shows: text, values and pictures, by kind."""
    return [
        "text" if output.output_type == "stream" else "+".join(sorted(output.data))
        for output in cell.outputs
        if output.output_type != "error"
    ]


def stored_text(notebook: Any) -> Iterator[str]:
    """All text of outputs and metadata. A PNG is no text."""
    yield str(notebook.metadata)
    for cell in notebook.cells:
        yield str(cell.metadata)
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            for kind, content in output.get("data", {}).items():
                if kind != "image/png":
                    yield str(content)
