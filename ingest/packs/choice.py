"""Which stages of a pack go into a warehouse that may hold the model already, and why the others don't.

Of the same weights the newer version of a stage counts, whichever comes first; of equal versions what is there stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.packs.pack import Pack
from eigenhouse.ingest.stages.declaration import GATE
from eigenhouse.ingest.warehouse import store
from eigenhouse.ingest.warehouse.loads import Entry

ALREADY = "there already"


@dataclass(frozen=True)
class Choice:
    """stages: what goes in · left: why → the stages that don't · keeps_model: the model's own row stays as it is."""

    stages: list[str]
    left: dict[str, list[str]] = field(default_factory=dict)
    keeps_model: bool = False

    @property
    def why(self) -> str:
        """Nothing to say of a pack that went in whole."""
        return "; ".join(f"{', '.join(stages)}: {why}" for why, stages in self.left.items())


def chosen(con: store.Connection, pack: Pack, force: bool) -> Choice:
    """Raises EigenhouseError for a name that is bound to other weights, unless forced."""
    ids = list(pack.model_ids.values())
    for model_id in ids:
        store.check_name(con, model_id, pack.model["weights_sha256"], force)
    if force:
        return Choice(list(pack.stages))
    if twin := store.other_name(con, pack.model["checkpoint"], pack.model["name"], pack.model["weights_sha256"]):
        return Choice([], {f"the same weights are there as {twin}, which are kept once": list(pack.stages)})
    held = [store.ingested(con, model_id)[1] for model_id in ids]
    taken, left = [], dict[str, list[str]]()
    for stage, entry in pack.stages.items():
        if why := _kept([entries.get(pack.noted(stage)) for entries in held], entry):
            left.setdefault(why, []).append(stage)
        else:
            taken.append(stage)
    has_gate = all(GATE in entries for entries in held)
    if taken and GATE not in taken and not has_gate:
        raise EigenhouseError(f"its rows are proved by {GATE}, which neither it nor the warehouse holds")
    return Choice(taken, left, has_gate and GATE not in taken)


def _kept(there: list[Entry | None], brought: Entry) -> str:
    """Why the rows that are there stay, by what is noted of each stack; '' where those of the pack go in."""
    found = [entry for entry in there if entry]
    newest = max((entry.version for entry in found), default=0)
    if newest > brought.version:
        return f"there already, of the newer version {newest} (the pack's is {brought.version})"
    if len(found) < len(there) or any(entry.version < brought.version or entry.doubt for entry in found):
        return ""
    if all(entry.stands_for(brought) for entry in found):
        return ALREADY
    return "there already, by other options or config (FORCE=1 replaces them)"
