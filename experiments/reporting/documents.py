"""The Markdown documents of a sweep as HTML in which their text stays text.

Raw HTML, links and pictures are not rendered: whatever a document holds, it adds no address, no
script and no attribute but the ones here.
"""

import functools

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml

# What would make markup or an address of text; the letters of `&lt;` are shown as they are too.
_OFF = ("html_block", "html_inline", "link", "image", "autolink", "reference", "entity")


def html(text, name):
    """A document as HTML.

    Args:
        text: Markdown.
        name: What the tables are called for people who hear the page.

    Returns:
        A string that needs no more escaping.
    """
    parser = _parser()
    environment = {"name": name}
    return parser.renderer.render(_cells(parser.parse(text)), parser.options, environment)


@functools.cache
def _parser():
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(_OFF)
    for rule in (table_open, table_close, code_block, fence):
        parser.add_render_rule(rule.__name__, rule)
    return parser


def _cells(tokens):
    """Headings below those of the page; the first cell of a row is its heading."""
    first = False
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
        elif token.type == "tr_open":
            first = True
        elif token.type == "th_open":
            token.attrs = {"scope": "col"}
        elif token.type == "td_open":
            token.attrs = {"scope": "row", "class": "power"} if first else {}
            token.tag = "th" if first else "td"
        elif token.type == "td_close":
            token.tag = "th" if first else "td"
            first = False
    return tokens


def table_open(_self, _tokens, _index, _options, environment):
    """A table that scrolls by itself where it is wider than the page."""
    label = escapeHtml(f"Table of {environment['name']}")
    return f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">\n<table>\n'


def table_close(*_):
    """Closes what `table_open` opens."""
    return "</table>\n</div>\n"


def code_block(_self, tokens, index, *_):
    """Lines as they are."""
    return f'<code class="block">{escapeHtml(tokens[index].content.rstrip())}</code>\n'


def fence(*arguments):
    """Lines between fences, as indented ones."""
    return code_block(*arguments)
