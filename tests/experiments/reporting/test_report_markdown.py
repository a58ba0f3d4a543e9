"""The part of Markdown that sweep tables are written in."""

import pytest

from experiments.reporting import report_markdown

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
* third
"""


def test_headings_paragraphs_code_tables_and_items():
    assert report_markdown.blocks(DOCUMENT) == [
        {"kind": "heading", "text": "Table 2: cifar10"},
        {"kind": "code", "text": "python -m experiments.sweep\n--table=2"},
        {"kind": "paragraph", "text": "Two lines of one paragraph."},
        {"kind": "heading", "text": "Deeper"},
        {
            "kind": "table",
            "header": ["loss", "0", "1"],
            "rows": [["softmax", ".5 | .6", "-"], ["focal", ".7", ""]],
        },
        {"kind": "list", "items": ["first", "second *", "third"]},
    ]


@pytest.mark.parametrize(
    "text",
    ["<b>bold</b>", "[link](http://a.b)", "![img](x.png)", "#no space", "```", "--", "1. one"],
)
def test_anything_else_is_a_paragraph_of_plain_text(text):
    assert report_markdown.blocks(text) == [{"kind": "paragraph", "text": text}]


@pytest.mark.parametrize("text", ["", "\n \n", "|", "||", "|---|", "# ", "- "])
def test_scraps_are_no_error(text):
    report_markdown.blocks(text)
