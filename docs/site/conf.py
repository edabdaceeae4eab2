"""Settings of Sphinx for the documentation site; `build.py` calls it."""

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

project = "dissectbench"
html_title = "dissectbench"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"  # system fonts; nothing is loaded from other servers
html_copy_source = False
html_show_sphinx = False

# The anchors of headings that GitHub makes.
myst_heading_anchors = 4
# A test executes the notebook; the site shows the stored outputs.
nb_execution_mode = "off"

# Docstrings quote names as `name`, in the way of Markdown.
default_role = "code"
# Attributes of dataclasses are in the docstring of the class.
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

lexers["csv"] = TextLexer()  # a language that Pygments has no lexer for
