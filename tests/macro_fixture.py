"""The macros in a warehouse of a test's own making."""

import contextlib

import duckdb

from eigenhouse.ingest.warehouse import sqlfiles


def make_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Every macro that can be made: one that reads a table or view which the test has not is left out."""
    for path in sqlfiles.in_order():
        if path.parent.name == "macros":
            with contextlib.suppress(duckdb.CatalogException):
                con.execute(path.read_text())
