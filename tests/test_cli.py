"""The command line: every command on real files, and every mistake without traceback."""

from __future__ import annotations

import json
import os
import re
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.cli import main
from keras_nas.cli.parser import EXAMPLES

TABLE = kn.LatencyTable((), (kn.LatencyPoint(1, 1, 1.0, 0.0),), 1, "none", "none")


@pytest.fixture
def path(tmp_path):
    """A small residual network in a file."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    y = layers.Conv2D(8, 3, padding="same", name="branch")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
    model = keras.Model(inputs, layers.Dense(4, name="head")(x))
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def run(capsys, *words) -> tuple[int, str, str]:
    """Returns exit status, output and errors of a command."""
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def run_json(capsys, *words) -> dict:
    status, out, _ = run(capsys, *words, "--json")
    assert status == 0
    return json.loads(out)


def test_summary_lists_every_vertex(capsys, path):
    status, out, err = run(capsys, "summary", path)
    assert status == 0 and err == ""
    assert re.search(r"(?m)^branch +Conv2D +8 +g1 +stem +yes$", out)
    rows = run_json(capsys, "summary", path)["vertices"]
    assert [row["path"] for row in rows] == [
        "image", "stem", "branch", "add", "pool", "head"
    ]  # fmt: skip
    assert rows[2]["size"] == 8 and rows[2]["inputs"] == ["stem"]


def test_explain_says_what_is_tied(capsys, path):
    status, out, _ = run(capsys, "explain", path, "branch")
    assert status == 0 and "The same neurons as in 'stem'." in out
    lines = run_json(capsys, "explain", path, "branch")["text"]
    assert "The same neurons as in 'stem'." in lines


def test_count_gives_the_parameters_of_keras(capsys, path):
    expected = keras.saving.load_model(path).count_params()
    assert run_json(capsys, "count", path)["params"] == expected
    status, out, _ = run(capsys, "count", path)
    assert status == 0 and "branch" in out


def test_resize_writes_a_model_that_plain_keras_loads(capsys, path, tmp_path):
    target = tmp_path / "small.keras"
    status, out, err = run(capsys, "resize", path, "branch=5", "-o", target)
    assert status == 0
    assert "Written:" in err and "asked for" in out
    new = keras.saving.load_model(target)
    assert new.get_layer("stem").filters == new.get_layer("branch").filters == 5
    old = kn.resize(keras.saving.load_model(path), "branch", 5)
    for mine, theirs in zip(new.get_weights(), old.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_resize_prints_its_plan_as_json(capsys, path, tmp_path):
    found = run_json(
        capsys, "resize", path, "branch=6", "-o", tmp_path / "small.keras"
    )
    sizes = {row["vertex"]: (row["old"], row["new"]) for row in found["sizes"]}
    assert sizes == {n: (8, 6) for n in ("stem", "branch", "add", "pool")}
    assert found["exact"] and found["output"].endswith("small.keras")


def test_dry_run_writes_nothing(capsys, path, tmp_path):
    status, out, _ = run(capsys, "prune", path, "--flops", "0.5", "--dry-run")
    assert status == 0 and "less important" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.keras"]


def test_outputs_change_only_when_they_are_free(capsys, tmp_path):
    inputs = keras.Input((4,))
    first = layers.Dense(4, name="first")(inputs)
    second = layers.Dense(4, name="second")(first)
    model = keras.Model(inputs, layers.Add(name="sum")([first, second]))
    model.save(tmp_path / "model.keras")
    words = ("resize", tmp_path / "model.keras", "first=3", "--dry-run")
    status, _, err = run(capsys, *words)
    assert status == 1 and "free_outputs" not in err
    assert "with --free-outputs. Received: {'first': 3}" in err
    plan = run_json(capsys, *words, "--free-outputs")
    new = {row["vertex"]: row["new"] for row in plan["sizes"]}
    assert new == {"first": 3, "second": 3, "sum": 3}


def test_locked_layer_stays(capsys, path):
    status, _, err = run(
        capsys, "resize", path, "branch=5", "--locked", "stem", "--dry-run"
    )
    assert status == 1 and "'stem' is locked" in err


def test_advice_is_given_in_the_words_of_the_shell(capsys, tmp_path):
    layer = layers.Conv2D(8, 3, groups=4, name="grouped")
    head = [layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 8, 4)), layer, *head])
    model.save(tmp_path / "model.keras")
    words = ("resize", tmp_path / "model.keras", "grouped=7", "--dry-run")
    status, _, err = run(capsys, *words)
    assert status == 1 and "or use LAYER=~N." in err and "keras_nas" not in err


def test_prune_keeps_its_budget(capsys, path, tmp_path):
    target = tmp_path / "small.keras"
    found = run_json(capsys, "prune", path, "--params", "0.5", "-o", target)
    before = keras.saving.load_model(path).count_params()
    after = keras.saving.load_model(target).count_params()
    assert after == found["after"]["params"] <= before / 2
    assert found["before"]["params"] == before


def test_verify_tells_equal_models_from_others(capsys, path, tmp_path):
    grown, cut = tmp_path / "grown.keras", tmp_path / "cut.keras"
    run(capsys, "resize", path, "branch=12", "-o", grown)
    run(capsys, "resize", path, "branch=2", "-o", cut)
    status, out, _ = run(capsys, "verify", path, grown)
    assert status == 0 and "equal" in out
    status, out, err = run(capsys, "verify", path, cut)
    assert status == 1 and "differs" in out and "not the same function" in err
    status, out, err = run(capsys, "verify", path, cut, "--json")
    assert status == 1 and err == "" and json.loads(out)["is_equal"] is False
    assert run_json(capsys, "verify", path, grown)["is_equal"] is True


def test_models_with_other_inputs_are_not_compared(capsys, path, tmp_path):
    other = tmp_path / "other.keras"
    keras.Sequential([keras.Input((5,)), layers.Dense(4)]).save(other)
    status, out, err = run(capsys, "verify", path, other)
    assert status == 1 and out == "" and "The models take different inputs" in err
    assert "float32 (None, 8, 8, 3)" in err and "float32 (None, 5)" in err


@pytest.mark.parametrize("name", ["graph.dot", "GRAPH.DOT"])
def test_plot_writes_the_picture(capsys, path, tmp_path, name):
    target = tmp_path / name
    status, _, _ = run(capsys, "plot", path, "-o", target)
    assert status == 0 and "branch" in target.read_text(encoding="utf-8")


def test_nothing_is_overwritten_without_force(capsys, path, tmp_path):
    target = tmp_path / "taken.keras"
    target.write_text("mine")
    words = ("resize", path, "branch=5", "-o", target)
    status, _, err = run(capsys, *words)
    assert status == 1 and "exists already" in err
    assert target.read_text() == "mine"
    status, _, _ = run(capsys, *words, "--force")
    assert status == 0 and keras.saving.load_model(target) is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["summary", "nowhere.keras"], "There is no file 'nowhere.keras'"),
        (["resize", "MODEL", "brunch=4", "--dry-run"], "Did you mean 'branch'"),
        (["resize", "MODEL", "branch=0", "--dry-run"], "branch"),
        (["resize", "MODEL", "image=4", "--dry-run"], "image"),
        (["resize", "MODEL", "branch=4", "branch=5", "--dry-run"], "two sizes"),
        (["resize", "MODEL", "branch=999999999999", "--dry-run"], "at most 16777216"),
        (["resize", "MODEL", "branch=4"], "where the new model goes"),
        (["resize", "MODEL", "branch=4", "-o", "out.h5"], "end in .keras"),
        (["resize", "MODEL", "branch=4", "-o", "no/out.keras"], "does not exist"),
        (["prune", "MODEL", "--dry-run"], "how much has to go"),
        (["prune", "MODEL", "--flops", "0.00001", "--dry-run"], "cannot"),
        (["plot", "MODEL", "-o", "graph.bmp"], "end in .svg"),
    ],
)
def test_mistake_is_explained_without_traceback(capsys, path, words, message):
    words = [path if word == "MODEL" else word for word in words]
    status, out, err = run(capsys, *words)
    assert status == 1 and out == ""
    assert "error: " in err and message in err
    assert "Received: " in err and "Traceback" not in err


def test_mistake_is_json_where_json_was_asked_for(capsys):
    status, out, err = run(capsys, "summary", "nowhere.keras", "--json")
    assert status == 1 and err == ""
    error = json.loads(out)["error"]
    assert error["type"] == "InvalidRequestError" and "nowhere" in error["message"]


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"PK\x03\x04 cut off"], ids=["empty", "text", "cut"]
)
def test_mangled_file_is_refused(capsys, tmp_path, content):
    path = tmp_path / "bad.keras"
    path.write_bytes(content)
    status, _, err = run(capsys, "summary", path)
    assert status == 1 and "cannot load" in err


def test_code_inside_of_a_file_is_not_run(capsys, tmp_path):
    inputs = keras.Input((3,))
    outputs = layers.Lambda(lambda x: x * 2)(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "lambda.keras")
    status, _, err = run(capsys, "summary", tmp_path / "lambda.keras")
    assert status == 1 and "cannot load" in err
    assert "Python code" in err and "--unsafe" in err
    status, out, _ = run(capsys, "summary", tmp_path / "lambda.keras", "--unsafe")
    assert status == 0 and "lambda" in out


def test_other_formats_are_refused_since_they_may_run_code(capsys, tmp_path):
    (tmp_path / "model.h5").write_bytes(b"\x89HDF")
    status, _, err = run(capsys, "summary", tmp_path / "model.h5")
    assert status == 1 and "is no .keras file" in err


def test_measured_latency_is_kept_and_pruned_with(capsys, path, tmp_path):
    table, target = tmp_path / "table.json", tmp_path / "fast.keras"
    found = run_json(capsys, "latency", path, "-o", table)
    assert [vertex["name"] for vertex in found["vertices"]][:2] == ["stem", "branch"]
    assert json.loads(table.read_text(encoding="utf-8")) == found
    status, out, _ = run(
        capsys, "prune", path, "--latency", "1000s", "--latency-table", table,
        "-o", target,
    )  # fmt: skip
    assert status == 0 and re.search("latency: .* predicted", out)
    # All that was asked for is there already.
    assert keras.saving.load_model(target).get_layer("branch").filters == 8


def test_latency_table_that_is_none_is_named(capsys, path, tmp_path):
    table = tmp_path / "table.json"
    table.write_text("[]")
    words = ("prune", path, "--latency", "5ms", "--latency-table", table, "--dry-run")
    status, _, err = run(capsys, *words)
    assert status == 1 and f"In the file '{table}': This is no latency table" in err


def test_latency_is_measured_where_no_table_is_given(capsys, path, monkeypatch):
    measure = kn.measure_latency
    monkeypatch.setattr(
        kn, "measure_latency", lambda graph, batch_size: measure(graph, repetitions=1)
    )
    words = ("prune", path, "--latency", "1000s", "--dry-run", "--verbose")
    status, out, err = run(capsys, *words)
    assert status == 0 and "Measuring every layer" in err and "latency: " in out


def test_removed_layers_are_gone(capsys, path, tmp_path):
    target = tmp_path / "short.keras"
    status, out, err = run(capsys, "remove", path, "branch", "-o", target)
    assert status == 0 and "parameters: " in out and "Written:" in err
    names = [layer.name for layer in keras.saving.load_model(target).layers]
    assert "branch" not in names and "stem" in names
    found = run_json(capsys, "remove", path, "branch", "--dry-run")
    assert found["after"]["params"] < found["before"]["params"]
    assert found["output"] is None


def test_steps_are_told_to_those_who_want_them_alone(capsys, path):
    words = ("resize", path, "branch=5", "--dry-run")
    assert run(capsys, *words)[2] == ""
    err = run(capsys, *words, "--verbose")[2]
    assert re.search(r"\[ +\d+\.\d s\] Loading .*\n.* Planning\n", err)


def test_quiet_command_prints_its_result_alone(capsys, path, tmp_path):
    target = tmp_path / "small.keras"
    status, out, err = run(capsys, "resize", path, "branch=5", "-o", target, "-q")
    assert status == 0 and err == "" and "asked for" in out


def test_version_is_told(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    expected = rf"keras-nas {kn.__version__} \(Keras {keras.__version__} on \w+\)"
    assert re.match(expected, capsys.readouterr().out)


def test_interrupted_command_has_status_130(capsys, path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(kn, "summary", stop)
    status, _, err = run(capsys, "summary", path)
    assert (status, err) == (130, "stopped\n")


def test_command_without_enough_memory_says_so(capsys, path, monkeypatch):
    def fail(*_):
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr(kn, "summary", fail)
    status, out, err = run(capsys, "summary", path)
    assert status == 1 and out == "" and err.startswith("error: The memory is not")
    assert err.endswith("Received: Unable to allocate 7 TiB\n")


def test_reader_that_has_seen_enough_gets_no_complaint(capsys, path, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)  # As `head` does.
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        status = main(["summary", str(path)])
        stream.write("Nobody reads this, and nobody minds.")
    monkeypatch.undo()
    assert status == 1 and capsys.readouterr().err == ""


def test_words_that_are_no_command_are_json_where_json_was_asked_for(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["prune", "model.keras", "--flops", "half", "--json"])
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and printed.err == ""
    error = json.loads(printed.out)["error"]
    assert error["type"] == "UsageError" and "half" in error["message"]


@pytest.mark.parametrize("command", ["", *EXAMPLES])
def test_help_shows_an_example_and_fits_the_screen(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([*([command] if command else []), "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "example" in text and f"keras-nas {command}" in text
    assert max(map(len, text.splitlines())) <= 90


WORDS = [
    "--flops", "--params", "--latency", "--sparsity", "--multiple-of", "--importance",
    "--ignore", "--dry-run", "--force", "--json", "-o", "-q", "-v", "--unsafe",
    "--latency-table", "0.5", "-1", "0", "nan", "inf", "1e400", "9" * 40, "5ms", "",
    "branch=4", "branch=~4", "branch:units=3", "add=2", "stem=1000", "=4", "head:x=2",
    "branch", "nowhere", "l1", "random", "\N{SNOWMAN}", "../x.keras", ".", "/", "\0",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_no_words_lead_to_a_traceback(capsys, path, tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    # What takes long is not what is asked about here.
    monkeypatch.setattr(kn, "measure_latency", lambda *_, **__: TABLE)
    rng = np.random.default_rng(seed)
    commands = ["summary", "explain", "count", "resize", "prune", "remove", "plot"]
    for _ in range(25):
        chosen = list(rng.choice(WORDS, size=rng.integers(0, 5)))
        words = [rng.choice(commands), *([str(path)] if rng.random() < 0.9 else [])]
        before = path.read_bytes()
        try:
            status = main([str(word) for word in [*words, *chosen]])
        except SystemExit as stopped:
            status = stopped.code
        printed = capsys.readouterr()
        assert status in (0, 1, 2), (words, chosen)
        assert status == 0 or "rror" in printed.err + printed.out, (words, chosen)
        assert path.read_bytes() == before


def test_evolve_finds_a_network_and_goes_on_with_its_run(capsys, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x, y=(x[:, 0] > 0).astype(int))
    hidden = layers.Dense(8, activation="relu", name="hidden")
    start = keras.Sequential([keras.Input((6,)), hidden, layers.Dense(2, name="head")])
    start.save(tmp_path / "start.keras")
    folder = tmp_path / "run"
    words = [
        "evolve", "--data", tmp_path / "data.npz", "--model", tmp_path / "start.keras",
        "--population", 2, "--generations", 1, "--steps", 2, "-o", folder,
    ]  # fmt: skip
    found = run_json(capsys, *words)
    assert len(found["leaderboard"]) == 2
    best = keras.saving.load_model(folder / "best.keras")
    assert best.predict(x, verbose=0).shape == (40, 2)
    again = run_json(capsys, *words)
    assert again["leaderboard"] == found["leaderboard"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "There is no file"),
        ({"images": np.zeros(3)}, "does not hold images and labels"),
        ({"x": np.array([{}], object), "y": np.zeros(1)}, "does not hold"),
    ],
    ids=["missing", "other names", "pickled"],
)
def test_evolve_refuses_other_files(capsys, tmp_path, arrays, message):
    path = tmp_path / "data.npz"
    if arrays is not None:
        np.savez(path, **arrays)
    status, _, err = run(capsys, "evolve", "--data", path, "-o", tmp_path / "run")
    assert status == 1 and message in err and "Received: " in err
    assert not (tmp_path / "run").exists()


def test_evolve_into_a_file_is_refused(capsys, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(20, 6)), y=np.arange(20) % 2)
    (tmp_path / "small.keras").write_text("mine")
    words = ["--data", tmp_path / "data.npz", "-o", tmp_path / "small.keras"]
    status, _, err = run(capsys, "evolve", *words)
    assert status == 1 and "is a file, and no directory" in err
    assert (tmp_path / "small.keras").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["unknown"],
        ["resize", "model.keras", "branch"],
        ["resize", "model.keras", "branch=x"],
        ["prune", "model.keras", "--flops", "half"],
        ["prune", "model.keras", "--multiple-of", "0"],
    ],
)
def test_command_that_cannot_be_read_has_status_2(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "usage: keras-nas" in capsys.readouterr().err
