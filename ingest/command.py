"""`eigenhouse ingest`: one run for each revision, and what it says where it is cut short."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from eigenhouse import stopping
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.runs import run
from eigenhouse.ingest.runs.engines import engine
from eigenhouse.ingest.sources import catalog
from eigenhouse.options import Ingest

BETWEEN_REVISIONS = (
    "stopped; the revisions before this one are in the warehouse, and the same command goes on from the last finished "
    "stage"
)


def ingest(options: Ingest) -> None:
    """Every revision asked for. Raises EigenhouseError where the disk is full."""
    # before torch is imported: threads that spin for long as they wait for one another take four times the CPU seconds
    # of a tiny ingest where another program has the cores; ones that never spin make prompts take a tenth longer
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    options = replace(options, model=options.model or catalog.default())
    engine(options.engine)  # refused, if there is none of that name, before anything is fetched
    try:
        for revision in _revisions(options):
            one = replace(options, revision=revision)
            if options.model.endswith(".json"):
                from eigenhouse.ingest.exchange.imports import import_file  # late: it brings polars

                import_file(one)
            else:
                run.ingest(one)
            stopping.kept(BETWEEN_REVISIONS)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            why = f"{error.strerror or error}: {error.filename or 'a file of the ingest'}"
            raise EigenhouseError(f"{why}; the warehouse is unchanged") from error
        raise EigenhouseError(
            f"the disk is full ({error.filename or 'while staging'}); the warehouse is unchanged. "
            "Free some space and run again"
        ) from error


def _revisions(options: Ingest) -> list[str | None]:
    names = [name.strip() for name in (options.revisions or "").split(",") if name.strip()]
    if options.revision and names:
        raise EigenhouseError(f"want REVISION or REVISIONS, got both: {options.revision} and {', '.join(names)}")
    return list(dict.fromkeys(names)) or [options.revision]
