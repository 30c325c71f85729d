"""`eigenhouse load`: packs into the warehouse, and a table of what went in, what not and why."""

from __future__ import annotations

from pathlib import Path

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console
from eigenhouse.ingest.packs import loading, travel
from eigenhouse.ingest.sources import regular
from eigenhouse.ingest.warehouse import store
from eigenhouse.options import Load

WANTED = "FROM=<a pack, a folder of packs, several of them as a,b, or a file with one a line>"


def load(options: Load) -> None:
    """Raises EigenhouseError where one or more packs were refused; the others are in the warehouse."""
    packs = found(options.from_)
    outcomes: list[loading.Outcome] = []
    try:
        with console.stage("load", len(packs)) as advance:

            def done(outcome: loading.Outcome) -> None:
                outcomes.append(outcome)
                advance(1)

            loading.load(
                options.warehouse,
                packs,
                force=options.force,
                wait_seconds=options.wait,
                say=console.say,
                done=done,
            )
    finally:
        console.table(("pack", "model", "outcome", "rows", "why"), [each.row for each in outcomes])
    refused = [each for each in outcomes if each.outcome == loading.REFUSED]
    if refused:
        raise EigenhouseError(f"{len(refused)} of {len(packs)} packs were refused; the others are in the warehouse")
    console.say(f"{loading.counted(outcomes)} · {store.size(options.warehouse)}")


def found(text: str) -> list[Path]:
    """The packs that FROM names, each once, in the order of their names where it names a folder."""
    if not text.strip():
        raise EigenhouseError(f"wanted {WANTED}; got nothing")
    packs = [pack for path in _paths(text) for pack in _packs_at(path)]
    return list(dict.fromkeys(packs))


def _paths(text: str) -> list[Path]:
    """One path may hold a comma, and then it is there."""
    whole = Path(text).expanduser()
    if whole.exists():
        return [whole]
    paths = [Path(each.strip()).expanduser() for each in text.split(",") if each.strip()]
    for path in paths:
        if not path.exists():
            raise EigenhouseError(f"wanted {WANTED}; there is no {path}")
    return paths


def _packs_at(path: Path) -> list[Path]:
    if not path.is_dir():
        return _listed(path)
    if path.name.endswith(travel.ENDING) or travel.is_there(path):
        return [path]
    packs = sorted(each for each in path.iterdir() if _is_meant(each))
    if not packs:
        raise EigenhouseError(f"wanted {WANTED}; {path} holds no pack (`make ingest … PACK={path}` makes one)")
    return packs


def _is_meant(path: Path) -> bool:
    """A pack that is cut short too, but not one that is just being written."""
    return not path.name.startswith(".") and (path.name.endswith(travel.ENDING) or travel.is_there(path))


def _listed(path: Path) -> list[Path]:
    """The lines of a file; what isn't absolute starts from the working folder, as on the command line."""
    try:
        lines = regular.content(path).decode().splitlines()
    except UnicodeDecodeError:
        raise EigenhouseError(f"wanted {WANTED}; {path} is no text") from None
    paths = [Path(line.strip()).expanduser() for line in lines if line.strip() and not line.startswith("#")]
    return [pack for each in paths for pack in (_packs_at(each) if each.is_dir() else [each])]
