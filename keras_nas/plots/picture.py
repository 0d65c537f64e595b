"""A drawn graph that shows itself in notebooks and writes itself to files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from keras_nas.errors import InternalError, InvalidRequestError, UnsupportedModelError

FORMATS = ("png", "svg", "pdf", "dot")


class Picture:
    """A picture of a network; a notebook shows it.

    Attributes:
        source: The picture in the language of Graphviz.
    """

    def __init__(self, source: str):
        self.source = source

    def save(self, path: str | Path) -> Path:
        """Writes the picture; the ending of the name says how.

        Args:
            path: A name that ends in .png, .svg, .pdf or .dot. An existing file is
                replaced.

        Raises:
            InvalidRequestError: Another ending, or a folder that does not exist.
            UnsupportedModelError: Graphviz is not installed (not needed for .dot).
        """
        path = Path(path)
        kind = path.suffix.lstrip(".").lower()
        if kind not in FORMATS:
            ending = repr(path.suffix) if path.suffix else "no ending"
            raise InvalidRequestError(
                f"A picture cannot be written to a file with {ending}.\n\n"
                f"Let the name end in one of {', '.join(FORMATS)}. "
                f"Received: {str(path)!r}"
            )
        if not path.parent.is_dir():
            raise InvalidRequestError(
                f"The folder {str(path.parent)!r} does not exist.\n\nMake it first. "
                f"Received: {str(path)!r}"
            )
        content = self.source.encode() if kind == "dot" else _draw(self.source, kind)
        path.write_bytes(content)
        return path

    def _repr_svg_(self) -> str:
        return _draw(self.source, "svg").decode()

    def __repr__(self) -> str:
        return f"<Picture of {self.source.count(' -> ')} lines>"


def _draw(source: str, kind: str) -> bytes:
    """Lets Graphviz draw. Its language needs no package to be written."""
    program = shutil.which("dot")
    if program is None:
        raise UnsupportedModelError(
            "Drawing a network needs the program `dot` of Graphviz, which is not there."
            "\n\nInstall it (apt install graphviz, brew install graphviz, winget "
            "install graphviz), or write a .dot file and draw it elsewhere. "
            "Received: no `dot` on the PATH"
        )
    done = subprocess.run(
        [program, f"-T{kind}"], input=source.encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise InternalError(
            f"Graphviz refused the picture: {done.stderr.decode(errors='replace')}\n\n"
            f"Please report this. Received: {source[:200]!r}"
        )
    return done.stdout
