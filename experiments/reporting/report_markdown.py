"""The small part of Markdown in which the sweep writes its tables, taken apart for a template.

Everything stays plain text: nothing in it becomes markup, whatever it holds.
"""

import itertools
import re


def blocks(text):
    """Takes Markdown apart.

    Args:
        text: Headings (`#`), paragraphs, bullet items (`-`, `*`), pipe tables and indented lines;
            anything else is a paragraph.

    Returns:
        List of dicts with a `kind`: `heading` and `paragraph` have a `text`, `code` too, `list`
        has `items`, `table` has `header` and `rows`, lists of cells.
    """
    made = []
    for kind, group in itertools.groupby(text.splitlines(), _kind):
        lines = list(group)
        if kind == "heading":
            made += [{"kind": kind, "text": line.lstrip("#").strip()} for line in lines]
        elif kind == "list":
            made.append({"kind": kind, "items": [line.strip()[1:].strip() for line in lines]})
        elif kind == "table":
            made.append(_table(lines))
        elif kind == "code":
            made.append({"kind": kind, "text": "\n".join(line.strip() for line in lines)})
        elif kind == "paragraph":
            made.append({"kind": kind, "text": " ".join(line.strip() for line in lines)})
    return made


def _kind(line):
    if not line.strip():
        return "blank"
    if re.match(r"#{1,6}\s", line):
        return "heading"
    if re.match(r"\s{0,3}[-*]\s", line):
        return "list"
    if line.lstrip().startswith("|"):
        return "table"
    return "code" if line.startswith("    ") else "paragraph"


def _table(lines):
    rows = [_cells(line) for line in lines]
    # The second line of a table only rules off its first.
    if len(rows) > 1 and all(re.fullmatch(r":?-+:?", cell) for cell in rows[1]):
        del rows[1]
    width = max(map(len, rows))
    header, *rest = [row + [""] * (width - len(row)) for row in rows]
    return {"kind": "table", "header": header, "rows": rest}


def _cells(line):
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [cell.strip().replace(r"\|", "|") for cell in cells]
