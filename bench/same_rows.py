"""Do two warehouses hold the same measurements? Every table, row by row, column by column.

A measured number may differ by rounding: its tolerance is a share of the largest value of its group, which is the grain
without its last key (a head's spectrum, a head's pairs of layers). Everything else must be equal, but for a choice that
rounding may make among equals: which heads are nearest, what counts as a tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from eigenhouse.ingest.warehouse import rollups, sqlfiles

# who ran what and when, and what follows from that
LEFT_OUT = ("ingest_runs", "ingested_stages", "table_checksums", "warehouse_info")
UNCOMPARED = {"max_rel_error", "witness_max_rel_error"}  # rounding itself: the gate holds it below 1e-3
CHOSEN = {"other_layer", "other_head", "is_degenerate"}
MOST_CHOSEN = 1e-3  # share of the rows in which a choice may be another
TOLERANCES = {
    "attention_stats": 2e-3,  # a float32 forward pass, whose layers add up
    "head_attention_rollup": 2e-3,
    "eigenvectors": 1e-3,  # two that lie close turn together
    "eigenvector_overlaps": 1e-3,
    "principal_cosines": 1e-3,
    "side_overlaps": 1e-4,  # float32 products of bases
    "head_matches": 1e-4,
    "ffn_alignments": 1e-4,
    "weight_singular_values": 1e-5,
}
TOLERANCE = 1e-5  # float64 measurements, stored as float32
MEASURED = ("FLOAT", "DOUBLE", "FLOAT[]")


@dataclass(frozen=True)
class Compared:
    """difference: the largest, relative to its group; of what isn't measured, the share of rows that differ."""

    table: str
    column: str
    n_rows: int
    difference: float
    tolerance: float

    @property
    def is_same(self) -> bool:
        return self.difference <= self.tolerance


def compared(one: Path, other: Path) -> Iterator[Compared]:
    """Each column of each table; of a row that only one of them has, the table's name and an infinite difference."""
    with duckdb.connect() as con:
        for name, path in (("one", one), ("other", other)):
            con.execute(f"attach '{path}' as {name} (read_only)")
            con.execute(f"create schema {name}_named")
        for table, header in sqlfiles.tables().items():
            if table not in LEFT_OUT:
                yield from _table(con, table, header["grain"])


def tolerance_of(table: str) -> float:
    """Of what is made of other tables, the largest of theirs."""
    made_of = next((rollups.sources(path) for path in rollups.every() if rollups.table_of(path) == table), ())
    return TOLERANCES.get(table, max((tolerance_of(each) for each in made_of), default=TOLERANCE))


def _table(con: duckdb.DuckDBPyConnection, table: str, grain: list[str]) -> Iterator[Compared]:
    keys = ", ".join(grain)
    one, other = (_named(con, house, table) for house in ("one", "other"))
    [[n_rows]] = con.execute(f"select count(*) from {one}").fetchall()
    alone = " union all ".join(
        f"(select {keys} from {a} except all select {keys} from {b})" for a, b in ((one, other), (other, one))
    )
    [[n_alone]] = con.execute(f"select count(*) from ({alone})").fetchall()
    yield Compared(table, "rows", n_rows, float("inf") if n_alone else 0.0, 0.0)
    for column, kind, *_ in con.execute(f"describe {one}").fetchall():
        if column in grain or column in UNCOMPARED or n_rows == 0:
            continue
        both = f"from {one} as mine join {other} as theirs using ({keys})"
        if kind in MEASURED:
            difference, tolerance = _relative(con, both, grain, column, kind), tolerance_of(table)
        else:
            query = f"select avg((mine.{column} is distinct from theirs.{column})::int) {both}"
            [[difference]] = con.execute(query).fetchall()
            tolerance = MOST_CHOSEN if column in CHOSEN else 0.0
        yield Compared(table, column, n_rows, difference, tolerance)


def _named(con: duckdb.DuckDBPyConnection, house: str, table: str) -> str:
    """The table with the model's name in place of its key, which is another in each warehouse."""
    columns = [name for name, *_ in con.execute(f"describe {house}.{table}").fetchall()]
    named = f"select * from {house}.{table}"
    if table == "models":
        named = f"select * exclude (model_key) from {house}.models"
    elif "model_key" in columns:
        named = f"""
            select facts.* replace (models.model_id as model_key)
            from {house}.{table} as facts join {house}.models as models on facts.model_key = models.model_key
        """
    con.execute(f"create view {house}_named.{table} as {named}")
    return f"{house}_named.{table}"


def _relative(con: duckdb.DuckDBPyConnection, both: str, grain: list[str], column: str, kind: str) -> float:
    """Infinite where only one of the two is null."""
    mine, theirs = (
        f"unnest({side}.{column})::double" if kind == "FLOAT[]" else f"{side}.{column}::double"
        for side in ("mine", "theirs")
    )
    group = ", ".join(grain[:-1]) or "1"
    [[found]] = con.execute(f"""
        with both_sides as (select {", ".join(grain)}, {mine} as a, {theirs} as b {both}),
        scaled as (
            select a, b, max(greatest(abs(a), abs(b))) over (partition by {group}) as largest
            from both_sides
        )
        select max(case
            when a is null and b is null or a = b then 0
            when a is null or b is null then 'inf'::double
            else abs(a - b) / largest end)
        from scaled
    """).fetchall()
    return float(found)
