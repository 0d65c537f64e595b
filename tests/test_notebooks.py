"""The notebooks: what is stored is whole and clean, and every cell runs, shortened."""

from __future__ import annotations

import json

import keras
import notebook_runs as runs
import pytest
from keras import layers

import keras_nas as kn

NAMES = {
    "edit_a_graph_by_hand",
    "evolve_a_classifier",
    "prune_a_pretrained_model",
    "quick_tour",
    "teach_it_your_own_layer",
}
MOST_BYTES = 600_000

each_notebook = pytest.mark.parametrize("path", runs.paths(), ids=lambda p: p.stem)


def test_all_notebooks_are_found():
    assert {path.stem for path in runs.paths()} == NAMES


@pytest.mark.slow
# Of the event loops and sockets between this process and the kernel.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@each_notebook
def test_every_cell_runs_and_shows_what_is_stored(path):
    notebook = runs.read(path)
    shown = runs.cleaned(runs.run(runs.shortened(notebook)))
    pairs = zip(runs.code_cells(shown), runs.code_cells(notebook), strict=True)
    for new, stored in pairs:
        assert runs.kinds(new) == runs.kinds(stored), new.source


@each_notebook
def test_stored_notebook_has_been_run_from_top_to_bottom(path):
    cells = runs.code_cells(runs.read(path))
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    for cell in cells:
        kinds = [output.output_type for output in cell.outputs]
        assert kinds or runs.is_parameters(cell), f"shows nothing:\n{cell.source}"
        assert "error" not in kinds, cell.source


@each_notebook
def test_stored_notebook_knows_nothing_of_the_machine_it_ran_on(path):
    notebook = runs.read(path)
    assert notebook.metadata == runs.METADATA
    assert runs.error_stream(notebook) == ""
    for text in runs.stored_text(notebook):
        found = runs.MACHINE_PATH.search(text)
        assert found is None, text[found.start() - 40 : found.end() + 80]
    assert path.stat().st_size < MOST_BYTES


@each_notebook
def test_short_values_belong_to_parameters(path):
    cells = [cell for cell in runs.read(path).cells if "short" in cell.metadata]
    for cell in cells:
        assert runs.is_parameters(cell)
        assert runs.short_values(cell).keys() <= runs.assigned(cell)


@each_notebook
def test_notebook_begins_with_its_title(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert "".join(cells[0]["source"]).startswith("# ")


def test_paths_of_machines_are_recognised():
    for text in ("/home/ada/run", "in '/tmp/x'", r"C:\Users", "/usr/lib/python3"):
        assert runs.MACHINE_PATH.search(text), text
    for text in ("https://keras.io/usr/", "/2", "a/tmp/b", "stage2/var/x"):
        assert not runs.MACHINE_PATH.search(text), text


# What a cell shows of the value of its last line.


def network() -> keras.Model:
    inputs = keras.Input((4,), name="data")
    x = layers.Dense(9, name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(x), name="small")


def test_graph_shows_itself_in_a_line():
    assert repr(kn.Graph.from_model(network())) == "<Graph of 'small': 3 vertices>"


def test_plans_show_themselves_as_their_tables():
    for plan in (kn.plan(network(), "hidden", 5), kn.plan_prune(network(), params=0.5)):
        assert repr(plan) == str(plan)
        assert "hidden" in repr(plan).splitlines()[2]


def test_diagram_shows_itself_where_nobody_has_imported_pyplot():
    figure = kn.plan(network(), "hidden", 5).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
