"""The saved queries: SQL files under sql/queries/, each with a header that says what it shows."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.stages.declaration import versions
from eigenhouse.ingest.warehouse import sqlfiles

STAGES = "program_stages"  # a parameter that the program fills: each stage's name, and the version that it measures
THEMES = (  # what `theme` in a header may say, in the order of the report
    "What is there",
    "Spectra",
    "Attention",
    "What predicts entropy",
    "Rescaled copies",
    "Same operator",
    "Depth",
    "FFN and weights",
    "Further questions",
)


@dataclass(frozen=True)
class SavedQuery:
    """One file of sql/queries/: its text, and what its header promises."""

    name: str
    sql: str
    title: str
    reading: str
    parameters: dict[str, Any]  # name → default; None where it has none
    chart: dict[str, Any] = field(default_factory=dict)  # how analyses/charts/ draws it; empty where it does not
    theme: str = THEMES[-1]

    def bind(self, given: dict[str, Any]) -> dict[str, Any]:
        """The value of each of the query's parameters; refuses one that it does not have."""
        if surplus := [name.upper() for name in given if name not in self.parameters]:
            has = ", ".join(name.upper() for name in self.parameters) or "none"
            raise EigenhouseError(f"query {self.name} takes no {surplus[0]}; its parameters: {has}")
        filled = {STAGES: _stages()} if f"${STAGES}" in self.sql else {}
        return {**self.parameters, **filled, **given}

    def usage(self) -> str:
        """What to type after `make query`, defaults filled in: Q=conformance_worst MODEL=… K=10."""
        shown = [f"{name.upper()}={'…' if value is None else value}" for name, value in self.parameters.items()]
        return " ".join([f"Q={self.name}", *shown])


def _stages() -> list[dict[str, Any]]:
    return [{"name": name, "version": number} for name, number in versions().items()]


def read(path: Path) -> SavedQuery:
    meta = sqlfiles.header(path)
    parameters = {name: about.get("default") for name, about in meta.get("parameters", {}).items()}
    sql = path.read_text(encoding="utf-8")
    theme = meta.get("theme", THEMES[-1])
    if theme not in THEMES:
        raise EigenhouseError(f"{path}: no theme {theme!r}; there are {', '.join(THEMES)}")
    return SavedQuery(path.stem, sql, meta["title"], meta["reading"], parameters, meta.get("chart", {}), theme)


def every() -> list[SavedQuery]:
    """All of them, theme by theme."""
    return sorted(map(read, sqlfiles.files("queries")), key=lambda query: THEMES.index(query.theme))


def find(name: str) -> SavedQuery:
    paths = {path.stem: path for path in sqlfiles.files("queries")}
    if name not in paths:
        near = difflib.get_close_matches(name.lower().removesuffix(".sql"), paths, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`make queries` lists them"
        raise EigenhouseError(f"no saved query {name}; {hint}")
    return read(paths[name])
