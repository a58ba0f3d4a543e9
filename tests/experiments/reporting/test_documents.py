"""Documents of a sweep as HTML: their tables and lists, and nothing else that could be markup."""

import re

import pytest

from experiments.reporting import documents
from tests.experiments.report_folders import IMAGE, SCRIPT

DOCUMENT = """\
# Table 2: cifar10

    python -m experiments.sweep
    --table=2

Two lines of
one paragraph.

## Deeper

| loss | 0 | 1 |
|---|:--:|---|
| softmax | .5 \\| .6 | - |
| focal | .7 |

- first
- second *
"""


def test_headings_paragraphs_code_tables_and_items():
    lines = documents.html(DOCUMENT, "table2.md").splitlines()
    assert lines[:5] == [
        "<h3>Table 2: cifar10</h3>",
        '<code class="block">python -m experiments.sweep',
        "--table=2</code>",
        "<p>Two lines of",
        "one paragraph.</p>",
    ]
    assert "<h3>Deeper</h3>" in lines
    assert (
        '<div class="scroll" role="region" aria-label="Table of table2.md" tabindex="0">' in lines
    )
    cells = [line for line in lines if re.match("<t[hd][ >]", line)]
    assert cells == [
        *(f'<th scope="col">{text}</th>' for text in ("loss", "0", "1")),
        '<th scope="row" class="power">softmax</th>',
        *("<td>.5 | .6</td>", "<td>-</td>"),
        '<th scope="row" class="power">focal</th>',
        *("<td>.7</td>", "<td></td>"),
    ]
    assert lines[-4:] == ["<ul>", "<li>first</li>", "<li>second *</li>", "</ul>"]


@pytest.mark.parametrize(
    "text",
    [
        *(SCRIPT, IMAGE, "<b>bold</b>", "<!-- -->", "&lt;b&gt; &#60;b&#62;"),
        *("[link](http://a.b)", "[link](javascript:alert(1))", "![img](x.png)", "<http://a.b>"),
        "[a]: http://a.b\n\n[a] ![a] http://a.b www.a.b",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "# {}", "- {}", "| {} |\n|---|\n| {} |", "    {}", "> {}"]
)
def test_what_a_document_holds_is_text_and_no_markup_or_address(text, around):
    made = documents.html(around.replace("{}", text), IMAGE)
    elements = re.findall(r"<(\w+)([^<>]*)>", made)
    known = {*("h3", "p", "ul", "li", "code", "blockquote"), *("div", "table", "thead", "tbody")}
    assert {name for name, _ in elements} <= {*known, "tr", "th", "td"}
    attributes = {a for _, rest in elements for a in re.findall(r'([\w-]+)="[^"]*"', rest)}
    assert attributes <= {"class", "role", "aria-label", "tabindex", "scope"}
    assert not re.search(r"<(?![/a-z])", made)


def test_an_entity_is_shown_as_it_is_written():
    assert documents.html("&lt;b&#62;", "a.md") == "<p>&amp;lt;b&amp;#62;</p>\n"


@pytest.mark.parametrize(
    "text", ["", "\n \n", "|", "||", "|---|", "# ", "- ", "```", "\x00", ">" * 999]
)
def test_scraps_are_no_error(text):
    documents.html(text, "table1.md")
