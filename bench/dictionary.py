"""docs/dictionary.md: every table, view and macro of a warehouse with its grain and what each column holds.

`python -m bench.dictionary` writes the page anew. Every text on it comes from the headers in sql/: change it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import tiny_warehouse
from eigenhouse.analyses.report import facts
from eigenhouse.analyses.report.pages import anchor, markdown
from eigenhouse.ingest.warehouse import sqlfiles, store

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dictionary.md"
COMMAND = "python -m bench.dictionary"
INTRODUCTION = f"""# The data dictionary

Every table, view and macro of a warehouse: its title or question, the columns that tell one row from another (its
grain), and what each column holds. The same texts are comments in the warehouse itself and stand in the report. They
come from the headers of the files in `sql/`; `{COMMAND}` writes this page anew.

Facts are stored with `model_key`, and views show `model_id` in its place. Layers, heads and k count from 0, and
logarithms are natural. [The glossary](architecture.md#glossary) has the words, and
[the page on the warehouse](warehouse.md) says which view answers which question.
"""
FOLDERS = {"table": "tables", "view": "views", "macro": "macros"}


def page() -> str:
    """The whole page, ready to be written."""
    with store.reading(tiny_warehouse.empty()) as con:
        kinds = facts.dictionary(con)
    parts = [INTRODUCTION, *(_contents(kind, relations) for kind, relations in kinds)]
    for kind, relations in kinds:
        parts.append(f"## {kind.capitalize()}s\n")
        parts += ["\n".join(_entry(kind, relation)) for relation in relations]
    return "\n".join(parts)


def _contents(kind: str, relations: list[dict[str, Any]]) -> str:
    names = ", ".join(f"[{markdown(each['name'])}](#{anchor(each['name'])})" for each in relations)
    return f"**{len(relations)} {kind}s**: {names}\n"


def _entry(kind: str, relation: dict[str, Any]) -> Iterator[str]:
    name, columns = relation["name"], relation["columns"]
    header = sqlfiles.header(sqlfiles.SQL_DIR / FOLDERS[kind] / f"{name}.sql")
    yield f"### {markdown(name)}\n"
    yield f"{markdown(relation['about'])}\n"
    if kind == "macro":
        calls = ", ".join(f"`{call['column_name']}`" for call in columns)
        yield f"A {columns[0]['data_type']} macro: {calls}"
    else:
        yield f"A row for each {', '.join(f'`{column}`' for column in header['grain'])}."
    if kind != "table" and "source" in header:
        yield f"\nSource: {markdown(header['source'])}"
    if kind == "view" and header.get("kept"):
        yield f"\nIts rows are made by the load, and lie in `{name}_rollup`."
    yield ""
    if kind != "macro":
        yield "| column | type | what it holds |\n|---|---|---|"
        for column in columns:
            yield f"| `{column['column_name']}` | {column['data_type']} | {markdown(column['comment'])} |"
        yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
