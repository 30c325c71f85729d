"""What the user says of models: set, taken away, and kept with a name whose weights are replaced.

No load and no checksum touches a tag; `remove` takes those of its model with it.
"""

from __future__ import annotations

from pathlib import Path

from eigenhouse.ingest.warehouse.building import Connection, refusals, transaction
from eigenhouse.visible import STEERING

TABLE = "model_tags"
Tags = dict[int, dict[str, str]]  # model_key → tag → value; an empty value takes the tag away


def write(con: Connection, path: Path, tags: Tags) -> tuple[int, int]:
    """In one transaction: how many tags were set, and how many taken away."""
    rows = [(key, tag, value) for key, of_model in tags.items() for tag, value in of_model.items()]
    with refusals(path), transaction(con):
        n_gone = _delete(con, [row for row in rows if not row[2]])
        _insert(con, [row for row in rows if row[2]])
    with refusals(path, f"what is new waits in {path.name}.wal beside it: keep both files and make room"):
        con.execute("checkpoint")
    return sum(bool(value) for *_, value in rows), n_gone


def _delete(con: Connection, rows: list[tuple[int, str, str]]) -> int:
    pairs = "select unnest($keys::bigint[]), unnest($tags::varchar[])"
    given = {"keys": [row[0] for row in rows], "tags": [row[1] for row in rows]}
    return int(con.execute(f"delete from {TABLE} where (model_key, tag) in ({pairs})", given).fetchall()[0][0])


def _insert(con: Connection, rows: list[tuple[int, str, str]]) -> None:
    columns = "select unnest($keys::bigint[]), unnest($tags::varchar[]), unnest($values::varchar[])"
    keys, tags, values = ([row[place] for row in rows] for place in range(3))
    con.execute(f"insert or replace into {TABLE} {columns}", {"keys": keys, "tags": tags, "values": values})


def fault_of_name(tag: str) -> str:
    """Why a tag can't be called so; '' where it can."""
    if not tag or tag != tag.strip():
        return "it is empty, or has a space at an end"
    return "it holds =" if "=" in tag else fault_of_value(tag)


def fault_of_value(value: str) -> str:
    """Why it is no text of one line; '' where it is."""
    bad = STEERING.search(value.replace("\n", "\0").replace("\t", "\0"))
    return f"it holds {value[bad.start()]!a}, which isn't text" if bad else ""


def moved(con: Connection, model_id: str, old_key: int, new_key: int) -> list[str]:
    """Keep the tags of a name whose weights are replaced, and say so: they were set for other weights."""
    con.execute(f"update {TABLE} set model_key = ? where model_key = ?", [new_key, old_key])
    tags = _names(con, new_key)
    said = f"its tags stay, which were set for what it held before: {', '.join(tags)}; `make tag` changes them"
    return [f"{model_id}: {said}"] if tags else []


def gone(con: Connection, model_id: str, model_key: int) -> list[str]:
    """Say which tags go with a stack that its checkpoint no longer has."""
    tags = _names(con, model_key)
    return [f"{model_id} is no more, and its tags went with it: {', '.join(tags)}"] if tags else []


def _names(con: Connection, model_key: int) -> list[str]:
    rows = con.execute(f"select tag from {TABLE} where model_key = ? order by tag", [model_key]).fetchall()
    return [tag for (tag,) in rows]
