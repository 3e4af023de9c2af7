"""Sphinx: ``sphinx-build -W --keep-going -b html docs docs/_build/html``. Nothing is fetched from a network."""

# ruff: noqa: INP001 - Sphinx reads this file by its path

from __future__ import annotations

from typing import Any

from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import jupyter_launcher

project = "jupyter_launcher"
author = "The jupyter_launcher developers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = jupyter_launcher.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # a dataclass's fields are described once

html_theme = "furo"
html_title = f"jupyter_launcher {version}"


def link_public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Any) -> Any:
    """Link a type that a signature names by its module to the public name, under which it is documented."""
    module, _, name = str(node.get("reftarget", "")).rpartition(".")
    if not module.startswith("jupyter_launcher.") or name not in jupyter_launcher.__all__:
        return None
    domain = env.get_domain("py")
    public = f"jupyter_launcher.{name}"
    found = domain.resolve_any_xref(env, node["refdoc"], app.builder, public, node, content)
    return found[0][1] if found else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", link_public_name)
