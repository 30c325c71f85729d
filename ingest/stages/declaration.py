"""What a stage says of itself, once: order, needs, fingerprint, what is replaced and what must come follow from it.

    @stage(reads=("factors",), writes=("grams",), scope={"operator": "= 'metric'"}, version=1)
    def grams(inputs: Inputs, out: Writer) -> None: ...

A declaration is read off the source, as the header of an SQL file is: whoever only lists the stages, as `models` does,
imports no polars and no torch. So its values are literals.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from eigenhouse.ingest.stages.writer import Writer

INGEST = Path(__file__).parent.parent
Run = TypeVar("Run", bound="Callable[[Any, Writer], None]")
SKIPPED = "skipped_modules"
GATE = "factors"  # the stage that all others are built on


@dataclass(frozen=True)
class Stage:
    """One measurement of a model, from what it reads to the rows it writes.

    reads: the stages whose files it needs · after: stages that it comes after, and whose files it reads if they are
    there · writes: tables of which it replaces a model's rows · shares: tables that
    belong to no model, whose rows are kept once there · scope: column → test that its own rows pass in the tables that
    have the column; $names in it are the run's parameters · options: fields of `options.Ingest` that change its
    numbers · unless: switches of `options.Ingest` that leave it out · version: raised when, and only when, a number
    that it writes changes; a change of the gate's factors raises that of every stage whose numbers follow · module,
    function: what runs.
    """

    name: str
    module: str
    function: str
    version: int
    reads: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    scope: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """What it replaces: every stage may leave something out, and say so."""
        return (*self.writes, SKIPPED)

    @property
    def needs_text(self) -> bool:
        """Whether text runs through the model, which is then wanted whole."""
        return "prompts" in self.options

    def condition(self, table: str, columns: Mapping[str, object]) -> str:
        """An SQL condition that its own rows of a model's pass in a table with these columns; '' for all of them."""
        scope = {"stage": f"= '{self.name}'", **self.scope} if table == SKIPPED else self.scope
        return " and ".join(f"{column} {test}" for column, test in scope.items() if column in columns)

    def entry(self, parameters: Mapping[str, str]) -> str:
        """How the warehouse notes it: what a parameter parts, such as prompt sets, stands beside one another."""
        used = [value for name, value in parameters.items() if any(f"${name}" in test for test in self.scope.values())]
        return ":".join([self.name, *used])

    def run(self, inputs: Any, out: Writer) -> None:
        getattr(import_module(self.module), self.function)(inputs, out)


def stage(
    *,
    version: int,
    name: str = "",
    reads: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
    scope: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
    unless: tuple[str, ...] = (),
) -> Callable[[Run], Run]:
    """Marks a stage's function, whose name it has unless another is given; the values are literals."""
    return lambda function: function


@cache
def declared(room: str = "stages") -> dict[str, Stage]:
    """Every stage of a room of ingest/ by name, each after those that it reads or follows; what runs text is last."""
    rest = {each.name: each for path in sorted((INGEST / room).glob("*.py")) for each in _declared_in(path)}
    placed: dict[str, Stage] = {}
    while rest:
        ready = [each for each in rest.values() if placed.keys() >= {*each.reads, *each.after}]
        if not ready:
            raise ValueError(f"stages that read one another, or one that there is not: {', '.join(sorted(rest))}")
        first = min(ready, key=lambda each: (each.needs_text, each.name))
        placed[first.name] = rest.pop(first.name)
    return placed


def _declared_in(path: Path) -> list[Stage]:
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for call in getattr(node, "decorator_list", ()):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "stage":
                values = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
                module = f"eigenhouse.ingest.{path.parent.name}.{path.stem}"
                found.append(Stage(**{"name": node.name, "module": module, "function": node.name, **values}))  # type: ignore[attr-defined]
    return found


def versions() -> dict[str, int]:
    """The version of every stage as this program measures it."""
    return {name: each.version for room in ("stages", "exchange") for name, each in declared(room).items()}
