"""Checkpoints ingested by the command line into a warehouse of their own, and the questions that tests ask it."""

from pathlib import Path

import duckdb
from typer.testing import CliRunner

from bench import tiny_warehouse
from eigenhouse import __main__ as command_line


class Warehouse:
    """A warehouse in a folder; questions share one opening, which takes longer than most of them, until an ingest.

    told: what every ingest is told before its own arguments · is_there: whether it stands there empty at first.
    """

    def __init__(self, folder: Path, *told: str, is_there: bool = True) -> None:
        self.path, self.told, self._con = folder / "warehouse.duckdb", told, None
        if is_there:
            self.make()

    def make(self) -> None:
        tiny_warehouse.copy_empty(self.path)

    def run(self, model: Path | str, *arguments: object) -> tuple[int, str]:
        """Exit status of an ingest, and what it printed as one line."""
        self.close()
        words = ["ingest", "--model", model, "--warehouse", self.path, *self.told, *arguments]
        result = CliRunner().invoke(command_line.app, [*map(str, words)], catch_exceptions=False)
        return result.exit_code, " ".join(result.output.split())

    def ingest(self, model: Path | str, *arguments: object) -> None:
        status, said = self.run(model, *arguments)
        assert status == 0, said

    def ask(self, sql: str) -> list[tuple]:
        self._con = self._con or duckdb.connect(str(self.path), read_only=True)
        return self._con.execute(sql).fetchall()

    def ask_all(self, *questions: str) -> list[list[tuple]]:
        return [self.ask(sql) for sql in questions]

    def change(self, sql: str) -> None:
        self.close()
        with duckdb.connect(str(self.path)) as con:
            con.execute(sql)

    def close(self) -> None:
        if self._con:
            self._con.close()
        self._con = None
