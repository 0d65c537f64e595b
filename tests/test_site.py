"""The documentation site: no warning, no name left out, no dead link."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import keras_nas as kn
from keras_nas import importance, search, training
from keras_nas.docs import PAGES, build_site, building, concepts, documented
from keras_nas.docs.__main__ import main


class Page(HTMLParser):
    """Ids and links of one page."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        self.links.update({found.get("href"), found.get("src")} - {None})


def dead_links(site: Path) -> list[str]:
    """Links from page to page whose file or place in it is not there."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            known = pages[file].ids | {""} if file in pages else {""}
            if not file.exists() or place not in known:
                dead.append(f"{path.name}: {link}")
    return dead


def test_site_is_built_complete_and_without_a_warning(tmp_path):
    out = tmp_path / "site"
    run = subprocess.run(
        [sys.executable, "-m", "keras_nas.docs", str(out)],
        cwd=PAGES.parents[2],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == str(out / "index.html")
    assert dead_links(out) == []
    for path in PAGES.rglob("*.md"):
        assert (out / path.relative_to(PAGES)).with_suffix(".html").exists()
    for concept, names in concepts().items():
        assert set(names) <= Page(out / "reference" / f"{concept.slug}.html").ids
    formulas = (out / "how_it_works.html").read_text(encoding="utf-8")
    assert formulas.count("<math") > 40
    commands = (out / "reference" / "command_line.html").read_text(encoding="utf-8")
    assert all(f"keras-nas {name}" in commands for name in ("resize", "prune", "demo"))
    assert "resizable" in (out / "coverage.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [kn, importance, search, training])
def test_every_public_name_has_an_entry(module):
    known = documented()
    missing = [n for n in module.__all__ if id(getattr(module, n)) not in known]
    assert missing == []


def test_no_object_has_two_entries():
    names = [name for page in concepts().values() for name in page]
    assert len(names) == len(set(names)) == len(documented())


@pytest.mark.parametrize("path", sorted(PAGES.rglob("*.md")), ids=lambda p: p.stem)
def test_code_that_does_not_run_says_so(path):
    # Blocks that begin with "```python" run; see `test_documents.py`.
    text = path.read_text(encoding="utf-8")
    kinds = re.findall(r"(?m)^( *)```\{code-block\} python\n *(.*)$", text)
    assert all(caption.startswith(":caption: Not run") for _, caption in kinds)
    assert not re.search(r"(?m)^ +```(python|text)|```py\n", text)


def test_dead_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#x"></a><p id="y"></p>')
    (tmp_path / "b.html").write_text('<a href="a.html#y"></a><img src="c.png">')
    assert sorted(dead_links(tmp_path)) == ["a.html: b.html#x", "b.html: c.png"]


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(kn.InvalidRequestError, match="not empty(.|\n)*Received: out="):
        build_site(tmp_path)
    assert main([str(tmp_path)]) == 1
    assert "not empty" in capsys.readouterr().err


# Of packages that Sphinx loads; those of Sphinx about our pages are no such warnings.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_warning_is_an_error(tmp_path, monkeypatch):
    pages = tmp_path / "pages"
    (pages / "static").mkdir(parents=True)
    (pages / "static" / "site.css").write_text("")
    (pages / "index.md").write_text("# Title\n\n[there](nowhere.md)\n\n$\\nonsense$\n")
    monkeypatch.setattr(building, "PAGES", pages)
    monkeypatch.setattr(building, "write_reference", lambda folder: None)
    monkeypatch.setattr(building, "_write_coverage", lambda path: None)
    with pytest.raises(kn.KerasNasError, match="nowhere.md(.|\n)*nonsense"):
        build_site(tmp_path / "site")


def test_without_sphinx_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "furo", None)
    with pytest.raises(kn.InvalidRequestError, match=r"pip install \"keras-nas\[docs\]"):
        build_site(tmp_path / "site")
