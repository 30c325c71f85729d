"""DuckDB connections on which something happens at a statement: a disk that is full, a process that is killed."""

import duckdb


def ignore(statement):
    """Nothing happens."""


class Watched:
    """A connection that is asked before and told after each statement; commits count as statements."""

    def __init__(self, con, before, after):
        self.con, self.before, self.after = con, before, after

    def __getattr__(self, name):
        return getattr(self.con, name)

    def execute(self, statement, *args):
        self.before(statement)
        found = self.con.execute(statement, *args)
        self.after(statement)
        return found

    def commit(self):
        self.before("commit")
        self.con.commit()
        self.after("commit")


def watch(monkeypatch, before=ignore, after=ignore):
    """Every connection from now on is watched."""
    real = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda *args, **named: Watched(real(*args, **named), before, after))


def at(number, wanted, act):
    """Acts at the number-th statement that is the wanted one, or begins with it."""
    seen = []

    def watching(statement):
        seen.extend([statement] * statement.startswith(wanted))
        if statement.startswith(wanted) and len(seen) == number:
            act()

    return watching


def no_room():
    raise duckdb.IOException("IO Error: Could not write file: No space left on device")
