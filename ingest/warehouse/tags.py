"""What the user says of models: set, taken away, and kept with a name whose weights are replaced.

No load and no checksum touches a tag; `remove` takes those of its model with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eigenhouse.ingest.warehouse.building import Connection

TABLE = "model_tags"


@dataclass
class Tags:
    """model_key → tag → value; an empty value takes the tag away."""

    of: dict[int, dict[str, str]] = field(default_factory=dict)

    def write(self, con: Connection) -> tuple[int, int]:
        """Within the caller's transaction: how many tags were set, and how many taken away."""
        rows = [(key, tag, value) for key, tags in self.of.items() for tag, value in tags.items()]
        kept = [row for row in rows if row[2]]
        gone = _columns([row for row in rows if not row[2]])
        pairs = "select unnest($keys::bigint[]), unnest($tags::varchar[])"
        [[n_gone]] = con.execute(
            f"delete from {TABLE} where (model_key, tag) in ({pairs})", {"keys": gone[0], "tags": gone[1]}
        ).fetchall()
        keys, tags, values = _columns(kept)
        con.execute(
            f"insert or replace into {TABLE} {pairs}, unnest($values::varchar[])",
            {"keys": keys, "tags": tags, "values": values},
        )
        return len(kept), int(n_gone)


def _columns(rows: list[tuple[int, str, str]]) -> tuple[list[int], list[str], list[str]]:
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def moved(con: Connection, model_id: str, old_key: int, new_key: int) -> list[str]:
    """Keep the tags of a name whose weights are replaced, and say so: they were set for other weights."""
    con.execute(f"update {TABLE} set model_key = ? where model_key = ?", [new_key, old_key])
    tags = _names(con, new_key)
    said = f"its tags stay, which were set for other weights: {', '.join(tags)}; `make tag` changes them"
    return [f"{model_id}: {said}"] if tags else []


def gone(con: Connection, model_id: str, model_key: int) -> list[str]:
    """Say which tags go with a stack that its checkpoint no longer has."""
    tags = _names(con, model_key)
    return [f"{model_id} is no more, and its tags went with it: {', '.join(tags)}"] if tags else []


def _names(con: Connection, model_key: int) -> list[str]:
    rows = con.execute(f"select tag from {TABLE} where model_key = ? order by tag", [model_key]).fetchall()
    return [tag for (tag,) in rows]
