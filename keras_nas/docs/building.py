"""From pages to a site: copies, generates, runs Sphinx, and accepts no warning."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from keras_nas.docs.reference import write_reference
from keras_nas.docs.settings import SETTINGS
from keras_nas.errors import InvalidRequestError, KerasNasError

#: Folder of the pages, in Markdown.
PAGES = Path(__file__).resolve().parent / "pages"


def build_site(out: str | Path, *, force: bool = False) -> Path:
    """Builds the documentation site.

    Takes about half a minute. Needs ``pip install "keras-nas[docs]"``.

    Args:
        out: Folder of the site; made if it is not there.
        force: Whether files in that folder may be overwritten.

    Returns:
        The first page, ``OUT/index.html``.

    Raises:
        InvalidRequestError: The folder is not empty, or Sphinx is not installed.
        KerasNasError: Sphinx warned about something; the message has all warnings.
    """
    out = Path(out).resolve()
    if out.exists() and not force and (not out.is_dir() or any(out.iterdir())):
        raise InvalidRequestError(
            f"'{out.name}' is there already, and not empty.\n\nGive a new folder, or "
            f"overwrite it (force=True, --force). Received: out={str(out)!r}"
        )
    _check_sphinx()
    with tempfile.TemporaryDirectory(prefix="keras_nas_docs_") as scratch:
        source = Path(scratch) / "pages"
        shutil.copytree(PAGES, source)
        write_reference(source / "reference")
        _write_coverage(source / "coverage.md")
        _run_sphinx(source, out, Path(scratch) / "doctrees")
    return out / "index.html"


def _check_sphinx() -> None:
    try:
        import furo  # noqa: F401
        import myst_parser  # noqa: F401
        import sphinx  # noqa: F401
    except ImportError as error:
        raise InvalidRequestError(
            f"The site needs Sphinx, which is not complete here: {error}\n\nInstall it "
            'with pip install "keras-nas[docs]". '
            f"Received: no module named {error.name!r}"
        ) from error


def _write_coverage(path: Path) -> None:
    # Tries every layer and operation of Keras, so it is imported when it is needed.
    from keras_nas.graph.coverage import coverage_table

    path.write_text(coverage_table(), encoding="utf-8")


def _run_sphinx(source: Path, out: Path, doctrees: Path) -> None:
    from sphinx.application import Sphinx

    warnings = io.StringIO()
    site = Sphinx(
        srcdir=source,
        confdir=None,
        outdir=out,
        doctreedir=doctrees,
        buildername="html",
        confoverrides=SETTINGS,
        status=None,
        warning=warnings,
        warningiserror=True,
    )
    site.build(force_all=True)
    told = warnings.getvalue().strip()
    if told or site.statuscode:
        raise KerasNasError(
            f"The pages have mistakes.\n\nCorrect them: {told}\n"
            f"Received: {len(told.splitlines())} lines of warnings"
        )
