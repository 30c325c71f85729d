"""Bytes of a warehouse flipped one at a time in copies: which are seen, and by what.

A flip is harmless where every row of every table is as it was. `verify` has to see all others, and says the rest too:
what holds an index, or nothing, is made anew by `compact`.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import duckdb

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import store
from eigenhouse.ingest.warehouse.verification import Verification, damaged_blocks

HEADERS = 3 * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts = counted(arguments.warehouse, places(arguments.warehouse, arguments.flips, arguments.seed))
    for (rows, verdict), n_flips in sorted(counts.items()):
        print(f"{n_flips:>6}  rows: {rows:<10} verify: {verdict}")


def places(warehouse: Path, n_flips: int, seed: int) -> list[int]:
    """A tenth of them in the headers, the rest anywhere."""
    draw, size = random.Random(seed), warehouse.stat().st_size
    return [draw.randrange(HEADERS if number % 10 == 0 else size) for number in range(n_flips)]


def counted(warehouse: Path, flips: list[int]) -> Counter[tuple[str, str]]:
    """(what became of the rows, what verify says) → how often."""
    whole = rows(warehouse)
    assert whole is not None, f"{warehouse} can't be read"
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(warehouse, Path(folder) / "warehouse.duckdb"))
        for place in flips:
            flip(copy, place)
            there = rows(copy)
            counts["unreadable" if there is None else "the same" if there == whole else "others", verdict(copy)] += 1
            flip(copy, place)
    return counts


def flip(path: Path, place: int) -> None:
    """All bits of a byte; twice gives it back."""
    with path.open("r+b") as file:
        file.seek(place)
        [byte] = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 0xFF]))


def rows(path: Path) -> dict[str, object] | None:
    """Every table's rows, hashed; None where one can't be read."""
    with ExitStack() as opened:
        try:
            con = opened.enter_context(duckdb.connect(str(path), read_only=True))
            tables = con.execute("select table_name from duckdb_tables() where not internal").fetchall()
            return {
                table: con.execute(f"select count(*), sum(hash(rows)) from {table} as rows").fetchall()
                for (table,) in tables
            }
        except duckdb.Error:
            return None


def verdict(path: Path) -> str:
    """Raises whatever isn't a line of ours."""
    blocks = damaged_blocks(path)
    try:
        with store.reading(path) as con:
            look = Verification(con, None)
            look.look_at_tables()  # which reads every block that a comparison or a view reads
    except EigenhouseError:
        return "can't be opened"
    return "rows can't be read" if look.found.faults else "a block of no rows" if blocks else "whole"


if __name__ == "__main__":
    main()
