"""MODEL as people type it, and the models of a warehouse that it means: this is the one place that reads it.

It is a name, several of them (`a,b`), a pattern (`org/*`) or a condition (`where:n_layers > 20`; see conditions.py). A
name that is there is that name, whatever else it could be read as, and a checkpoint's name means all of its stacks.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

from eigenhouse.errors import EigenhouseError, shortened
from eigenhouse.ingest.warehouse import conditions
from eigenhouse.ingest.warehouse.building import Connection

CONDITION = "where:"
WILD = re.compile(r"[*?\[]")

Bound = str | list[str]  # what the parameter `$model` of a saved query takes; null, for all, aside


class Held(NamedTuple):
    """A model that the warehouse holds."""

    model_id: str
    checkpoint: str
    model_key: int

    def is_named(self, name: str) -> bool:
        return name in (self.model_id, self.checkpoint)


def chosen(con: Connection, text: str | Sequence[str]) -> dict[int, str]:
    """model_key → model_id of each model that MODEL means, once, in the order of what was typed, then by name.

    text: a list is several of what a text is, for callers that need not write commas. Raises EigenhouseError where any
    part of it means no model.
    """
    held = _held(con)
    texts = [text] if isinstance(text, str) else text
    return {each.model_key: each.model_id for one in texts for each in _meant(con, one, held)}


def every(con: Connection) -> dict[int, str]:
    """model_key → model_id of all models, by name."""
    return {each.model_key: each.model_id for each in _held(con)}


def bound(model_ids: Iterable[str]) -> Bound:
    """One as text, several as a list, which sql/macros/is_chosen.sql tells apart."""
    found = list(model_ids)
    return found[0] if len(found) == 1 else found


def _held(con: Connection) -> list[Held]:
    rows = con.execute("select model_id, checkpoint, model_key from models order by model_id").fetchall()
    return [Held(*row) for row in rows]


def _meant(con: Connection, text: str, held: list[Held]) -> list[Held]:
    if found := _named(text, held):
        return found
    if text.startswith(CONDITION):
        keys = conditions.meeting(con, text.removeprefix(CONDITION))
        return [each for each in held if each.model_key in keys] or _refuse_condition(text, held)
    return [each for part in _parts(text, held) for each in _of_part(part, held)]


def _named(text: str, held: list[Held]) -> list[Held]:
    """The model of this id, or a checkpoint's stacks; a space about it is no part of a name that has none."""
    exact = [each for each in held if each.is_named(text)]
    return exact or [each for each in held if each.is_named(text.strip())]


def _parts(text: str, held: list[Held]) -> list[str]:
    """The list's elements: cut at the commas, but for those of the longest name that begins at an element."""
    pieces, found = text.split(","), []
    most = 1 + max((name.count(",") for each in held for name in each[:2]), default=0)
    while pieces:
        runs = [",".join(pieces[:n]) for n in range(min(most, len(pieces)), 1, -1)]
        part = next((run for run in runs if _named(run, held)), pieces[0])
        del pieces[: part.count(",") + 1]
        found.append(part)
    if len(found) > 1 and not all(map(str.strip, found)):
        raise EigenhouseError(f"want a name on both sides of each comma, got MODEL={shortened(text)}")
    return found


def _of_part(part: str, held: list[Held]) -> list[Held]:
    if found := _named(part, held):
        return found
    name = part.strip()
    if name.startswith(CONDITION):
        raise EigenhouseError(f"a condition stands alone, not in a list of models; got {shortened(name)}")
    if not WILD.search(name):
        _refuse_name(name, held)
    matches = re.compile(fnmatch.translate(name)).match
    return [each for each in held if matches(each.model_id) or matches(each.checkpoint)] or _refuse_pattern(name, held)


# --- what means no model ---


def _refuse_name(name: str, held: list[Held]) -> NoReturn:
    raise EigenhouseError(f"no model {shortened(name)} in the warehouse; {_hint(name, held)}")


def _refuse_pattern(pattern: str, held: list[Held]) -> NoReturn:
    raise EigenhouseError(f"no model in the warehouse matches {shortened(pattern)}; {_hint(pattern, held)}")


def _refuse_condition(text: str, held: list[Held]) -> NoReturn:
    raise EigenhouseError(f"none of the {len(held)} models in the warehouse meets {shortened(text)}")


def _hint(name: str, held: list[Held]) -> str:
    """The names nearest to it; of a pattern those that begin or end as it does, nearly."""
    if not held:
        return "it holds no model: `make ingest`"
    known = dict.fromkeys(known for each in held for known in each[:2])
    stem = WILD.sub("", name)
    cuts = {cut: whole for whole in known for cut in ([whole] if stem == name else _ends(whole, len(stem)))}
    near = dict.fromkeys(cuts[cut] for cut in difflib.get_close_matches(stem, cuts, 3))
    return f"did you mean {' or '.join(near)}?" if near else "`make models` lists them"


def _ends(name: str, n_letters: int) -> tuple[str, str]:
    return name[:n_letters], name[-n_letters:]
