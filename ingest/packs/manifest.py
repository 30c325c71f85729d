"""What a pack says of itself, as JSON with a seal: a hash over all of it, so that no part of it changes unseen."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, get_type_hints

from eigenhouse import __version__
from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.packs.pack import Pack, Part
from eigenhouse.ingest.sources import regular
from eigenhouse.ingest.sources.source import refuse_bad_key
from eigenhouse.ingest.stages.declaration import declared
from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.checksums import Summed
from eigenhouse.ingest.warehouse.loads import Entry
from eigenhouse.ingest.warehouse.migrations import newest_schema

NAME = "pack.json"
FORMAT = 1
TIMES = ("started_at", "finished_at")
RUN = {"started_at", "finished_at", "seconds", "peak_rss_mb", "options", "versions", "stages"}
FILLED = {"n_parameters"}  # that a load leaves null where a pack of an older schema has none
STEP = re.compile(r"\w[\w.-]*", re.ASCII)  # of a path within the pack
DIGEST = re.compile(r"[0-9a-f]{64}")


def text(pack: Pack) -> str:
    held = {
        "format": FORMAT,
        "schema": newest_schema(),
        "program": f"eigenhouse {__version__}",
        "model": pack.model,
        "stacks": pack.stacks,
        "stages": {name: asdict(entry) for name, entry in pack.stages.items()},
        "parameters": pack.parameters,
        "run": pack.run | {name: pack.run[name].isoformat() for name in TIMES},
        "parts": [asdict(part) for part in pack.parts],
    }
    return sealed(held)


def sealed(held: dict[str, Any]) -> str:
    """The text of a manifest that holds this; a seal that it has already doesn't count."""
    held = {name: value for name, value in held.items() if name != "seal"}
    return json.dumps({"seal": _seal(held), **held}, indent=1)


def _seal(held: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(held, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(folder: Path) -> Pack:
    """Raises EigenhouseError for what isn't whole, of a newer program, or of no pack that this program makes."""
    try:
        if (folder / NAME).is_symlink():
            raise EigenhouseError(f"wanted files of its own; {NAME} is a link")
        held = regular.parsed(regular.content(folder / NAME), each_once=True)
        _want_readable(held)
        if held.pop("seal") != _seal(held):
            raise EigenhouseError(f"{NAME} is damaged: it doesn't fit its own seal")
        pack = _pack(folder, held)
        _want_meant(pack)
        return pack
    except FileNotFoundError:
        raise EigenhouseError(f"wanted {NAME} in it; there is none (no pack, or one that was cut short)") from None
    except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        raise EigenhouseError(f"{NAME} is damaged, or not as this program writes it: {first_line(error)}") from error


def _want_readable(held: Any) -> None:
    """A newer program may seal in another way too, so this comes first."""
    schema, newest = held["schema"], newest_schema()
    if not isinstance(held["format"], int) or not isinstance(schema, int):
        raise TypeError(f"its format and schema are no numbers: {held['format']!r}, {schema!r}")
    if held["format"] > FORMAT or schema > newest:
        raise EigenhouseError(
            f"it is of a newer program (format {held['format']}, schema {schema}; this one reads up to {FORMAT} and "
            f"{newest}): update the program"
        )
    if _columns() != {*held["model"], *(name for own in held["stacks"].values() for name in own)} | FILLED:
        older = "measure it anew, or load it with the program that made it and bring that warehouse up to date"
        raise EigenhouseError(f"its models have other columns (schema {schema}; this program's is {newest}): {older}")


def _columns() -> set[str]:
    return sqlfiles.tables()["models"]["columns"].keys() - {"model_id", "model_key", "family"}


def _pack(folder: Path, held: dict[str, Any]) -> Pack:
    return Pack(
        root=folder,
        model=held["model"],
        stacks=held["stacks"],
        stages={name: Entry(**entry) for name, entry in held["stages"].items()},
        parts=[Part(**{**part, "summed": part["summed"] and Summed(**part["summed"])}) for part in held["parts"]],
        parameters=held["parameters"],
        run=held["run"] | {name: datetime.fromisoformat(held["run"][name]) for name in TIMES},
    )


def _want_meant(pack: Pack) -> None:
    """Refuse what no run writes: names that aren't known here, and paths that lead out of the pack."""
    sums = [part.summed for part in pack.parts if part.summed]
    for made in (*pack.stages.values(), *pack.parts, *sums):
        for name, kind in get_type_hints(type(made)).items():
            _want_kind(name, getattr(made, name), kind)
    for values in (pack.model, pack.run, *pack.stacks.values()):
        for name, value in values.items():
            _want_kind(name, value, None | bool | int | float | str | datetime)
    for name, value in pack.parameters.items():
        _want_kind(name, value, str)
    name, revision = pack.model["name"], pack.model["revision"]
    refuse_bad_key("NAME", name)
    if revision is not None:
        refuse_bad_key("REVISION", revision)
    if pack.model["checkpoint"] != (name if revision is None else f"{name}@{revision}"):
        raise ValueError(f"checkpoint {pack.model['checkpoint']!r} of {name!r} at {revision!r}")
    if not DIGEST.fullmatch(pack.model["weights_sha256"]):
        raise ValueError(f"weights_sha256 {pack.model['weights_sha256']!r}")
    if not pack.stacks or pack.run.keys() != RUN:
        raise ValueError("no stack, or a run without its columns")
    for stack, own in pack.stacks.items():
        if own["stack"] is not None:
            refuse_bad_key("stack", own["stack"])
        if own.keys() & pack.model.keys() or not stack:
            raise ValueError(f"stack {stack!r} has columns of all stacks")
    if unknown := sorted(pack.stages.keys() - declared().keys()):
        raise EigenhouseError(f"it has a stage that this program doesn't know, {unknown[0]}: update the program")
    for part in pack.parts:
        _want_part(pack, part)
    if twins := len(pack.parts) - len({(part.stage, part.stack, part.table) for part in pack.parts}):
        raise ValueError(f"{twins} parts are there twice")


def _want_kind(name: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}")


def _want_part(pack: Pack, part: Part) -> None:
    stage = declared()[part.stage]
    known = stage.tables if part.stack else stage.shares
    if part.stage not in pack.stages or part.table not in known or part.stack not in {"", *pack.stacks}:
        raise ValueError(f"{part.stage} of {part.stack!r} writes no {part.table}")
    if part.file is None:
        return
    if not all(STEP.fullmatch(step) for step in part.file.split("/")):
        raise ValueError(f"a path that may lead out of the pack: {part.file!r}")
    if not DIGEST.fullmatch(part.sha256) or not part.summed or part.n_bytes <= 0:
        raise ValueError(f"{part.file} has no checksum")
