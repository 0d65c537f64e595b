"""Pictures of networks: what is drawn, and the files."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import keras
import pytest
from keras import layers

import keras_nas as kn


class Sorted(layers.Layer):
    """Gives every position a meaning, so that nothing in front of it can change."""

    def call(self, x):
        return keras.ops.sort(x, axis=-1)


def branches() -> keras.Model:
    inputs = keras.Input((8,), name="data")
    fixed = Sorted(name="sorted")(layers.Dense(6, name="before")(inputs))
    free = layers.ReLU(name="relu")(layers.Dense(4, name="free")(inputs))
    joined = layers.Concatenate(name="joined")([fixed, free])
    return keras.Model(inputs, layers.Dense(3, name="head")(joined))


def nodes(picture: kn.Picture) -> dict[str, str]:
    """Name of a box -> its line in the source."""
    return dict(re.findall(r'^"(.*?)" \[(.*)\];$', picture.source, re.MULTILINE))


def lines(picture: kn.Picture) -> set[tuple[str, str]]:
    return set(re.findall(r'^"(.*?)" -> "(.*?)";$', picture.source, re.MULTILINE))


def test_every_vertex_has_a_box_and_every_edge_a_line():
    picture = kn.plot(branches())
    assert set(nodes(picture)) == {
        "data", "before", "sorted", "free", "relu", "joined", "head"
    }  # fmt: skip
    assert lines(picture) == {
        ("data", "before"),
        ("before", "sorted"),
        ("data", "free"),
        ("free", "relu"),
        ("sorted", "joined"),
        ("relu", "joined"),
        ("joined", "head"),
    }


def test_one_family_has_one_colour_and_others_have_others():
    drawn = nodes(kn.plot(branches()))
    colors = {n: re.search(r'fillcolor="(.*?)"', t)[1] for n, t in drawn.items()}
    assert colors["free"] == colors["relu"] != colors["head"]
    assert colors["joined"].split(":")[1] == colors["free"]


def test_what_cannot_change_is_hatched_and_says_why():
    drawn = nodes(kn.plot(branches()))
    assert "striped" in drawn["before"]
    # Where the reason is wrapped depends on the length of the names in it.
    assert "where positions have a meaning" in drawn["before"].replace("<br/>", " ")
    assert "striped" not in drawn["free"]
    assert "striped" not in drawn["data"]


def test_vertices_in_a_row_share_a_box_when_folded():
    picture = kn.plot(branches(), fold=True)
    drawn = nodes(picture)
    assert "free" not in drawn
    assert "<b>free</b>" in drawn["relu"] and "<b>relu</b>" in drawn["relu"]
    assert ("data", "relu") in lines(picture)


def test_plan_shows_sizes_before_and_after():
    plan = kn.plan(branches(), "free", 2)
    drawn = nodes(kn.plot(plan))
    assert "4 → 2" in drawn["free"] and "4 → 2" in drawn["relu"]
    assert "10 → 8" in drawn["joined"] and "penwidth=3" in drawn["joined"]
    assert "penwidth=1" in drawn["head"] and "→" not in drawn["head"]


def test_names_with_quotes_and_brackets_are_drawn(tmp_path):
    inputs = keras.Input((3,), name="in<b>")
    model = keras.Model(inputs, layers.Dense(2, name='a"b&c')(inputs))
    path = tmp_path / "odd.svg"
    kn.plot(model, path)
    text = "".join(ElementTree.parse(path).getroot().itertext())
    assert 'a"b&c' in text and "in<b>" in text


@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "dot"])
def test_files_have_the_content_that_their_ending_says(tmp_path, kind):
    path = tmp_path / f"model.{kind}"
    kn.plot(branches(), path)
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "dot": b"digraph"}
    assert path.read_bytes().startswith(start[kind])


def test_unknown_ending_or_direction_is_refused(tmp_path):
    with pytest.raises(kn.InvalidRequestError, match="one of png, svg, pdf, dot"):
        kn.plot(branches(), tmp_path / "model.bmp")
    with pytest.raises(kn.InvalidRequestError, match="does not exist"):
        kn.plot(branches(), tmp_path / "nowhere" / "model.png")
    with pytest.raises(kn.InvalidRequestError, match="direction='down'"):
        kn.plot(branches(), direction="down")


def test_missing_graphviz_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(kn.UnsupportedModelError, match="Graphviz"):
        kn.plot(branches(), tmp_path / "model.png")
    kn.plot(branches(), tmp_path / "model.dot")
    assert not (tmp_path / "model.png").exists()


def bars(figure) -> dict[str, list[float]]:
    """Label of the pieces -> their lengths, from top to bottom."""
    return {
        container.get_label(): [bar.get_width() for bar in container]
        for container in figure.axes[0].containers
    }


def test_plan_draws_kept_dropped_and_new_neurons(tmp_path):
    plan = kn.plan(branches(), {"free": 1, "head": 5})
    figure = plan.plot(tmp_path / "plan.png")
    assert bars(figure) == {"kept": [1, 3], "dropped": [3, 0], "new": [0, 2]}
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["free", "head"]
    notes = [(note.get_text(), note.xy) for note in figure.axes[0].texts]
    assert notes == [("4 → 1", (4, 0)), ("3 → 5", (5, 1))]
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_plan_without_changes_has_no_picture():
    with pytest.raises(kn.InvalidRequestError, match="Nothing changes"):
        kn.plan(branches(), "free", 4).plot()


def test_plan_is_not_drawn_to_a_file_of_unknown_kind(tmp_path):
    for path in (tmp_path / "plan.xyz", tmp_path, 5):
        with pytest.raises(kn.InvalidRequestError, match="cannot be written"):
            kn.plan(branches(), "free", 3).plot(path)


def test_importance_has_a_histogram_for_each_family():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="first")(inputs)
    y = layers.DepthwiseConv2D(3, padding="same", name="each")(x)
    x = layers.Add()([x, layers.Conv2D(6, 1, name="tied")(y)])
    x = layers.Dense(4, name="last")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    figure = kn.plot_importance(model, {"first": [1, 2, 3, 4, 5, 6]})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["first (6)", "last (4)"]
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(heights) == 6 and max(heights) == 1
    chosen = kn.plot_importance(model, layers=["each"])
    assert [axes.get_title() for axes in chosen.axes] == ["each (6)"]


def test_importance_is_stated_by_the_names_that_resize_takes():
    source = keras.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3, name="attention")(source, source)
    inner = keras.Model(source, layers.Dense(6, name="inside")(x), name="encoder")
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, layers.Dense(2, name="head")(inner(inputs)))
    stated = {"inside": [1, 2, 3, 4, 5, 6], ("attention", "num_heads"): [2.0, 1.0]}
    figure = kn.plot_importance(model, stated, layers=["inside"])
    (axes,) = figure.axes
    assert axes.get_title() == "encoder/inside (6)"
    heights = [patch.get_height() for patch in axes.patches]
    assert sum(heights) == 6 and max(heights) == 1


def test_importance_of_what_cannot_change_is_not_drawn():
    with pytest.raises(kn.InvalidRequestError, match="'before' cannot change"):
        kn.plot_importance(branches(), layers=["before"])
    with pytest.raises(kn.UnknownLayerError, match="nobody"):
        kn.plot_importance(branches(), layers=["nobody"])


def test_long_names_above_histograms_are_broken_between_words():
    names = ["expanded_conv_3_squeeze_excite_conv", "w" * 40]
    first, second = (layers.Dense(2, name=name) for name in names)
    model = keras.Sequential([keras.Input((3,)), first, second])
    titles = [axes.get_title() for axes in kn.plot_importance(model).axes]
    assert titles[0] == "expanded_conv_3_squeeze_excite_\nconv (2)"
    assert titles[1] == f"{'w' * 32}\n{'w' * 8} (2)"
