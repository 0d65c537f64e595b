"""Settings of Sphinx, and the two things that it lacks.

Formulas become MathML, which every browser draws without a script, and without asking
another server. And names in single backticks, as docstrings have them, become links
where they are names of this package.
"""

from __future__ import annotations

from typing import Any

#: What other projects write in a ``conf.py``.
SETTINGS: dict[str, Any] = {
    "project": "keras_nas",
    "html_title": "keras_nas",
    "extensions": [
        "myst_parser",
        "sphinx.ext.autodoc",
        "sphinx.ext.napoleon",
        "keras_nas.docs.settings",
    ],
    "html_theme": "furo",
    "html_theme_options": {"navigation_with_keys": True},
    "html_static_path": ["static"],
    "html_css_files": ["site.css"],
    "html_math_renderer": "mathml",
    "html_copy_source": False,
    "html_show_copyright": False,
    "html_show_sphinx": False,
    "myst_enable_extensions": ["dollarmath", "colon_fence", "deflist"],
    "myst_heading_anchors": 3,
    "default_role": "py:obj",
    "autodoc_typehints": "none",
    "autodoc_member_order": "bysource",
    "napoleon_use_ivar": True,
    "napoleon_google_docstring": True,
    "napoleon_numpy_docstring": False,
    "toc_object_entries_show_parents": "hide",
}


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx: registers the formulas and the links."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("missing-reference", _find_short_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: Any, node: Any) -> None:
    _write_formula(translator, node, as_block=False)


def _display(translator: Any, node: Any) -> None:
    translator.body.append('<div class="formula">')
    _write_formula(translator, node, as_block=True, after="</div>")


def _write_formula(
    translator: Any, node: Any, *, as_block: bool, after: str = ""
) -> None:
    from docutils import nodes
    from docutils.utils.math.latex2mathml import tex2mathml
    from sphinx.util import logging

    try:
        formula = tex2mathml(node.astext(), as_block=as_block)
    except (SyntaxError, ValueError) as error:
        # A warning, which fails the build, with the place in the page.
        logging.getLogger(__name__).warning("%s", error, location=node)
        formula = ""
    translator.body.append(formula + after)
    raise nodes.SkipNode


def _find_short_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Links `Taylor` to ``keras_nas.importance.Taylor``, if there is just one."""
    if node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    target = "." + node["reftarget"].removeprefix("kn.").lstrip(".~")
    found = [name for name in domain.objects if name.endswith(target)]
    if not found:
        return None
    # A function of the package before a method of the same name.
    found.sort(key=lambda name: (name.count("."), name))
    name = found[0]
    if len(found) > 1 and found[1].count(".") == name.count("."):
        return None
    node["reftarget"] = name
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", name, node, content
    )
