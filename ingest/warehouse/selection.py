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


class Names:
    """What a warehouse holds: its models by id, and those of each name, which is an id or a checkpoint's."""

    def __init__(self, con: Connection) -> None:
        rows = con.execute("select model_id, checkpoint, model_key from models order by model_id").fetchall()
        self.held = [Held(*row) for row in rows]
        self.of: dict[str, list[Held]] = {}
        for each in self.held:
            for name in {each.model_id, each.checkpoint}:
                self.of.setdefault(name, []).append(each)

    def named(self, text: str) -> list[Held]:
        """Those of this name; a space about it is no part of a name that has none."""
        return self.of.get(text) or self.of.get(text.strip(), [])


def chosen(con: Connection, text: str | Sequence[str]) -> dict[int, str]:
    """model_key → model_id of each model that MODEL means, once, in the order of what was typed, then by name.

    text: a list is several of what a text is, for callers that need not write commas. Raises EigenhouseError where any
    part of it means no model.
    """
    texts = [text] if isinstance(text, str) or not isinstance(text, Sequence) else list(text)
    if not texts or not all(isinstance(each, str) for each in texts):
        raise EigenhouseError(f"want the name of a model, or a list of such, got {shortened(repr(text))}")
    names = Names(con)
    return {each.model_key: each.model_id for one in texts for each in _meant(con, one, names)}


def every(con: Connection) -> dict[int, str]:
    """model_key → model_id of all models, by name."""
    return {each.model_key: each.model_id for each in Names(con).held}


def bound(model_ids: Iterable[str]) -> Bound:
    """One as text, several as a list, which sql/macros/is_chosen.sql tells apart."""
    found = list(model_ids)
    return found[0] if len(found) == 1 else found


def _meant(con: Connection, text: str, names: Names) -> list[Held]:
    if found := names.named(text):
        return found
    parts = _parts(text, names)
    if text.startswith(CONDITION) and not names.named(parts[0]):
        keys = conditions.meeting(con, text.removeprefix(CONDITION))
        return [each for each in names.held if each.model_key in keys] or _refuse_condition(text, names)
    if len(parts) > 1 and not all(map(str.strip, parts)):
        raise EigenhouseError(f"want a name on both sides of each comma, got MODEL={shortened(text)}")
    return [each for part in parts for each in _of_part(part, names)]


def _parts(text: str, names: Names) -> list[str]:
    """The list's elements: cut at the commas, but for those of the longest name that begins at an element."""
    pieces, found = text.split(","), []
    most = 1 + max((name.count(",") for name in names.of), default=0)
    while pieces:
        runs = [",".join(pieces[:n]) for n in range(min(most, len(pieces)), 1, -1)]
        part = next((run for run in runs if names.named(run)), pieces[0])
        del pieces[: part.count(",") + 1]
        found.append(part)
    return found


def _of_part(part: str, names: Names) -> list[Held]:
    if found := names.named(part):
        return found
    name = part.strip()
    if name.startswith(CONDITION):
        raise EigenhouseError(f"a condition stands alone, not in a list of models; got {shortened(name)}")
    if not WILD.search(name):
        _refuse_name(name, names)
    matches = re.compile(fnmatch.translate(name)).match
    fitting = [each for each in names.held if matches(each.model_id) or matches(each.checkpoint)]
    return fitting or _refuse_pattern(name, names)


# --- what means no model ---


def _refuse_name(name: str, names: Names) -> NoReturn:
    raise EigenhouseError(f"no model {shortened(name)} in the warehouse; {_hint(name, names)}")


def _refuse_pattern(pattern: str, names: Names) -> NoReturn:
    raise EigenhouseError(f"no model in the warehouse matches {shortened(pattern)}; {_hint(pattern, names)}")


def _refuse_condition(text: str, names: Names) -> NoReturn:
    raise EigenhouseError(f"none of the {len(names.held)} models in the warehouse meets {shortened(text)}")


def _hint(name: str, names: Names) -> str:
    """The names nearest to it; of a pattern those that begin or end as it does, nearly."""
    if not names.held:
        return "it holds no model: `make ingest`"
    stem = WILD.sub("", name)
    cuts = {cut: whole for whole in names.of for cut in ([whole] if stem == name else _ends(whole, len(stem)))}
    near = dict.fromkeys(cuts[cut] for cut in difflib.get_close_matches(stem, cuts, 3, 0.5 if stem != name else 0.6))
    return f"did you mean {' or '.join(near)}?" if near else "`make models` lists them"


def _ends(name: str, n_letters: int) -> tuple[str, str]:
    return name[:n_letters], name[-n_letters:]
