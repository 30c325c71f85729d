"""Whether SQL asks or acts: one statement that reads, by DuckDB's own types of statements."""

import re

import duckdb

from eigenhouse.errors import EigenhouseError

Statements = list[duckdb.Statement]
SELECT, CREATE, EXPLAIN = duckdb.StatementType.SELECT, duckdb.StatementType.CREATE, duckdb.StatementType.EXPLAIN
# functions that a select may call, and that change DuckDB itself or read memory at an address
ACTING = {
    "arrow_scan", "arrow_scan_dumb", "checkpoint", "disable_logging", "disable_profiling", "enable_logging",
    "enable_profiling", "force_checkpoint", "pandas_scan", "python_map_function", "truncate_duckdb_logs", "write_log",
}  # fmt: skip
SKIPPED = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
EXPLAINS = re.compile(
    rf"{SKIPPED}explain\b{SKIPPED}(?P<how>analyze\b|\(\s*(?:analyze|format)\b[^()]*\))?", re.IGNORECASE | re.DOTALL
)
WANTED = "want one question: select, from, with, values, pivot, describe, summarize, show or explain of one"


def reading(con: duckdb.DuckDBPyConnection, sql: str) -> Statements:
    """What is to be run for one question, and nothing else is: a PIVOT without `in (…)` is two statements to DuckDB.

    Raises EigenhouseError for SQL that acts, and duckdb.Error for what is no SQL.
    """
    found = con.extract_statements(sql)
    if not found:
        raise EigenhouseError("the SQL holds no statement")
    if _is_pivot(found):
        return found
    if len(found) > 1:
        raise EigenhouseError(f"{WANTED}; got {len(found)} statements, to be asked one by one{_hint(found)}")
    if found[0].type == EXPLAIN:
        return _explaining(con, sql)
    if found[0].type != SELECT:
        raise EigenhouseError(f"{WANTED}; got {_name(found[0])}{_hint(found)}")
    _want_no_acting(con, found[0].query)
    return found


def _is_pivot(found: Statements) -> bool:
    """Types made of the values that are there, then the select; neither has a text, as a statement of a user's has."""
    *types, last = found
    made_here = all(each.type == CREATE and each.query == "" for each in types)
    return bool(types) and made_here and last.type == SELECT and last.query == ""


def _explaining(con: duckdb.DuckDBPyConnection, sql: str) -> Statements:
    """The plan of a question: what it explains is held against the same rule, and explained anew.

    EXPLAIN ANALYZE runs its statement. That the text after it is a select by itself is DuckDB's word, so what is put
    together here can be no other statement, whatever the pattern took for the beginning.
    """
    opening = EXPLAINS.match(sql)
    explained = reading(con, sql[opening.end() :] if opening else "")
    if len(explained) > 1:
        raise EigenhouseError("a PIVOT can be explained with its values alone: pivot … on column in (…)")
    if not opening or explained[0].type != SELECT:
        raise EigenhouseError(f"{WANTED}; got EXPLAIN of {_name(explained[0])}")
    found = con.extract_statements(f"explain {opening['how'] or ''} {explained[0].query}")
    if [each.type for each in found] != [EXPLAIN]:
        raise EigenhouseError(f"{WANTED}; got an EXPLAIN of several")
    return found


def _want_no_acting(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """What DuckDB's own tree of the statement calls; a call that is hidden in a string meets the locks behind this."""
    [[tree]] = con.execute("select json_serialize_sql($sql)", {"sql": query}).fetchall()
    names = {name.lower() for name in re.findall(r'"function_name":"([^"]*)"', tree)}
    if called := ACTING & names:
        raise EigenhouseError(f"{WANTED}; got a call of {min(called)}(), which acts on DuckDB itself")


def _name(statement: duckdb.Statement) -> str:
    name = statement.type.name.replace("_", " ")
    return name if name.isascii() and name[0].isalpha() else "a statement of another kind"


def _hint(found: Statements) -> str:
    """What else would do; the way around is named where there is none within the rule."""
    if any(each.type == CREATE and each.query == "" for each in found):
        return "; a PIVOT stands alone, or with its values: pivot … on column in (…)"
    if len(found) > 1:
        return ""
    return " (the warehouse and all files are read-only; UNSAFE=1 lets your own SQL write files)"
