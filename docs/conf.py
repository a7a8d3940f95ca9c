"""The documentation site: ``./scripts/docs.sh`` builds it, and fails on any warning."""

import runpy
import sys
from importlib import import_module
from pathlib import Path

import elegans_pyg

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# Cheat sheets come from the code, so that they cannot say anything else than it does.
reference = runpy.run_path(str(HERE.parent / "scripts" / "reference_pages.py"))
reference["write"](HERE / "made")

# autodoc lists what a module has, and some get their names on first use only.
for place in reference["MODULES"]:
    module = import_module(f"elegans_pyg.{place}")
    vars(module).update({name: getattr(module, name) for name in reference["exported"](place)})

project = "elegans_pyg"
author = copyright = "The elegans_pyg developers"
version = release = elegans_pyg.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["tutorials/*.py", "**/sg_execution_times*", "sg_execution_times*"]
html_title = "elegans_pyg"
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
html_show_sourcelink = False
html_sidebars = {"*": []}  # pages outside folders have no section to navigate; their tables get its room

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
# Inventories of other projects are read where there is a network; without one the names stay plain text.
intersphinx_mapping = {}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "tutorials",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "image_scrapers": ("figure_scraper",),
    "capture_repr": ("_repr_html_",),
    "abort_on_example_error": True,
    "show_memory": False,
}
