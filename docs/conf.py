"""How Sphinx builds the documentation; ``nox -s docs`` does it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import camnorm

project = "camnorm"
author = "The camnorm developers"
copyright = author
version = release = camnorm.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sitepages"]
exclude_patterns = ["_build", "_ext", "_generated"]
nitpicky = True

# Addresses of files of the repository: in GitHub's workflows the system tells where that is.
if "GITHUB_REPOSITORY" in os.environ:
    repository_url = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/blob/{GITHUB_SHA}".format(**os.environ)

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "smartquotes"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings tell types
default_role = "py:obj"
numpydoc_show_class_members = False

smartquotes_action = "q"  # no dashes: "--" begins an option

html_theme = "furo"
html_title = "camnorm"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["camnorm.css"]
html_theme_options = {"navigation_with_keys": True}
