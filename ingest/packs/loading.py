"""Any number of packs into a warehouse: one transaction a pack, and what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.packs import choice, travel
from eigenhouse.ingest.packs.pack import Pack
from eigenhouse.ingest.warehouse import store
from eigenhouse.options import STOPPED_LOAD

IN, PART, THERE, REFUSED = "in", "in part", "not needed", "refused"


@dataclass(frozen=True)
class Outcome:
    """What became of a pack. models: as they are called, as far as is known."""

    what: str
    outcome: str
    models: str = ""
    n_rows: int = 0
    why: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        return self.what, self.models, self.outcome, f"{self.n_rows:,}" if self.n_rows else "", self.why


def counted(outcomes: Iterable[Outcome]) -> str:
    """How many of each, in words."""
    counts = Counter(each.outcome for each in outcomes)
    return ", ".join(f"{n:,} {outcome}" for outcome, n in counts.most_common()) or "none"


def load(
    path: Path,
    packs: Iterable[Path],
    *,
    force: bool,
    wait_seconds: float,
    say: store.Say,
    done: Callable[[Outcome], None],
    kept: str = STOPPED_LOAD,
) -> None:
    """done: is told of each · kept: what is said where it is stopped.

    Raises EigenhouseError where none went in, and where the warehouse itself is at fault: what went in before stays in.
    A warehouse that is made here and gets no row goes again.
    """
    outcomes = set()
    with store.loading(path, wait_seconds, say) as con:
        for folder in packs:
            outcome = _brought(con, path, folder, force, kept, say)
            outcomes.add(outcome.outcome)
            done(outcome)
        if outcomes == {REFUSED}:
            raise EigenhouseError("none of the packs could be loaded")
        store.settle(con, path)


def _brought(con: store.Connection, path: Path, folder: Path, force: bool, kept: str, say: store.Say) -> Outcome:
    """Refused is what is wrong with the pack. Raises where the warehouse can't be written any more."""
    what, models = folder.name, ""
    try:
        pack = travel.read(folder)
        models = ", ".join(pack.model_ids.values())
        return _chosen_stages(con, path, pack, what, models, force=force, kept=kept, say=say)
    except EigenhouseError as error:
        store.want_sound(con, error)
        return Outcome(what, REFUSED, models, why=str(error))


def _chosen_stages(
    con: store.Connection, path: Path, pack: Pack, what: str, models: str, *, force: bool, kept: str, say: store.Say
) -> Outcome:
    found = choice.chosen(con, pack, force)
    if not found.stages:
        return Outcome(what, THERE, models, why=_summed_up(con, pack, found))
    part = pack.with_stages(found.stages)
    with store.refusing(path):
        written = store.bring(con, path, part.loads(found.keeps_model), part.shared(), force=force, kept=kept, say=say)
    return Outcome(what, PART if found.left else IN, models, sum(written.values()), found.why)


def _summed_up(con: store.Connection, pack: Pack, found: choice.Choice) -> str:
    """In short where every stage has the same reason; where the model came from another source, that too."""
    why = next(iter(found.left)) if len(found.left) == 1 else found.why
    other = store.source_of(con, next(iter(pack.model_ids.values())))
    source = pack.model["source"]
    return f"{why}, from {other} (the pack's is from {source})" if other and other != source else why
