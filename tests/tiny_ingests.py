"""Checkpoints ingested by the command line into a warehouse of their own, and the questions that tests ask it."""

from pathlib import Path

import duckdb
from typer.testing import CliRunner

from bench import tiny_warehouse
from eigenhouse import __main__ as command_line


class Warehouse:
    """A warehouse in a folder, empty at first; `ask` opens it for each question, so that ingests can go on."""

    def __init__(self, folder: Path) -> None:
        self.path = tiny_warehouse.copy_empty(folder / "w.duckdb")

    def ingest(self, model: Path, *arguments: object) -> None:
        words = ["ingest", "--model", str(model), "--warehouse", str(self.path), *map(str, arguments)]
        result = CliRunner().invoke(command_line.app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output

    def ask(self, sql: str) -> list[tuple]:
        [rows] = self.ask_all(sql)
        return rows

    def ask_all(self, *questions: str) -> list[list[tuple]]:
        """Several answers for one opening, which takes longer than most of them."""
        with duckdb.connect(str(self.path), read_only=True) as con:
            return [con.execute(sql).fetchall() for sql in questions]
